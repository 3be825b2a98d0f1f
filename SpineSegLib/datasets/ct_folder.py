"""Labelled CT in TotalSegmentator's layout: an image beside a folder of one mask a structure.

On disk (Wasserthal et al., Radiology AI 2023)::

    case/ct.nii.gz                        or <anything>_ct.nii.gz
    case/segmentations/vertebrae_L1.nii.gz, sacrum.nii.gz, …

A data folder is one case or holds cases as sub-folders.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import structure_named
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.grids import described
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image


def cases(folder: str | Path) -> list[Case]:
    """List the cases, in order of name; each is a patient.

    Masks whose names mean no structure of the spine are skipped; voxels in several masks belong to the last by name.

    Raises
    ------
    InputError : no such folder, no case in it; on loading, several images in a case, or a mask on another grid
    """
    folder = existing(folder)
    found = [p.parent for p in sorted([*folder.glob("segmentations"), *folder.glob("*/segmentations")]) if p.is_dir()]
    if not found:
        layout = "cases with an image and a folder 'segmentations' (TotalSegmentator's layout)"
        raise problem(folder, "no labelled CT", layout, "Check --data")
    return [Case(case.name, case.name, partial(_read_case, case)) for case in found]


def _read_case(case: Path) -> tuple[Image, Segmentation]:
    images = sorted({*case.glob("ct.nii.gz"), *case.glob("*_ct.nii.gz")})
    if len(images) != 1:
        found = ", ".join(path.name for path in images) or "no image"
        raise problem(case, found, "one image named ct.nii.gz or *_ct.nii.gz", "Keep one image in each case")
    image = read_image(images[0], modality="CT")
    labels = np.zeros(image.geometry.shape, np.uint8)
    structures = {}
    for path in sorted((case / "segmentations").glob("*.nii.gz")):
        structure = structure_named(path.name.removesuffix(".nii.gz"))
        if structure.kind == "other":
            continue
        mask = read_image(path)
        if not mask.geometry.same_as(image.geometry):
            found = f"its grid is {described(mask.geometry)}"
            expected = f"that of its image, {described(image.geometry)}"
            raise problem(path, found, expected, "Resample or replace the mask")
        label = len(structures) + 1
        labels[mask.array > 0] = label
        structures[label] = structure
    if not labels.any():
        raise problem(
            case / "segmentations", "no voxel of any vertebra", "masks such as vertebrae_L1.nii.gz", "Check it"
        )
    return image, Segmentation.from_labels(labels, structures, image.geometry)
