"""X-ray tubes and attenuation: which photons there are, and what stops them.

Mass attenuation coefficients are those of NIST (J. H. Hubbell and S. M. Seltzer, Tables of X-Ray Mass Attenuation
Coefficients, NISTIR 5632, 2004, doi:10.18434/T4D01F; tissues as in ICRU Report 44), interpolated log-log. K edges of
the detector and of lead are left out below 40 keV and above 88 keV, where few detected photons lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

ENERGIES = np.array([10, 15, 20, 30, 40, 50, 60, 80, 100, 150], dtype=float)
"""Photon energies of the table in keV."""

MASS_ATTENUATION = {
    "water": (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
    "bone": (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
    "aluminium": (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
    "titanium": (110.7, 35.87, 15.85, 4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721, 0.1649),
    "lead": (130.6, 111.6, 86.36, 30.32, 14.36, 8.041, 5.021, 2.419, 5.549, 2.014),
    "caesium iodide": (171.3, 55.98, 25.46, 9.045, 22.97, 12.87, 7.921, 3.677, 2.035, 0.7288),
}
"""µ/ρ in cm²/g at `ENERGIES`; bone is cortical bone of ICRU-44."""


def mass_attenuation(material: str, energy: np.ndarray | float) -> np.ndarray:
    """Return µ/ρ in cm²/g of a material at photon energies in keV."""
    return np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(MASS_ATTENUATION[material])))


@dataclass(frozen=True)
class Spectrum:
    """What the detector weighs: a few photon energies with their share of the signal.

    Parameters
    ----------
    energy : keV, one value a bin
    share : part of the open-field signal that each bin makes; sums to 1
    """

    energy: np.ndarray
    share: np.ndarray

    def coefficients(self, material: str) -> np.ndarray:
        """Return µ/ρ in cm²/g for each bin."""
        return mass_attenuation(material, self.energy)


@cache
def spectrum(kvp: float, *, aluminium_mm: float = 3.0, bins: int = 6, scintillator_mg_cm2: float = 180.0) -> Spectrum:
    """Return the detected spectrum of a tungsten tube.

    Kramers' law (photons of energy E go as kVp/E - 1; H. A. Kramers, Phil. Mag. 46, 1923) behind the filter, weighed
    with the energy that a caesium iodide screen absorbs. The bins hold equal shares of the signal, so that few of them
    render beam hardening.

    Parameters
    ----------
    kvp : tube voltage
    aluminium_mm : total filtration
    bins : number of energies
    scintillator_mg_cm2 : thickness of the screen
    """
    energy = np.arange(12.0, kvp, 0.5)
    photons = (kvp / energy - 1) * np.exp(-mass_attenuation("aluminium", energy) * 2.70 * aluminium_mm / 10)
    absorbed = 1 - np.exp(-mass_attenuation("caesium iodide", energy) * scintillator_mg_cm2 / 1000)
    signal = photons * absorbed * energy
    part = np.minimum((np.cumsum(signal) / signal.sum() * bins).astype(int), bins - 1)
    share = np.bincount(part, signal, bins)
    return Spectrum(np.bincount(part, signal * energy, bins) / share, share / share.sum())
