"""SPIDER: lumbar MR with vertebrae, discs and spinal canal (van der Graaf et al., Scientific Data 11:264, 2024).

On disk (https://doi.org/10.5281/zenodo.10159290)::

    images/1_t1.mha, 1_t2.mha, 107_t2_SPACE.mha, …   series of a patient begin with its number
    masks/1_t1.mha, …                                of the same name
    overview.csv                                     (optional) columns new_file_name and subset

Labels of a mask count from the bottom: 1 is the lowest lumbar vertebra, 2 the one above it; 101 to 125 are vertebrae
that are partly outside the image, 100 is the spinal canal, 201 the disc under vertebra 1, 202 the one above it.
"""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, Structure, has_disc_between
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.grids import read_pair
from SpineSegLib.datasets.sagittal import sagittal_cases
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation

CANAL = 100
LABELLED = frozenset({"vertebra", "disc", "spinal canal"})
_NAME = re.compile(r"(\d+)_(t1|t2|t2_space)", re.IGNORECASE)
_LAYOUT = "folders 'images' and 'masks' with files such as 1_t2.mha"


def cases(
    folder: str | Path,
    *,
    series: str | None = None,
    part: str | None = None,
    slices: str | int | None = None,
    lowest: str = "L5",
    partly_visible: bool = True,
) -> list[Case]:
    """List the series, by patient; the series of a patient stay together in a split.

    Parameters
    ----------
    folder : with images and masks
    series : only ``"t1"``, ``"t2"`` or ``"t2_SPACE"``
    part : only the set's own ``"training"`` or ``"validation"`` part, as overview.csv says
    slices : ``"mid"`` or a number: sagittal slices as cases of their own, see `SpineSegLib.datasets.sagittal`
    lowest : level of label 1. The set counts from the bottom and does not name levels; L5 is right unless a patient
        has six lumbar vertebrae (``"L6"``)
    partly_visible : whether vertebrae that are partly outside the image belong to their level, or to nothing

    Raises
    ------
    InputError : no such folder, another layout, or an image without a mask; on loading, a mask on another grid
    """
    folder = existing(folder)
    if lowest not in ("L5", "L6"):
        raise problem("lowest", repr(lowest), "L5 or L6", "Correct the recipe")
    if series is not None and not _NAME.fullmatch(f"0_{series}"):
        raise problem("series", repr(series), "t1, t2 or t2_SPACE", "Correct the recipe")
    images = {path.stem: path for path in sorted((folder / "images").glob("*.mha")) if _NAME.fullmatch(path.stem)}
    if not images:
        raise problem(folder, "no series of SPIDER", _LAYOUT, "Check --data")
    wanted = None if part is None else _names_of_part(folder, part)
    structures = label_table(lowest, partly_visible=partly_visible)
    found = []
    for stem in sorted(images, key=lambda stem: (int(_NAME.fullmatch(stem)[1]), stem)):
        mask = folder / "masks" / f"{stem}.mha"
        if not mask.is_file():
            raise problem(images[stem], "it has no mask", f"masks/{mask.name}", "Add it, or remove the image")
        patient, kind = _NAME.fullmatch(stem).groups()
        if (series is None or kind.lower() == series.lower()) and (wanted is None or stem in wanted):
            found.append(Case(stem, patient, partial(_read, images[stem], mask, structures), labelled=LABELLED))
    if not found:
        raise problem(folder, "none of its series is left by 'series' and 'part'", "some", "Correct the recipe")
    if slices is None:
        return found
    return [one for case in found for one in sagittal_cases(case, slices)]


def label_table(lowest: str = "L5", *, partly_visible: bool = True) -> dict[int, Structure]:
    """Return label number -> structure, counting upwards from the lowest lumbar vertebra.

    Examples
    --------
    >>> table = label_table()
    >>> table[1].name, table[6].name, table[106].name, table[201].name
    ('L5', 'T12', 'T12', 'L5/S1 disc')
    """
    upwards = ["S1", lowest]
    upwards += [one for one in reversed(LEVELS[: LEVELS.index(lowest)]) if one not in OPTIONAL_LEVELS]
    table = {CANAL: Structure("spinal canal")}
    for number, level in enumerate(upwards[1:], start=1):
        table[number] = Structure("vertebra", level)
        if partly_visible:
            table[100 + number] = Structure("vertebra", level)
        if has_disc_between(level, upwards[number - 1]):
            table[200 + number] = Structure("disc", f"{level}/{upwards[number - 1]}")
    return table


def _read(image: Path, mask: Path, structures: dict[int, Structure]) -> tuple[Image, Segmentation]:
    return read_pair(image, mask, modality="MR", structures=structures)


def _names_of_part(folder: Path, part: str) -> set[str]:
    table = folder / "overview.csv"
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=";" if sample.count(";") > sample.count(",") else ","))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise problem(table, "it cannot be read", "the set's overview.csv beside 'images'", "Add it") from None
    if not rows or not {"new_file_name", "subset"} <= set(rows[0]):
        raise problem(table, "other columns", "the columns new_file_name and subset", "Take the set's own file")
    parts = {row["subset"] for row in rows if row["subset"]}
    if part not in parts:
        raise problem("part", repr(part), f"one of {', '.join(sorted(parts))}", "Correct the recipe")
    return {row["new_file_name"] for row in rows if row["subset"] == part}
