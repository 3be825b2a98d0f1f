"""Skin, fat, muscle, air and organs: for each line from back to front, where one begins and ends.

Everything is given as a front and a back surface over the grid's x and z, so whole slices are filled at once. The
sizes are those of adults of medium build, read off cross-sectional atlases; the outline follows the column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.imaging.materials import tissue_bases
from SpineSegLib.phantom.parameters import Parameters
from SpineSegLib.phantom.pose import Column
from SpineSegLib.phantom.voxels import Canvas

OUTLINE = {
    # half width, front and back of the skin from the body's middle, mm
    "head": (76, 118, -96),
    "C1": (72, 118, -84),
    "C2": (66, 114, -76),
    "C3": (60, 92, -72),
    "C4": (58, 62, -72),
    "C5": (59, 58, -74),
    "C6": (63, 60, -78),
    "C7": (76, 64, -82),
    "T1": (108, 70, -80),
    "T2": (160, 78, -76),
    "T3": (196, 92, -72),
    "T4": (205, 108, -70),
    "T6": (190, 138, -66),
    "T8": (168, 150, -66),
    "T10": (158, 150, -68),
    "T12": (154, 146, -72),
    "L2": (150, 134, -78),
    "L4": (158, 120, -84),
    "L5": (168, 112, -90),
    "S1": (176, 116, -96),
    "seat": (184, 128, -104),
}
AIRWAY = {
    # half width; gap to the column's front and depth, mm (prevertebral tissue: 3-5 mm at C3, 14-20 mm at C6)
    "C1": (11, 10, 12),
    "C2": (10, 6, 13),
    "C3": (9, 5, 13),
    "C4": (8, 7, 14),
    "C5": (7, 12, 13),
    "C6": (8, 15, 15),
    "C7": (8, 15, 16),
    "T1": (8, 14, 16),
    "T2": (8, 14, 16),
    "T3": (8, 15, 16),
    "T4": (9, 16, 15),
}


@dataclass(frozen=True)
class Girth:
    """How one person's soft tissue differs: factors and millimetres drawn from the seed."""

    wide: float
    deep: float
    fat: float
    shrug: float
    """How far the shoulders stand higher than usual, mm."""


def drawn_girth(rng: np.random.Generator, size: float) -> Girth:
    """Draw a person's soft tissue."""
    z = rng.standard_normal(4)
    return Girth(
        wide=size * (1 + 0.07 * z[0]),
        deep=size * (1 + 0.07 * z[1]),
        fat=float(np.clip(7 + 4 * z[2], 2.5, 20)),
        shrug=float(np.clip(4 + 14 * z[3], -20, 38)),
    )


@dataclass(frozen=True, eq=False)
class Slab:
    """A region between two surfaces over (z, x): back and front, float32 (k, i); empty where back > front.

    `cover` is the part of each column's width that lies within the region (1 but at its sides).
    """

    tissue: Tissue
    back: np.ndarray
    front: np.ndarray
    cover: np.ndarray | None = None


def _rows(column: Column, table: dict, girth: Girth) -> tuple[np.ndarray, np.ndarray]:
    """Return heights (ascending) and rows (x, y of the column, then the table's columns) of the levels in `table`."""
    place = {level: column.position[n] for n, level in enumerate(column.levels)}
    if "C1" in place:
        place["head"] = place["C1"] + np.array([0, 14.0, 75.0])
    if "S1" in place:
        place["S1"] = place["S1"] + np.array([0, -12.0, -10.0])
        place["seat"] = place["S1"] + np.array([0, -28.0, -90.0])
    rows = [(place[name][2], place[name][0], place[name][1], *table[name]) for name in table if name in place]
    rows.sort()
    rows = np.array(rows)
    return rows[:, 0], rows[:, 1:]


