"""A digital patient so simple that everything about its images can be worked out: cylinders in a block of muscle."""

from __future__ import annotations

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Segmentation
from SpineSegLib.phantom.body import Body, Tissue

LEVELS = ("C3", "C4", "C5", "C6")
RADIUS, HEIGHT, DISC = 9.0, 13.0, 6.0


def simple_body(step: float = 1.0, *, tilt: float = 0.0, metal: bool = False) -> Body:
    """Return upright cylinders of spongy bone with discs between them and rods behind as spinous processes.

    Parameters
    ----------
    step : mm, side of a voxel
    tilt : degrees that the patient's grid is turned about each axis
    metal : with a titanium rod in front of C4 and C5
    """
    shape = tuple(round(n / step) for n in (96, 90, 80))
    angle = np.radians(tilt)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * step
    matrix[:3, 3] = (0, 60, 1400) - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    geometry = Geometry(shape, matrix)
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    x, y, z = ((index - (n - 1) / 2) * step for index, n in zip((i, j, k), shape[::-1], strict=True))
    tissue = np.full(shape, Tissue.MUSCLE, np.uint8)
    tissue[np.broadcast_to((np.abs(x) > 37) | (np.abs(y) > 42), shape)] = Tissue.AIR
    masks, points = {}, {}
    column = x**2 + (y - 5) ** 2 <= RADIUS**2
    for number, level in enumerate(LEVELS):
        middle = 28 - number * (HEIGHT + DISC)
        body = column & (np.abs(z - middle) <= HEIGHT / 2)
        process = (np.abs(x) <= 3) & (y < -4) & (y > -30) & (np.abs(z - middle + (y + 4) * -0.3) <= 4)
        disc = column & (np.abs(z - middle + (HEIGHT + DISC) / 2) < DISC / 2)
        masks[Structure("vertebra", level)] = body | process
        masks[Structure("body", level)] = body
        masks[Structure("spinous process", level)] = process
        tissue[body | process] = Tissue.TRABECULAR
        if number + 1 < len(LEVELS):
            masks[Structure("disc", f"{level}/{LEVELS[number + 1]}")] = disc
            tissue[disc] = Tissue.DISC
        corners = {
            "SA": (0, 5 + RADIUS, middle + HEIGHT / 2),
            "SP": (0, 5 - RADIUS, middle + HEIGHT / 2),
            "IA": (0, 5 + RADIUS, middle - HEIGHT / 2),
            "IP": (0, 5 - RADIUS, middle - HEIGHT / 2),
            "SL": (-RADIUS, 5, middle + HEIGHT / 2),
            "SR": (RADIUS, 5, middle + HEIGHT / 2),
            "IL": (-RADIUS, 5, middle - HEIGHT / 2),
            "IR": (RADIUS, 5, middle - HEIGHT / 2),
            "centroid": (0, 5, middle),
        }
        points[level] = {name: (turn @ np.array(p, float) + (0, 60, 1400)).tolist() for name, p in corners.items()}
    if metal:
        tissue[(x**2 + (y - 20) ** 2 <= 9) & (np.abs(z - 18) <= 14)] = Tissue.METAL
    return Body(
        tissue,
        np.ones(shape, np.float16),
        Segmentation.from_masks(masks, geometry),
        geometry,
        {"frame": "RAS", "unit": "mm", "points": points},
        {"tilt": tilt, "metal": metal},
    )
