"""BUU-LSPINE: frontal and lateral films of the lumbar spine with the ends of the endplates.

Klinwichit et al., Appl. Sci. 13(15):8646, 2023, doi:10.3390/app13158646. On disk::

    AP/0001-F-037Y0.jpg   AP/0001-F-037Y0.csv       10 rows: L1 top, L1 bottom … L5 bottom
    LA/0001-F-037Y1.jpg   LA/0001-F-037Y1.csv       11 rows: the same, then S1 top

A row is ``x1,y1,x2,y2,label``, with a header in some copies; the label tells slips (0 none, 1 left, 2 right, 3 forward,
4 backward) and may be missing. Names are number, sex, age; Y0 is frontal and Y1 lateral. The spacing is not in the
files; secondary sources say 0.175 mm.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import by_stem
from SpineSegLib.datasets.films import spacing_of, view_of, with_spacing
from SpineSegLib.datasets.polygons import bodies, corners, left_to_right
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image
from SpineSegLib.io.suffixes import PICTURES

LEVELS = ("L1", "L2", "L3", "L4", "L5")
VIEWS = {"AP": ("AP", 10), "LA": ("LL", 11)}
"""Folder -> DICOM's ViewPosition and number of endplates."""
_NAME = re.compile(r"(.+)Y([01])")


def cases(
    folder: str | Path, *, view: str | None = None, spacing: float | str | Mapping[str, float] | None = None
) -> list[Case]:
    """List the films, in order of view and name; both films of a patient are one patient's.

    Landmarks are the corners in the order of `SpineSegLib.datasets.polygons.CORNERS`; S1 has its upper endplate alone.

    Parameters
    ----------
    folder : holds ``AP`` and ``LA``, or one of them
    view : ``AP`` or ``LA``; both unless given
    spacing : mm a pixel, where you know it; `SpineSegLib.datasets.films.spacing_of`

    Raises
    ------
    InputError : no such folder, an unknown layout or name, a film or CSV without its partner; on loading, a table of
        another length or with something else than numbers
    """
    folder = existing(folder)
    if view not in (*VIEWS, None):
        raise problem("view", repr(view), " or ".join(VIEWS), "Correct the recipe")
    views = [name for name in VIEWS if view in (name, None) and (folder / name).is_dir()]
    if not views:
        wanted = view or " and ".join(VIEWS)
        raise problem(folder, "another layout", f"the folders {wanted} of BUU-LSPINE", "Check --data")
    known = spacing_of(spacing, folder)
    found = []
    for name in views:
        films, tables = by_stem(folder / name, PICTURES), by_stem(folder / name, (".csv",))
        alone = sorted(set(films) ^ set(tables))
        if alone or not films:
            what = f"{alone[0]} has no {'CSV' if alone[0] in films else 'film'}" if alone else "no film"
            raise problem(folder / name, what, "a film and a CSV of each name", "Complete the set")
        for stem, film in films.items():
            person = _NAME.fullmatch(stem)
            if not person or person[2] != str(list(VIEWS).index(name)):
                expected = f"such as 0001-F-037Y{list(VIEWS).index(name)} in {name}"
                raise problem(film, "an unknown name", expected, "Check --data")
            load = partial(_read, film, tables[stem], name, known(stem))
            found.append(Case(stem, person[1], load, partial(_landmarks, tables[stem], name)))
    return found


def _read(film: Path, table: Path, view: str, spacing: float | None) -> tuple[Image, Segmentation]:
    image = view_of(with_spacing(read_image(film), spacing), VIEWS[view][0])
    return image, bodies(_landmarks(table, view), image.geometry, table)


def _landmarks(path: Path, view: str) -> dict[str, np.ndarray]:
    plates = _endplates(path, VIEWS[view][1])
    found = {level: corners(plates[2 * n], plates[2 * n + 1]) for n, level in enumerate(LEVELS)}
    if len(plates) > 2 * len(LEVELS):
        found["S1"] = left_to_right(plates[-1])
    return found


def _endplates(path: Path, count: int) -> np.ndarray:
    """Return (count, 2, 2): the ends x, y of every endplate."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a table of the set", "Complete the set") from None
    except (UnicodeDecodeError, csv.Error):
        raise problem(path, "it is no table", "comma-separated values", "Fetch it again") from None
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    if len(rows) != count:
        raise problem(path, f"{len(rows)} endplates", f"{count} in this view", "Check which view this is")
    for number, row in enumerate(rows, start=1):
        if len(row) not in (4, 5) or not all(_is_number(cell) for cell in row[:4]):
            raise problem(path, f"row {number} is {','.join(row)!r}", "x1,y1,x2,y2,label", "Correct the file")
    return np.array([[float(cell) for cell in row[:4]] for row in rows]).reshape(-1, 2, 2)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
