"""From amounts of matter along the rays to what a flat detector measures: beam hardening, scatter, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.phantom.imaging.blur import blurred, grown, shrunk
from SpineSegLib.phantom.imaging.materials import BASES
from SpineSegLib.phantom.imaging.spectrum import Spectrum, spectrum


@dataclass(frozen=True)
class Exposure:
    """How a film is exposed.

    Parameters
    ----------
    kvp : tube voltage
    photons : detected photons per mm² behind the typical body part; 1 µGy at the detector is about 30000 per mm², of
        which a screen stops half
    scatter_to_primary : scattered over primary signal behind the thick parts; a grid leaves 0.1 to 0.6
    focal_spot : mm, its full width
    detector_blur : mm, standard deviation of the detector's sharp response
    glare : part of the signal that spreads by about a millimetre (in the screen, or in film)
    electronic : standard deviation of the electronic noise in detected photons per pixel
    """

    kvp: float = 75.0
    photons: float = 25000.0
    scatter_to_primary: float = 0.35
    focal_spot: float = 0.6
    detector_blur: float = 0.11
    glare: float = 0.06
    electronic: float = 3.0


def transmission(amounts: np.ndarray, beam: Spectrum) -> np.ndarray:
    """Return the detected share of the open field behind some matter.

    Parameters
    ----------
    amounts : (2 or 3, rows, columns): g/cm³ times mm of `BASES`
    beam : spectrum weighed by the detector; each energy follows the Beer-Lambert law on its own, so beams harden

    Returns
    -------
    float32 (rows, columns)
    """
    out = np.zeros(amounts.shape[1:], np.float32)
    attenuation = [beam.coefficients(base) / 10 for base in BASES[: len(amounts)]]
    for number, share in enumerate(beam.share):
        exponent = sum(np.float32(mu[number]) * amount for mu, amount in zip(attenuation, amounts, strict=True))
        out += np.float32(share) * np.exp(-exponent)
    return out


def scattered(primary: np.ndarray, pixel: float, ratio: float) -> np.ndarray:
    """Return the scattered signal: smooth, and strong where a thick part lies beside a bright field.

    Each ray sends off scatter like T · (-ln T), which spreads with tails of some centimetres on the detector
    (B. Ohnesorge, T. Flohr and K. Klingenbeck-Regn, Eur. Radiol. 9, 1999); it is scaled so that the median ratio of
    scatter to primary behind the patient is `ratio`.

    Parameters
    ----------
    primary : (rows, columns) detected share of the open field
    pixel : mm
    """
    stride = max(1, round(4 / pixel))
    coarse = shrunk(primary, stride)
    source = coarse * -np.log(np.clip(coarse, 1e-5, 1))
    step = pixel * stride
    spread = sum(weight * blurred(source, width / step) for weight, width in ((0.6, 18.0), (0.4, 50.0)))
    behind = coarse < 0.5
    if behind.any():
        spread *= ratio / max(float(np.median(spread[behind] / np.maximum(coarse[behind], 1e-5))), 1e-6)
    else:
        spread[:] = 0
    return grown(spread, stride, primary.shape)


def detected(
    amounts: np.ndarray,
    *,
    pixel: float,
    magnification: float,
    exposure: Exposure,
    aperture: np.ndarray | None = None,
    lead: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Return the signal of the detector, 1 in the open field.

    Parameters
    ----------
    amounts : (2 or 3, rows, columns): g/cm³ times mm of the base materials
    pixel : mm at the detector
    magnification : at the centre; the focal spot blurs more the further the patient is from the detector
    aperture : (rows, columns) what the collimator lets pass, 0 to 1; all of it unless given
    lead : (rows, columns) mm of lead on the detector (side markers)
    rng : of the noise; None for the mean signal
    """
    beam = spectrum(exposure.kvp)
    primary = transmission(amounts, beam)
    if aperture is not None:
        primary *= aperture
    total = primary + scattered(primary, pixel, exposure.scatter_to_primary)
    total = blurred(total, exposure.focal_spot * (magnification - 1) / 2.355 / pixel)
    if lead is not None:
        # The marker lies on the detector: scatter from the patient passes it as little as the beam does.
        total *= sum(
            share * np.exp(-mu * 11.35 / 10 * lead)
            for share, mu in zip(beam.share, beam.coefficients("lead"), strict=True)
        ).astype(np.float32)
    if rng is not None:
        typical = float(np.median(total[total < 0.5])) if (total < 0.5).any() else 1.0
        photons = np.float32(exposure.photons * pixel**2 / typical)
        total += np.sqrt(total / photons) * rng.standard_normal(total.shape, np.float32)
    sharp = blurred(total, exposure.detector_blur / pixel)
    total = (1 - exposure.glare) * sharp + exposure.glare * blurred(total, 1.0 / pixel)
    if rng is not None:
        total += rng.standard_normal(total.shape, np.float32) * np.float32(exposure.electronic / photons)
    return total
