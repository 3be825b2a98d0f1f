"""Pictures of several panels: an image in grey, what lies over it, a bar of colours, and a caption below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.evaluation.explain.colours import Scale, cool_to_warm
from SpineSegLib.image import Geometry, Image, Reorientation
from SpineSegLib.io.planes import Cut, as_grey, film_cut, grey_range, volume_cuts

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FILM_SIDE, VOLUME_HEIGHT = (640, 1100), 480
"""Pixels of a film's longer side, at least and at most, and height of a volume's planes."""
_GAP, _BAR, _TITLE = 12, 62, 30
_PAPER, _INK, _FAINT = (16, 16, 18), (236, 236, 236), (150, 150, 150)
_NOTE = "SpineSeg - not for diagnostic use"

Layer = Callable[[np.ndarray, Cut], None]
"""Draws over a float32 canvas (rows, columns, 3), 0…255, of one plane."""


def cuts_of(geometry: Geometry, seen: np.ndarray) -> list[Cut]:
    """Return the planes in which an image is shown: a film's only one, or the three of a volume that show most."""
    if geometry.is_2d:
        return [film_cut(geometry, shortest=FILM_SIDE[0], longest=FILM_SIDE[1])]
    return volume_cuts(geometry, seen, Reorientation.of(geometry), VOLUME_HEIGHT)


def fill(mask: np.ndarray, colour: Sequence[int], opacity: float = 0.62) -> Layer:
    """Return a layer that fills a boolean k, j, i mask."""

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        inside = _nearest(cut(mask), canvas)
        canvas[inside] = (1 - opacity) * canvas[inside] + opacity * np.array(colour, np.float32)

    return draw


def outline(mask: np.ndarray, colour: Sequence[int], thickness: int = 1) -> Layer:
    """Return a layer that draws the inner border of a boolean k, j, i mask."""

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        from SpineSegLib.io.overlay import _outline

        canvas[_outline(_nearest(cut(mask), canvas), thickness)] = colour

    return draw


def heat(values: np.ndarray, scale: Scale, *, smooth: bool = True) -> Layer:
    """Return a layer that colours a k, j, i array of numbers; NaN is transparent.

    Parameters
    ----------
    smooth : interpolated between pixels, for maps without NaN; else each pixel keeps its own colour
    """

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        plane = cut(values).astype(np.float32)
        colours, opacity = scale.rgba(_linear(plane, canvas) if smooth else _nearest(plane, canvas))
        canvas[...] = (1 - opacity[..., None]) * canvas + opacity[..., None] * colours

    return draw


def mark(point: tuple[float, float]) -> Layer:
    """Return a layer that draws a cross at x and y, in pixels of a film."""

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        rows, columns = cut(np.broadcast_to(np.float32(0), _shape_of(cut, canvas))).shape if False else canvas.shape[:2]
        x, y = point[0] * columns, point[1] * rows
        reach = max(6, round(max(rows, columns) / 60))
        for width, colour in ((2, 0), (0, 255)):
            for down, across in ((width, reach + width // 2), (reach + width // 2, width)):
                top, left = max(0, round(y) - down), max(0, round(x) - across)
                canvas[top : round(y) + down + 1, left : round(x) + across + 1] = colour

    return draw
