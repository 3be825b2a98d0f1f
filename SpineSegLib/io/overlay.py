"""Overlay pictures: a radiograph, or three planes of a volume, with the structures in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Reorientation, Segment, Segmentation
from SpineSegLib.io.atomic import written_whole
from SpineSegLib.io.planes import Plane, film_plane, volume_planes
from SpineSegLib.io.suffixes import suffix_of

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.Image import Image as Picture

_FILL = 0.35
_MOST_NAMES = 40
MARGIN = 6
_PANEL = 720
_FOOT = 26
_NOTE = "SpineSeg - not for diagnostic use"


def write_overlay(image: Image, segmentation: Segmentation, path: str | Path) -> None:
    """Write a PNG that shows where the structures lie in the image.

    A radiograph is drawn pixel for pixel (its longer side at most 2048), a volume as the axial, coronal and sagittal
    slice with the most foreground, the patient's right on the left, front on top or left, head on top. Pixels that
    are not square are stretched. CT is shown with window 1500, level 400 HU, everything else between percentiles.

    Parameters
    ----------
    image, segmentation : the segmentation is resampled when its grid is another one
    path : a file ending in .png

    Raises
    ------
    InputError : another suffix, a segmentation elsewhere in space, or a file that cannot be written
    """
    path = Path(path)
    if suffix_of(path) != ".png":
        raise problem(
            path, f"no overlay is written as {suffix_of(path) or 'a file without suffix'}", ".png", "Change it"
        )
    picture = draw_overlay(image, on_grid_of(image, segmentation, path))
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG")


def on_grid_of(image: Image, segmentation: Segmentation, where: object) -> Segmentation:
    """Return a segmentation on the image's grid, by nearest neighbour where its own is another one.

    Raises
    ------
    InputError : it lies elsewhere in space; the text names `where`
    """
    if segmentation.geometry.same_as(image.geometry):
        return segmentation
    if not segmentation.geometry.overlaps(image.geometry):
        raise problem(
            where, "the segmentation lies outside the image", "one place in space", "Check which belong together"
        )
    return segmentation.resampled(image.geometry)


def draw_overlay(image: Image, segmentation: Segmentation, *, height: int = _PANEL) -> Picture:
    """Return the overlay picture (Pillow, RGB); both must lie on one grid.

    Parameters
    ----------
    height : pixels of a volume's largest plane; the names are the larger beside it the smaller it is
    """
    from PIL import Image as Pillow

    if image.geometry.is_2d:
        planes = [film_plane(image, segmentation)]
    else:
        planes = volume_planes(image, segmentation, Reorientation.of(image.geometry), height)
    pictures = [_drawn(plane) for plane in planes]
    width = sum(p.width for p in pictures) + MARGIN * (len(pictures) - 1)
    height = max(p.height for p in pictures)
    canvas = Pillow.new("RGB", (width, height + _FOOT))
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + MARGIN
    _note(canvas)
    return canvas


def _drawn(plane: Plane) -> Picture:
    """Return one plane at its size on the canvas: grey below, fills, outlines, names, letters."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    columns, rows = plane.size
    grey = Pillow.fromarray(plane.grey).resize((columns, rows), Pillow.Resampling.BICUBIC)
    canvas = np.repeat(np.asarray(grey, dtype=np.float32)[..., None], 3, axis=-1)
    scale = max(columns, rows) / 700
    masks = []
    for segment, mask in plane.masks:
        large = (
            np.asarray(Pillow.fromarray(mask.astype(np.uint8)).resize((columns, rows), Pillow.Resampling.NEAREST)) > 0
        )
        canvas[large] = (1 - _FILL) * canvas[large] + _FILL * np.array(segment.colour, np.float32)
        masks.append((segment, large))
    for segment, large in masks:
        # Outlines after all fills, so that none is dimmed by a neighbour's fill.
        canvas[_outline(large, max(1, round(scale)))] = segment.colour
    picture = Pillow.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    size = max(11, round(15 * scale))
    if len(masks) <= _MOST_NAMES:
        _draw_names(pen, masks, picture.size, size)
    _draw_letters(pen, plane.letters, picture.size, size)
    return picture


def _outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    """Return the inner border of a mask."""
    inside = mask
    for _ in range(thickness):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _draw_names(pen: ImageDraw.ImageDraw, masks: list, canvas: tuple[int, int], size: int) -> None:
    """Write each structure's name at its right side, or left, or on it, where no other name is in the way."""
    font = _font(size)
    taken: list[tuple[float, float, float, float]] = []
    names = short_names([segment for segment, _ in masks])
    for segment, mask in sorted(masks, key=lambda item: item[0].structure.order):
        rows, columns = np.nonzero(mask)
        if not rows.size:
            continue
        name = names[segment]
        left, top, right, bottom = pen.textbbox((0, 0), name, font=font)
        width, height = right - left, bottom - top
        y = min(max(float(rows.mean()) - height / 2, 0), canvas[1] - height - 2)
        for x in (columns.max() + 5, columns.min() - width - 5, float(columns.mean()) - width / 2):
            box = (x, y, x + width, y + height)
            if x >= 0 and x + width < canvas[0] and not any(_meet(box, other) for other in taken):
                taken.append(box)
                _text(pen, (x - left, y - top), name, font, segment.colour)
                break


def short_names(segments: Sequence[Segment]) -> dict[Segment, str]:
    """Return what is written beside each structure: its name, or less where that tells it apart as well.

    Of vertebrae, bodies or other parts that are all of one kind it is the level (``C5`` for ``C5 body``); of one whose
    level is not known its number (``2nd`` for ``unlabelled, 2nd from the top``).
    """
    parts = [each.structure for each in segments if each.structure.level in LEVELS]
    alike = len({structure.kind for structure in parts}) == 1 and len(set(parts)) == len(parts)
    names = {}
    for segment in segments:
        structure, name = segment.structure, segment.name
        if alike and structure in parts:
            name = name.replace(structure.name, structure.level)
        elif structure.level is None:
            name = name.removeprefix("unlabelled, ").removesuffix(" from the top")
        names[segment] = name
    return names


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_letters(pen: ImageDraw.ImageDraw, letters: str, canvas: tuple[int, int], size: int) -> None:
    """Write which side of the patient is left, right, top and bottom, in this order."""
    width, height = canvas
    places = ((4, height / 2, "lm"), (width - 4, height / 2, "rm"), (width / 2, 4, "ma"), (width / 2, height - 4, "md"))
    for letter, (x, y, anchor) in zip(letters, places, strict=False):
        _text(pen, (x, y), letter, _font(size), (255, 255, 255), anchor)


def _note(canvas: Picture) -> None:
    from PIL import ImageDraw

    font = _font(14)
    ImageDraw.Draw(canvas).text((4, canvas.height - 5), _NOTE, fill=(150, 150, 150), font=font, anchor="ld")


def _text(pen, place, text, font, colour, anchor="la") -> None:
    pen.text(place, text, fill=tuple(colour), font=font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)
