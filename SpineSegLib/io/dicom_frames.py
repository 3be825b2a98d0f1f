"""Frames of a DICOM segmentation: where each lies, and its place in arrays of the images' grid.

Standard: PS3.3 C.7.6.16.2 (plane position, plane orientation, pixel measures), C.8.20.3.1 (segment identification).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, SpacingSource
from SpineSegLib.io.dicom_pixels import number_of
from SpineSegLib.io.dicom_series import functional_group, plane_of

if TYPE_CHECKING:
    from pydicom import Dataset

_EXPORT = "Export the segmentation again"
_OFF = 0.1
"""How far a frame may lie from its place on the grid, in voxels: headers are rounded."""
_SAME = 0.01
"""How far apart planes may lie and still be one, mm."""


@dataclass(frozen=True)
class Frame:
    """One frame of a segmentation.

    Parameters
    ----------
    number : its index in the pixel data
    segment : the number of the segment that it shows; None when its values are the numbers of segments
    position : (3,) centre of its first pixel, LPS in mm
    along_row, along_column : (3,) steps to the next column and to the next row, LPS in mm
    shape : rows and columns
    between, thickness : what the file says of the distance of planes and their thickness in mm, or None
    """

    number: int
    segment: int | None
    position: np.ndarray
    along_row: np.ndarray
    along_column: np.ndarray
    shape: tuple[int, int]
    between: float | None
    thickness: float | None

    @property
    def normal(self) -> np.ndarray:
        normal = np.cross(self.along_row, self.along_column)
        return normal / np.linalg.norm(normal)


def frames_of(path: Path, source: Dataset) -> list[Frame]:
    """Return where the frames of a segmentation lie.

    Raises
    ------
    InputError : a frame does not say where it lies or what it shows, or frames are not parallel
    """
    shared = (source.get("SharedFunctionalGroupsSequence") or [None])[0]
    shape = (int(source.Rows), int(source.Columns))
    frames = []
    for number, groups in enumerate(source.PerFrameFunctionalGroupsSequence):

        def group(sequence: str, keyword: str, groups=groups):
            return functional_group(groups, shared, sequence, keyword)

        position, directions, spacing = plane_of(
            path,
            group("PlanePositionSequence", "ImagePositionPatient"),
            group("PlaneOrientationSequence", "ImageOrientationPatient"),
            group("PixelMeasuresSequence", "PixelSpacing"),
        )
        segment = group("SegmentIdentificationSequence", "ReferencedSegmentNumber")
        if source.SegmentationType == "LABELMAP":
            segment = None
        elif not isinstance(segment, int):
            raise problem(
                path, f"frame {number + 1} does not say which segment it shows", "a segment's number", _EXPORT
            )
        between = number_of(group("PixelMeasuresSequence", "SpacingBetweenSlices"))
        thick = number_of(group("PixelMeasuresSequence", "SliceThickness"))
        along_row, along_column = directions[:3] * spacing[1], directions[3:] * spacing[0]
        frames.append(Frame(number, segment, position, along_row, along_column, shape, between, thick))
    first = frames[0]
    for frame in frames:
        apart = np.abs([frame.along_row - first.along_row, frame.along_column - first.along_column]).max()
        if apart * max(shape) > _OFF * np.linalg.norm(first.along_row):
            raise problem(
                path, f"frames 1 and {frame.number + 1} lie in different orientations", "parallel frames", _EXPORT
            )
    return frames


def own_grid(path: Path, frames: list[Frame]) -> Geometry:
    """Return the grid that the frames themselves span; planes that are left out between them count."""
    first = frames[0]
    places = np.array([frame.position @ first.normal for frame in frames])
    lowest, highest = frames[int(places.argmin())], frames[int(places.argmax())]
    reach = float(places.max() - places.min())
    gaps = np.diff(np.sort(places))
    gaps = gaps[gaps > _SAME]
    # The stated distance is often that of something else, so what is measured comes first.
    measured = gaps.min() if gaps.size else first.between or first.thickness or 1.0
    for step in filter(None, (measured, first.between, first.thickness)):
        last = round(reach / step)
        step = reach / last if last else step
        counts = (places - places.min()) / step
        if np.abs(counts - np.rint(counts)).max() <= _OFF:
            break
    else:
        raise problem(path, "its planes are not evenly spaced", "planes at multiples of one distance", _EXPORT)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = first.along_row, first.along_column
    matrix[:3, 2] = (highest.position - lowest.position) / last if last else first.normal * step
    matrix[:3, 3] = lowest.position
    return Geometry((last + 1, *first.shape), LPS_TO_RAS @ matrix, SpacingSource.PIXEL_SPACING)


class Places:
    """Puts frames into arrays of a grid: which plane a frame is, and its rows and columns there."""

    def __init__(self, path: Path, frames: list[Frame], geometry: Geometry):
        first = frames[0]
        directions = np.stack([first.along_row, first.along_column]) @ LPS_TO_RAS[:3, :3]
        self.path, self.geometry, self.shape = path, geometry, first.shape
        steps = geometry.to_index(directions) - geometry.to_index(np.zeros(3))
        self.along = np.rint(steps).astype(int)
        reach = np.array(first.shape)[::-1, None]
        if (np.abs(steps - self.along) * reach).max() > _OFF or (np.abs(self.along).sum(axis=1) != 1).any():
            raise self._elsewhere("its frames have other axes or another pixel spacing")
        self.axes = [int(np.flatnonzero(row)[0]) for row in self.along]
        if self.axes[0] == self.axes[1]:
            raise self._elsewhere("its frames have other axes")
        self.plane = 3 - sum(self.axes)

    def _elsewhere(self, found: str):
        shape = " x ".join(str(n) for n in self.geometry.shape[::-1])
        step = " x ".join(f"{value:.4g}" for value in self.geometry.step[::-1])
        rows, columns = self.shape
        expected = f"frames on the grid of the images, {shape} voxels of {step} mm"
        next_step = "Give the segmentation of these images, or resample it in Slicer"
        return problem(self.path, f"{found} ({columns} x {rows} pixels)", expected, next_step)

    def view(self, array: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the part of a k, j, i array that a frame covers, as (rows, columns) of the frame."""
        start = self.geometry.to_index(LPS_TO_RAS[:3, :3] @ frame.position)
        corner = np.rint(start).astype(int)
        if np.abs(start - corner).max() > _OFF:
            raise self._elsewhere(f"frame {frame.number + 1} lies between the voxels")
        columns_axis, rows_axis = self.axes
        ends = corner + self.along[0] * (self.shape[1] - 1) + self.along[1] * (self.shape[0] - 1)
        low, high = np.minimum(corner, ends), np.maximum(corner, ends)
        if (low < 0).any() or (high >= self.geometry.shape).any():
            raise self._elsewhere(f"frame {frame.number + 1} reaches beyond the images")
        whole = np.moveaxis(array, (self.plane, rows_axis, columns_axis), (0, 1, 2))[corner[self.plane]]
        part = whole[low[rows_axis] : high[rows_axis] + 1, low[columns_axis] : high[columns_axis] + 1]
        return part[:: self.along[1][rows_axis], :: self.along[0][columns_axis]]
