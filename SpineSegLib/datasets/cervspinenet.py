"""CervSpineNet's data: lateral films of the neck with masks of all spinous processes, or with red tracings of them.

On disk (doi:10.3389/fbioe.2025.1733689; where the authors keep the set is not known, so this is as they describe it:
PNG films of CSXA, masks of the same size)::

    images/0012345.png …
    masks/0012345.png …       0 or 255

or, instead of ``masks``::

    tracings/0012345.png …    the film with outlines in red; filled on reading

The paper's variants (CLAHE, augmented) of a film keep its number in front (``0012345_clahe.png``), and whatever has
one number shows one patient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import image_mask_folder
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import by_stem, on_one_grid, whose
from SpineSegLib.datasets.red_tracing import read_tracing
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image
from SpineSegLib.io.pictures import picture_geometry
from SpineSegLib.io.suffixes import PICTURES

PROCESSES = Structure("spinous processes")


def cases(
    folder: str | Path,
    *,
    patient: str | Mapping[str, str] | None = None,
    saturation: int | None = None,
    value: int | None = None,
    gap: int | None = None,
) -> list[Case]:
    """List the films, in order of name.

    Parameters
    ----------
    folder : where the set lies; its ``masks`` hold where there are ``tracings`` too
    patient : whom a film shows (`SpineSegLib.datasets.files.whose`); the number that its name begins with unless given
    saturation, value, gap : of the red lines in tracings (`SpineSegLib.datasets.red_tracing`)

    Raises
    ------
    InputError : no such folder, an unknown layout, a film without its partner; on loading, a mask of another size, or a
        tracing with nothing red or with an open outline
    """
    folder = existing(folder)
    red = {"saturation": saturation, "value": value, "gap": gap}
    red = {name: number for name, number in red.items() if number is not None}
    if not (folder / "images").is_dir() or not any((folder / part).is_dir() for part in ("masks", "tracings")):
        layout = "folders 'images' and 'masks' or 'tracings'"
        raise problem(folder, "another layout", layout, "Check --data")
    if (folder / "masks").is_dir():
        found = image_mask_folder.cases(folder, structures=PROCESSES.name)
        loads = {case.name: case.load for case in found}
    else:
        films, tracings = by_stem(folder / "images", PICTURES), by_stem(folder / "tracings", PICTURES)
        alone = sorted(set(films) ^ set(tracings))
        if alone or not films:
            name = f"{alone[0]!r} is in one of 'images' and 'tracings' alone" if alone else "no film"
            raise problem(folder, name, "a film and a tracing of each name", "Complete the set")
        loads = {stem: partial(_read, path, tracings[stem], red) for stem, path in films.items()}
    tell = whose(patient, folder) if patient is not None else _number
    return [Case(name, tell(name), load, labelled=frozenset({PROCESSES.kind})) for name, load in loads.items()]


def _number(name: str) -> str:
    """Return the number that a name begins with: CSXA has one film of a patient, but there may be variants of it."""
    found = re.match(r"\d+", name)
    return found[0] if found else name


def _read(film: Path, tracing: Path, red: Mapping[str, int]) -> tuple[Image, Segmentation]:
    found = read_tracing(tracing, **red)
    if found.open_strokes:
        what = f"{found.open_strokes} red strokes enclose nothing"
        raise problem(tracing, what, "closed outlines", "Close them, or allow wider breaks with 'gap'")
    labels = Segmentation.from_masks({PROCESSES: found.mask[None]}, picture_geometry(*found.mask.shape))
    return on_one_grid(read_image(film), labels, film, tracing)
