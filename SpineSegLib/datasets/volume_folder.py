"""Volumes and label maps of one's own, in any layout that two patterns can name.

For instance ``images/NAME.nii.gz`` with ``masks/NAME.nii.gz`` (the default), nnU-Net's ``imagesTr/NAME_0000.nii.gz``
with ``labelsTr/NAME.nii.gz``, or ``NAME_im.nii.gz`` beside ``NAME_seg.nii.gz``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from SpineSegLib.anatomy import Structure, structure_named
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import whose
from SpineSegLib.datasets.grids import read_pair
from SpineSegLib.datasets.sagittal import sagittal_cases
from SpineSegLib.errors import problem
from SpineSegLib.io.label_tables import TOTALSEGMENTATOR, VERSE
from SpineSegLib.io.suffixes import DICOM, META, NIFTI, NRRD, SEG_NRRD, split_suffix, suffix_of

TABLES = {"verse": VERSE, "totalsegmentator": TOTALSEGMENTATOR}
_VOLUMES = (*NIFTI, *NRRD, *META, *DICOM)


def cases(
    folder: str | Path,
    *,
    images: str = "images/*",
    masks: str = "masks/*",
    labels: str | Mapping[int, str] | None = None,
    modality: str | None = None,
    patient: str | Mapping[str, str] | None = None,
    slices: str | int | None = None,
    skip_unlabelled: bool = False,
) -> list[Case]:
    """List the pairs, in order of name.

    Parameters
    ----------
    folder : where the set lies
    images, masks : where the two lie below it, with one ``*`` for what their names have in common; a pattern that ends
        with it takes every suffix of volumes. An image may be a folder with a DICOM series
    labels : what the numbers mean: ``"verse"``, ``"totalsegmentator"`` or a name for each number (``{1: "L5"}``);
        other numbers belong to nothing. Unless given, the files' own names hold, else VerSe's numbers
    modality : ``"CT"`` or ``"MR"``, where the images do not say
    patient : whom a volume shows; see `SpineSegLib.datasets.files.whose`. Every volume is a patient unless given
    slices : ``"mid"`` or a number: sagittal slices as cases of their own, see `SpineSegLib.datasets.sagittal`
    skip_unlabelled : leave out images without a mask; they are an error otherwise

    Raises
    ------
    InputError : no such folder, no pair in it, a mask without an image; on loading, a mask on another grid
    """
    folder = existing(folder)
    tell, table = whose(patient, folder), _table(labels)
    image_files = _matches(folder, images, _VOLUMES)
    mask_files = _matches(folder, masks, (SEG_NRRD, *_VOLUMES))
    # One pattern may take in what the other means: NAME.nii.gz and NAME_seg.nii.gz.
    taken = set(mask_files.values()) if images != masks else set()
    image_files = {name: path for name, path in image_files.items() if path not in taken}
    if not image_files or not mask_files:
        found = f"nothing like {images if not image_files else masks}"
        raise problem(folder, found, "volumes and label maps of the same names", "Check --data and the patterns")
    stray = sorted(set(mask_files) - set(image_files))
    if stray:
        expected = f"an image {images.replace('*', stray[0])}"
        raise problem(mask_files[stray[0]], "it has no image", expected, "Add it, or remove the mask")
    unlabelled = sorted(set(image_files) - set(mask_files))
    if unlabelled and not skip_unlabelled:
        expected = f"a mask {masks.replace('*', unlabelled[0])}"
        raise problem(image_files[unlabelled[0]], "it has no mask", expected, "Add it, or set skip_unlabelled")
    kinds = None if table is None else frozenset(structure.kind for structure in table.values())
    listed = [
        Case(
            name,
            tell(name),
            partial(read_pair, image_files[name], mask, modality=modality, structures=table),
            labelled=kinds,
        )
        for name, mask in sorted(mask_files.items())
    ]
    return listed if slices is None else [one for case in listed for one in sagittal_cases(case, slices)]


def _matches(folder: Path, pattern: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return what stands for the ``*`` -> file."""
    parts = PurePosixPath(pattern).parts
    if pattern.count("*") != 1 or "*" not in parts[-1] or ".." in parts or PurePosixPath(pattern).is_absolute():
        expected = "a place below the data folder with one * in the file's name, such as images/*"
        raise problem("pattern", repr(pattern), expected, "Correct the recipe")
    before, after = parts[-1].split("*")
    found: dict[str, Path] = {}
    for path in sorted(folder.joinpath(*parts[:-1]).glob(parts[-1])):
        if path.name.startswith(".") or (path.is_file() and suffix_of(path) not in suffixes):
            continue
        whole = path.name if after or path.is_dir() else split_suffix(path)[0]
        name = whole.removeprefix(before).removesuffix(after)
        if name in found:
            raise problem(path, f"{found[name].name} has the same name", "one file a name", "Remove one of them")
        found[name] = path
    return found


def _table(labels: str | Mapping[int, str] | None) -> dict[int, Structure] | None:
    if labels is None or (isinstance(labels, str) and labels in TABLES):
        return TABLES[labels] if labels else None
    try:
        return {int(number): structure_named(str(name)) for number, name in labels.items()}
    except (AttributeError, TypeError, ValueError):
        expected = f"{', '.join(TABLES)}, or a name for each number"
        raise problem("labels", repr(labels), expected, "Correct the recipe") from None