def _at(z: np.ndarray, heights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Interpolate rows at heights z, smoothly; constant beyond the ends."""
    from scipy.interpolate import PchipInterpolator

    keep = np.concatenate([[True], np.diff(heights) > 0.5])
    return PchipInterpolator(heights[keep], rows[keep])(np.clip(z, heights[0], heights[-1]))


def _ellipse(x: np.ndarray, at: np.ndarray, power: float = 2.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return back and front of sections with rows (x0, y0, half width, front, back), and their part of each column."""
    x0, y0, half, front, back = (at[:, n][:, None] for n in range(5))
    step = x[1] - x[0]
    away = np.abs(x[None] - x0)
    cover = np.clip((half - away) / step + 0.5, 0, 1)
    # A column that is covered in part is cut at the middle of that part.
    u = np.clip((away - step / 2 * (1 - cover)) / half, 0, 1)
    rise = (1 - u**power) ** (1 / power)
    middle, reach = y0 + (front + back) / 2, (front - back) / 2
    low, high = middle - reach * rise, middle + reach * rise
    low[cover == 0], high[cover == 0] = 1e6, -1e6
    return low, high, cover


def slabs(canvas: Canvas, p: Parameters, column: Column, girth: Girth, rng: np.random.Generator) -> list[Slab]:
    """Return everything soft, from the skin inwards; later ones replace earlier ones."""
    x, _, z = canvas.axes()
    heights, rows = _rows(column, OUTLINE, girth)
    if "T3" in column.levels and p.kind in ("lateral-cervical", "ct", "mr", "ap"):
        # Shoulders may stand higher or lower than the vertebrae behind them.
        shift = girth.shrug
    else:
        shift = 0.0
    outline = _at(z, heights, rows)
    outline[:, 2] = _at(z - shift, heights, rows[:, 2:3])[:, 0]
    outline[:, 2] *= girth.wide
    outline[:, 3:] *= girth.deep
    found = []
    for depth, tissue in ((0.0, Tissue.SKIN), (1.8, Tissue.FAT), (1.8 + girth.fat, Tissue.MUSCLE)):
        inner = outline.copy()
        inner[:, 2] -= depth
        inner[:, 3] -= depth
        inner[:, 4] += depth
        found.append(Slab(tissue, *_ellipse(x, inner)))
    found += _trunk(x, z, column, outline, girth, rng)
    found += _airway(x, z, column, girth)
    return found


def _airway(x, z, column: Column, girth: Girth) -> list[Slab]:
    levels = [level for level in AIRWAY if level in column.levels]
    if len(levels) < 2:
        return []
    heights, rows = _rows(column, AIRWAY, girth)
    # Ahead of the bodies' front, not of their middle.
    front = {
        level: column.point(level, "SA")[1] if level != "C1" else column.point("C1", "front")[1] for level in levels
    }
    order = sorted(levels, key=lambda level: column.position[column.index(level)][2])
    ahead = np.array([front[level] for level in order])
    at = _at(z, heights, np.column_stack([rows[:, 0], ahead + rows[:, 3], rows[:, 2], rows[:, 4], 0 * ahead]))
    back, forward, cover = _ellipse(x, at, 2.0)
    back[(z < heights[0] - 14) | (z > heights[-1] + 6)] = 1e6
    tube = [Slab(Tissue.AIR, back, forward, cover)]
    if "C2" in levels:
        # Behind the nose and within it, and a slit over the tongue: y and z from C2's middle, then half sizes x, y, z.
        at2 = column.position[column.index("C2")]
        for dy, dz, rx, ry, rz in ((24, 34, 13, 11, 22), (60, 46, 12, 36, 13), (52, 17, 15, 34, 3.5)):
            tube.append(_ball(x, z, at2 + np.array([0, dy, dz]), (rx, ry, rz)))
    return tube


def _ball(x, z, centre, radii, tissue: Tissue = Tissue.AIR) -> Slab:
    """An ellipsoid."""
    rest = 1 - ((x[None] - centre[0]) / radii[0]) ** 2 - ((z[:, None] - centre[2]) / radii[2]) ** 2
    reach = radii[1] * np.sqrt(np.clip(rest, 0, None))
    return Slab(tissue, np.where(rest > 0, centre[1] - reach, 1e6), centre[1] + reach)


def _trunk(x, z, column: Column, outline, girth: Girth, rng: np.random.Generator) -> list[Slab]:
    """Lungs, belly and its gas, fat behind the belly."""
    place = {level: column.position[n] for n, level in enumerate(column.levels)}
    found: list[Slab] = []
    low = place.get("T11", place.get("T12"))
    top = place.get("T1", place.get("C7"))
    y = outline[:, 1][:, None]
    front, back, half = outline[:, 3][:, None], outline[:, 4][:, None], outline[:, 2][:, None]
    x0 = outline[:, 0][:, None]
    if low is not None and (top is not None or "T10" in place):
        crest = top[2] - 4 if top is not None else low[2] + 400
        chest_half = np.minimum(half - 22, 128 * girth.wide)
        tall = np.clip((crest - z) / 90, 0, 1)[:, None] ** 0.5
        for side in (-1, 1):
            # Each lung leaves the middle to heart and great vessels, and the domes rise inwards.
            inner = 20.0 + (14 if side < 0 else 4)
            s = side * (x[None] - x0)
            width = np.maximum(chest_half * (0.45 + 0.55 * tall) - inner, 1)
            u = (s - inner - width / 2) / (width / 2)
            rise = np.clip(1 - np.abs(u) ** 2.6, 0, None) ** 0.5 * tall
            # The diaphragm: a dome whose top lies inwards, its rim low at the side and the back.
            top_of_dome = low[2] + (30 if side > 0 else 22) - 62 * np.clip(np.abs(u + 0.15), 0, 1.2) ** 2
            above = np.clip((z[:, None] - top_of_dome) / 30, 0, 1) ** 0.5
            reach_front = (back + 30) * rise + (front - 28 - back - 30) * rise * above
            lung_back = np.where((rise > 0.08) & (z[:, None] > top_of_dome), y + (back + 24) * rise, 1e6)
            found.append(Slab(Tissue.LUNG, lung_back, y + reach_front))
    if "L2" in place:
        upper, lower = place.get("T12", place["L2"])[2] + 12, place.get("S1", place["L2"] - 90)[2] - 60
        inside = (z < upper) & (z > lower)
        u = np.clip(np.abs(x[None] - x0) / np.maximum(half - 26, 1), 0, 1)
        rise = (1 - u**2.4) ** (1 / 2.4)
        belly_back = np.where(inside[:, None] & (u < 0.98), y + 24 + 8 * u, 1e6)
        found.append(Slab(Tissue.ORGAN, belly_back, y + (front - 24) * rise))
        found += _gas(x, z, place, front, y, rng)
    return found


def _gas(x, z, place, front, y, rng: np.random.Generator) -> list[Slab]:
    """Bubbles of gas in the bowel, ahead of the column."""
    found = []
    l3 = place.get("L3", place["L2"])
    for _ in range(int(rng.integers(3, 9))):
        cx, cz = l3[0] + rng.uniform(-115, 115), l3[2] + rng.uniform(-110, 95)
        cy, r = l3[1] + rng.uniform(50, 85), rng.uniform(8, 22)
        found.append(_ball(x, z, (cx, cy, cz), (r * rng.uniform(0.8, 1.6), r, r * rng.uniform(0.6, 1.0))))
    return found


def fill(canvas: Canvas, layers: list[Slab], rng: np.random.Generator, unevenness: float = 0.03) -> None:
    """Write the slabs into the canvas, slice by slice, with smooth random density.

    Voxels that a slab covers in part hold the mean of both tissues as density, or surfaces that rays graze would show
    the voxels' steps as contour lines.
    """
    amount_of = tissue_bases()[1][:, 0]
    x, y, z = canvas.axes()
    start, step = y[0], y[1] - y[0]
    edges = [_Edges(slab, start, step) for slab in layers]
    grain = _Grain(rng, (x, y, z))
    for k in range(len(z)):
        tissue = canvas.tissue[k]
        amount = amount_of[tissue]
        for slab, edge in zip(layers, edges, strict=True):
            edge.paint(k, tissue, amount, slab.tissue, float(amount_of[slab.tissue]))
        nominal = amount_of[tissue]
        density = np.divide(amount, nominal, out=np.ones_like(amount), where=nominal > 0)
        canvas.density[k] = density * (1 + unevenness * grain.plane(k))


class _Edges:
    """Where a slab begins and ends along y, in voxels, and over how many voxels its slanting surface passes."""

    def __init__(self, slab: Slab, start: float, step: float):
        empty = slab.back > slab.front
        self.low = np.where(empty, np.inf, (slab.back - start) / step)
        self.high = np.where(empty, -np.inf, (slab.front - start) / step)
        self.low_width, self.high_width = self._width(self.low), self._width(self.high)
        self.cover = np.ones(slab.back.shape, np.float32) if slab.cover is None else slab.cover.astype(np.float32)

    @staticmethod
    def _width(edge: np.ndarray) -> np.ndarray:
        """Return how far a surface rises across one column, at least a voxel."""
        with np.errstate(invalid="ignore"):
            rise = np.abs(np.diff(edge, axis=1))
        rise[~np.isfinite(rise)] = 0
        none = np.zeros((len(rise), 1))
        return np.clip((np.hstack([none, rise]) + np.hstack([rise, none])) / 2, 1, 40)

    def paint(self, k: int, tissue: np.ndarray, amount: np.ndarray, kind: Tissue, full: float) -> None:
        """Mix the slab into slice k (rows along y, columns along x)."""
        low, high, cover = self.low[k], self.high[k], self.cover[k]
        columns = np.flatnonzero((low <= high) & (cover > 0))
        if not len(columns):
            return
        first, last = columns[0], columns[-1] + 1
        top = int(np.clip(np.floor((low - self.low_width[k] / 2)[columns].min()), 0, len(tissue)))
        stop = int(np.clip(np.ceil((high + self.high_width[k] / 2)[columns].max()) + 1, 0, len(tissue)))
        if stop <= top:
            return
        part = (slice(top, stop), slice(first, last))
        j = np.arange(top, stop, dtype=np.float32)[:, None]
        low, high, cover = (v[first:last].astype(np.float32) for v in (low, high, cover))
        share = (j - low) / self.low_width[k, first:last].astype(np.float32) + np.float32(0.5)
        np.minimum(share, (high - j) / self.high_width[k, first:last].astype(np.float32) + np.float32(0.5), out=share)
        np.clip(share, 0, 1, out=share)
        share *= cover
        here = amount[part]
        here += share * (np.float32(full) - here)
        # Air holds nothing, so a voxel with any tissue in it keeps that tissue's name.
        named = share >= 0.999 if full == 0 else (share >= 0.5) | ((share > 0.02) & (tissue[part] == Tissue.AIR))
        np.copyto(tissue[part], np.uint8(kind), where=named)


class _Grain:
    """Smooth noise over a grid, made plane by plane from a coarse lattice."""

    def __init__(self, rng: np.random.Generator, axes, length: float = 14.0):
        self.weights = []
        counts = []
        for values in axes:
            position = (values - values[0]) / length
            count = int(position[-1]) + 2
            first = position.astype(int)
            share = position - first
            matrix = np.zeros((len(values), count + 1), np.float32)
            matrix[np.arange(len(values)), first] = 1 - share
            matrix[np.arange(len(values)), first + 1] = share
            self.weights.append(matrix)
            counts.append(count + 1)
        noise = rng.standard_normal((counts[2], counts[1], counts[0])).astype(np.float32)
        self.planes = self.weights[1] @ (noise @ self.weights[0].T)

    def plane(self, k: int) -> np.ndarray:
        """Return slice k, (rows, columns)."""
        row = self.weights[2][k]
        used = np.flatnonzero(row)
        return sum(self.planes[n] * row[n] for n in used)
