"""The probability map of ``segment``: one number a pixel, beside the segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation

SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")


def check_probability(path: Path, others: Sequence[Path]) -> None:
    """Make sure, before any work, that the map can be written.

    Raises
    ------
    InputError : a suffix that holds no numbers, a missing folder, or the name of another file of the run
    """
    if not path.name.lower().endswith(SUFFIXES) or path.name.lower().endswith(".seg.nrrd"):
        raise problem(path, "a probability map of unknown kind", " or ".join(SUFFIXES), "Change its suffix")
    if path.resolve() in [other.resolve() for other in others]:
        raise problem(path, "it is the name of the image or of an output", "a file of its own", "Choose another name")
    if not path.parent.is_dir():
        raise problem(path.parent, "there is no such folder", "an existing folder", "Make the folder first")


def highest(segmentation: Segmentation) -> np.ndarray | None:
    """Return for each voxel (k, j, i) the largest probability of any structure, float32, or None without any."""
    kept = [segment.probability for segment in segmentation.segments if segment.probability is not None]
    return np.maximum.reduce(kept).astype(np.float32, copy=False) if kept else None


def write_probability(image: Image, segmentation: Segmentation, path: Path) -> list[str]:
    """Write the map on the image's grid; return in words why there is none, where a model gives none.

    Raises
    ------
    InputError : the file cannot be written
    """
    from SpineSegLib.io import write_image

    values = highest(segmentation)
    if values is None:
        return ["There is no probability: nothing was found, or this model gives none."]
    write_image(Image(values, segmentation.geometry, image.modality), path)
    return []
