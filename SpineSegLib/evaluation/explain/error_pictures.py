"""Pictures of errors: one case in detail, and the worst cases of many on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.explain.colours import Scale
from SpineSegLib.evaluation.explain.drawing import (
    FAINT,
    INK,
    NOTE,
    PAPER,
    Layer,
    Panel,
    compose,
    cuts_of,
    fill,
    font,
    heat,
    outline,
    plane_picture,
)
from SpineSegLib.evaluation.explain.errors import COLOURS, ErrorMap
from SpineSegLib.evaluation.metrics import bounding_box, union_box
from SpineSegLib.image import Geometry, Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_TRUTH = (250, 250, 250)
SIDE = 360
"""Pixels of a tile of the contact sheet."""
_MARGIN = 0.08
"""Part of the structures' extent that is shown around them."""


@dataclass(frozen=True)
class Tile:
    """One case of a contact sheet: its name, its errors as a small picture, and its numbers in words."""

    name: str
    picture: Picture
    words: str


def draw_errors(errors: ErrorMap, image: Image | None = None) -> Picture:
    """Return the picture of one case: kinds of error, their distance to the true boundary, and errors of probability.

    The picture shows the surroundings of both masks; of a volume, the three planes with the most errors.

    Parameters
    ----------
    image : that was segmented, on any grid; without it the ground is black

    Raises
    ------
    InputError : the image is not where the truth is
    """
    errors, image = _around(errors, _ground(errors.geometry, image))
    wrong = errors.wrong
    seen = wrong if wrong.any() else errors.truth
    truth = outline(errors.truth, _TRUTH)
    panels = [Panel("Errors; white: the true boundary", [*_fills(errors), truth])]
    if errors.distance is not None:
        away = np.abs(errors.distance)
        # One stray pixel far away must not paint all the others blue.
        most = float(np.nanpercentile(away, 98)) if wrong.any() else 1.0
        scale = Scale(0, max(most, 1.0), f"distance to the true boundary ({errors.unit})", opacity=0.88)
        panels.append(Panel("Distance to the true boundary", [heat(away, scale, smooth=False), truth], scale))
    if errors.difference is not None:
        scale = Scale(0, 1, "|probability - truth|", opacity=0.9, fade=0.25)
        panels.append(Panel("Error of the probability", [heat(np.abs(errors.difference), scale, smooth=False)], scale))
    legend = [(COLOURS[name], f"{name}: {_size(errors, count)}") for name, count in errors.counts().items()]
    return compose(image, cuts_of(image.geometry, seen), panels, caption=[in_words(errors)], legend=legend)


def contact_sheet(tiles: Sequence[Tile], *, title: str, columns: int = 4) -> Picture:
    """Return many cases on one sheet, in the order given, each with its Dice and HD95.

    Parameters
    ----------
    columns : cases beside each other
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    head, foot, gap = 44, 54, 10
    columns = max(1, min(columns, len(tiles)))
    rows = -(-len(tiles) // columns)
    width = max(columns * (SIDE + gap) + gap, 2 * SIDE)
    sheet = Pillow.new("RGB", (width, head + rows * (SIDE + foot) + 26), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((gap, head - 16), title, INK, font=font(20), anchor="ls")
    for number, tile in enumerate(tiles):
        left, top = gap + (number % columns) * (SIDE + gap), head + number // columns * (SIDE + foot)
        sheet.paste(tile.picture, (left + (SIDE - tile.picture.width) // 2, top + (SIDE - tile.picture.height) // 2))
        pen.text((left, top + SIDE + 18), _fitting(tile.name, SIDE), INK, font=font(15), anchor="ls")
        pen.text((left, top + SIDE + 38), tile.words, (180, 180, 180), font=font(14), anchor="ls")
    x = gap
    for name, colour in COLOURS.items():
        pen.rectangle((x, sheet.height - 21, x + 12, sheet.height - 9), fill=colour)
        pen.text((x + 18, sheet.height - 10), name, INK, font=font(13), anchor="ls")
        x += 18 + font(13).getlength(name) + 20
    pen.text((sheet.width - gap, sheet.height - 10), NOTE, FAINT, font=font(12), anchor="rs")
    return sheet


def in_words(errors: ErrorMap, *, short: bool = False) -> str:
    """Return the numbers of paper 000's figure 6 as a line of text."""
    numbers = errors.numbers
    distance = "-" if numbers["hd95"] is None else f"{numbers['hd95']:.2f} {errors.unit}"
    text = f"Dice {numbers['dice']:.3f} · HD95 {distance}"
    if short:
        return text
    inside = "-" if numbers["foreground_mae"] is None else f"{numbers['foreground_mae']:.4f}"
    of = "of the mask, without a probability" if errors.difference is None else "of the probability"
    text = f"{text} · global MAE {numbers['global_mae']:.4f} · foreground MAE {inside} ({of})"
    reach = errors.to_dict()
    for side, name in (("outside", "false positive"), ("inside", "false negative")):
        if reach[f"farthest_{side}"]:
            text += f" · farthest {name} {reach[f'farthest_{side}']:.1f} {errors.unit} {side}"
    return text


