"""DICOM objects of a digital patient: Digital X-Ray, CT and MR images with every attribute that readers need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.image import LPS_TO_RAS
from SpineSegLib.phantom.imaging.film import quantised

if TYPE_CHECKING:
    from pydicom import Dataset

    from SpineSegLib.phantom.cases import Case

STORAGE = {
    "XR": "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
}
MODALITY = {"XR": "DX", "CT": "CT", "MR": "MR"}
DATE, TIME = "20000101", "120000"
"""Every synthetic study is of this moment: the same seed gives the same bytes."""


def write_film(case: Case, path: Path) -> None:
    """Write a radiograph as a Digital X-Ray object of 12 bits (PS3.3 A.26)."""
    image, made = case.image, case.parameters["image"]
    ds = _common(case, "", 1)
    view = made["view"]
    inverted = bool(made["inverted"])
    stored = quantised(image.array[0], 12, inverted=inverted)
    lateral = case.kind.startswith("lateral")
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.BodyPartExamined = {"lateral-cervical": "CSPINE", "lateral-lumbar": "LSPINE", "ap": "SPINE"}[case.kind]
    ds.ViewPosition = "LL" if lateral else "AP"
    ds.PatientOrientation = ["A" if made["mirrored"] else "P", "F"] if lateral else ["L", "F"]
    ds.ImageLaterality = "U"
    ds.ImagerPixelSpacing = [f"{view['pixel']:.6g}"] * 2
    ds.DetectorElementSpacing = ds.ImagerPixelSpacing
    ds.DetectorType = "SCINTILLATOR"
    ds.DistanceSourceToDetector = f"{view['source_detector']:.6g}"
    ds.DistanceSourceToPatient = f"{view['source_centre']:.6g}"
    ds.EstimatedRadiographicMagnificationFactor = f"{view['source_detector'] / view['source_centre']:.6g}"
    ds.KVP = f"{made['exposure']['kvp']:g}"
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.WindowCenter, ds.WindowWidth = "2048", "4096"
    ds.BurnedInAnnotation = "YES" if made["marker"] else "NO"
    ds.LossyImageCompression = "00"
    _pixels(ds, stored, bits=12)
    _save(ds, path)


def write_series(case: Case, folder: Path) -> None:
    """Write a CT or MR as one object a slice (PS3.3 A.3, A.4)."""
    image, made = case.image, case.parameters["image"]
    lps = LPS_TO_RAS @ image.geometry.ijk_to_ras
    steps = image.geometry.step[::-1]
    row, column = lps[:3, 0] / steps[0], lps[:3, 1] / steps[1]
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(image.array):
        ds = _common(case, f"slice {number}", number + 1)
        ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL" if image.modality == "CT" else "M"]
        ds.FrameOfReferenceUID = _uid(case, "frame")
        ds.PositionReferenceIndicator = ""
        position = lps[:3, 3] + number * lps[:3, 2]
        ds.ImagePositionPatient = [_decimal(v) for v in position]
        ds.ImageOrientationPatient = [_decimal(v) for v in (*row, *column)]
        ds.PixelSpacing = [_decimal(steps[1]), _decimal(steps[0])]
        ds.SliceThickness = ds.SpacingBetweenSlices = _decimal(steps[2])
        ds.PatientPosition = "HFS"
        ds.BodyPartExamined = "SPINE"
        ds.PhotometricInterpretation = "MONOCHROME2"
        if image.modality == "CT":
            ds.KVP = f"{made['kvp']:g}"
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
            ds.WindowCenter, ds.WindowWidth = "400", "1800"
            _pixels(ds, (plane.astype(np.int32) + 1024).astype(np.uint16), bits=12)
        else:
            ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "SK", "", "2D"
            ds.RepetitionTime, ds.EchoTime = f"{made['tr']:.6g}", f"{made['te']:.6g}"
            ds.MagneticFieldStrength, ds.EchoTrainLength = "1.5", "15"
            ds.WindowCenter, ds.WindowWidth = "400", "800"
            _pixels(ds, plane.astype(np.uint16), bits=12)
        _save(ds, folder / f"{number + 1:04d}.dcm")


def _decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters (VR DS)."""
    text = f"{float(value):.10g}"
    return text if len(text) <= 16 else f"{float(value):.8g}"


def _uid(case: Case, what: str) -> str:
    from pydicom.uid import generate_uid

    made = case.parameters
    sources = [
        case.kind,
        str(made["seed"]),
        str(made["number"]),
        " ".join(made["shapes"]),
        str(case.image.array.shape),
        what,
    ]
    return generate_uid(entropy_srcs=["SpineSeg phantom", *sources])


def _common(case: Case, what: str, instance: int) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = STORAGE[case.image.modality]
    ds.SOPInstanceUID = _uid(case, f"instance {what}")
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(case, "study"), _uid(case, "series")
    ds.Modality = MODALITY[case.image.modality]
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = DATE
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = TIME
    ds.PatientName, ds.PatientID = f"Digital^Spine {case.name}", case.name
    ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber = "", "O", "1", ""
    ds.ReferringPhysicianName = ds.InstitutionName = ""
    ds.Manufacturer, ds.ManufacturerModelName = "SpineSeg", "digital spine"
    ds.SoftwareVersions = case.parameters["software"]
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "synthetic: no patient"
    ds.QualityControlImage = "NO"
    ds.StudyDescription, ds.SeriesDescription = "digital spine", case.kind
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", "1", str(instance)
    return ds


def _pixels(ds: Dataset, stored: np.ndarray, bits: int) -> None:
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
    ds["PixelData"].VR = "OW"


def _save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
