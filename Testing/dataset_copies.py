"""Small exact copies of the on-disk formats of public data sets, written for tests; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow


def write_picture(path: Path, array: np.ndarray, **options: object) -> np.ndarray:
    """Write a picture of any kind that Pillow knows, with its folder; return the array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path, **options)
    return array


def film(rows: int = 40, columns: int = 30, seed: int = 0) -> np.ndarray:
    """Return an 8-bit grey picture without symmetries."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2)
    return (ramp + rng.integers(0, 20, (rows, columns))).astype(np.uint8)


SPIDER_COLOURS = {"L5": (255, 0, 0), "L4": (0, 255, 0), "T11": (128, 128, 128)}


def write_spider_slices(folder: Path, names: tuple[str, ...] = ("10008_12", "10009_3", "10011_0")) -> dict[str, object]:
    """Write slices as they are stored: upside down; return the upright image and label -> upright mask."""
    upright = film(40, 30)
    masks = {level: np.zeros((40, 30), bool) for level in SPIDER_COLOURS}
    masks["L5"][28:35, 5:15] = masks["L4"][20:27, 6:16] = masks["T11"][1:6, 8:18] = True
    colours = np.zeros((40, 30, 3), np.uint8)
    for level, mask in masks.items():
        colours[mask] = SPIDER_COLOURS[level]
    for name in names:
        write_picture(folder / "images" / f"{name}.png", np.ascontiguousarray(upright[::-1]))
        write_picture(folder / "masks" / f"{name}.png", np.ascontiguousarray(colours[::-1]))
    return {"image": upright, "masks": masks}
