"""DICOM segmentations (SEG): binary, fractional and label-map ones, put onto the grid of the series they were made on.

A frame shows one segment in one plane; frames come in any order, planes where a segment is empty are mostly left out,
and rows and columns may run otherwise than those of the images. Each frame is placed by its own position and
orientation. Standard: PS3.3 A.51 and C.8.20 (segmentation image, segment description), C.7.6.16 (functional groups).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segment, Segmentation
from SpineSegLib.io.dicom import dataset, files_in, headers
from SpineSegLib.io.dicom_codes import structure_of
from SpineSegLib.io.dicom_frames import Frame, Places, frames_of, own_grid
from SpineSegLib.io.dicom_pixels import stored_pixels
from SpineSegLib.io.dicom_series import read_grid

if TYPE_CHECKING:
    from pydicom import Dataset

_EXPORT = "Export the segmentation again"
_THRESHOLD = 0.5
"""Fractions from here on belong to the segment: more likely than not, or more than half filled."""
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


@dataclass(frozen=True)
class SegmentationFile:
    """A segmentation among other DICOM files.

    Parameters
    ----------
    path : its file
    series : the files of the series that it was made on; empty when they are not there
    modality : of that series as DICOM says it, or empty
    uid, patient, study : SOP instance UID, patient identifier and study UID; not to be shown or written anywhere
    """

    path: Path
    series: tuple[Path, ...]
    modality: str
    uid: str
    patient: str
    study: str


def find_segmentations(files: Iterable[Path]) -> list[SegmentationFile]:
    """Find the segmentations among DICOM files, by reading their headers, with the series they refer to.

    The series is that of ReferencedSeriesSequence, else of the instances that the frames were derived from.
    """
    found = headers(files)
    series_of = {str(header.get("SOPInstanceUID", "")): str(header.get("SeriesInstanceUID", "")) for _, header in found}
    images: dict[str, list[Path]] = {}
    modality_of: dict[str, str] = {}
    for path, header in found:
        if header.get("Modality") != "SEG":
            series = str(header.get("SeriesInstanceUID", ""))
            images.setdefault(series, []).append(path)
            modality_of[series] = str(header.get("Modality", ""))
    segmentations = []
    for path, header in found:
        if header.get("Modality") != "SEG":
            continue
        source = dataset(path, pixels=False)
        named = [str(item.get("SeriesInstanceUID", "")) for item in source.get("ReferencedSeriesSequence") or []]
        derived = (series_of.get(uid, "") for uid in _source_instances(source))
        series = next((uid for uid in (*named, *derived) if uid in images), "")
        segmentations.append(
            SegmentationFile(
                path,
                tuple(images.get(series, ())),
                modality_of.get(series, ""),
                str(source.get("SOPInstanceUID", path.name)),
                str(source.get("PatientID", "")),
                str(source.get("StudyInstanceUID", "")),
            )
        )
    return segmentations


def _source_instances(source: Dataset) -> Iterator[str]:
    shared = source.get("SharedFunctionalGroupsSequence") or []
    for group in (*(source.get("PerFrameFunctionalGroupsSequence") or []), *shared):
        for derivation in group.get("DerivationImageSequence") or []:
            for item in derivation.get("SourceImageSequence") or []:
                yield str(item.get("ReferencedSOPInstanceUID", ""))


def read_dicom_seg(path: Path, geometry: Geometry | None = None) -> Segmentation:
    """Read a DICOM segmentation.

    Parameters
    ----------
    path : its file, or a folder with one segmentation in it, searched with its sub-folders
    geometry : the grid of the images; unless given, that of the series it was made on, found beside the file or in
        the folder. Without that series the grid reaches from the first to the last plane that is stored.

    Returns
    -------
    Segments numbered as in the file, overlapping ones in different layers. SNOMED-CT (and SNOMED-RT) codes say what
    they show; segments with other codes are kept under their label, as structures of kind ``"other"``. Fractional
    segments hold the voxels from 0.5 on; the probabilities are kept, occupancies are not.

    Raises
    ------
    InputError : it is no segmentation, has several files to choose from, is damaged, or its frames lie between the
        voxels of the grid or beyond it
    """
    if path.is_dir():
        where, candidates = path, find_segmentations(files_in(path))
        if len(candidates) != 1:
            names = ", ".join(one.path.name for one in candidates[:8]) or "no DICOM segmentation"
            found = f"{len(candidates)} segmentations ({names})" if candidates else names
            raise problem(path, found, "one DICOM segmentation (SEG)", "Give one file, a .seg.nrrd or a label map")
        path, series = candidates[0].path, candidates[0].series
    else:
        where, series = path, ()
        if geometry is None and dataset(path, pixels=False).get("Modality") == "SEG":
            beside = find_segmentations(sorted(p for p in path.parent.iterdir() if p.is_file()))
            series = next((one.series for one in beside if one.path == path), ())
    source = dataset(path)
    _check(path, source)
    frames = frames_of(path, source)
    if geometry is None:
        geometry = read_grid(where, list(series)) if series else own_grid(path, frames)
    return _assembled(path, source, frames, geometry)


def _check(path: Path, source: Dataset) -> None:
    kind = source.get("Modality", "of no modality")
    if kind != "SEG":
        found = "a set of contours (RTSTRUCT)" if kind == "RTSTRUCT" else f"DICOM ({kind})"
        next_step = "Convert the contours to a segmentation in Slicer" if kind == "RTSTRUCT" else "Give the labels"
        raise problem(path, f"this is {found}", "a segmentation: DICOM SEG, .seg.nrrd or a label map", next_step)
    if not source.get("SegmentSequence") or not source.get("PerFrameFunctionalGroupsSequence"):
        raise problem(path, "it has no segments or no frames", "a DICOM segmentation", _EXPORT)
    if source.get("SegmentationType") not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise problem(
            path, f"its type is {source.get('SegmentationType', 'missing')}", "BINARY or FRACTIONAL segments", _EXPORT
        )


def _assembled(path: Path, source: Dataset, frames: list[Frame], geometry: Geometry) -> Segmentation:
    described = {int(item.SegmentNumber): item for item in source.SegmentSequence}
    unknown = {frame.segment for frame in frames} - set(described) - {None}
    if unknown:
        raise problem(path, f"frames show segment {min(unknown)}", "segments that are described", _EXPORT)
    values, places = _pixels(path, source), Places(path, frames, geometry)
    fractional = source.SegmentationType == "FRACTIONAL"
    keep = fractional and source.get("SegmentationFractionalType", "PROBABILITY") == "PROBABILITY"
    dtype = np.uint8 if max(described) < 256 else np.uint16
    layers: list[np.ndarray] = []
    segments = []
    for number, item in described.items():
        if number < 1:
            continue
        mine = [frame for frame in frames if frame.segment in (number, None)]
        probability = np.zeros(geometry.shape, np.float32) if keep else None
        masks = []
        for frame in mine:
            plane = values(frame.number)
            if keep:
                view = places.view(probability, frame)
                np.maximum(view, plane, out=view)
            mask = plane == number if frame.segment is None else plane >= _THRESHOLD
            if mask.any():
                masks.append((frame, mask))
        layer = next((n for n, one in enumerate(layers) if not _taken(one, masks, places)), len(layers))
        if layer == len(layers):
            layers.append(np.zeros(geometry.shape, dtype))
        for frame, mask in masks:
            places.view(layers[layer], frame)[mask] = number
        name = str(item.get("SegmentLabel") or f"segment {number}").strip()
        segments.append(Segment(structure_of(item, name), layer, number, name, probability=probability))
    return Segmentation(tuple(layers), tuple(sorted(segments, key=lambda one: one.structure.order)), geometry)


def _taken(layer: np.ndarray, masks: list[tuple[Frame, np.ndarray]], places: Places) -> bool:
    return any(places.view(layer, frame)[mask].any() for frame, mask in masks)


def _pixels(path: Path, source: Dataset) -> Callable[[int], np.ndarray]:
    """Return a function from a frame's number to its values: 0 or 1, fractions of 1, or numbers of segments.

    Bits are unpacked a frame at a time: all frames of a large segmentation would fill gigabytes.
    """
    rows, columns = int(source.Rows), int(source.Columns)
    size, count = rows * columns, len(source.PerFrameFunctionalGroupsSequence)
    if source.get("BitsAllocated") == 1 and str(source.file_meta.TransferSyntaxUID) in _NATIVE:
        packed = np.frombuffer(source.get("PixelData") or b"", np.uint8)
        if packed.size < (size * count + 7) // 8:
            raise problem(path, "its pixels are damaged or cut off", "a whole DICOM file", _EXPORT)

        def bits(number: int) -> np.ndarray:
            first, last = number * size, (number + 1) * size
            part = np.unpackbits(packed[first // 8 : (last + 7) // 8], bitorder="little")
            return part[first % 8 :][:size].reshape(rows, columns)

        return bits
    stored = stored_pixels(path, source)
    if stored.size != size * count:
        raise problem(path, f"it has {stored.size // size} frames", f"the {count} that its header lists", _EXPORT)
    stored = stored.reshape(count, rows, columns)
    if source.SegmentationType != "FRACTIONAL":
        return lambda number: stored[number]
    full = float(source.get("MaximumFractionalValue") or 255)
    return lambda number: stored[number] / np.float32(full)
