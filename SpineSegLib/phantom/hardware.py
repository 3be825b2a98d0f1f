"""Metal: an anterior cervical plate with its screws, and bone grown through the discs that it bridges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.pose import Column
from SpineSegLib.phantom.shapes import spread
from SpineSegLib.phantom.solids import box, capsule
from SpineSegLib.phantom.voxels import Canvas, near

THICKNESS, WIDTH = 2.3, 16.0
"""Of an anterior cervical plate, mm (makers' catalogues: 1.6-2.5 and 14-18)."""


def paint_plate(canvas: Canvas, column: Column, first: str, last: str) -> None:
    """Put a plate on the front of the bodies from `first` to `last`, with two screws in each."""
    levels = column.levels[column.index(first) : column.index(last) + 1]
    for upper, lower in pairwise(levels):
        _piece(canvas, column, upper, lower, upper == first, lower == last)
    for level in levels:
        marks = column.marks[level]
        middle = (marks["SA"] + marks["IA"]) / 2
        deep = middle[1] - (marks["SP"] + marks["IP"])[1] / 2
        tilt = {first: 0.22, last: -0.22}.get(level, 0.0)
        for side in (-1, 1):
            head = middle + np.array([side * 5.0, 2.2, 0.0])
            end = head + (deep - 1.0) * np.array([-side * 0.1, -1.0, tilt])
            frame = column.frame(level)
            _solid(canvas, lambda p, a=head, b=end: capsule(p, a, b, 1.9, 1.5), spread(np.stack([head, end])), frame)


def _piece(canvas: Canvas, column: Column, upper: str, lower: str, is_first: bool, is_last: bool) -> None:
    start = _front(column, upper, 0.72 if is_first else 0.5)
    end = _front(column, lower, 0.28 if is_last else 0.5)
    z = start - end
    length = np.linalg.norm(z)
    z = z / length
    x = column.frame(upper)[:3, 0]
    y = np.cross(z, x)
    y /= np.linalg.norm(y)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([np.cross(y, z), y, z], axis=1)
    frame[:3, 3] = (start + end) / 2
    half = np.array([WIDTH / 2, THICKNESS / 2, length / 2 + 0.5])
    _solid(canvas, lambda p: box(p, (0, 0, 0), half, 0.8), np.stack([-half, half]), frame)


def _front(column: Column, level: str, share: float) -> np.ndarray:
    """Return the plate's middle ahead of a body, `share` of the way up its front."""
    low, high = column.point(level, "IA"), column.point(level, "SA")
    forward = column.frame(level)[:3, 1]
    return low + share * (high - low) + forward * (THICKNESS / 2 + 0.6)


def _solid(canvas: Canvas, solid, bounds: np.ndarray, frame: np.ndarray) -> None:
    found = near(
        canvas,
        lambda points: solid(tuple(points.T)).astype(np.float32),
        bounds + np.array([[-3.0], [3.0]]),
        frame,
        rim=False,
    )
    canvas.tissue.reshape(-1)[found.index] = Tissue.METAL
    canvas.density.reshape(-1)[found.index] = 1
