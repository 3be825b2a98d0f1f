"""What the readers of films with landmarks share: their spacing, and bright bone whatever way a film was stored."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource


def spacing_of(spacing: float | str | Mapping[str, float] | None, folder: Path) -> Callable[[str], float | None]:
    """Return a function from a film's name to its spacing in mm, or None where it is unknown.

    Parameters
    ----------
    spacing : a number for every film, a mapping from name to number, the name of a CSV file in `folder` with the
        columns ``name`` and ``spacing``, or None
    folder : of the data set

    Raises
    ------
    InputError : it is none of these, or a number is not positive
    """
    if spacing is None:
        return lambda _name: None
    if isinstance(spacing, str):
        spacing = _table(folder / spacing)
    if not isinstance(spacing, Mapping):
        every = _positive(spacing, "spacing")
        return lambda _name: every
    known = {str(name): _positive(value, f"spacing of {name}") for name, value in spacing.items()}
    return known.get


def _table(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        return {row["name"]: row["spacing"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError):
        found = "it cannot be read, or lacks these columns"
        raise problem(path, found, "a CSV table with the columns name and spacing", "Check the recipe") from None


def _positive(value: object, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < 100:
        raise problem(where, repr(value), "millimetres, more than 0", "Correct it")
    return number


def with_spacing(image: Image, spacing: float | None) -> Image:
    """Return a film with square pixels of this size (mm); as it is without one.

    The spacing of a digitised film is that of its plane: lengths in the patient are magnified, as with DICOM's
    ImagerPixelSpacing.
    """
    if spacing is None:
        return image
    matrix = np.diag([-spacing, -spacing, 1.0, 1.0])
    return replace(image, geometry=Geometry(image.geometry.shape, matrix, SpacingSource.IMAGER_PIXEL_SPACING))


def bright_bone(image: Image, bodies: Segmentation, inverted: bool | str) -> Image:
    """Return a film on which bone is bright.

    Parameters
    ----------
    image : the film as stored
    bodies : the vertebral bodies on it
    inverted : True to turn the greys over, False to keep them, ``"auto"`` to turn them over where the bodies are darker
        than what lies beside them: soft tissue and air let more rays through than bone

    Raises
    ------
    InputError : it is none of these
    """
    if inverted not in (True, False, "auto"):
        raise problem("inverted", repr(inverted), "true, false or auto", "Correct the recipe")
    if inverted == "auto":
        inside = bodies.foreground
        beside = inside.any(axis=2, keepdims=True) & ~inside
        inverted = bool(beside.any() and np.median(image.array[inside]) < np.median(image.array[beside]))
    if not inverted:
        return image
    # The range stays as it is, so that a film of 12 bits does not become one of 16.
    values = image.array
    return replace(image, array=(values.max() - values + values.min()).astype(values.dtype))


def view_of(image: Image, position: str) -> Image:
    """Return a film that says its view, as DICOM's ViewPosition does: ``AP`` or ``LL``."""
    return replace(image, metadata={**image.metadata, "ViewPosition": position})
