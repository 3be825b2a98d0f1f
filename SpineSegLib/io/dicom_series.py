"""CT and MR from DICOM: slices sorted, checked and stacked, single files and enhanced multi-frame alike.

Slices are sorted by their position along the normal of their rows and columns, and the distance between slices is
measured from the positions: `SliceThickness` and `SpacingBetweenSlices` are often wrong. A tilted gantry gives a
sheared grid, which `Geometry` holds exactly. Standard: PS3.3 C.7.6.2.1.1 (image plane), C.7.6.16.2 (enhanced).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, Image, SpacingSource
from SpineSegLib.io.dicom import dataset
from SpineSegLib.io.dicom_pixels import facts_of, narrowed, number_of, rescaled, stored_pixels, through_modality_lut
from SpineSegLib.progress import Progress

if TYPE_CHECKING:
    from pydicom import Dataset

_EXPORT = "Export the whole series again"
_UNEVEN = 0.1
"""How far a slice may lie from its place, in slice distances: headers are often rounded to 0.1 mm."""
_DRIFT = 0.1
"""How far the slices may shift sideways in all, in pixels, before the grid counts as sheared."""


@dataclass(frozen=True)
class _Slice:
    """One slice: where it lies (LPS, mm) and how to get its values."""

    label: str
    uid: str
    position: np.ndarray
    rows_columns: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    values: Callable[[], np.ndarray]

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.rows_columns[:3], self.rows_columns[3:])


def read_slices(where: Path, files: list[Path], modality: str | None, report: Progress) -> Image:
    """Read the slices of one series.

    Parameters
    ----------
    where : what the user gave, named in errors
    files : the files of the series, in any order

    Raises
    ------
    InputError : a slice is missing, lies twice at one place, or does not fit the others
    """
    slices: list[_Slice] = []
    facts, kind = {}, None
    for number, path in enumerate(files):
        report(len(files) + number, 2 * len(files), "reading slices")
        source = dataset(path)
        if number == 0:
            facts, kind = facts_of(source), source.get("Modality")
        slices += _slices_of(path, source)
    slices = _sorted(where, slices)
    array = _stacked(slices)
    matrix = _matrix(where, slices, number_of(facts.get("SliceThickness")))
    window = _window(dataset(files[0]))
    known = kind if kind in ("CT", "MR") else None
    geometry = Geometry(array.shape, LPS_TO_RAS @ matrix, SpacingSource.PIXEL_SPACING)
    return Image(array, geometry, modality or known, facts | window)


def read_grid(where: Path, files: list[Path]) -> Geometry:
    """Read where the slices of one series lie, without their pixels.

    Parameters
    ----------
    where, files : as for `read_slices`

    Raises
    ------
    InputError : as for `read_slices`
    """
    return grid_of(where, [(path, dataset(path, pixels=False)) for path in files])


def grid_of(where: Path, headers: list[tuple[Path, Dataset]]) -> Geometry:
    """Return where the slices of one series lie, from the headers of its files.

    Raises
    ------
    InputError : as for `read_slices`
    """
    slices = _sorted(where, [one for path, header in headers for one in _slices_of(path, header)])
    matrix = _matrix(where, slices, number_of(headers[0][1].get("SliceThickness")))
    return Geometry((len(slices), *slices[0].shape), LPS_TO_RAS @ matrix, SpacingSource.PIXEL_SPACING)


def _window(source: Dataset) -> dict[str, str]:
    centre, width = number_of(source.get("WindowCenter")), number_of(source.get("WindowWidth"))
    return {} if centre is None or width is None else {"WindowCenter": f"{centre:.10g}", "WindowWidth": f"{width:.10g}"}


def _slices_of(path: Path, source: Dataset) -> list[_Slice]:
    """Return the slices in one file, with their values decoded only when asked for."""
    if int(source.get("SamplesPerPixel", 1)) != 1:
        raise problem(path, "it has colours", "grey slices", "Leave this file out of the folder")
    if "PerFrameFunctionalGroupsSequence" in source:
        return _frames_of(path, source)
    if int(source.get("NumberOfFrames") or 1) > 1:
        raise problem(path, "it has several frames without positions", "one slice a file", "Export single slices")
    label = f"instance {source.get('InstanceNumber', '?')} ({path.name})"

    def values() -> np.ndarray:
        return through_modality_lut(stored_pixels(path, source), source)

    plane = plane_of(
        path, source.get("ImagePositionPatient"), source.get("ImageOrientationPatient"), source.get("PixelSpacing")
    )
    shape = (int(source.get("Rows", 0)), int(source.get("Columns", 0)))
    return [_Slice(label, str(source.get("SOPInstanceUID", path)), *plane, shape, values)]


def _frames_of(path: Path, source: Dataset) -> list[_Slice]:
    shared = (source.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = source.PerFrameFunctionalGroupsSequence
    pixels: list[np.ndarray] = []

    def stored(number: int) -> np.ndarray:
        if not pixels:
            pixels.append(stored_pixels(path, source).reshape(len(frames), int(source.Rows), int(source.Columns)))
        return pixels[0][number]

    slices = []
    for number, frame in enumerate(frames):

        def group(sequence: str, keyword: str, frame=frame):
            return functional_group(frame, shared, sequence, keyword)

        slope = number_of(group("PixelValueTransformationSequence", "RescaleSlope"))
        intercept = number_of(group("PixelValueTransformationSequence", "RescaleIntercept"))

        def values(number=number, slope=slope, intercept=intercept) -> np.ndarray:
            return rescaled(stored(number), 1.0 if slope is None else slope, intercept or 0.0)

        plane = plane_of(
            path,
            group("PlanePositionSequence", "ImagePositionPatient"),
            group("PlaneOrientationSequence", "ImageOrientationPatient"),
            group("PixelMeasuresSequence", "PixelSpacing"),
        )
        shape = (int(source.Rows), int(source.Columns))
        slices.append(_Slice(f"frame {number + 1}", f"{path}#{number}", *plane, shape, values))
    return slices


def functional_group(frame: Dataset, shared: Dataset | None, sequence: str, keyword: str):
    """Return an attribute of a frame's functional groups, its own or that of all frames (PS3.3 C.7.6.16), or None."""
    for holder in (frame, shared):
        if holder is not None and holder.get(sequence):
            return holder[sequence][0].get(keyword)
    return None


