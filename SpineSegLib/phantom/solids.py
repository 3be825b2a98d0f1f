"""Solids as signed distances in mm, negative inside, and smooth ways to join and cut them.

Distances are exact for capsules and near enough for the rest (within about a tenth near the surface); formulas after
I. Quilez, "Distance functions" (iquilezles.org), and the polynomial smooth minimum of the same author.
"""

from __future__ import annotations

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x, y, z coordinates that broadcast against each other."""


def join(first: np.ndarray, second: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Return the union of two solids; `blend` mm of rounding fill the groove between them."""
    if blend <= 0:
        return np.minimum(first, second)
    overlap = np.maximum(blend - np.abs(first - second), 0.0) / blend
    return np.minimum(first, second) - overlap * overlap * (blend / 4)


def common(first: np.ndarray, second: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Return the intersection of two solids, its edges rounded by `blend` mm."""
    return -join(-first, -second, blend)


def cut(solid: np.ndarray, tool: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Return `solid` without `tool`."""
    return common(solid, -tool, blend)


def capsule(p: Points, start, end, radius: float, end_radius: float | None = None, squash=(1.0, 1.0, 1.0)):
    """A rod with round ends from `start` to `end`, tapering to `end_radius`; `squash` stretches it along x, y, z."""
    end_radius = radius if end_radius is None else end_radius
    a, b = np.asarray(start, float) / squash, np.asarray(end, float) / squash
    axis = b - a
    length = float(axis @ axis) or 1e-9
    q = [np.asarray(p[n], dtype=np.float32) / np.float32(squash[n]) - np.float32(a[n]) for n in range(3)]
    along = np.clip((q[0] * axis[0] + q[1] * axis[1] + q[2] * axis[2]) / np.float32(length), 0, 1).astype(np.float32)
    apart = np.sqrt(sum((q[n] - along * np.float32(axis[n])) ** 2 for n in range(3)))
    return (apart - (radius + along * np.float32(end_radius - radius))) * np.float32(min(squash))


def ellipsoid(p: Points, centre, radii):
    """An ellipsoid with its axes along x, y, z."""
    q = [(np.asarray(p[n], dtype=np.float32) - np.float32(centre[n])) / np.float32(radii[n]) for n in range(3)]
    near = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    slope = np.sqrt(sum((q[n] / np.float32(radii[n])) ** 2 for n in range(3)))
    return near * (near - 1) / np.maximum(slope, 1e-6)


def box(p: Points, centre, half, rounding: float = 0.0, axes=None):
    """A box of half sizes `half`, its edges rounded; `axes` (rows) turn it."""
    q = [np.asarray(p[n], dtype=np.float32) - np.float32(centre[n]) for n in range(3)]
    if axes is not None:
        axes = np.asarray(axes, dtype=np.float32)
        q = [axes[n, 0] * q[0] + axes[n, 1] * q[1] + axes[n, 2] * q[2] for n in range(3)]
    d = [np.abs(q[n]) - np.float32(half[n] - rounding) for n in range(3)]
    outside = np.sqrt(sum(np.maximum(d[n], 0) ** 2 for n in range(3)))
    inside = np.minimum(np.maximum(np.maximum(d[0], d[1]), d[2]), 0)
    return outside + inside - np.float32(rounding)


def plane(p: Points, point, normal):
    """The half space behind a plane; `normal` points out of it."""
    normal = np.asarray(normal, float) / np.linalg.norm(normal)
    return sum((np.asarray(p[n], dtype=np.float32) - np.float32(point[n])) * np.float32(normal[n]) for n in range(3))


def tube(p: Points, centre, radii, axis: int = 2):
    """An endless elliptic cylinder along `axis`; `radii` are those of the other two axes in x, y, z order."""
    first, second = (n for n in range(3) if n != axis)
    q = [
        (np.asarray(p[n], dtype=np.float32) - np.float32(centre[n])) / np.float32(r)
        for n, r in zip((first, second), radii, strict=True)
    ]
    near = np.sqrt(q[0] ** 2 + q[1] ** 2)
    slope = np.sqrt((q[0] / np.float32(radii[0])) ** 2 + (q[1] / np.float32(radii[1])) ** 2)
    return near * (near - 1) / np.maximum(slope, 1e-6)


def turned(angle: float, axis: str = "x") -> np.ndarray:
    """Return the rotation matrix by `angle` degrees about an axis; its rows are the turned axes of a `box`."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]
