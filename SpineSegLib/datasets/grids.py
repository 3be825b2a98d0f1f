"""What the readers of volumes share: an image and its labels, on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Reorientation, Segmentation
from SpineSegLib.io import read_image, read_segmentation
from SpineSegLib.phantom.write import axis_letters

_ROUNDING = 0.05
"""How far voxels of an image and its mask may lie apart, in voxels: two programs have rounded their headers."""


def read_pair(
    image: Path, mask: Path, *, modality: str | None, structures: Mapping[int, Structure | str] | None = None
) -> tuple[Image, Segmentation]:
    """Read an image and its label map.

    Parameters
    ----------
    modality : of the image; None for what its file says
    structures : label number -> structure; numbers not named there belong to nothing. None for what the file says

    Raises
    ------
    InputError : a file is at fault, or the labels lie on another grid
    """
    found = read_image(image, modality=modality)
    return found, on_grid_of(found.geometry, read_segmentation(mask, structures=structures), mask)


def on_grid_of(image: Geometry, labels: Segmentation, where: Path) -> Segmentation:
    """Return labels in the order of an image's voxels.

    Axes that run otherwise through the same voxels are turned, which loses nothing (one of VerSe's 2019 masks is
    stored so); nothing is ever resampled.

    Raises
    ------
    InputError : the voxels are others; the line has both grids
    """
    if labels.geometry.same_as(image, _ROUNDING):
        return replace(labels, geometry=image)
    here, there = Reorientation.of(labels.geometry), Reorientation.of(image)
    if not here.geometry(labels.geometry).same_as(there.geometry(image), _ROUNDING):
        found = f"its grid is {described(labels.geometry)}"
        raise problem(where, found, f"that of its image, {described(image)}", "Resample or replace the mask")
    layers = tuple(np.ascontiguousarray(there.undo(here.apply(layer))) for layer in labels.layers)
    return replace(labels, layers=layers, geometry=image)


def described(geometry: Geometry) -> str:
    """Return a grid in words: voxels, steps and directions along i, j, k, and where the first voxel lies (RAS)."""
    voxels = " x ".join(str(n) for n in geometry.shape[::-1])
    steps = " x ".join(f"{step:.4g}" for step in geometry.step[::-1])
    first = ", ".join(f"{value:.1f}" for value in geometry.ijk_to_ras[:3, 3])
    unit = "mm" if geometry.has_spacing else "(no spacing)"
    return f"{voxels} voxels of {steps} {unit} towards {''.join(axis_letters(geometry))} from ({first})"
