"""The cases of a batch: what a folder or a table of cases lists, each with a name of its own for its results."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.io.suffixes import DICOM, SEG_NRRD, split_suffix, suffix_of

RESERVED = ("batch", "structures", "metrics")
"""Names of the batch's own tables."""

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^[.\s]|[.\s]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
_LONGEST = 120


@dataclass(frozen=True)
class BatchCase:
    """One image of a batch.

    Parameters
    ----------
    name : of its results, unique in the batch
    image : a file or a DICOM folder
    model : name of a card
    truth : what the result is measured against, if there is anything
    top_level : level of its uppermost vertebra, where the user knows it
    """

    name: str
    image: Path
    model: str
    truth: Path | None = None
    top_level: str | None = None


def cases_in_folder(folder: Path, model: str, *, truths: Path | None = None, out: Path | None = None):
    """Return the cases of a folder: every image file in it, and every sub-folder as a DICOM series.

    Parameters
    ----------
    truths : folder whose files (or sub-folders with a DICOM segmentation) have the names of the cases
    out : folder of the results, which is no case where it lies within `folder`

    Raises
    ------
    InputError : there is no image
    """
    from SpineSegLib.datasets.files import IMAGES

    apart = {path.resolve() for path in (truths, out) if path}
    cases, loose = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() in apart:
            continue
        if path.is_dir():
            cases.append((path.name, path))
        elif suffix_of(path) in IMAGES and suffix_of(path) not in DICOM:
            cases.append((split_suffix(path)[0], path))
        elif suffix_of(path) != SEG_NRRD:
            loose.append(path)
    if loose:
        from SpineSegLib.io.dicom import images_among

        # The slices of a series in the folder itself are one case, which has the name of the first.
        firsts = [files[0] for files in images_among(loose)]
        cases += [(split_suffix(path)[0] if suffix_of(path) in DICOM else path.name, path) for path in firsts]
    if not cases:
        raise problem(folder, "no image is in it", "image files, or sub-folders of DICOM series", "Check the folder")
    known = _truths(truths)
    return [BatchCase(name, path, model, known.get(name)) for name, path in sorted(cases)]


def _truths(folder: Path | None) -> dict[str, Path]:
    """Return the truths of a folder by name."""
    if folder is None:
        return {}
    from SpineSegLib.datasets.files import LABELS, by_stem

    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    films = {split_suffix(path)[0]: path for path in sorted(folder.iterdir()) if suffix_of(path) in DICOM}
    return {**films, **inside, **by_stem(folder, LABELS)}


def cases_in_table(
    table: Path, model: str | None, *, folder: Path | None = None, truths: Path | None = None
) -> list[BatchCase]:
    """Read cases from a CSV table with the column ``image`` (also ``truth``, ``model``, ``top level``, ``output``).

    Names are relative to a folder and may not leave it: a table comes from somewhere, a folder is chosen.

    Parameters
    ----------
    model : of the rows that name none
    folder : of the images; the table's own unless given
    truths : folder of the truths; that of the images unless given. Rows that name no truth have the one there that
        has their name

    Raises
    ------
    InputError : no such table, no column ``image``, a name outside of its folder, or a row without a model
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [{_column(key): (value or "").strip() for key, value in _cells(row)} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise problem(table, f"it cannot be read ({error})", "a CSV table in UTF-8", "Check the path") from error
    if not rows or "image" not in rows[0]:
        found = f"the columns {', '.join(rows[0])}" if rows else "no rows"
        raise problem(table, found, "rows with the column image", "Name its columns so, separated by commas")
    folder = folder or table.absolute().parent
    known, cases = _truths(truths), []
    for number, row in enumerate(rows, start=2):
        if not row["image"]:
            raise problem(f"{table}, line {number}", "no image", "the name of a file or folder", "Correct the table")
        if not (row.get("model") or model):
            raise problem(f"{table}, line {number}", "no model", "a column model, or --model", "Name a model")
        image = _inside(table, folder, row["image"])
        name = row.get("output") or (image.name if image.is_dir() else split_suffix(image)[0])
        named = row.get("truth")
        truth = _inside(table, truths or folder, named) if named else known.get(name)
        level = (row.get("top level") or "").upper() or None
        cases.append(BatchCase(name, image, row.get("model") or model or "", truth, level))
    return cases


def _column(title: str) -> str:
    words = re.sub(r"[\s_-]+", " ", title).strip().lower()
    return {"output name": "output", "case": "output"}.get(words, words)


def _cells(row: dict) -> Iterator[tuple[str, str]]:
    """Yield a row's cells; what lies beyond the last column has no title."""
    return ((key, value) for key, value in row.items() if key is not None)


def _inside(table: Path, folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        step = "Correct the table, or name a folder that holds all with --folder"
        raise problem(table, f"{name!r} lies outside of {folder}", "a file in that folder", step)
    return path


def check_cases(cases: Sequence[BatchCase], out: Path, suffixes: Collection[str]) -> None:
    """Make sure, before any work, that the results have names of their own and overwrite nothing that is read.

    Raises
    ------
    InputError : a name that cannot be a file's, two cases of one name, or a result in the place of an image or truth
    """
    seen: dict[str, BatchCase] = {}
    read = {path.resolve() for case in cases for path in (case.image, case.truth) if path}
    for case in cases:
        if _UNSAFE.search(case.name) or len(case.name) > _LONGEST or case.name.lower() in RESERVED:
            expected = f"a name for a file, at most {_LONGEST} characters, not {' or '.join(RESERVED)}"
            raise problem(case.image, f"its results would be called {case.name!r}", expected, "Rename it")
        # Windows and macOS take C5.png and c5.png for one file.
        other = seen.setdefault(case.name.casefold(), case)
        if other is not case:
            found = f"{other.image} and {case.image} would both be written to {case.name}"
            raise problem(out, found, "a name for each case", "Rename one, or give a table with a column output")
        for suffix in suffixes:
            path = out / f"{case.name}{suffix}"
            if path.resolve() in read:
                raise problem(path, "this result would replace an image or truth", "another folder", "Change --out")
