"""SimpleITK, asked quietly: geometry turned into ours, its errors and console output kept from the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, SpacingSource

if TYPE_CHECKING:
    import SimpleITK


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ libraries write to standard error from the console; our own lines say what is wrong.

    The redirection holds for the whole process while the block runs.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError, ValueError):
        yield
        return
    try:
        with open(os.devnull, "wb") as sink:  # noqa: PTH123
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        with suppress(OSError):
            os.dup2(kept, 2)
        os.close(kept)


def read(path: Path, what: str, next_step: str) -> SimpleITK.Image:
    """Read a file with SimpleITK.

    Raises
    ------
    InputError : SimpleITK cannot; `what` names the expected format
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            return reader.Execute()
    except RuntimeError as error:
        text = str(error)
        if "orthonormal" in text:
            raise problem(
                path,
                "its axes are not at right angles (sheared sform)",
                "orthogonal axes",
                "Load it in 3D Slicer, harden the transform and save it as .nrrd",
            ) from None
        raise problem(path, "it is damaged or cut off", what, next_step) from None


def array_of(image: SimpleITK.Image) -> np.ndarray:
    """Return the voxels as a k, j, i array."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image)


def geometry_of(image: SimpleITK.Image, source: SpacingSource = SpacingSource.HEADER) -> Geometry:
    """Return the grid of a 2D or 3D SimpleITK image; a 2D one becomes a single slice one step thick."""
    dimension = image.GetDimension()
    matrix = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)
    matrix[:dimension, :dimension] = directions * np.array(image.GetSpacing())
    matrix[:dimension, 3] = image.GetOrigin()
    shape = (*(1,) * (3 - dimension), *image.GetSize()[::-1])
    return Geometry(shape, LPS_TO_RAS @ matrix, source)


def image_from(array: np.ndarray, geometry: Geometry) -> SimpleITK.Image:
    """Return a SimpleITK image of a k, j, i array; the grid must have axes at right angles."""
    import SimpleITK as sitk

    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    spacing = geometry.step[::-1]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def orthogonal(geometry: Geometry) -> bool:
    """Tell whether the axes of the grid are at right angles, which NIfTI and MetaImage need."""
    directions = geometry.ijk_to_ras[:3, :3] / geometry.step[::-1]
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() < 1e-5)
