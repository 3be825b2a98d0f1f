"""From a detector's signal to a film: the logarithm, the processing of digital systems, and the characteristic curve.

A film here is a float32 picture from 0 (black) to 1 (white) with bright bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.phantom.imaging.blur import blurred


@dataclass(frozen=True)
class Processing:
    """How a film looks.

    Parameters
    ----------
    gradient : slope of the curve at its middle, against the range of the patient; more is harder
    latitude : part of the coarse differences (centimetres) that is taken away, so that neck and shoulder show in one
        film; 0 for film, 0.3 to 0.6 for digital systems
    structure : how much of what measures some millimetres (edges of bones) is added
    enhancement : how much of the finest detail (a millimetre) is added
    density : moves the middle of the curve, in natural logarithms of the odds: positive makes a darker film
    """

    gradient: float = 4.0
    latitude: float = 0.4
    structure: float = 0.4
    enhancement: float = 0.6
    density: float = 0.0


def developed(signal: np.ndarray, pixel: float, processing: Processing, inside: np.ndarray | None = None) -> np.ndarray:
    """Return the film of a detector's signal.

    The curve between toe and shoulder is logistic, like that of a screen-film system in log exposure (J. E. Barnes,
    Characteristics and control of contrast in CT and film, RadioGraphics 1992, and every textbook's H&D curve).

    Parameters
    ----------
    signal : (rows, columns), 1 in the open field
    pixel : mm
    inside : bool (rows, columns) where the collimator let the beam through; the curve is fitted to what lies there
    """
    floor = 1e-4
    opacity = -np.log(np.maximum(signal, floor))
    inside = np.ones(signal.shape, bool) if inside is None else inside
    patient = inside & (opacity > 0.35)
    if patient.sum() < 100:
        patient = inside
    middle = float(np.median(opacity[patient]))
    # What is coarse or fine is told within the patient and the field alone: neither skin nor collimator may shine.
    matter = np.clip(opacity / 0.35, 0, 1)
    field = inside.astype(np.float32)
    coarse = _mean(np.clip(opacity, None, middle * 2), matter * field, 9.0 / pixel)
    structure = (opacity - _mean(opacity, field, 4.0 / pixel)) * matter
    fine = opacity - _mean(opacity, field, 0.8 / pixel)
    shown = opacity - processing.latitude * (coarse - middle)
    shown += (processing.structure * structure + processing.enhancement * fine) * field
    # Air stays black whatever the patient beside it does to the coarse part.
    shown = shown * matter + (1 - matter) * np.minimum(shown, opacity)
    low, middle, high = np.quantile(shown[patient][::7], [0.04, 0.5, 0.97])
    position = processing.gradient * (shown - middle) / max(float(high - low), 1e-3) - processing.density - 0.3
    # The base of the film: no density below the toe's end, none above the shoulder's.
    toe, shoulder = 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-3.4))
    picture = (1 / (1 + np.exp(-position)) - toe) / (shoulder - toe)
    return np.clip(picture, 0, 1).astype(np.float32)


def _mean(array: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Return the local mean of what has weight."""
    return blurred(array * weight, sigma) / (blurred(weight, sigma) + 1e-3)


def quantised(picture: np.ndarray, bits: int = 12, *, inverted: bool = False) -> np.ndarray:
    """Return stored pixel values; inverted for MONOCHROME1, where small values are white."""
    top = 2**bits - 1
    stored = np.rint(np.clip(picture, 0, 1) * top).astype(np.uint16 if bits > 8 else np.uint8)
    return (top - stored).astype(stored.dtype) if inverted else stored
