"""DICOM pixels: decompressed by pydicom's handlers and taken through the modality LUT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from pydicom import Dataset

_FACTS = (
    *("KVP", "ViewPosition", "BodyPartExamined", "PatientPosition", "PatientOrientation", "ImageLaterality"),
    *("PhotometricInterpretation", "PixelSpacingCalibrationType", "EstimatedRadiographicMagnificationFactor"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "Exposure", "ConvolutionKernel", "SliceThickness"),
    *("GantryDetectorTilt", "ContrastBolusAgent", "MagneticFieldStrength", "RepetitionTime", "EchoTime"),
    *("InversionTime", "FlipAngle", "ScanningSequence", "SequenceVariant", "Manufacturer", "ManufacturerModelName"),
)


def facts_of(source: Dataset) -> dict[str, str]:
    """Return the technical facts of the acquisition by keyword.

    Only the keywords listed here are taken. Names, identifiers, dates, institutions, UIDs and free descriptions can
    lead to the patient and are left behind.
    """
    found = {}
    for keyword in _FACTS:
        value = source.get(keyword)
        if value not in (None, ""):
            found[keyword] = "\\".join(str(v) for v in value) if _many(value) else str(value)
    return found


def _many(value: object) -> bool:
    return not isinstance(value, str) and hasattr(value, "__iter__")


def number_of(value: object) -> float | None:
    """Return a DICOM number, the first of several, or None when it is absent or no number."""
    try:
        first = value[0] if _many(value) else value
        number = float(first)
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def stored_pixels(path: Path, source: Dataset) -> np.ndarray:
    """Return the stored values: rows by columns, by frames before or channels after where there are several.

    Raises
    ------
    InputError : there are no pixels, they are cut off, or no installed handler can decompress them
    """
    if not any(keyword in source for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise problem(path, "it has no pixels", "an image", "Export the series again")
    try:
        return source.pixel_array
    except NotImplementedError:
        raise _undecodable(path, source) from None
    except RuntimeError as error:
        if "Unable to decompress" in str(error) or "missing required dependencies" in str(error):
            raise _undecodable(path, source) from None
        raise _damaged(path) from None
    except (ValueError, AttributeError, KeyError, TypeError, OSError, EOFError, IndexError):
        raise _damaged(path) from None


def _undecodable(path: Path, source: Dataset):
    syntax = source.file_meta.TransferSyntaxUID if hasattr(source, "file_meta") else "?"
    name = getattr(syntax, "name", syntax)
    return problem(
        path,
        f"its pixels are compressed as {name}, and they could not be decompressed",
        "uncompressed pixels, or the package python-gdcm, pylibjpeg or pyjpegls",
        "Install these packages or export the image uncompressed",
    )


def _damaged(path: Path):
    return problem(path, "its pixels are damaged or cut off", "a whole DICOM file", "Export the series again")


def through_modality_lut(stored: np.ndarray, source: Dataset) -> np.ndarray:
    """Apply the rescale slope and intercept or the modality LUT table (PS3.3 C.11.1).

    Whole results stay integers, in the smallest of int16, uint16 and int32 that holds them; else float32.
    """
    from pydicom.pixels import apply_modality_lut

    if source.get("ModalityLUTSequence"):
        return narrowed(np.asarray(apply_modality_lut(stored, source)))
    slope = number_of(source.get("RescaleSlope"))
    intercept = number_of(source.get("RescaleIntercept"))
    return rescaled(stored, 1.0 if slope is None else slope, intercept or 0.0)


def rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return stored x slope + intercept, as integers when both are whole."""
    if stored.dtype.kind in "ui" and slope.is_integer() and intercept.is_integer():
        low, high = sorted(int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max()))
        dtype = _whole_type(low, high)
        if dtype is not None:
            # Sums may pass beyond the small type and wrap round, but the results fit.
            small = dtype != np.int32 and max(abs(slope), abs(intercept)) < 2**31
            wide = stored.astype(np.int32 if small else np.int64)
            return (wide * int(slope) + int(intercept)).astype(dtype)
    return (stored * slope + intercept).astype(np.float32)


def narrowed(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest of int16, uint16 and int32 that holds them; others as float32."""
    dtype = _whole_type(int(values.min()), int(values.max())) if values.dtype.kind in "ui" else None
    return values.astype(dtype or np.float32, copy=False)


def _whole_type(low: int, high: int) -> type | None:
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return None
