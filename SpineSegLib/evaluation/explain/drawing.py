"""Pictures of several panels: an image in grey, what lies over it, bars of colours, a legend and a caption below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.evaluation.explain.colours import Scale, cool_to_warm
from SpineSegLib.image import Geometry, Image, Reorientation
from SpineSegLib.io.planes import Cut, as_grey, film_cut, grey_range, volume_cuts

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FILM_SIDES, VOLUME_HEIGHT = (640, 1100), 480
"""Pixels of a film's longer side, at least and at most, and the height of a volume's planes."""
NOTE = "SpineSeg - not for diagnostic use"
_GAP, _BAR, _TITLE = 12, 70, 30
PAPER, INK, FAINT = (16, 16, 18), (236, 236, 236), (150, 150, 150)

Layer = Callable[[np.ndarray, Cut], None]
"""Draws one plane over a float32 canvas (rows, columns, 3), 0…255."""


@dataclass(frozen=True)
class Panel:
    """One view of an image: its planes beside each other, and what the colours mean.

    Parameters
    ----------
    title : above
    layers : drawn over the grey image, in this order
    scale : of the bar at the right, if there is one
    """

    title: str
    layers: Sequence[Layer]
    scale: Scale | None = None


def cuts_of(geometry: Geometry, seen: np.ndarray) -> list[Cut]:
    """Return the planes in which an image is shown: a film's only one, or the three of a volume that show most."""
    if geometry.is_2d:
        return [film_cut(geometry, shortest=FILM_SIDES[0], longest=FILM_SIDES[1])]
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
        from scipy.ndimage import binary_erosion

        large = _nearest(cut(mask), canvas)
        canvas[large & ~binary_erosion(large, iterations=thickness, border_value=1)] = colour

    return draw


def heat(values: np.ndarray, scale: Scale, *, smooth: bool = True) -> Layer:
    """Return a layer that colours a k, j, i array of numbers; NaN is transparent.

    Parameters
    ----------
    smooth : interpolated between pixels, for maps without NaN; else each pixel keeps its own colour
    """

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        plane = cut(values).astype(np.float32)
        colours, opacity = scale.rgba((_linear if smooth else _nearest)(plane, canvas))
        canvas[...] = (1 - opacity[..., None]) * canvas + opacity[..., None] * colours

    return draw


