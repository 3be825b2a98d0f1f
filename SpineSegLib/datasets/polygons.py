"""Vertebral bodies from corners and outlines: which pixels a polygon covers.

Points are x (to the right) and y (down) in pixels; the centre of the first pixel is 0, 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segmentation

CORNERS = ("top left", "top right", "bottom left", "bottom right")
"""Order of a body's corners in every reader of corners: left and right as the picture shows them, top is the upper
endplate. A level with one endplate alone has two rows: left, right."""


def corners(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return a body's corners in the order of `CORNERS`.

    Parameters
    ----------
    upper, lower : (2, 2) the ends x, y of the two endplates, in any order

    Returns
    -------
    (4, 2) float64
    """
    return np.concatenate([left_to_right(upper), left_to_right(lower)])


def left_to_right(endplate: np.ndarray) -> np.ndarray:
    """Return (2, 2) float64: the two ends x, y of an endplate, the left one first."""
    endplate = np.asarray(endplate, dtype=float)
    return endplate[np.argsort(endplate[:, 0], kind="stable")]


def outline(points: np.ndarray) -> np.ndarray:
    """Return the polygon round a body: its four corners (in the order of `CORNERS`) in turn, or its points as given."""
    points = np.asarray(points, dtype=float)
    return points[[0, 1, 3, 2]] if len(points) == 4 else points


def polygon_mask(polygon: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return which pixels a polygon covers: those whose centre lies inside, by the even-odd rule.

    A centre on a left or upper edge is inside, one on a right or lower edge is not; so polygons that share an edge
    neither overlap nor leave a gap, and a rectangle from a to b covers b - a pixels.

    Parameters
    ----------
    polygon : (n, 2) x, y, n >= 3; closed from the last to the first
    rows, columns : size of the picture; the polygon may reach beyond it

    Returns
    -------
    (rows, columns) bool

    Raises
    ------
    ValueError : fewer than three points, or one that is no number
    """
    polygon = np.asarray(polygon, dtype=float)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.isfinite(polygon).all():
        msg = f"polygon is {polygon.tolist()}, expected three or more points x, y"
        raise ValueError(msg)
    mask = np.zeros((rows, columns), bool)
    following = np.roll(polygon, -1, axis=0)
    low, high = np.minimum(polygon[:, 1], following[:, 1]), np.maximum(polygon[:, 1], following[:, 1])
    for row in range(max(0, ceil(low.min())), min(rows, ceil(high.max()))):
        cut = (low <= row) & (row < high)
        (x0, y0), (x1, y1) = polygon[cut].T, following[cut].T
        crossings = np.sort(x0 + (row - y0) / (y1 - y0) * (x1 - x0))
        for left, right in crossings.reshape(-1, 2):
            mask[row, max(0, ceil(left)) : max(0, ceil(right))] = True
    return mask


def crosses_itself(polygon: np.ndarray) -> bool:
    """Tell whether two edges of a polygon cross, as they do when its points are in a wrong order."""
    polygon = np.asarray(polygon, dtype=float)
    following = np.roll(polygon, -1, axis=0)
    count = len(polygon)
    return any(
        _cross(polygon[a], following[a], polygon[b], following[b])
        for a in range(count)
        for b in range(a + 2, count)
        if (b + 1) % count != a
    )


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> float:
    return float((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))


def bodies(landmarks: Mapping[str, np.ndarray], geometry: Geometry, where: Path) -> Segmentation:
    """Return the vertebral bodies inside corners or outlines, in layers where they overlap.

    Parameters
    ----------
    landmarks : level -> (4, 2) corners in the order of `CORNERS`, or (n, 2) an outline; levels with fewer than three
        points have no body
    geometry : of the picture
    where : the file of the landmarks, named in errors

    Raises
    ------
    InputError : an outline crosses itself, or no body lies in the picture
    """
    _, rows, columns = geometry.shape
    masks = {}
    for level in sorted(landmarks, key=LEVELS.index):
        points = landmarks[level]
        if len(points) < 3:
            continue
        if crosses_itself(outline(points)):
            found = f"the outline of {level} crosses itself"
            raise problem(where, found, "points in the order of the set", "Correct the file")
        mask = polygon_mask(outline(points), rows, columns)
        if mask.any():
            masks[Structure("body", level)] = mask[None]
    if not masks:
        found = f"no body lies in the picture of {columns} x {rows}"
        raise problem(where, found, "landmarks in its pixels", "Check that image and landmarks belong together")
    return Segmentation.from_masks(masks, geometry)
