"""Writing DICOM segmentations (SEG, BINARY) that refer to the CT or MR series they were made on.

The object is highdicom's: it repeats what the standard demands of the source instances (patient, study, frame of
reference) and adds nothing about the patient. Standard: PS3.3 A.51 and C.8.20.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib import __version__
from SpineSegLib.anatomy import ANATOMICAL_STRUCTURE, Code
from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, Segment, Segmentation
from SpineSegLib.io.dicom import dataset, is_film, series_files
from SpineSegLib.io.dicom_series import functional_group, grid_of
from SpineSegLib.io.origin import Origin
from SpineSegLib.io.reading import is_dicom, readable
from SpineSegLib.progress import Progress, silent

if TYPE_CHECKING:
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

_MODALITIES = ("CT", "MR")
_INSTEAD = "Give the DICOM folder of the series, or write a .seg.nrrd"
_OFF = 0.1
"""How far a voxel may lie from its place in the series, in voxels: headers are rounded."""
_SERIES_NUMBER = 300
"""Far from the scanner's own; two series of a study may have one number."""
_REPEATED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
"""What a segmentation repeats of its source and may be empty (type 2); some files lack it altogether."""


def check_source(source: str | Path) -> list[Path]:
    """Return the files of the series that a segmentation can refer to.

    Parameters
    ----------
    source : a DICOM folder, or a file of a series

    Raises
    ------
    InputError : it is no DICOM, or no CT or MR; or the package that writes the segmentation is missing
    """
    source = Path(source)
    if find_spec("highdicom") is None:
        expected = "the Python package highdicom, which writes DICOM segmentations"
        raise problem("highdicom", "it is not installed", expected, "Install it, or write a .seg.nrrd")
    with readable(source):
        if not source.is_dir() and not is_dicom(source):
            found = "it is no DICOM, so a DICOM segmentation has nothing to refer to"
            raise problem(source, found, "a DICOM series of CT or MR", _INSTEAD)
        files = series_files(source)
        first = dataset(files[0], pixels=False)
    if is_film(first) or first.get("Modality") not in _MODALITIES:
        found = f"it is {first.get('Modality') or 'of no modality'}, and DICOM segmentations are written of CT and MR"
        raise problem(source, found, "CT or MR", "Write a .seg.nrrd, or for a radiograph a .labels.png")
    return files