def cross(x: float, y: float) -> Layer:
    """Return a layer that marks a place of a film, 0…1 across and down."""

    def draw(canvas: np.ndarray, cut: Cut) -> None:
        rows, columns = canvas.shape[:2]
        row, column = round(y * rows), round(x * columns)
        reach = max(8, max(rows, columns) // 60)
        for width, colour in ((3, 0), (1, 255)):
            for down, across in ((width, reach + width), (reach + width, width)):
                place = np.s_[max(0, row - down) : row + down, max(0, column - across) : column + across]
                canvas[place] = colour

    return draw


def compose(
    image: Image,
    cuts: Sequence[Cut],
    panels: Sequence[Panel],
    *,
    caption: Sequence[str] = (),
    legend: Sequence[tuple[Sequence[int], str]] = (),
) -> Picture:
    """Return the picture (Pillow, RGB): panels beside each other for a film, below each other for a volume.

    Parameters
    ----------
    cuts : the planes of each panel, see `cuts_of`
    caption : lines of text below, wrapped to the picture's width
    legend : colours and what they mean
    """
    from PIL import Image as Pillow

    low, high = grey_range(image)
    blocks = [_block(image, cuts, panel, (low, high)) for panel in panels]
    beside = image.geometry.is_2d
    widths, heights = [block.width for block in blocks], [block.height for block in blocks]
    gaps = _GAP * (len(blocks) - 1)
    width = (sum(widths) + gaps if beside else max(widths)) + 2 * _GAP
    height = (max(heights) if beside else sum(heights) + gaps) + 2 * _GAP
    foot = _foot(width, caption, legend)
    canvas = Pillow.new("RGB", (width, height + foot.height), PAPER)
    left = top = _GAP
    for block in blocks:
        canvas.paste(block, (left, top))
        left, top = (left + block.width + _GAP, top) if beside else (left, top + block.height + _GAP)
    canvas.paste(foot, (0, height))
    return canvas


def _block(image: Image, cuts: Sequence[Cut], panel: Panel, window: tuple[float, float]) -> Picture:
    """Return one panel: title, planes, bar."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    planes = [plane_picture(image, cut, panel.layers, window) for cut in cuts]
    height = max(plane.height for plane in planes)
    width = sum(plane.width for plane in planes) + 6 * (len(planes) - 1)
    block = Pillow.new("RGB", (width + (_BAR if panel.scale else 0), height + _TITLE), PAPER)
    pen = ImageDraw.Draw(block)
    pen.text((0, _TITLE - 8), panel.title, INK, font=font(17), anchor="ls")
    left = 0
    for plane in planes:
        block.paste(plane, (left, _TITLE + (height - plane.height) // 2))
        left += plane.width + 6
    if panel.scale:
        _draw_bar(block, panel.scale, width + 8, _TITLE, min(height, 420))
    return block


def plane_picture(
    image: Image, cut: Cut, layers: Sequence[Layer], window: tuple[float, float] | None = None
) -> Picture:
    """Return one plane of an image in grey, with its layers and the letters of its sides."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    grey = Pillow.fromarray(as_grey(cut(image.array), *(window or grey_range(image)))).resize(
        cut.size, Pillow.Resampling.BICUBIC
    )
    canvas = np.repeat(np.asarray(grey, dtype=np.float32)[..., None], 3, axis=-1)
    for layer in layers:
        layer(canvas, cut)
    picture = Pillow.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8))
    pen, (width, height) = ImageDraw.Draw(picture), picture.size
    places = ((4, height / 2, "lm"), (width - 4, height / 2, "rm"), (width / 2, 4, "ma"), (width / 2, height - 4, "md"))
    for letter, (x, y, anchor) in zip(cut.letters, places, strict=False):
        pen.text((x, y), letter, INK, font=font(14), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def _draw_bar(block: Picture, scale: Scale, left: int, top: int, height: int) -> None:
    """Draw the colours from `high` above to `low` below, with five numbers and, turned, what they are."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    top, height = top + 8, height - 16
    strip = np.repeat(cool_to_warm(np.linspace(1, 0, height))[:, None], 12, axis=1)
    block.paste(Pillow.fromarray(strip.astype(np.uint8)), (left, top))
    pen = ImageDraw.Draw(block)
    for share in np.linspace(0, 1, 5):
        value = scale.low + share * (scale.high - scale.low)
        pen.text((left + 16, top + (1 - share) * height), number(value, scale.high), INK, font=font(12), anchor="lm")
    text = Pillow.new("RGB", (height, 18), PAPER)
    ImageDraw.Draw(text).text((height / 2, 9), scale.label, FAINT, font=font(13), anchor="mm")
    block.paste(text.rotate(90, expand=True), (left + 44, top))


def number(value: float, largest: float) -> str:
    """Return a number with as many digits as a scale up to `largest` needs."""
    return f"{value:.0f}" if largest >= 20 else f"{value:.1f}" if largest >= 2 else f"{value:.2f}"


def _foot(width: int, caption: Sequence[str], legend: Sequence[tuple[Sequence[int], str]]) -> Picture:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    line, room = 23, width - 2 * _GAP
    lines = [part for text in caption for part in _wrapped(text, font(16), room)]
    entries, left, row = [], 0, 0
    for colour, text in legend:
        wide = 22 + font(15).getlength(text) + 22
        if left and left + wide > room:
            left, row = 0, row + 1
        entries.append((left, row, colour, text))
        left += wide
    rows = row + 1 if legend else 0
    foot = Pillow.new("RGB", (width, line * (rows + len(lines)) + 30), PAPER)
    pen = ImageDraw.Draw(foot)
    for left, row, colour, text in entries:
        x, y = _GAP + left, row * line
        pen.rectangle((x, y + 3, x + 14, y + 17), fill=tuple(colour))
        pen.text((x + 22, y + 16), text, INK, font=font(15), anchor="ls")
    for n, text in enumerate(lines, start=rows):
        pen.text((_GAP, n * line + 17), text, INK, font=font(16), anchor="ls")
    pen.text((_GAP, foot.height - 8), NOTE, FAINT, font=font(12), anchor="ls")
    return foot


def _wrapped(text: str, face, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def font(size: int):
    """Return Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _nearest(plane: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Return a plane at the canvas's size; each pixel keeps its value, and what is smaller than a pixel may go."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(canvas.shape[:2], plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def _linear(plane: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    from PIL import Image as Pillow

    rows, columns = canvas.shape[:2]
    return np.asarray(Pillow.fromarray(plane).resize((columns, rows), Pillow.Resampling.BILINEAR))
