"""Sagittal slices of SPIDER as pictures, with coloured masks of whole vertebrae (bodies and posterior elements).

On disk (TensorFlow-FlexUNet-Image-Segmentation-Lumbar-Spine; from SPIDER, van der Graaf et al., Sci Data 11:264,
2024, doi:10.1038/s41597-024-03090-w, CC BY 4.0)::

    images/10008_12.png     8-bit grey, series 10008, slice 12
    masks/10008_12.png      RGB, one colour a vertebra

Pictures are stored upside down (the sacrum on top) and turned upright on reading. No spacing was kept. Colours count
from below, as SPIDER's labels do, so in someone with six lumbar vertebrae L6 is called L5.

Whom a series shows was not kept either. SPIDER has up to three series of a patient (T1, T2, SPACE), and here they have
neighbouring numbers: slice 13 of series 10009 (T1) and 10010 (T2) have the same mask to the pixel. So series with
neighbouring numbers may show one patient, and splits keep them together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import by_stem, whose
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image
from SpineSegLib.io.pictures import pixels

COLOURS = {
    (255, 0, 0): "L5",
    (0, 255, 0): "L4",
    (0, 0, 255): "L3",
    (255, 255, 0): "L2",
    (255, 0, 255): "L1",
    (0, 255, 255): "T12",
    (128, 128, 128): "T11",
    (255, 255, 255): "T10",
    (128, 80, 0): "T9",
}
"""Red, green, blue -> level."""

_NAME = re.compile(r"(\d+)_(\d+)")


def cases(folder: str | Path, *, patient: str | Mapping[str, str] | None = None, neighbours: bool = True) -> list[Case]:
    """List the slices, in order of name.

    Parameters
    ----------
    folder : holds ``images`` and ``masks``
    patient : whom a slice shows, where you know it; see `SpineSegLib.datasets.files.whose`
    neighbours : take series whose numbers follow each other for one patient, which keeps a split safe; False takes
        each series for a patient, which a set with every series of SPIDER needs a table (`patient`) to do safely

    Raises
    ------
    InputError : no such folder, an unknown layout or name; on loading, a mask of another size or an unknown colour
    """
    folder = existing(folder)
    if not ((folder / "images").is_dir() and (folder / "masks").is_dir()):
        raise problem(folder, "no folders 'images' and 'masks'", "SPIDER's slices as pictures", "Check --data")
    images, masks = (by_stem(folder / part, (".png",)) for part in ("images", "masks"))
    if not images or set(images) != set(masks):
        alone = sorted(set(images) ^ set(masks))
        found = f"{alone[0]}.png stands in one of them alone" if alone else "no pictures"
        raise problem(folder, found, "an image and a mask of every slice", "Complete the set")
    series = {}
    for stem, path in images.items():
        name = _NAME.fullmatch(stem)
        if not name:
            raise problem(path, "a name that is no series and slice", "such as 10008_12.png", "Check --data")
        series[stem] = int(name[1])
    groups = _runs(sorted(set(series.values()))) if neighbours else {number: str(number) for number in series.values()}
    tell = (lambda stem: groups[series[stem]]) if patient is None else whose(patient, folder)
    return [
        Case(stem, tell(stem), partial(_read, path, masks[stem]), labelled=frozenset({"vertebra"}))
        for stem, path in images.items()
    ]


def _runs(numbers: list[int]) -> dict[int, str]:
    """Return number -> first-last of the run of consecutive numbers that it stands in."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return {number: f"{run[0]}-{run[-1]}" for run in runs for number in run}


def _read(image_path: Path, mask_path: Path) -> tuple[Image, Segmentation]:
    image = read_image(image_path, modality="MR")
    colours = pixels(mask_path)
    rows, columns = image.array.shape[1:]
    if colours.ndim != 3 or colours.dtype != np.uint8:
        raise problem(mask_path, "a mask without colours", "an RGB picture of 8 bits", "Check --data")
    if colours.shape[:2] != (rows, columns):
        found = f"a mask of {colours.shape[1]} x {colours.shape[0]}"
        raise problem(mask_path, found, f"{columns} x {rows} as its image", "Replace the mask")
    packed = colours[..., :3].astype(np.int32) @ np.array([65536, 256, 1])
    labels = np.zeros((1, rows, columns), np.uint8)
    structures = {}
    for number, ((red, green, blue), level) in enumerate(COLOURS.items(), start=1):
        labels[0][packed == (red << 16) + (green << 8) + blue] = number
        structures[number] = Structure("vertebra", level)
    unknown = packed[(labels[0] == 0) & (packed != 0)]
    if unknown.size:
        found = f"{unknown.size} pixels of an unknown colour, first #{unknown[0]:06x}"
        raise problem(mask_path, found, "the colours of SPIDER's levels", "Replace the mask; JPEG changes colours")
    upright = Image(np.ascontiguousarray(image.array[:, ::-1]), image.geometry, "MR")
    return upright, Segmentation.from_labels(np.ascontiguousarray(labels[:, ::-1]), structures, image.geometry)
