"""How each kind of image is taken: the usual technique, varied as practice varies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.image import Geometry
from SpineSegLib.phantom.body import Body
from SpineSegLib.phantom.imaging.ct import Protocol
from SpineSegLib.phantom.imaging.detector import Exposure
from SpineSegLib.phantom.imaging.film import Processing
from SpineSegLib.phantom.imaging.marker import Collimation
from SpineSegLib.phantom.imaging.mr import Sequence
from SpineSegLib.phantom.imaging.radiograph import Marker, Technique
from SpineSegLib.phantom.imaging.view import View


@dataclass(frozen=True)
class FilmKind:
    """The usual technique of one kind of radiograph.

    Parameters
    ----------
    azimuth : degrees, see `View`
    levels : the vertebrae between whose centroids the middle of the film lies
    field : height and width in mm, in the plane of the spine
    distance : from source to detector in mm, lowest and highest
    behind : from the spine to the detector in mm, lowest and highest
    kvp : lowest and highest tube voltage
    scatter : lowest and highest ratio of scatter to primary behind the patient
    latitude, gradient : lowest and highest, see `Processing`
    shift : mm that the middle of the film lies towards the patient's front (lateral) or head
    """

    azimuth: float
    levels: tuple[str, str]
    field: tuple[float, float]
    distance: tuple[float, float]
    behind: tuple[float, float]
    kvp: tuple[float, float]
    scatter: tuple[float, float]
    latitude: tuple[float, float]
    gradient: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)


FILMS = {
    # Lateral neck at 1.5 to 1.83 m without a grid (the air gap to the shoulder takes the scatter).
    "lateral-cervical": FilmKind(
        90.0, ("C2", "C7"), (215.0, 215.0), (1500.0, 1830.0), (220.0, 320.0), (65.0, 80.0), (0.15, 0.5), (0.4, 0.65),
        (3.2, 4.6), (5.0, 8.0),
    ),
    "lateral-lumbar": FilmKind(
        90.0, ("L1", "S1"), (340.0, 272.0), (1050.0, 1200.0), (200.0, 280.0), (80.0, 95.0), (0.3, 0.9), (0.4, 0.65),
        (3.2, 4.6), (0.0, 0.0),
    ),
    # Whole spine, standing, long film.
    "ap": FilmKind(
        0.0, ("C7", "L5"), (800.0, 400.0), (1800.0, 2600.0), (120.0, 200.0), (75.0, 95.0), (0.2, 0.6), (0.5, 0.75),
        (3.2, 4.6), (0.0, 10.0),
    ),
}  # fmt: skip
"""Distances and voltages as in textbooks of radiographic positioning (72 inches for neck and whole spine, 40 to 48
for the lumbar spine; 65-80, 80-95 and 75-95 kVp)."""


def film_technique(
    kind: str,
    body: Body,
    rng: np.random.Generator,
    *,
    size: int = 1024,
    rotation: float | None = None,
    inverted: bool | None = None,
) -> Technique:
    """Return a technique for a radiograph of this body.

    Parameters
    ----------
    kind : one of `FILMS`
    body : whose measurement points say where the spine lies
    rng : of everything that varies
    size : pixels along the longer side
    rotation : degrees that the patient is turned about the long axis; a few at random unless given
    inverted : MONOCHROME1; one in six unless given
    """
    usual = FILMS[kind]
    between = lambda ends: float(rng.uniform(*ends))  # noqa: E731
    lateral = usual.azimuth != 0
    height, width = (extent * float(rng.uniform(0.95, 1.08)) for extent in usual.field)
    distance, behind = between(usual.distance), between(usual.behind)
    turn = float(rng.normal(0, 3)) if rotation is None else rotation
    front, up = usual.shift
    centre = _middle(body, usual.levels) + np.array([0.0, front if lateral else 0.0, up])
    centre = centre + rng.normal(0, (2.0, 4.0, 5.0))
    centre[2], height = _within(body, centre, height, distance - behind, lateral=lateral)
    scale = size / max(height, width)
    view = View(
        azimuth=usual.azimuth + turn,
        tilt=float(rng.normal(0, 1.5)),
        roll=float(rng.normal(0, 2)),
        source_detector=distance,
        source_centre=distance - behind,
        size=(max(1, round(height * scale)), max(1, round(width * scale))),
        pixel=round(1 / scale * distance / (distance - behind), 4),
        centre=tuple(float(v) for v in centre),
    )
    facing_right = bool(lateral and rng.random() < 0.3)
    return Technique(
        view=view,
        exposure=Exposure(
            kvp=round(between(usual.kvp)),
            photons=10 ** float(rng.uniform(3.8, 4.7)),
            scatter_to_primary=between(usual.scatter),
            focal_spot=float(rng.choice([0.6, 1.2])),
            detector_blur=float(rng.uniform(0.07, 0.16)),
            glare=float(rng.uniform(0.03, 0.1)),
        ),
        processing=Processing(
            gradient=between(usual.gradient),
            latitude=between(usual.latitude),
            structure=float(rng.uniform(0.2, 0.8)),
            enhancement=float(rng.uniform(0.2, 1.2)),
            density=float(rng.normal(0, 0.3)),
        ),
        collimation=_collimation(rng),
        marker=_marker(rng, lateral=lateral, facing_right=facing_right, pixel=1 / scale, rows=view.size[0]),
        inverted=bool(rng.random() < 1 / 6) if inverted is None else inverted,
        mirrored=facing_right,
    )


def _middle(body: Body, levels: tuple[str, str]) -> np.ndarray:
    """Return the middle between two vertebrae (the nearest there are), or of the grid where there are no points."""
    points = {level: named["centroid"] for level, named in body.measurements.get("points", {}).items()
              if "centroid" in named}  # fmt: skip
    if not points:
        return body.geometry.to_world((np.array(body.geometry.shape) - 1) / 2)
    ends = [points[level] if level in points else list(points.values())[n] for level, n in
            zip(levels, (0, -1), strict=True)]  # fmt: skip
    return np.mean(ends, axis=0)


def _within(body: Body, centre: np.ndarray, height: float, reach: float, *, lateral: bool) -> tuple[float, float]:
    """Return the middle and the height of a film that shows nothing above and below the digital patient, mm.

    Parameters
    ----------
    centre : wanted
    height : wanted
    reach : from the source to the centre
    """
    corners = body.geometry.to_world(np.array([(0, 0, 0), np.array(body.geometry.shape) - 1]))
    low, high = np.sort(corners, axis=0)
    along = 0 if lateral else 1
    deep = max(abs(low[along] - centre[along]), abs(high[along] - centre[along]))
    # Slanting rays leave the patient further up and down than they pass the centre; a turned film needs a margin too.
    part = 0.97 * reach / (reach + deep)
    bottom, top = float(low[2]), float(high[2])
    half = min(height / 2, (top - bottom) / 2 * part)
    middle = float(np.clip(centre[2], bottom + half / part, max(top - half / part, bottom + half / part)))
    return middle, 2 * half


def _collimation(rng: np.random.Generator) -> Collimation:
    if rng.random() < 0.45:
        return Collimation()
    margins = tuple(float(m) for m in np.maximum(rng.uniform(-0.03, 0.06, 4), 0))
    shutter = "black" if rng.random() < 0.7 else "none"
    return Collimation(margins, turn=float(rng.normal(0, 0.6)), penumbra=float(rng.uniform(0.8, 2.5)), shutter=shutter)


def _marker(rng: np.random.Generator, *, lateral: bool, facing_right: bool, pixel: float, rows: int) -> Marker | None:
    if rng.random() < 0.15:
        return None
    right = bool(rng.random() < 0.5)
    if lateral:
        # Over the free field behind the neck, high or low.
        side = 0.1 if facing_right else 0.9
        place = (float(rng.uniform(0.1, 0.25)), side + float(rng.normal(0, 0.02)))
    else:
        side = 0.1 if right else 0.9
        place = (float(rng.uniform(0.05, 0.3)), side + float(rng.normal(0, 0.01)))
    height = float(rng.uniform(7, 12)) * rows * pixel / 260
    return Marker("R" if right else "L", place, height, ring=bool(rng.random() < 0.4))


def ct_grid(
    body: Body, rng: np.random.Generator, *, size: int = 256, oblique: float | None = None, step: float | None = None
) -> Geometry:
    """Return the grid of a CT: slices from below upwards, a little turned, within the digital patient.

    Parameters
    ----------
    size : pixels along the longer side of a slice
    oblique : degrees of turning about each axis; up to a few at random unless given
    step : mm between slices; a usual one at random unless given
    """
    extent, middle = _extent(body)
    turn = _turn(rng.normal(0, 3, 3) if oblique is None else np.full(3, oblique))
    wanted = np.append(extent[:2] * rng.uniform(0.92, 1.0), extent[2])
    x, y, z = _fitted(wanted, extent, turn)
    pixel = max(x, y) / size
    # No more slices than a cube of this size has.
    usual = max(float(rng.choice([0.8, 1.0, 1.5, 2.0])) * 256 / size, z / size)
    thickness = usual if step is None else step
    shape = (_count(z, thickness), _count(y, pixel), _count(x, pixel))
    return _grid(shape, (-pixel, -pixel, thickness), turn, middle)


def mr_grid(body: Body, rng: np.random.Generator, *, size: int = 320, oblique: float | None = None) -> Geometry:
    """Return the grid of a sagittal MR: thick slices from the patient's left to right, rows downwards.

    Parameters
    ----------
    size : pixels along the longer side of a slice
    oblique : degrees of turning about each axis; up to a few at random unless given
    """
    extent, middle = _extent(body)
    turn = _turn(rng.normal(0, 2, 3) if oblique is None else np.full(3, oblique))
    x, y, z = _fitted(extent * (1.0, 1.0, rng.uniform(0.9, 1.0)), extent, turn)
    pixel = max(y, z) / size
    thickness = float(rng.uniform(3.0, 4.5))
    # i to the back, j downwards, k to the right: columns of RAS vectors.
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float)
    shape = (min(_count(x, thickness), 19), _count(z, pixel), _count(y, pixel))
    return _grid(shape, (pixel, pixel, thickness), turn @ axes, middle)


def _extent(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Return the sides of the body's grid along R, A and S, and its middle."""
    corners = body.geometry.to_world(
        np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(body.geometry.shape) - 1)
    )
    return np.ptp(corners, axis=0), corners.mean(axis=0)


