"""A chest drawn into a digital patient: what lies over the spine in a lateral film of the chest.

The digital spine's lungs stand beside a broad middle, which is enough for films from ahead. From the side it is the
lungs that matter: they reach around the vertebral bodies to the ribs' angles and, behind the liver, down to the loins,
so that the lower thoracic spine lies on dark lung and the liver ahead of it is bright.

Arrays are k, j, i towards head, back and left, with one isotropic step in mm, as in `randomise`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SpineSegLib.training.randomise import axis_of, lung_texture, smooth_field

LUNG = (-990, -450)
"""HU between which what lies within the body is lung."""


@dataclass(frozen=True)
class _Place:
    """Where voxels lie from the spine and the lungs, mm; arrays that broadcast to k, j, i.

    Parameters
    ----------
    aside : to the left of the spine's axis
    ahead : in front of it
    up : above the lower end of the lungs that were there
    tall : height of these lungs
    """

    aside: np.ndarray
    ahead: np.ndarray
    up: np.ndarray
    tall: float


def with_chest(hu: np.ndarray, bone: np.ndarray, step: float, random: np.random.Generator) -> np.ndarray:
    """Return the patient with lungs around the spine, a heart between them and a diaphragm that falls behind.

    The lungs' height and breadth are those of the lungs that are there; without any, nothing changes.

    Parameters
    ----------
    hu : float32 k, j, i array, Hounsfield units
    bone : boolean array, the labelled bone, which stays as it is, as do ribs
    step : mm
    random : what draws everything
    """
    inside = _within(hu)
    old = inside & (hu > LUNG[0]) & (hu < LUNG[1])
    heights = np.flatnonzero(old.sum(axis=(1, 2)) * step**2 > 1500)
    if len(heights) * step < 60:
        return hu
    out = hu.astype(np.float32, copy=True)
    axis = axis_of(bone)
    k, j, i = (np.arange(n, dtype=np.float32) for n in hu.shape)
    place = _Place(
        aside=(i[None] - axis[:, 1, None])[:, None, :] * step,
        ahead=(axis[:, 0, None] - j[None])[:, :, None] * step,
        up=(k[:, None, None] - heights[0]) * step,
        tall=float(heights[-1] - heights[0]) * step,
    )
    depth = ndimage.distance_transform_edt(inside) * step
    away = ndimage.distance_transform_edt(~bone) * step
    ribs = ndimage.binary_dilation((hu > 180) & ~bone)

    # First everything is soft tissue, the heart and the aorta brighter.
    tissue = random.uniform(20, 70) + random.uniform(2, 12) * smooth_field(hu.shape, random.uniform(4, 15), random)
    gone = old | (ndimage.binary_dilation(old, iterations=2) & inside & ~bone & ~ribs & (hu < 0))
    out[gone] = tissue[gone]
    blood = random.uniform(30, 60) if random.random() < 0.5 else random.uniform(80, 350)
    heart = _heart(place, random)
    out[heart & inside & (away > 2) & ~ribs] = blood

    lung = inside & ~bone & ~ribs & ~(heart | _between(place, random)) & (place.up > _diaphragm(place, step, random))
    breadth = np.array([np.abs(place.aside[n, 0, old[n].any(axis=0)]).max(initial=0) for n in heights])
    lung &= _section(place, inside, float(np.percentile(breadth, 85)), random)
    lung &= depth > random.uniform(16, 34) + random.uniform(0, 5) * smooth_field(hu.shape, 25 / step, random)
    lung &= (away > random.uniform(1, 5)) & (place.ahead > -random.uniform(25, 60)) & (place.up < place.tall)
    out[lung] = lung_texture(hu.shape, random)[lung]
    return out


def _heart(place: _Place, random: np.random.Generator) -> np.ndarray:
    """Return where the heart is, to the left, and the aorta before the spine."""
    parts = (
        (place.up - random.uniform(30, 75)) / random.uniform(40, 60),
        (place.ahead - random.uniform(55, 85)) / random.uniform(35, 55),
        (place.aside - random.uniform(5, 35)) / random.uniform(40, 65),
    )
    aorta = np.hypot(place.ahead - random.uniform(20, 34), place.aside - random.uniform(-2, 22))
    return (sum(part**2 for part in parts) < 1) | (aorta < random.uniform(9, 17))


def _between(place: _Place, random: np.random.Generator) -> np.ndarray:
    """Return what else parts the lungs: narrow behind, broader ahead, broadest at the top of the chest."""
    wide = random.uniform(4, 14) + random.uniform(8, 26) * np.clip((place.ahead - 15) / 25, 0, 1)
    wide = wide + random.uniform(0, 20) * np.clip((place.up - place.tall * 0.6) / 100, 0, 1)
    return (np.abs(place.aside - random.uniform(-6, 8)) < wide) & (place.ahead > random.uniform(0, 15))


def _diaphragm(place: _Place, step: float, random: np.random.Generator) -> np.ndarray:
    """Return the height of the lungs' lower end, mm: two domes, high ahead and falling behind."""
    dome = random.uniform(20, 85) - _fall(place.ahead, place.aside, random)
    floor = random.uniform(-70, 10)
    dome = dome + random.uniform(0, 8) * smooth_field((1, *dome.shape[1:]), 25 / step, random)
    return np.maximum(dome, floor)


def _section(place: _Place, inside: np.ndarray, half: float, random: np.random.Generator) -> np.ndarray:
    """Return the rounded cross-section of the chest, which tapers to the top and so stands apart from the shoulders.

    Parameters
    ----------
    inside : the body with its lungs
    half : half the breadth of the lungs that were there, mm
    """
    taper = np.clip((place.tall - place.up) / random.uniform(70, 140), 0, 1) ** 0.5
    half = half * random.uniform(0.9, 1.15) * np.maximum(taper, 0.02)
    front = np.where(inside, place.ahead, -1).max(axis=(1, 2), keepdims=True)
    back = np.where(inside, place.ahead, 1).min(axis=(1, 2), keepdims=True)
    deep = np.maximum((front - back) * np.maximum(taper, 0.3), 1)
    power = random.uniform(2.2, 4)
    return (np.abs(place.aside) / half) ** power + (np.abs(2 * place.ahead - front - back) / deep) ** power < 1


def _within(hu: np.ndarray) -> np.ndarray:
    """Return the body with its lungs: slice by slice, as lungs are open where the volume ends."""
    body = np.pad(hu > -400, ((0, 0), (3, 3), (3, 3)), mode="edge")
    cross = ndimage.generate_binary_structure(2, 1)[None]
    closed = ndimage.binary_closing(body, cross, iterations=2)
    return np.stack([ndimage.binary_fill_holes(each) for each in closed])[:, 3:-3, 3:-3]


def _fall(ahead: np.ndarray, aside: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return by how much the domes of the diaphragm lie below their tops, mm."""
    behind = (random.uniform(35, 80) - ahead) / random.uniform(75, 110)
    beside = (np.abs(aside) - random.uniform(45, 75)) / random.uniform(80, 130)
    steep = np.maximum(behind, 0) ** random.uniform(1, 2) + 0.25 * np.minimum(behind, 0) ** 2
    return random.uniform(60, 150) * (steep + beside**2 * (np.abs(aside) > 60))
