"""Side markers and collimators: lead between the tube and the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STROKES = {
    "L": (((0.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (0.6, 1.0))),
    "R": (
        ((0.0, 0.0), (0.0, 1.0)),
        ((0.0, 0.0), (0.42, 0.0)),
        ((0.42, 0.0), (0.6, 0.12)),
        ((0.6, 0.12), (0.6, 0.38)),
        ((0.6, 0.38), (0.42, 0.5)),
        ((0.42, 0.5), (0.0, 0.5)),
        ((0.3, 0.5), (0.64, 1.0)),
    ),
}
"""Letters as lines from (x, y) to (x, y) in units of the letter's height, y downwards."""


def marker(letter: str, size: tuple[int, int], pixel: float, centre: tuple[float, float], height: float = 14.0,
           *, ring: bool = False, thickness: float = 1.2) -> np.ndarray:  # fmt: skip
    """Return the lead of a side marker on the detector.

    Parameters
    ----------
    letter : ``"L"`` or ``"R"``
    size, pixel : rows and columns of the detector; mm
    centre : row and column of its middle
    height : of the letter in mm
    ring : with a circle around it
    thickness : of the lead in mm

    Returns
    -------
    float32 (rows, columns), mm of lead with smooth edges
    """
    rows = (np.arange(size[0]) - centre[0])[:, None] * pixel / height + 0.5
    columns = (np.arange(size[1]) - centre[1])[None] * pixel / height + 0.3
    distance = np.full(size, np.inf)
    for (x0, y0), (x1, y1) in STROKES[letter]:
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = np.clip(((columns - x0) * (x1 - x0) + (rows - y0) * (y1 - y0)) / length, 0, 1)
        np.minimum(distance, np.hypot(columns - x0 - along * (x1 - x0), rows - y0 - along * (y1 - y0)), out=distance)
    if ring:
        np.minimum(distance, np.abs(np.hypot(columns - 0.3, rows - 0.5) - 0.95) + 0.04, out=distance)
    edge = (0.085 - distance) * height / pixel + 0.5
    return (thickness * np.clip(edge, 0, 1)).astype(np.float32)


@dataclass(frozen=True)
class Collimation:
    """The field on the detector.

    Parameters
    ----------
    margins : parts of the detector that the leaves cover at the top, bottom, left and right
    turn : degrees that the field is turned
    penumbra : mm over which an edge falls off
    shutter : what is shown outside: ``"black"`` (an electronic shutter), or ``"none"`` (as exposed: nearly white)
    """

    margins: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    turn: float = 0.0
    penumbra: float = 1.2
    shutter: str = "black"

    def aperture(self, size: tuple[int, int], pixel: float) -> np.ndarray:
        """Return what the leaves let pass at each pixel, float32 (rows, columns), 0 to 1."""
        if not any(self.margins):
            return np.ones(size, np.float32)
        top, bottom, left, right = self.margins
        rows, columns = size
        v = (np.arange(rows) - (rows - 1) / 2)[:, None]
        u = (np.arange(columns) - (columns - 1) / 2)[None]
        c, s = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        v, u = c * v - s * u + (rows - 1) / 2, c * u + s * v + (columns - 1) / 2
        out = np.ones(size, np.float32)
        for inside in (v - top * rows if top else None, rows * (1 - bottom) - v if bottom else None,
                       u - left * columns if left else None, columns * (1 - right) - u if right else None):  # fmt: skip
            if inside is not None:
                out *= np.clip(inside * pixel / self.penumbra + 0.5, 0, 1)
        return out
