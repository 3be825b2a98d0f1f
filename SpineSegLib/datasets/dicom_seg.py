"""DICOM series with DICOM segmentations (SEG), as archives give them out: any folders, any file names.

Each segmentation is a case, with the series that it refers to. Names of files and folders, and the patients' own
identifiers, mean people: cases are named by a hash of the segmentation's unique identifier instead, and a patient by
the first of its cases.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.sagittal import sagittal_cases
from SpineSegLib.errors import problem
from SpineSegLib.io import read_labelled_series


def cases(folder: str | Path, *, modality: str | None = None, slices: str | int | None = None) -> list[Case]:
    """List the segmentations, in order of name; all of one PatientID (of one study, where that is empty) stay together.

    The headers of all files are read for that, not the pixels: a second or two for a thousand files.

    Parameters
    ----------
    folder : searched with its sub-folders
    modality : only the segmentations of ``"CT"`` or ``"MR"`` images; unless given, of all
    slices : ``"mid"`` or a number: sagittal slices as cases of their own, see `SpineSegLib.datasets.sagittal`

    Raises
    ------
    InputError : no such folder, no segmentation in it, or one without its series; on loading, a damaged file or
        frames that do not lie on the grid of the series
    """
    from SpineSegLib.io.dicom import files_in
    from SpineSegLib.io.dicom_seg import find_segmentations

    folder = existing(folder)
    found = find_segmentations(files_in(folder))
    if not found:
        raise problem(folder, "no DICOM segmentation", "segmentations (SEG) with their series", "Check --data")
    first: dict[str, str] = {}
    listed = []
    for one in sorted(found, key=lambda one: one.uid):
        if not one.series:
            raise problem(one.path, "the series it was made on is not there", "the images beside it", "Add them")
        if modality is not None and one.modality != modality:
            continue
        name = f"seg-{sha256(one.uid.encode()).hexdigest()[:12]}"
        listed.append(
            Case(
                name,
                first.setdefault(one.patient or one.study, name),
                partial(read_labelled_series, one.path, one.series),
            )
        )
    if not listed:
        raise problem("modality", repr(modality), "that of some series", "Correct the recipe")
    listed.sort(key=lambda case: case.name)
    return listed if slices is None else [one for case in listed for one in sagittal_cases(case, slices)]
