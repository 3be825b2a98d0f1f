"""The upright pictures in an image: a radiograph, a sagittal slice, or every sagittal slice of a volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Reorientation
from SpineSegLib.models.preprocess import PLANES
from SpineSegLib.pipelines.levels import is_without_patient


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures of one size, rows towards the feet where the image says where these are.

    Parameters
    ----------
    pictures : (n, rows, columns), from the patient's right to the left
    step : length of a pixel down and across, in mm, or in pixels where no spacing is known
    in_patient : whether the rows are known to run to the feet; else the picture is as the user gave it
    undo : brings an array (n, rows, columns) to the image's own order k, j, i
    """

    pictures: np.ndarray
    step: tuple[float, float]
    in_patient: bool
    undo: Callable[[np.ndarray], np.ndarray]

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.step[0] / self.step[1]


def views_of(image: Image, where: object = "image") -> Views:
    """Return the pictures to look for a spine in.

    A radiograph is taken as it is: it has no place in the patient, whatever its matrix says. A slice or a volume is
    turned, by swapping and flipping axes, so that rows run to the feet and columns to the back.

    Raises
    ------
    InputError : a single slice that is not sagittal
    """
    if image.geometry.is_2d and (image.modality == "XR" or is_without_patient(image.geometry)):
        _, down, across = image.geometry.step
        return Views(image.array, (float(down), float(across)), False, lambda array: array)
    turn = Reorientation.of(image.geometry)
    if image.geometry.is_2d and turn.axes[2] != 0:
        plane = "axial" if turn.axes[0] == 0 else "coronal"
        raise problem(where, f"it is {plane}", "a sagittal slice, or a volume", "Choose another image")
    head, back, _ = turn.geometry(image.geometry).step
    # Slices to the left, rows to the head, columns to the back; then rows the other way.
    pictures = turn.apply(image.array).transpose(PLANES["sagittal"])[:, ::-1]

    def undo(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(turn.undo(array[:, ::-1].transpose(np.argsort(PLANES["sagittal"]))))

    return Views(pictures, (float(head), float(back)), True, undo)
