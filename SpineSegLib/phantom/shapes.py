"""A bone as the digital spine knows it: a signed distance in the bone's own frame, wherever the bone came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Warp = Callable[[np.ndarray], np.ndarray]
"""Takes points (N, 3) of the changed bone to where they were in the bone before the change."""

Distance = Callable[[np.ndarray], np.ndarray]
"""Signed distance (N,) of points (N, 3)."""

Change = Callable[[np.ndarray, Distance], np.ndarray]
"""Signed distance of the changed bone: gets the points and the distance of the bone before the change."""


@dataclass(frozen=True, eq=False)
class Field:
    """Signed distance sampled on a cubic grid, mm, negative inside.

    Parameters
    ----------
    values : float32 z, y, x array
    origin : x, y, z of the first sample
    step : mm between samples
    """

    values: np.ndarray
    origin: np.ndarray
    step: float

    def sample(self, points: np.ndarray) -> np.ndarray:
        """Return the distance at points (N, 3), trilinear; outside the grid that of the nearest sample of its edge."""
        from scipy.ndimage import map_coordinates

        index = (np.asarray(points, dtype=np.float32) - self.origin.astype(np.float32)) / np.float32(self.step)
        return map_coordinates(self.values, index.T[::-1], order=1, mode="nearest", output=np.float32)

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper corner of the box round the solid (2, 3)."""
        inside = self.values < 0.5 * self.step
        spans = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != n))) for n in (2, 1, 0)]
        return np.array(
            [[self.origin[n] + self.step * spans[n][end] for n in range(3)] for end in (0, -1)]
        ) + self.step * np.array([[-0.5], [0.5]])


@dataclass(frozen=True, eq=False)
class Shape:
    """One bone.

    Parameters
    ----------
    name : a level, or the name of a bone of the surroundings
    field : its signed distance
    frame : 4x4 matrix from the bone's own frame to that of `field`. The own frame of a vertebra has its origin in the
        middle of the body (of the four mid-sagittal corners), x to the right, y to the front along the bisector of
        the two endplate lines, z up
    changes : made in the own frame, the last one made last
    source : where the bone came from, for the record
    bounds_own : box round the bone in its own frame, (2, 3); worked out unless given
    """

    name: str
    field: Field
    frame: np.ndarray
    changes: tuple[Change, ...] = ()
    source: str = "built-in"
    bounds_own: np.ndarray | None = None

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return the signed distance at points (N, 3) of the own frame."""
        return self._after(len(self.changes), np.asarray(points, dtype=np.float32))

    def _after(self, count: int, points: np.ndarray) -> np.ndarray:
        if count:
            return self.changes[count - 1](points, lambda before: self._after(count - 1, before))
        return self.field.sample(points @ self.frame[:3, :3].T.astype(np.float32) + self.frame[:3, 3])

    @property
    def bounds(self) -> np.ndarray:
        """Box round the bone in its own frame (2, 3)."""
        if self.bounds_own is not None:
            return self.bounds_own
        corners = box_corners(self.field.bounds)
        return spread(to_frame(np.linalg.inv(self.frame), corners))

    def changed(self, change: Change, bounds: np.ndarray | None = None) -> Shape:
        """Return the bone after one more change; `bounds` is its new box where it has grown."""
        return replace(self, changes=(*self.changes, change), bounds_own=self.bounds if bounds is None else bounds)

    def warped(self, warp: Warp, bounds: np.ndarray | None = None) -> Shape:
        """Return the bone with every point moved."""
        return self.changed(lambda points, before: before(warp(points)), bounds)

    def moved(self, frame: np.ndarray) -> Shape:
        """Return the bone with another own frame: `frame` goes from the new frame to the old (no changes yet)."""
        if self.changes:
            msg = f"{self.name} is changed already; its frame is fixed"
            raise ValueError(msg)
        return replace(self, frame=self.frame @ frame, bounds_own=None)


def to_frame(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a 4x4 matrix to points (..., 3)."""
    return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]


def box_corners(bounds: np.ndarray) -> np.ndarray:
    """Return the 8 corners (8, 3) of a box given as lower and upper corner."""
    return np.array([[bounds[a][0], bounds[b][1], bounds[c][2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])


def spread(points: np.ndarray) -> np.ndarray:
    """Return lower and upper corner (2, 3) of the box round points (N, 3)."""
    return np.stack([points.min(axis=0), points.max(axis=0)])


def frame_of(origin, angle: float = 0.0) -> np.ndarray:
    """Return the 4x4 matrix of a frame at `origin`, turned by `angle` degrees about x (front up)."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.eye(4)
    matrix[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
    matrix[:3, 3] = origin
    return matrix
