"""What the readers of pictures share: files by name, whom a file shows, an image and its labels on one grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io.suffixes import DICOM, META, NIFTI, NRRD, PICTURES, SEG_NRRD, split_suffix, suffix_of
from SpineSegLib.io.tables import read_table

IMAGES = (*PICTURES, *DICOM, *NIFTI, *NRRD, *META)
LABELS = (SEG_NRRD, *PICTURES, *NIFTI, *NRRD, *META)


def by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Return stem -> file for the files of a folder that have one of these suffixes, in order of name.

    Hidden files and other suffixes are skipped.

    Raises
    ------
    InputError : two files have one stem, so that nobody knows which is meant
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or suffix_of(path) not in suffixes or not path.is_file():
            continue
        stem = split_suffix(path)[0]
        if stem in found:
            raise problem(path, f"{found[stem].name} has the same name", "one file a name", "Remove one of them")
        found[stem] = path
    return found


def whose(patient: str | Mapping[str, str] | None, folder: Path) -> Callable[[str], str]:
    """Return a function from a case's name to its patient.

    Parameters
    ----------
    patient : how to tell

        - None: every case is a patient
        - a regular expression, searched in the name: its first group, or all that it matches
        - a mapping from name to patient
        - the name of a CSV file in `folder` with the columns ``name`` and ``patient``
    folder : of the data set

    Raises
    ------
    InputError : the expression or the table is at fault; on use, it says nothing of a name
    """
    if patient is None:
        return lambda name: name
    if isinstance(patient, str) and not patient.lower().endswith(".csv"):
        return _matched(patient)
    table = patient if isinstance(patient, Mapping) else _patient_table(folder / patient)
    known = {str(name): str(whom) for name, whom in table.items()}

    def looked_up(name: str) -> str:
        if name not in known:
            raise problem("patient", f"the table lacks {name!r}", "every case", "Add it to the table")
        return known[name]

    return looked_up


def _matched(pattern: str) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise problem("patient", f"{pattern!r} ({error})", "a regular expression", "Correct the recipe") from None

    def matched(name: str) -> str:
        found = compiled.search(name)
        if not found or not found.group(1 if compiled.groups else 0):
            raise problem("patient", f"{pattern!r} is not in {name!r}", "a match in every name", "Correct the recipe")
        return found.group(1 if compiled.groups else 0)

    return matched


def _patient_table(path: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    for line, row in read_table(path, "name", "patient"):
        if known.setdefault(row["name"], row["patient"]) != row["patient"]:
            raise problem(path, f"line {line} gives {row['name']!r} another patient", "one of each case", "Correct it")
    return known


def on_one_grid(image: Image, labels: Segmentation, image_path: Path, label_path: Path) -> tuple[Image, Segmentation]:
    """Return both on one grid: a picture has no place of its own and takes that of its partner.

    Raises
    ------
    InputError : they have different sizes, or their voxels lie at different places
    """
    if labels.geometry.shape != image.geometry.shape:
        found = f"labels of {_size(labels.geometry.shape)}"
        expected = f"{_size(image.geometry.shape)} as {image_path.name}"
        raise problem(label_path, found, expected, "Replace the labels")
    if suffix_of(label_path) in PICTURES:
        return image, replace(labels, geometry=image.geometry)
    if suffix_of(image_path) in PICTURES:
        return replace(image, geometry=labels.geometry), labels
    if not labels.geometry.same_as(image.geometry):
        raise problem(label_path, "its voxels lie elsewhere", f"the grid of {image_path.name}", "Resample the labels")
    return image, labels


def _size(shape: tuple[int, int, int]) -> str:
    """Return columns x rows (x slices), as programs that show pictures do."""
    return " x ".join(str(n) for n in (shape[2], shape[1], *shape[:1]) if n > 1 or n in shape[1:])
