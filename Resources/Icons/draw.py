"""Draw the extension's icon, a lumbar spine in the colours of our labels.

``python3 Testing/run.py python Resources/Icons/draw.py`` writes it for the catalogue and for the module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from SpineSegLib.anatomy import Structure

SIZE, FINER = 128, 8
ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = (ROOT / "Resources/Icons/SpineSeg.png", ROOT / "SpineSeg/Resources/Icons/SpineSeg.png")
OUTLINE = (46, 42, 54, 255)
LEVELS = ("L1", "L2", "L3", "L4", "L5")
STEP = 24.0
"""Distance of two vertebrae in pixels of the icon."""


def centre_line(t: np.ndarray) -> np.ndarray:
    """Return points (n, 2) on the lordotic curve, t from 0 at the top to 1; anterior is to the left."""
    t = np.asarray(t, dtype=float)
    return np.stack([46 - 11 * np.sin(np.pi * (0.1 + 0.85 * t)), 16 + 96 * t], axis=-1)


def placed(shape: np.ndarray, t: float) -> list[tuple[float, float]]:
    """Return points given relative to a vertebra (right is posterior, down is caudal) on the drawing."""
    ahead, behind = centre_line(np.array(t + 0.01)), centre_line(np.array(t - 0.01))
    down = (ahead - behind) / np.linalg.norm(ahead - behind)
    right = np.array([down[1], -down[0]])
    points = centre_line(np.array(t)) + shape[:, :1] * right + shape[:, 1:] * down
    return [tuple(point) for point in points * FINER]


def body(width: float, height: float) -> np.ndarray:
    """Return the outline of a vertebral body: concave walls, rounded corners."""
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    square = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    square = np.sign(square) * np.abs(square) ** 0.36
    waist = 1 - 0.13 * (1 - square[:, 1] ** 2) * np.abs(square[:, 0])
    return square * [width / 2, height / 2] * np.stack([waist, np.ones_like(waist)], axis=1)


def spinous_process(width: float) -> np.ndarray:
    """Return the outline of pedicle, arch and spinous process behind a body."""
    start = width / 2 - 2
    top = [[start, -6.5], [start + 10, -5.8], [start + 17, -6.6], [start + 23, -2.0], [start + 38, 3.2]]
    bottom = [[start + 42, 8.0], [start + 39, 13.2], [start + 27, 11.6], [start + 14, 5.0], [start, 1.6]]
    return np.array(top + bottom)


def draw() -> Image.Image:
    """Return the icon, RGBA with a transparent ground."""
    picture = Image.new("RGBA", (SIZE * FINER, SIZE * FINER))
    pen = ImageDraw.Draw(picture)
    line = round(2.0 * FINER)

    def shape(points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        pen.polygon(points, fill=(*colour, 255))
        pen.line([*points, *points[:2]], fill=OUTLINE, width=line, joint="curve")

    heights = np.linspace(0.0, 1.0, len(LEVELS))
    widths = np.linspace(41, 48, len(LEVELS))
    for t, width, level in zip(heights, widths, LEVELS, strict=True):
        shape(placed(spinous_process(width), t), Structure("spinous process", level).colour)
    for (t, below), width in zip(np.stack([heights[:-1], heights[1:]], axis=1), widths, strict=False):
        shape(placed(body(width - 6, 11.0), (t + below) / 2), (126, 190, 214))
    for t, width, level in zip(heights, widths, LEVELS, strict=True):
        shape(placed(body(width, STEP - 6.0), t), Structure("vertebra", level).colour)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    icon = draw()
    for place in PLACES:
        place.parent.mkdir(parents=True, exist_ok=True)
        icon.save(place, optimize=True)