def plane_of(path: Path, position, orientation, spacing) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Check and return a slice's position, orientation and spacing between rows and between columns.

    Returns
    -------
    position : (3,) centre of the first pixel, LPS in mm
    orientation : (6,) unit vectors along a row and along a column
    spacing : mm between rows and between columns

    Raises
    ------
    InputError : one is absent or damaged
    """
    try:
        position = np.array([float(v) for v in position])
        orientation = np.array([float(v) for v in orientation])
        spacing = tuple(float(v) for v in spacing)
    except (TypeError, ValueError):
        raise problem(
            path,
            "the slice has no position, orientation or pixel spacing",
            "ImagePositionPatient, ImageOrientationPatient and PixelSpacing",
            "Export the original series, not derived pictures",
        ) from None
    rows, columns = orientation[:3], orientation[3:]
    upright = (
        orientation.size == 6
        and abs(rows @ columns) < 1e-3
        and np.allclose([rows @ rows, columns @ columns], 1, atol=1e-3)
    )
    if position.size != 3 or not upright or len(spacing) != 2 or min(spacing) <= 0:
        raise problem(path, "the slice's orientation or pixel spacing is damaged", "two unit vectors", _EXPORT)
    rows = rows / np.linalg.norm(rows)
    columns = columns - (columns @ rows) * rows
    return position, np.concatenate([rows, columns / np.linalg.norm(columns)]), spacing


def _sorted(where: Path, slices: list[_Slice]) -> list[_Slice]:
    """Return the slices from first to last along the normal, having checked that they make one even stack."""
    slices = list({one.uid: one for one in slices}.values())
    for what, of in (("sizes", lambda s: s.shape), ("pixel spacings", lambda s: s.spacing)):
        kinds = Counter(of(one) for one in slices)
        if len(kinds) > 1:
            text = ", ".join(f"{count} of {' x '.join(f'{v:g}' for v in kind)}" for kind, count in kinds.most_common(4))
            raise problem(where, f"its slices have different {what}: {text}", "one", _EXPORT)
    first = slices[0]
    for one in slices:
        if np.abs(one.rows_columns - first.rows_columns).max() > 1e-3:
            raise problem(
                where, f"{first.label} and {one.label} lie in different orientations", "parallel slices", _EXPORT
            )
    slices = sorted(slices, key=lambda one: float(one.position @ first.normal))
    if len(slices) > 1:
        _check_distances(where, slices, first.normal)
    return slices


def _check_distances(where: Path, slices: list[_Slice], normal: np.ndarray) -> None:
    places = np.array([one.position @ normal for one in slices])
    steps = np.diff(places)
    step = float(np.median(steps))
    twice = int(np.argmin(steps))
    if steps[twice] < 0.05 * step or steps[twice] < 1e-3:
        raise problem(
            where,
            f"{slices[twice].label} and {slices[twice + 1].label} lie at the same place",
            "one slice at each place",
            "Export one phase or echo only",
        )
    gap = int(np.argmax(steps))
    if steps[gap] > 1.5 * step:
        missing = max(1, round(steps[gap] / step) - 1)
        raise problem(
            where,
            f"{missing} slice(s) missing between {slices[gap].label} at {places[gap]:.2f} mm and "
            f"{slices[gap + 1].label} at {places[gap + 1]:.2f} mm (others are {step:.2f} mm apart)",
            "an unbroken series",
            _EXPORT,
        )
    even = np.linspace(places[0], places[-1], len(places))
    if np.abs(places - even).max() > _UNEVEN * step:
        raise problem(
            where,
            f"the distance between slices varies from {steps.min():.2f} to {steps.max():.2f} mm",
            "evenly spaced slices",
            "Export a series with one slice distance",
        )


def _matrix(where: Path, slices: list[_Slice], thickness: float | None) -> np.ndarray:
    """Return the 4x4 matrix from i, j, k to LPS millimetres."""
    first, last = slices[0], slices[-1]
    matrix = np.eye(4)
    between_rows, between_columns = first.spacing
    matrix[:3, 0] = first.rows_columns[:3] * between_columns
    matrix[:3, 1] = first.rows_columns[3:] * between_rows
    matrix[:3, 3] = first.position
    if len(slices) == 1:
        matrix[:3, 2] = first.normal * (thickness if thickness and thickness > 0 else 1.0)
        return matrix
    step = (last.position - first.position) / (len(slices) - 1)
    along = first.normal * (step @ first.normal)
    pixel = min(first.spacing)
    sideways = step - along
    expected = first.position + np.arange(len(slices))[:, None] * step
    offsets = np.array([one.position for one in slices]) - expected
    offsets -= np.outer(offsets @ first.normal, first.normal)
    if np.linalg.norm(offsets, axis=1).max() > max(_UNEVEN, pixel):
        raise problem(where, "its slices are shifted against each other unevenly", "slices on one line", _EXPORT)
    # Rounding in the headers is no tilt.
    sheared = np.linalg.norm(sideways) * (len(slices) - 1) > _DRIFT * pixel
    matrix[:3, 2] = step if sheared else along
    return matrix


def _stacked(slices: list[_Slice]) -> np.ndarray:
    """Return the values as k, j, i in the smallest type that holds all slices without loss."""
    stack = np.empty((len(slices), *slices[0].shape), np.int16)
    for number, one in enumerate(slices):
        plane = one.values()
        if plane.shape != one.shape:
            raise problem(one.label, f"its pixels have the shape {plane.shape}", f"{one.shape}", _EXPORT)
        if plane.dtype != stack.dtype:
            if number == 0:
                stack = np.empty(stack.shape, plane.dtype)
            elif stack.dtype != np.float32:
                stack = stack.astype(np.float32 if plane.dtype.kind == "f" else np.int32)
        stack[number] = plane
    return narrowed(stack) if stack.dtype == np.int32 else stack