def write_dicom_seg(
    segmentation: Segmentation,
    path: str | Path,
    source: str | Path,
    *,
    origin: Origin | None = None,
    report: Progress = silent,
) -> None:
    """Write a segmentation as a BINARY DICOM SEG.

    Parameters
    ----------
    segmentation : on the grid of the series, or on a part of it; its axes may run otherwise
    path : the file to write (use `written_whole` around it)
    source : DICOM folder, or a file of the series, that it was made on
    origin : what made it; unknown unless given

    Raises
    ------
    InputError : the source is no DICOM series of CT or MR, the segmentation is empty or lies between its voxels
    """
    from highdicom import UID
    from highdicom.seg import Segmentation as Object

    source, origin = Path(source), origin or Origin()
    files = check_source(source)
    instances = []
    for number, file in enumerate(files):
        report(number, len(files), "reading the headers of the source")
        instances.append((file, _completed(file, dataset(file, pixels=False))))
    grid = grid_of(source, instances)
    segmentation = _on_grid(segmentation, grid, source)
    if not segmentation.foreground.any():
        raise problem(path, "no voxel is segmented", "at least one structure", "There is nothing to write")
    algorithm = _algorithm(origin)
    described = [_described(n, each, origin, algorithm) for n, each in enumerate(segmentation.segments, start=1)]
    try:
        images, planes = _in_order([image for _, image in instances], grid)
        written = Object(
            source_images=images,
            pixel_array=_numbers(segmentation)[planes],
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=UID(),
            series_number=_SERIES_NUMBER,
            series_description="SpineSeg segmentation",
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="SpineSeg",
            manufacturer_model_name="SpineSeg",
            software_versions=__version__,
            # Demanded (Enhanced General Equipment); a program has none.
            device_serial_number=__version__,
            content_label="SPINE",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"its headers lack what a segmentation must repeat ({error})"
        raise problem(source, found, "a complete DICOM series", _INSTEAD) from error
    written.save_as(path)


def _completed(path: Path, source: Dataset) -> Dataset:
    """Give a header the attributes that may be empty but not absent."""
    for keyword in _REPEATED:
        if keyword not in source:
            setattr(source, keyword, "")
    if not source.get("FrameOfReferenceUID"):
        raise problem(path, "it has no frame of reference", "FrameOfReferenceUID", _INSTEAD)
    return source


def _on_grid(segmentation: Segmentation, grid: Geometry, source: Path) -> Segmentation:
    """Return a segmentation on the series' grid, having checked that no voxel moves and none is lost."""
    if segmentation.geometry.same_as(grid):
        return replace(segmentation, geometry=grid)
    matrix = segmentation.geometry.index_transform_to(grid)
    whole = np.rint(matrix)
    drift = np.abs(matrix - whole)[:3] @ (*segmentation.geometry.shape, 1)
    permuted = (np.abs(whole[:3, :3]).sum(axis=0) == 1).all() and (np.abs(whole[:3, :3]).sum(axis=1) == 1).all()
    if permuted and drift.max() <= _OFF:
        moved = segmentation.resampled(grid)
        if np.count_nonzero(moved.foreground) == np.count_nonzero(segmentation.foreground):
            return moved
    shapes = [" x ".join(str(n) for n in each.shape[::-1]) for each in (segmentation.geometry, grid)]
    found = f"the segmentation lies between its voxels or beyond them ({shapes[0]} voxels)"
    next_step = "Segment this series itself, and remove transforms, or write a .seg.nrrd"
    raise problem(source, found, f"voxels of the series ({shapes[1]})", next_step)


def _in_order(images: list[Dataset], grid: Geometry) -> tuple[list[Dataset], list[int]]:
    """Return the source instances without repeats, and for each of their frames its number (k) on the grid."""
    images = list({str(image.SOPInstanceUID): image for image in images}.values())
    planes = []
    for image in images:
        shared = (image.get("SharedFunctionalGroupsSequence") or [None])[0]
        frames = image.get("PerFrameFunctionalGroupsSequence") or ()
        found = [functional_group(one, shared, "PlanePositionSequence", "ImagePositionPatient") for one in frames]
        for position in found or [image.ImagePositionPatient]:
            ras = LPS_TO_RAS[:3, :3] @ [float(value) for value in position]
            planes.append(round(float(grid.to_index(ras)[0])))
    if any("PerFrameFunctionalGroupsSequence" in image for image in images):
        return images, planes
    # One file a slice: sorted, so that those who look at the file find it in order.
    order = np.argsort(planes)
    return [images[n] for n in order], [planes[n] for n in order]


def _numbers(segmentation: Segmentation) -> np.ndarray:
    """Return the segments' numbers from 1 as (k, j, i), or where segments overlap masks as (k, j, i, segments)."""
    segments, layers = segmentation.segments, segmentation.layers
    dtype = np.uint8 if len(segments) < 256 else np.uint16
    numbers = np.zeros(segmentation.geometry.shape, dtype)
    for n, layer in enumerate(layers):
        table = np.zeros(int(layer.max()) + 1, dtype)
        for number, segment in enumerate(segments, start=1):
            if segment.layer == n and segment.label < table.size:
                table[segment.label] = number
        mine = table[layer]
        if (numbers[mine > 0] > 0).any():
            return np.stack([segmentation.mask(segment) for segment in segments], axis=-1).astype(np.uint8)
        numbers += mine
    return numbers


def _algorithm(origin: Origin) -> AlgorithmIdentificationSequence:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    parameters = {"model": origin.model, "weights_sha256": origin.weights_sha256}
    return AlgorithmIdentificationSequence(
        name=f"SpineSeg {origin.model}"[:64] if origin.model else "SpineSeg",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="SpineSeg",
        parameters={key: value for key, value in parameters.items() if value} or None,
    )


def _described(
    number: int, segment: Segment, origin: Origin, algorithm: AlgorithmIdentificationSequence
) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    structure = segment.structure
    own = structure.kind != "other"
    # What made it is not known without a model; "manual" would deny that a program took part.
    automatic = origin.model is not None and not segment.edited
    return SegmentDescription(
        segment_number=number,
        segment_label=segment.name.replace("\\", "/")[:64],
        segmented_property_category=_coded(ANATOMICAL_STRUCTURE if own else structure.code),
        segmented_property_type=_coded(structure.code),
        algorithm_type="AUTOMATIC" if automatic else "SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        anatomic_regions=[_coded(structure.region)] if structure.region else None,
        display_color=CIELabColor.from_rgb(*segment.colour),
    )


def _coded(code: Code):
    from pydicom.sr.coding import Code as Coded

    return Coded(code.value, code.scheme, code.meaning)
