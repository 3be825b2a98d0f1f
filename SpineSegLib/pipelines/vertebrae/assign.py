"""Which vertebra each voxel belongs to: where it is plain by planes and surfaces, in between by a watershed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from SpineSegLib.pipelines.vertebrae.arches import LAMINA, Parting
from SpineSegLib.pipelines.vertebrae.cuts import Cut


def assigned(
    mask: np.ndarray,
    voxels: tuple[np.ndarray, ...],
    places: np.ndarray,
    radius: np.ndarray,
    cuts: Sequence[Cut],
    parted: Sequence[Parting],
    step: float,
    *,
    middle: float = 8.0,
    close: float = 3.0,
    doubt: float = 0.3,
) -> np.ndarray:
    """Return an array of numbers, 1 for what lies above the first cut and so on; 0 outside of the mask.

    Parameters
    ----------
    mask : boolean, upright (k to the head, j to the back, i to the left), isotropic
    voxels : indices of the mask's voxels, as of `numpy.nonzero`
    places : (n, 3) mm of these, see `Axis.places`
    radius : (n,) mm of the body at each
    cuts, parted : between bodies and between arches, as many of one as of the other, from the top
    step : mm of a voxel
    middle : mm to either side of the middle plane, where there are no joints
    close : mm from a surface within which a voxel of a lamina or a spinous process is left to the watershed
    doubt : the same for joints and pedicles, in heights of a vertebra: upper and lower process overlap that much
    """
    from skimage.segmentation import watershed

    back, left = places[:, 1], places[:, 2]
    behind, away, aside = back - radius, np.hypot(back, left), np.abs(left)
    height = np.median(np.diff([cut.at for cut in cuts])) if len(cuts) > 1 else 2 * np.median(radius)
    body, body_margin = _between(places[:, 0] - cut.at - cut.back * back - cut.left * left for cut in cuts)
    arch, arch_margin = _between(places[:, 0] - one.at - one.slope * (behind - LAMINA) for one in parted)
    sure_body = (away < 0.9 * radius) & (body_margin > step)
    sure_body |= (behind > -0.5 * radius) & (behind < 12) & (aside > middle) & (body_margin > doubt * height)
    sure_arch = (behind > 12) & (arch_margin > np.where(aside < middle, close, min(10.0, doubt * height)))
    markers = np.zeros(mask.shape, np.int16)
    markers[voxels] = np.where(sure_body, body + 1, np.where(sure_arch, arch + 1, 0))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] * step
    numbers = watershed(np.rint(-4 * depth).astype(np.int16), markers, mask=mask)
    # A part that touches nothing marked, such as the tip of a process whose body is out of view.
    alone = numbers[voxels] == 0
    numbers[tuple(axis[alone] for axis in voxels)] = 1 + np.where(behind > 5, arch, body)[alone]
    return numbers


def _between(distances) -> tuple[np.ndarray, np.ndarray]:
    """Return how many surfaces lie above each voxel, and mm to the nearest one."""
    number, margin = 0, np.inf
    for distance in distances:
        number = number + (distance > 0)
        margin = np.minimum(margin, np.abs(distance))
    return number, margin
