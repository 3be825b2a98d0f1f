"""Which vertebrae and which part of the body each kind of image shows, and on which grid."""

from __future__ import annotations

import numpy as np

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS
from SpineSegLib.image import Geometry
from SpineSegLib.phantom.parameters import Parameters
from SpineSegLib.phantom.pose import Column

CELLS = {
    "lateral-cervical": (0.5, 0.5, 2.0),
    "lateral-lumbar": (0.7, 0.7, 2.4),
    "ap": (0.9, 2.0, 0.9),
    "ct": (1.0, 0.8, 0.8),
    "mr": (0.7, 0.7, 1.4),
}
"""Voxel sizes k, j, i in mm: fine across the rays of a radiograph, coarse along them."""

REGIONS = {
    "lateral-cervical": ("C1", "T4"),
    "lateral-lumbar": ("T10", "S1"),
    "ap": ("C6", "S1"),
    "ct": ("T10", "L3"),
    "mr": ("T11", "S1"),
}


def levels_of(p: Parameters) -> list[str]:
    """Return the levels that a body needs, from top to bottom; one more at each end than a region asks for."""
    first, last = p.region or REGIONS[p.kind]
    every = [level for level in LEVELS if level not in OPTIONAL_LEVELS or level in p.extra or level in (first, last)]
    a, b = every.index(first), every.index(last)
    if p.kind in ("ct", "mr"):
        a, b = max(a - 2, 0), min(b + 2, len(every) - 1)
    return every[a : b + 1]


def grid(p: Parameters, column: Column) -> Geometry:
    """Return the grid of a body: what the film or the slices show, with what the rays cross on their way."""
    box = _box(p, column)
    cells = p.cells or CELLS[p.kind]
    steps = np.array(cells[::-1], dtype=float)
    counts = np.maximum(np.round((box[1] - box[0]) / steps).astype(int), 8)
    matrix = np.diag([*steps, 1.0])
    # Lattice points are multiples of the steps from the box's middle, so that left and right are treated alike.
    matrix[:3, 3] = (box[0] + box[1]) / 2 - (counts - 1) / 2 * steps
    return Geometry(tuple(counts[::-1]), matrix)


def _centre(column: Column, level: str) -> np.ndarray:
    return column.position[column.index(level)]


def _box(p: Parameters, column: Column) -> np.ndarray:
    """Return lower and upper corner of what the grid shows."""
    if p.kind == "lateral-cervical":
        top, middle, low = (_centre(column, level) for level in ("C1", "C4", "T2"))
        return np.array(
            [
                [middle[0] - 205, min(middle[1], low[1]) - 95, low[2] - 12],
                [middle[0] + 205, middle[1] + 105, top[2] + 58],
            ]
        )
    if p.kind == "lateral-lumbar":
        top, middle, low = (_centre(column, level) for level in ("T12", "L3", "S1"))
        return np.array(
            [[middle[0] - 185, middle[1] - 105, low[2] - 75], [middle[0] + 185, middle[1] + 125, top[2] + 35]]
        )
    if p.kind == "ap":
        top, low = _centre(column, "C7"), _centre(column, "S1")
        y = column.position[:, 1]
        return np.array([[low[0] - 185, y.min() - 85, low[2] - 95], [low[0] + 185, y.max() + 140, top[2] + 30]])
    first, last = p.region or _region(p)
    top, low = _centre(column, first), _centre(column, last)
    points = column.position[column.index(first) : column.index(last) + 1]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    width = p.width or ((70.0, 150.0) if p.kind == "mr" else (160.0, 160.0))
    half = np.array([width[0] / 2, width[1] / 2])
    ahead = 12 if p.kind == "mr" else -12
    return np.array(
        [
            [middle[0] - half[0], middle[1] - half[1] + ahead, low[2] - 25],
            [middle[0] + half[0], middle[1] + half[1] + ahead, top[2] + 25],
        ]
    )


def _region(p: Parameters) -> tuple[str, str]:
    return REGIONS[p.kind]
