"""DICOM segmentations written by highdicom, which knows nothing of our reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from dicom_writing import slice_of, write_series
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from SpineSegLib.image import Geometry

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
L1 = Code("66794005", "SCT", "L1 vertebra")
L2 = Code("14293000", "SCT", "L2 vertebra")
VERTEBRA = Code("51282000", "SCT", "Vertebra")
SPINOUS = Code("55678000", "SCT", "Spinous process of vertebra")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
DESCRIBED = [("L1", L1, None), ("lower one", L2, None), ("process", SPINOUS, L1), ("finding", NEOPLASM, None)]


def sources(grid: Geometry, stored: np.ndarray) -> list[Dataset]:
    """Return the slices as data sets that highdicom accepts as sources."""
    found = []
    for k in range(len(stored)):
        data = slice_of(grid, stored, k)
        data.StudyTime = data.ContentTime = "120000"
        data.PatientSex, data.StudyID, data.ReferringPhysicianName = "F", "1", ""
        data.PositionReferenceIndicator = ""
        found.append(data)
    return found


def write_seg(
    path: Path, grid: Geometry, stored: np.ndarray, masks: np.ndarray, described=DESCRIBED, *, kind="BINARY", **options
) -> Path:
    """Write a segmentation of (segments, k, j, i) masks, or (k, j, i) numbers, with highdicom."""
    algorithm = AlgorithmIdentificationSequence("test", Code("123109", "DCM", "Manual Processing"), "1")
    descriptions = []
    for number, (label, code, region) in enumerate(described, start=1):
        regions = {} if region is None else {"anatomic_regions": [region]}
        descriptions.append(SegmentDescription(number, label, ANATOMY, code, "AUTOMATIC", algorithm, **regions))
    pixels = np.moveaxis(masks, 0, -1) if masks.ndim == 4 else masks
    written = Segmentation(
        source_images=sources(grid, stored),
        pixel_array=pixels.astype(np.uint8) if pixels.dtype == bool else pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=["series"]),
        series_number=9,
        sop_instance_uid=generate_uid(entropy_srcs=["instance"]),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    written.save_as(path)
    return path


def write_study(folder: Path, grid: Geometry, *, patient: str, number: int) -> np.ndarray:
    """Write a series and its segmentation under a patient's identifier, in folders that name the patient.

    Returns the mask, (k, j, i) bool.
    """
    stored = np.random.default_rng(number).integers(0, 3000, grid.shape).astype(np.uint16)
    mask = np.zeros((1, *grid.shape), bool)
    mask[0, 2:5, 3:9, 2 + number : 9] = True
    images, segmentation = folder / f"Doe {patient}" / f"CT{number}", folder / f"Doe {patient}" / f"SEG{number}"
    images.parent.mkdir(exist_ok=True)
    segmentation.mkdir()
    write_series(images, grid, stored, series=number)
    path = write_seg(segmentation / "1.dcm", grid, stored, mask, DESCRIBED[:1])
    data = pydicom.dcmread(path)
    data.PatientID, data.SOPInstanceUID = patient, f"1.2.3.{number}"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.ReferencedSeriesSequence[0].SeriesInstanceUID = slice_of(grid, stored, 0, series=number).SeriesInstanceUID
    data.save_as(path)
    return mask[0]
