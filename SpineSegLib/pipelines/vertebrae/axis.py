"""The axis of a spine: a smooth line from the head down through the vertebral bodies, and places relative to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.linalg import solveh_banded
from scipy.spatial import cKDTree


@dataclass(frozen=True, eq=False)
class Axis:
    """A line through the bodies, in voxels of an upright isotropic grid.

    Parameters
    ----------
    points : (n, 3) k, j, i, a step apart or a little more, from the head down
    along : (n,) arc length in mm
    radius : (n,) half the width of the body there, in mm: the largest circle within its slice
    step : mm of a voxel
    """

    points: np.ndarray
    along: np.ndarray
    radius: np.ndarray
    step: float

    def places(self, voxels: np.ndarray) -> np.ndarray:
        """Return (n, 3) mm of voxels (n, 3) k, j, i: along the axis from its top, to the back, to the left."""
        nearest = cKDTree(self.points).query(voxels)[1]
        tangent = np.gradient(self.points, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        back = np.array([0.0, 1.0, 0.0]) - tangent * tangent[:, 1:2]
        back /= np.linalg.norm(back, axis=1, keepdims=True)
        left = np.array([0.0, 0.0, 1.0]) - tangent * tangent[:, 2:3]
        left -= back * (left * back).sum(axis=1, keepdims=True)
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        offset = (voxels - self.points[nearest]) * self.step
        frames = np.stack([tangent, back, left], axis=1)[nearest]
        local = np.einsum("nac,nc->na", frames, offset)
        local[:, 0] += self.along[nearest]
        return local

    def radius_at(self, along: np.ndarray) -> np.ndarray:
        """Return the body's radius in mm at arc lengths."""
        return np.interp(along, self.along, self.radius)


def axis_of(mask: np.ndarray, step: float, *, disc: float = 14.0, stiffness: float = 25.0) -> Axis | None:
    """Find the axis of an upright mask (k to the head, j to the back, i to the left); None where it is too short.

    In each slice the body is what holds the largest circle; discs are closed first, so that it goes on through them.

    Parameters
    ----------
    mask : boolean, isotropic
    step : mm of a voxel
    disc : mm, more than any disc is high
    stiffness : mm along which the line is straight, more or less: about that of a vertebra
    """
    reach = max(1, round(disc / 2 / step))
    padded = np.pad(mask, ((reach, reach), (0, 0), (0, 0)))
    closed = ndimage.binary_closing(padded, np.ones((2 * reach + 1, 1, 1)))[reach:-reach]
    rows = np.flatnonzero(closed.any(axis=(1, 2)))
    if len(rows) < 4:
        return None
    rows = np.arange(rows[0], rows[-1] + 1)
    centre, radius = np.zeros((len(rows), 2)), np.zeros(len(rows))
    for number, row in enumerate(rows):
        wide = ndimage.distance_transform_edt(closed[row])
        radius[number] = wide.max() * step
        if radius[number]:
            weight = wide**6
            weight /= weight.sum()
            centre[number] = [(weight.sum(axis=1 - axis) * np.arange(weight.shape[axis])).sum() for axis in (0, 1)]
    line = _smoothed(centre, radius**2, stiffness / step)
    size = _smoothed(radius[:, None], np.ones(len(rows)), stiffness / step)[:, 0]
    points = np.column_stack([rows, line])[::-1]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]) * step
    return Axis(points, along, np.maximum(size[::-1], step), step)


def _smoothed(values: np.ndarray, weight: np.ndarray, length: float, rounds: int = 6) -> np.ndarray:
    """Return the smooth line (Whittaker's, second differences) through values (n, m) that leaves out what lies off."""
    weight = weight / max(weight.max(), 1e-9) + 1e-9
    n, stiff = len(values), length**4 / 16
    bands = np.zeros((3, n))
    for start in range(n - 2):
        for a, first in enumerate((1.0, -2.0, 1.0)):
            for b, second in enumerate((1.0, -2.0, 1.0)):
                if b >= a:
                    bands[2 - (b - a), start + b] += stiff * first * second
    robust = np.ones(n)
    line = values
    for _ in range(rounds):
        system = bands.copy()
        system[2] += weight * robust
        line = solveh_banded(system, values * (weight * robust)[:, None])
        off = np.linalg.norm(values - line, axis=1)
        scale = max(np.average(off, weights=weight * robust), 0.5) * 3
        robust = 1 / (1 + (off / scale) ** 4)
    return line
