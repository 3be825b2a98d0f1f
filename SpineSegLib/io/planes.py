"""Planes of an image as they are shown: which slice, which way round, how large, how bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry, Image, Reorientation, Segment, Segmentation

_CT_WINDOW = (-350.0, 1150.0)
"""Window 1500, level 400 HU: bone."""
_LONGEST = 2048
_SHORTEST = 480
_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Plane:
    """One plane to draw.

    Parameters
    ----------
    grey : rows, columns array of uint8
    masks : segments seen in it with their boolean masks of the same shape
    size : columns and rows on the canvas, which makes pixels square in the patient
    letters : the patient's side at the left, right, top and bottom edge; empty when unknown
    """

    grey: np.ndarray
    masks: list[tuple[Segment, np.ndarray]]
    size: tuple[int, int]
    letters: str = ""


@dataclass(frozen=True)
class Cut:
    """One plane of a grid: which, which way round, how large on the canvas.

    Parameters
    ----------
    turn : turns arrays of the grid to head, back, left
    axis, place : slice number `place` along this axis of turned arrays
    upright : whether rows run down, against the head
    size, letters : as of a `Plane`
    """

    turn: Reorientation
    axis: int
    place: int
    upright: bool
    size: tuple[int, int]
    letters: str = ""

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Return the plane (rows, columns) of a k, j, i array on the grid."""
        plane = np.take(self.turn.apply(array), self.place, self.axis)
        return np.ascontiguousarray(plane[::-1] if self.upright else plane)


_AS_IT_IS = Reorientation((0, 1, 2), (False, False, False))


def film_cut(geometry: Geometry, *, shortest: int = _SHORTEST, longest: int = _LONGEST) -> Cut:
    """Return the only plane of a radiograph, pixel for pixel unless its longer side is not within the two limits."""
    _, row_step, column_step = geometry.step
    finest = min(row_step, column_step)
    rows, columns = geometry.shape[1] * row_step / finest, geometry.shape[2] * column_step / finest
    scale = min(1.0, longest / max(rows, columns))
    if max(rows, columns) < shortest:
        scale = shortest / max(rows, columns)
    return Cut(_AS_IT_IS, 0, 0, False, (max(1, round(columns * scale)), max(1, round(rows * scale))))


def volume_cuts(geometry: Geometry, foreground: np.ndarray, turn: Reorientation, height: int) -> list[Cut]:
    """Return the axial, coronal and sagittal plane with the most foreground, in radiological orientation.

    Parameters
    ----------
    foreground : boolean k, j, i array on the grid
    turn : turns arrays to head, back, left
    height : rows of the largest plane on the canvas
    """
    turned = turn.apply(foreground)
    sizes = np.array(turned.shape) * turn.geometry(geometry).step
    scale = height / max(sizes[0], sizes[1])
    cuts = []
    # Axial: rows to the back, columns to the left. Coronal and sagittal: rows to the head, so turned over.
    for axis, letters in ((0, "RLAP"), (1, "RLSI"), (2, "APSI")):
        down, across = (sizes[n] for n in range(3) if n != axis)
        size = (max(1, round(across * scale)), max(1, round(down * scale)))
        cuts.append(Cut(turn, axis, _fullest(turned, axis), axis != 0, size, letters))
    return cuts


def film_plane(image: Image, segmentation: Segmentation) -> Plane:
    """Return a radiograph's only plane, pixel for pixel unless it is very large or very small."""
    return _plane(film_cut(image.geometry), image, segmentation)


def volume_planes(image: Image, segmentation: Segmentation, turn: Reorientation, height: int) -> list[Plane]:
    """Return the planes of `volume_cuts`."""
    cuts = volume_cuts(image.geometry, segmentation.foreground, turn, height)
    return [_plane(cut, image, segmentation) for cut in cuts]


def _plane(cut: Cut, image: Image, segmentation: Segmentation) -> Plane:
    masks = _masks([cut(layer) for layer in segmentation.layers], segmentation.segments)
    return Plane(as_grey(cut(image.array), *grey_range(image)), masks, cut.size, cut.letters)


def _fullest(foreground: np.ndarray, axis: int) -> int:
    """Return the slice with the most foreground, or the middle one when there is none."""
    counts = foreground.sum(axis=tuple(n for n in range(3) if n != axis))
    return int(counts.argmax()) if counts.any() else foreground.shape[axis] // 2


def _masks(layers: list[np.ndarray], segments: tuple[Segment, ...]) -> list[tuple[Segment, np.ndarray]]:
    masks = [(segment, layers[segment.layer] == segment.label) for segment in segments]
    return [(segment, mask) for segment, mask in masks if mask.any()]


def grey_range(image: Image) -> tuple[float, float]:
    """Return the values shown black and white: a bone window for CT, else the 0.5th and 99.5th percentile."""
    if image.modality == "CT":
        return _CT_WINDOW
    values = image.array.ravel()[:: max(1, image.array.size // _SAMPLES)]
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return low, high if high > low else low + 1


def as_grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as uint8, `low` black and `high` white; what is not a number is black."""
    scaled = (np.nan_to_num(values.astype(np.float32), nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
