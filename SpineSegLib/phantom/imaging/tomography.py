"""Parallel-beam tomography of coarse slices: what beam hardening, metal and too few photons do to a CT.

One sparse matrix projects all slices at once, and its transpose projects back. It works on a coarse grid, because the
streaks are smooth along their length; a scanner's fine detail and fine noise are made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.phantom.imaging.spectrum import Spectrum, mass_attenuation

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class Scanner:
    """Parallel beams through square slices.

    Parameters
    ----------
    size : pixels along each side of a slice
    angles : number of projections over 180 degrees
    pixel : mm
    """

    size: int
    angles: int
    pixel: float

    @property
    def bins(self) -> int:
        """Detector bins of a projection, one pixel wide."""
        return int(np.ceil(self.size * np.sqrt(2))) + 2

    @property
    def matrix(self) -> csr_matrix:
        """Sparse (angles * bins, size²): each pixel falls on two neighbouring bins of each projection."""
        return _matrix(self.size, self.angles, self.bins)

    def project(self, slices: np.ndarray) -> np.ndarray:
        """Return line integrals in mm, (angles, bins, n), of (n, size, size) slices."""
        sums = self.matrix @ slices.reshape(len(slices), -1).T.astype(np.float32)
        return sums.reshape(self.angles, self.bins, -1) * np.float32(self.pixel)

    def reconstruct(self, sinogram: np.ndarray) -> np.ndarray:
        """Return the filtered back-projection, (n, size, size) per mm, of an (angles, bins, n) sinogram.

        The ramp is that of Ramachandran and Lakshminarayanan (PNAS 68, 1971), band-limited in the spatial domain.
        """
        n = 2 * self.bins
        taps = np.minimum(np.arange(n), n - np.arange(n))
        ramp = np.where(taps % 2 == 1, -1 / (np.pi * np.maximum(taps, 1)) ** 2, 0.0)
        ramp[0] = 0.25
        spectrum = np.fft.rfft(sinogram, n=n, axis=1) * np.fft.rfft(ramp).real[None, :, None]
        filtered = np.fft.irfft(spectrum, n=n, axis=1)[:, : self.bins].astype(np.float32)
        image = self.matrix.T @ filtered.reshape(self.angles * self.bins, -1)
        return (image.T * np.float32(np.pi / self.angles / self.pixel)).reshape(-1, self.size, self.size)


@cache
def _matrix(size: int, angles: int, bins: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    centre = (size - 1) / 2
    v, u = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing="ij")
    rows, values = [], []
    for number, angle in enumerate(np.arange(angles) * np.pi / angles):
        at = u.ravel() * np.cos(angle) + v.ravel() * np.sin(angle) + (bins - 1) / 2
        low = np.floor(at).astype(np.int32)
        part = (at - low).astype(np.float32)
        rows += [number * bins + low, number * bins + low + 1]
        values += [1 - part, part]
    columns = np.tile(np.arange(size * size, dtype=np.int32), 2 * angles)
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), columns)), shape=(angles * bins, size * size))


def projection_error(amounts: np.ndarray, beam: Spectrum, energy: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a scanner's water-corrected projections lie from those of a single energy.

    Parameters
    ----------
    amounts : (bases, …): line integrals of water, bone and metal in g/cm³ times mm
    beam : the spectrum
    energy : keV, at which Hounsfield units are counted

    Returns
    -------
    error : float32 (…), the corrected projection minus the ideal one: beam hardening by bone and metal
    measured : float32 (…), the projection as measured, which sets the number of photons
    """
    from SpineSegLib.phantom.imaging.detector import transmission
    from SpineSegLib.phantom.imaging.materials import BASES

    measured = -np.log(np.maximum(transmission(amounts, beam), 1e-7))
    ideal = sum(
        np.float32(mass_attenuation(base, energy) / 10) * amount
        for base, amount in zip(BASES[: len(amounts)], amounts, strict=True)
    )
    # The scanner's own correction makes water alone come out right, whatever its thickness.
    thickness = np.linspace(0, 900, 200)
    water = -np.log(transmission(thickness[None], beam))
    corrected = np.interp(measured, water, thickness * mass_attenuation("water", energy) / 10)
    return (corrected - ideal).astype(np.float32), measured
