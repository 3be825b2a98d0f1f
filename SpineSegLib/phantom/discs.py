"""Discs between the endplates, and the canal with CSF and cord."""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.pose import Column
from SpineSegLib.phantom.voxels import Canvas, Texture, near


def paint_disc(
    canvas: Canvas, column: Column, upper: str, lower: str, texture: Texture, bone: float | None = None
) -> np.ndarray:
    """Fill what lies between two endplates and within both outlines; return the flat indices.

    With `bone` (density of trabecular bone) the disc is fused: bone has grown through it.
    """
    a, b = column.marks[upper], column.marks[lower]
    along = _unit(column.point(upper, "inf_ant") - column.point(upper, "inf_post"))
    along = along + _unit(column.point(lower, "sup_ant") - column.point(lower, "sup_post"))
    lateral = column.frame(upper)[:3, 0] + column.frame(lower)[:3, 0]
    y = _unit(along)
    x = _unit(lateral - (lateral @ y) * y)
    z = np.cross(x, y)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, y, z], axis=1)
    corners = [column.point(upper, n) for n in ("IA", "IP")] + [column.point(lower, n) for n in ("SA", "SP")]
    middle = sum(corners) / 4
    frame[:3, 3] = middle
    local = [frame[:3, :3].T @ (corner - middle) for corner in corners]
    deep = (local[0][1] - local[1][1] + local[2][1] - local[3][1]) / 4
    wide = (a["IR"][0] - a["IL"][0] + b["SR"][0] - b["SL"][0]) / 4
    # How far the endplates are hollow (or caved in) between their corners.
    inverse = np.linalg.inv(frame)
    mids = [(inverse @ [*column.point(v, name), 1.0])[2] for v, name in ((upper, "inf_mid"), (lower, "sup_mid"))]
    hollow_up = max(mids[0] - (local[0][2] + local[1][2]) / 2, 0.5) + 1.5
    hollow_down = max((local[2][2] + local[3][2]) / 2 - mids[1], 0.5) + 1.5
    high = max(abs(corner[2]) for corner in local) + max(hollow_up, hollow_down)
    bulge = 0.3

    def distance(points: np.ndarray) -> np.ndarray:
        u = np.abs(points[:, 0]) / wide
        v = np.abs(points[:, 1]) / (deep + bulge)
        radius = (u**2.4 + v**2.4) ** (1 / 2.4)
        share = (points[:, 1] + deep) / (2 * deep)
        # Within the rim the endplates are hollow: the disc may reach that far beyond the corners.
        hollow = np.clip(1 - radius**2, 0, 1) ** 0.5
        up = local[1][2] + (local[0][2] - local[1][2]) * share + hollow_up * hollow
        down = local[3][2] + (local[2][2] - local[3][2]) * share - hollow_down * hollow
        wall = (radius - 1) * min(wide, deep)
        return np.maximum(np.maximum(wall, points[:, 2] - up), down - points[:, 2]).astype(np.float32)

    bounds = np.array([[-wide, -deep - 1, -high], [wide, deep + 1, high]])
    found = near(canvas, distance, bounds, frame, rim=False)
    found = found[canvas.whole.reshape(-1)[found.index] == 0]
    every, flat = found.index, canvas.tissue.reshape(-1)
    soft = flat[every] < Tissue.DISC
    index, points = every[soft], found.points[soft]
    if bone is not None:
        flat[index] = Tissue.TRABECULAR
        canvas.density.reshape(-1)[index] = bone * np.clip(1.3 + 0.2 * texture.at(points), 0.3, None)
        return every
    # The nucleus lies a little behind the middle.
    core = (points[:, 0] / (0.68 * wide)) ** 2 + ((points[:, 1] + 0.1 * deep) / (0.6 * deep)) ** 2 < 1
    flat[index] = np.where(core, Tissue.NUCLEUS, Tissue.DISC)
    canvas.density.reshape(-1)[index] = 1 + 0.012 * texture.at(points)
    return every


CORD = {"C": (6.6, 3.9), "T": (4.6, 3.7), "L": (3.8, 3.2)}
"""Half width and half depth of the spinal cord, mm (MR series, e.g. Ko et al. 2004: 13 x 7 mm at C5)."""


def paint_canal(canvas: Canvas, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Fill the canal with CSF and the cord (to L1); return the flat indices of the whole canal and of the cord."""
    rows = [row for row in _canal_rows(column)]
    if len(rows) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    table = np.array(sorted(rows))
    x, y, z = canvas.axes()
    inner = (z >= table[0, 0] - 8) & (z <= table[-1, 0] + 8)
    flat = canvas.tissue.reshape(-1)
    _, ny, nx = canvas.geometry.shape
    canal, cord = [], []
    for k in np.flatnonzero(inner):
        cx, cy, half, deep, cord_half, cord_deep = (np.interp(z[k], table[:, 0], table[:, n]) for n in range(1, 7))
        i = np.flatnonzero(np.abs(x - cx) <= half)
        j = np.flatnonzero(np.abs(y - cy) <= deep)
        if not len(i) or not len(j):
            continue
        u, v = (x[i] - cx)[None], (y[j] - cy)[:, None]
        index = (k * ny + j[:, None]) * nx + i[None]
        inside = ((u / half) ** 2 + (v / deep) ** 2 <= 1) & (flat[index] < Tissue.DISC)
        canal.append(index[inside])
        if cord_half > 0.5:
            core = inside & ((u / cord_half) ** 2 + ((v - 0.1 * deep) / cord_deep) ** 2 <= 1)
            cord.append(index[core])
    canal = np.concatenate(canal) if canal else np.zeros(0, np.int64)
    cord = np.concatenate(cord) if cord else np.zeros(0, np.int64)
    flat[canal], flat[cord] = Tissue.CSF, Tissue.CORD
    canvas.density.reshape(-1)[canal] = 1
    return canal, cord


def _canal_rows(column: Column):
    """Yield z, x, y, half width, half depth of the canal and of the cord at each vertebra."""
    for level in column.levels:
        marks, frame = column.marks[level], column.frame(level)
        if level == "C1":
            middle = (marks["arch_front"] + marks["arch_back"]) / 2 + np.array([0, -5.0, 0])
            half, deep = 11.0, 8.5
        elif level == "S1" or "arch_front" not in marks:
            if level != "S1":
                continue
            middle, half, deep = marks["sup_post"] + np.array([0, -9.0, -2.0]), 13.0, 6.5
        else:
            wall = (marks["SP"] + marks["IP"]) / 2
            if level == "C2":
                wall = marks["IP"]
            gap = wall[1] - marks["arch_front"][1]
            middle = np.array([0.0, wall[1] - gap / 2, 0.0])
            half, deep = min(0.78 * gap, 13.0), gap / 2 - 0.3
        point = frame[:3, :3] @ middle + frame[:3, 3]
        region = level[0] if level != "L1" else "T"
        size = CORD.get(region, (0, 0)) if level not in ("L2", "L3", "L4", "L5", "L6", "S1") else (0.0, 0.0)
        yield float(point[2]), point[0], point[1], half, deep, *size


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
