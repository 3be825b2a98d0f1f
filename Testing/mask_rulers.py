"""Rulers for voxel masks, written without the digital spine's own code: they judge its truth.

They know the mask, its grid, and where a vertebra's mid-sagittal plane lies (from four corner points); everything else
is measured on voxels.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

STEP = 0.15
SMOOTH = 1.3
CAP = 0.6
SLAB = 0.3
"""Half thickness of the slab in which an endplate is measured, share of the body's depth."""


class Ruler:
    """A body's mask, sampled on planes parallel to its mid-sagittal plane: rows upwards, columns forwards."""

    def __init__(self, mask: np.ndarray, geometry, points: dict):
        corners = {name: np.array(points[name]) for name in ("SA", "SP", "IA", "IP")}
        self.centre = np.mean(list(corners.values()), axis=0)
        forward = corners["SA"] - corners["SP"] + corners["IA"] - corners["IP"]
        self.forward = forward / np.linalg.norm(forward)
        upward = corners["SA"] + corners["SP"] - corners["IA"] - corners["IP"]
        upward = upward - (upward @ self.forward) * self.forward
        self.up = upward / np.linalg.norm(upward)
        self.right = np.cross(self.forward, self.up)
        reach = 0.75 * max(np.linalg.norm(a - b) for a, b in combinations(corners.values(), 2))
        self.axis = np.arange(-reach, reach, STEP)
        self.mask, self.geometry = mask, geometry
        # Smoothing over a voxel takes the stairs out of an endplate; corners must stay sharp.
        self.planes = [self._plane(0.0, SMOOTH)]
        back, front = self.walls()
        self.planes = [self._plane(x, SMOOTH) for x in np.linspace(-SLAB, SLAB, 15) * (front - back)]
        self.sharp = [self._plane(x, 0.35) for x in np.linspace(-1.2, 1.2, 7)]

    def _plane(self, offset: float, smooth: float) -> np.ndarray:
        grid = self.centre + offset * self.right
        grid = grid + self.axis[:, None, None] * self.up + self.axis[None, :, None] * self.forward
        index = self.geometry.to_index(grid.reshape(-1, 3)).T
        box = [slice(max(int(a.min()) - 4, 0), int(a.max()) + 5) for a in index]
        starts = np.array([b.start for b in box])[:, None]
        soft = gaussian_filter(self.mask[tuple(box)].astype(np.float32), smooth)
        return map_coordinates(soft, index - starts, order=1).reshape(len(self.axis), -1)

    def walls(self) -> tuple[float, float]:
        """Return where the middle row leaves the mask behind and in front."""
        row = self.planes[len(self.planes) // 2][np.abs(self.axis).argmin()]
        inside = np.flatnonzero(row > 0.5)
        low, high = inside[0], inside[-1]
        back = self.axis[low] - STEP * (row[low] - 0.5) / (row[low] - row[low - 1])
        return back, self.axis[high] + STEP * (row[high] - 0.5) / (row[high] - row[high + 1])

    def ends(self, plane: np.ndarray, column: int) -> tuple[float, float]:
        """Return where a column leaves the mask below and above."""
        line = plane[:, column]
        low = high = np.abs(self.axis).argmin()
        while line[low] > 0.5:
            low -= 1
        while line[high] > 0.5:
            high += 1
        down = self.axis[low] + STEP * (0.5 - line[low]) / (line[low + 1] - line[low])
        up = self.axis[high] - STEP * (0.5 - line[high]) / (line[high - 1] - line[high])
        return down, up

    def endplates(self) -> dict[str, tuple[float, float]]:
        """Return slope and level of both endplates: least squares over the middle 70 % of the depth."""
        back, front = self.walls()
        inset = 0.15 * (front - back)
        every = np.mean([[self.ends(plane, c) for c in self._within(back, front)] for plane in self.planes], axis=0)
        u = np.linspace(back + inset, front - inset, 41)
        ends = np.stack([np.interp(u, self.axis[self._within(back, front)], every[:, n]) for n in (0, 1)], axis=1)
        lines = {}
        for number, name in enumerate(("inf", "sup")):
            slope, level = np.polyfit(u, ends[:, number], 1)
            lines[name] = float(slope), float(level)
        return lines

    def _within(self, back: float, front: float) -> np.ndarray:
        """Return the columns a tenth of the depth and more from both walls."""
        inset = 0.1 * (front - back)
        return np.flatnonzero((self.axis >= back + inset) & (self.axis <= front - inset))

    def tilt(self, name: str) -> float:
        """Return the sagittal tilt of an endplate in the world, degrees."""
        line = self.forward + self.endplates()[name][0] * self.up
        return float(np.degrees(np.arctan2(line[2], line[1])))

    def corner(self, upward: int, forward: int) -> np.ndarray:
        """Return the point of the mask furthest along the diagonal of its box, in the world: mean of close planes."""
        back, front = self.walls()
        found = []
        for plane in self.sharp:
            low, high = self.ends(plane, int(np.abs(self.axis - (back + front) / 2).argmin()))
            rows, columns = np.nonzero(plane > 0.5)
            places = np.stack([self.axis[rows], self.axis[columns]], axis=1)
            way = np.array([upward / (high - low), forward / (front - back)])
            way /= np.linalg.norm(way)
            far = places @ way
            cap = places[far > far.max() - CAP].mean(axis=0)
            found.append(cap + (far.max() + 0.35 * STEP - cap @ way) * way)
        z, y = np.mean(found, axis=0)
        return self.centre + z * self.up + y * self.forward

    def heights(self) -> tuple[float, float, float]:
        """Return Ha, Hm, Hp along the normal of the bisector of the endplates."""
        lines = self.endplates()
        mean = np.tan((np.arctan(lines["inf"][0]) + np.arctan(lines["sup"][0])) / 2)
        normal = self.up - mean * self.forward
        normal /= np.linalg.norm(normal)
        back, front = self.walls()
        middle = int(np.abs(self.axis - (back + front) / 2).argmin())
        low, high = np.mean([self.ends(plane, middle) for plane in self.sharp], axis=0)
        ant, post = ((self.corner(1, w) - self.corner(-1, w)) @ normal for w in (1, -1))
        return float(ant), float((high - low) * (normal @ self.up)), float(post)