def _fitted(wanted: np.ndarray, extent: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the sides of a turned box, as wanted or smaller, that lies within an upright one."""
    return wanted * min(1.0, float((extent / (np.abs(turn) @ wanted)).min()))


def _count(length: float, step: float) -> int:
    return max(4, int(length / step + 1e-6))


def _turn(angles: np.ndarray) -> np.ndarray:
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    return (
        np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
        @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
        @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    )


def _grid(shape: tuple[int, int, int], step: tuple, axes: np.ndarray, middle: np.ndarray) -> Geometry:
    matrix = np.eye(4)
    matrix[:3, :3] = axes @ np.diag(step)
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return Geometry(shape, matrix)


def ct_protocol(rng: np.random.Generator) -> Protocol:
    """Return noise and kernel of a CT, varied."""
    return replace(
        Protocol(),
        noise=float(rng.uniform(8, 30)),
        sharpness=float(rng.uniform(0.4, 0.75)),
        blur=float(rng.uniform(0.25, 0.5)),
    )


def mr_sequence(rng: np.random.Generator) -> Sequence:
    """Return a T2-weighted sequence, varied."""
    return Sequence(
        tr=float(rng.uniform(2800, 4500)),
        te=float(rng.uniform(85, 120)),
        snr=float(rng.uniform(30, 90)),
        bias=float(rng.uniform(0.05, 0.2)),
        reach=float(rng.uniform(110, 220)),
    )
