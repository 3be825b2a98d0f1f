"""Small, proper DICOM files for tests: slices of a volume on any grid, and radiographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from SpineSegLib.image import LPS_TO_RAS, Geometry

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
STUDY = "1.2.826.0.1.3680043.10.999.1"


def header(sop_class: str, modality: str, series: int, instance: int) -> Dataset:
    """Return a data set with its identity and the names that must never leave the file."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.SOPInstanceUID = f"{STUDY}.{series}.{instance}"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, f"{STUDY}.{series}"
    data.Modality, data.SeriesNumber, data.InstanceNumber = modality, series, instance
    data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", "ID-4711", "19500101"
    data.StudyDate, data.AccessionNumber, data.InstitutionName = "20200101", "ACC-0815", "General Hospital"
    data.SeriesDescription = f"series {series}"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return data


def set_pixels(data: Dataset, stored: np.ndarray, bits: int = 16, interpretation: str = "MONOCHROME2") -> None:
    """Put stored values (rows, columns; or rows, columns, 3) into a data set."""
    data.Rows, data.Columns = stored.shape[:2]
    data.SamplesPerPixel = 1 if stored.ndim == 2 else stored.shape[2]
    if stored.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = interpretation
    data.BitsAllocated = 8 * stored.dtype.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    data["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"


def save(data: Dataset, path: Path) -> Path:
    """Write a data set as a DICOM file."""
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def slice_of(geometry: Geometry, stored: np.ndarray, k: int, *, series: int = 1, modality: str = "CT") -> Dataset:
    """Return slice k of stored values (k, j, i) on a grid, at its place in the patient."""
    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    column_step, row_step = np.linalg.norm(lps[:3, :2], axis=0)
    data = header(CT if modality == "CT" else MR, modality, series, k + 1)
    data.ImagePositionPatient = [_ds(v) for v in (lps @ [0, 0, k, 1])[:3]]
    data.ImageOrientationPatient = [_ds(v) for v in (*(lps[:3, 0] / column_step), *(lps[:3, 1] / row_step))]
    data.PixelSpacing = [_ds(row_step), _ds(column_step)]
    data.SliceThickness = "5"  # never to be trusted
    data.FrameOfReferenceUID = f"{STUDY}.99"
    data.KVP = "120"
    if modality == "CT":
        data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    set_pixels(data, stored[k])
    return data


def _ds(value: float) -> str:
    """Return a decimal string with all the digits that DICOM's 16 characters hold."""
    return pydicom.valuerep.format_number_as_ds(float(value))


def write_series(folder: Path, geometry: Geometry, stored: np.ndarray, *, leave_out=(), **of_slice) -> list[Path]:
    """Write a series in scrambled order under names that say nothing."""
    folder.mkdir(exist_ok=True)
    order = np.random.default_rng(4).permutation(len(stored))
    paths = []
    for number, k in enumerate(order):
        if k not in leave_out:
            data = slice_of(geometry, stored, int(k), **of_slice)
            paths.append(save(data, folder / f"IM{data.SeriesNumber:02d}{number:03d}"))
    return paths


def film(stored: np.ndarray, *, bits: int = 12, interpretation: str = "MONOCHROME2", sop_class: str = DX) -> Dataset:
    """Return a radiograph without spacing, rescale or window."""
    data = header(sop_class, "DX" if sop_class == DX else "CR", 7, 1)
    set_pixels(data, stored, bits, interpretation)
    data.ViewPosition, data.BodyPartExamined = "LL", "CSPINE"
    return data