def tile_of(name: str, errors: ErrorMap, image: Image | None = None) -> Tile:
    """Return a case for a contact sheet; of a volume the sagittal plane, in which every level is seen."""
    words = in_words(errors, short=True)
    errors, image = _around(errors, _ground(errors.geometry, image))
    wrong = errors.wrong
    cut = cuts_of(image.geometry, wrong if wrong.any() else errors.truth)[-1]
    scale = SIDE / max(cut.size)
    cut = replace(cut, size=tuple(max(1, round(n * scale)) for n in cut.size))
    picture = plane_picture(image, cut, [*_fills(errors, 0.75), outline(errors.truth, _TRUTH)])
    return Tile(name, picture, words)


def _fills(errors: ErrorMap, opacity: float = 0.62) -> list[Layer]:
    return [fill(mask, COLOURS[name], opacity) for name, mask in errors.kinds.items()]


def _ground(geometry: Geometry, image: Image | None) -> Image:
    """Return the image on the truth's grid, or black."""
    if image is None:
        return Image(np.zeros(geometry.shape, np.uint8), geometry)
    there = image.geometry
    if not (there.has_spacing and geometry.has_spacing):
        if there.shape != geometry.shape:
            found = f"{'x'.join(map(str, there.shape[::-1]))} pixels"
            expected = f"the truth's {'x'.join(map(str, geometry.shape[::-1]))}, or files that know their spacing"
            raise problem("--image", found, expected, "Give the image that was segmented")
        return replace(image, geometry=geometry)
    if there.same_as(geometry):
        return image
    if not there.overlaps(geometry):
        raise problem(
            "--image", "it lies elsewhere than the truth", "one place in space", "Check which belong together"
        )
    return image.resampled(geometry)


def _around(errors: ErrorMap, image: Image) -> tuple[ErrorMap, Image]:
    """Return errors and image cropped to the surroundings of both masks."""
    box = union_box(bounding_box(errors.truth), bounding_box(errors.prediction))
    if box is None:
        return errors, image
    step = image.geometry.step
    margin = max((part.stop - part.start) * size for part, size in zip(box, step, strict=True)) * _MARGIN
    box = tuple(
        slice(max(0, part.start - round(margin / size) - 3), min(n, part.stop + round(margin / size) + 3))
        for part, size, n in zip(box, step, image.geometry.shape, strict=True)
    )
    geometry = image.geometry.cropped([part.start for part in box], [part.stop for part in box])
    cropped = replace(
        errors,
        kinds={name: mask[box] for name, mask in errors.kinds.items()},
        distance=None if errors.distance is None else errors.distance[box],
        difference=None if errors.difference is None else errors.difference[box],
        truth=errors.truth[box],
        prediction=errors.prediction[box],
        geometry=geometry,
    )
    return cropped, replace(image, array=image.array[box], geometry=geometry)


def _size(errors: ErrorMap, count: int) -> str:
    """Return an area or a volume in words."""
    grid = errors.geometry
    if not grid.has_spacing:
        return f"{count} pixels" if grid.is_2d else f"{count} voxels"
    # Pillow's font has no raised 2.
    return f"{count * grid.pixel_area:.1f} sq mm" if grid.is_2d else f"{count * grid.voxel_volume / 1000:.2f} ml"


def _fitting(text: str, width: float) -> str:
    """Return a text cut to a width."""
    while font(15).getlength(text) > width and len(text) > 4:
        text = text[:-2].rstrip("…") + "…"
    return text
