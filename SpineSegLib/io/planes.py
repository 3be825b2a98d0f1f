"""Planes of an image as they are shown: which slice, which way round, how large, how bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Image, Reorientation, Segment, Segmentation

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


def film_plane(image: Image, segmentation: Segmentation) -> Plane:
    """Return a radiograph's only plane, pixel for pixel unless it is very large or very small."""
    _, row_step, column_step = image.geometry.step
    finest = min(row_step, column_step)
    rows, columns = image.geometry.shape[1] * row_step / finest, image.geometry.shape[2] * column_step / finest
    scale = min(1.0, _LONGEST / max(rows, columns))
    if max(rows, columns) < _SHORTEST:
        scale = _SHORTEST / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    masks = _masks([layer[0] for layer in segmentation.layers], segmentation.segments)
    return Plane(as_grey(image.array[0], *grey_range(image)), masks, size)


def volume_planes(image: Image, segmentation: Segmentation, turn: Reorientation, height: int) -> list[Plane]:
    """Return the axial, coronal and sagittal plane with the most foreground, in radiological orientation.

    Parameters
    ----------
    turn : turns arrays to head, back, left
    height : rows of the largest plane on the canvas
    """
    low, high = grey_range(image)
    array = turn.apply(image.array)
    layers = [turn.apply(layer) for layer in segmentation.layers]
    foreground = turn.apply(segmentation.foreground)
    step = turn.geometry(image.geometry).step
    sizes = np.array(array.shape) * step
    scale = height / max(sizes[0], sizes[1])
    planes = []
    # Axial: rows to the back, columns to the left. Coronal and sagittal: rows to the head, so turned over.
    for axis, letters in ((0, "RLAP"), (1, "RLSI"), (2, "APSI")):
        place = _fullest(foreground, axis)
        flip = slice(None) if axis == 0 else slice(None, None, -1)

        def cut(volume: np.ndarray, axis: int = axis, place: int = place, flip: slice = flip) -> np.ndarray:
            return np.ascontiguousarray(np.take(volume, place, axis)[flip])

        down, across = (sizes[n] for n in range(3) if n != axis)
        size = (max(1, round(across * scale)), max(1, round(down * scale)))
        masks = _masks([cut(layer) for layer in layers], segmentation.segments)
        planes.append(Plane(as_grey(cut(array), low, high), masks, size, letters))
    return planes


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
