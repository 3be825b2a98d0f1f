"""Radiographs from DICOM (CR, DX and their relatives).

What the array holds: the values after the modality LUT, with MONOCHROME1 turned over, so that bone is bright in every
film and nothing is clipped. The first window is kept beside it, as `WindowCenter` and `WindowWidth` in the metadata,
already in the values of the array: whoever wants the film as displayed applies it, whoever measures has all values.
A VOI LUT *table* is applied: it is not a window but the film's own characteristic curve, which many detectors need to
look like a radiograph at all and which no two numbers can stand for. Standard: PS3.3 C.11.1, C.11.2, C.7.6.3.1.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io.dicom import dataset
from SpineSegLib.io.dicom_pixels import facts_of, narrowed, number_of, stored_pixels, through_modality_lut
from SpineSegLib.io.pictures import grey

if TYPE_CHECKING:
    from pydicom import Dataset


def read_film(path: Path, modality: str | None = None) -> Image:
    """Read one radiograph.

    Raises
    ------
    InputError : it has several frames or colours, or its pixels cannot be decompressed
    """
    source = dataset(path)
    stored = stored_pixels(path, source)
    samples = int(source.get("SamplesPerPixel", 1))
    if stored.ndim != (2 if samples == 1 else 3):
        raise problem(path, f"it has {stored.shape[0]} frames", "one radiograph", "Export a single frame")
    kind = source.get("PhotometricInterpretation", "MONOCHROME2")
    if kind == "PALETTE COLOR":
        raise problem(path, "this is a colour picture (palette)", "a grey radiograph", "Export it in grey")
    if samples > 1:
        stored = grey(path, stored)
    facts = facts_of(source)
    values, window = _film_values(stored, source)
    if window:
        facts["WindowCenter"], facts["WindowWidth"] = (f"{number:.10g}" for number in window)
        if source.get("VOILUTFunction", "LINEAR") != "LINEAR":
            facts["VOILUTFunction"] = str(source.VOILUTFunction)
    geometry = _film_geometry(source, values.shape)
    return Image(values[None], geometry, modality or "XR", facts)


def _film_values(stored: np.ndarray, source: Dataset) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return the array with bright bone, and the first window (centre, width) in its values."""
    from pydicom.pixels import apply_voi

    values = through_modality_lut(stored, source)
    window = _first_window(source)
    if source.get("VOILUTSequence") and values.dtype.kind in "ui":
        table = source.VOILUTSequence[0]
        values = narrowed(apply_voi(values, source, index=0))
        low, high, window = 0, 2 ** int(table.LUTDescriptor[2]) - 1, None
    else:
        low, high = _range(source)
    if source.get("PhotometricInterpretation") != "MONOCHROME1":
        return values, window
    total = low + high
    turned = narrowed(int(total) - values.astype(np.int64)) if values.dtype.kind in "ui" else np.float32(total) - values
    if window:
        # The linear function is centred on c - 0.5 (C.11.2.1.2.1), the exact one on c.
        exact = source.get("VOILUTFunction", "LINEAR") != "LINEAR"
        window = (total - window[0] + (0 if exact else 1), window[1])
    return turned, window


def _range(source: Dataset) -> tuple[float, float]:
    """Return what the lowest and highest value that can be stored mean after the modality LUT."""
    bits = int(source.get("BitsStored", 16))
    signed = int(source.get("PixelRepresentation", 0)) == 1
    ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1], dtype=np.int64)
    if source.get("ModalityLUTSequence"):
        table = source.ModalityLUTSequence[0]
        return 0.0, float(2 ** int(table.LUTDescriptor[2]) - 1)
    low, high = through_modality_lut(ends, source).astype(float)
    return float(low), float(high)


def _first_window(source: Dataset) -> tuple[float, float] | None:
    centre, width = number_of(source.get("WindowCenter")), number_of(source.get("WindowWidth"))
    return (centre, width) if centre is not None and width is not None and width > 0 else None


def _film_geometry(source: Dataset, shape: tuple[int, int]) -> Geometry:
    """Return the grid of a film: patient left along rows and back along columns, as 3D Slicer places a film."""
    (row_step, column_step), origin = film_spacing(source)
    return Geometry((1, *shape), np.diag([-column_step, -row_step, 1.0, 1.0]), origin)


def film_spacing(source: Dataset) -> tuple[tuple[float, float], SpacingSource]:
    """Return the distance between rows and between columns, in mm, and where it came from (PS3.3 10.7.1).

    `PixelSpacing` counts as calibrated when its calibration type says so or when it differs from
    `ImagerPixelSpacing`. Everything else is a distance at the detector or on the film, so lengths in the patient
    come out magnified: `ImagerPixelSpacing`, a `PixelSpacing` of unknown calibration, `NominalScannedPixelSpacing`.
    The estimated magnification is not divided out, because Slicer shows the film with the detector's spacing and a
    segmentation must lie on it; it stays in the metadata.
    """
    patient, detector = _pair(source.get("PixelSpacing")), _pair(source.get("ImagerPixelSpacing"))
    if patient and (source.get("PixelSpacingCalibrationType") or (detector and not np.allclose(patient, detector))):
        return patient, SpacingSource.PIXEL_SPACING
    for found in (detector, patient, _pair(source.get("NominalScannedPixelSpacing"))):
        if found:
            return found, SpacingSource.IMAGER_PIXEL_SPACING
    return (1.0, 1.0), SpacingSource.UNKNOWN


def _pair(value: object) -> tuple[float, float] | None:
    try:
        first, second = (float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return (first, second) if first > 0 and second > 0 and np.isfinite([first, second]).all() else None
