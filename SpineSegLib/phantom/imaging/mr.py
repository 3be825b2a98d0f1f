"""Sagittal MR of a digital patient by the spin-echo equation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.phantom.body import Body, Tissue
from SpineSegLib.phantom.imaging.ct import averaged, cut_out, near
from SpineSegLib.phantom.imaging.noise import rician, slow_field

RELAXATION = {
    Tissue.AIR: (1.0, 1.0, 0.0),
    Tissue.LUNG: (1200.0, 10.0, 0.2),
    Tissue.FAT: (343.0, 95.0, 0.9),
    Tissue.SKIN: (900.0, 35.0, 0.7),
    Tissue.MUSCLE: (856.0, 36.0, 0.85),
    Tissue.ORGAN: (700.0, 50.0, 0.8),
    Tissue.CSF: (4000.0, 1800.0, 1.0),
    Tissue.CORD: (745.0, 78.0, 0.78),
    Tissue.DISC: (1000.0, 60.0, 0.85),
    Tissue.CARTILAGE: (1024.0, 42.0, 0.8),
    Tissue.TRABECULAR: (549.0, 75.0, 0.75),
    Tissue.CORTICAL: (200.0, 0.5, 0.2),
    Tissue.TOOTH: (200.0, 0.5, 0.1),
    Tissue.METAL: (1.0, 1.0, 0.0),
    Tissue.BED: (1.0, 1.0, 0.0),
    Tissue.NUCLEUS: (1500.0, 120.0, 0.95),
}
"""T1 and T2 in ms at 1.5 T and proton density (water 1). Muscle, fat, marrow and kidney-like organs: C. M. J. de
Bazelaire et al., Radiology 230, 2004; cord, cartilage: G. J. Stanisz et al., Magn. Reson. Med. 54, 2005; CSF and
the rest: within the ranges of P. A. Bottomley et al., Med. Phys. 11, 1984; disc is its annulus.
T2 of fat and marrow is longer in trains of echoes (R. M. Henkelman et al., J. Magn. Reson. Imaging 2, 1992)."""


@dataclass(frozen=True)
class Sequence:
    """A spin-echo sequence, its coil and its noise.

    Parameters
    ----------
    tr, te : repetition and (effective) echo time in ms: 3500/100 is T2-weighted, 550/12 T1-weighted
    snr : signal of CSF over the noise's standard deviation
    bias : strength of the slow field, standard deviation of its logarithm
    reach : mm over which the sensitivity of the spine coil behind the patient falls by half; 0 for an even one
    """

    tr: float = 3500.0
    te: float = 100.0
    snr: float = 60.0
    bias: float = 0.1
    reach: float = 160.0


def spin_echo(t1: float, t2: float, density: float, sequence: Sequence) -> float:
    """Return the signal M0 (1 - exp(-TR/T1)) exp(-TE/T2) of a spin echo (TE much shorter than TR)."""
    return density * (1 - np.exp(-sequence.tr / t1)) * np.exp(-sequence.te / t2)


def tissue_signal(sequence: Sequence) -> np.ndarray:
    """Return the signal of each tissue, float32; CSF is 1000."""
    values = np.array([spin_echo(*RELAXATION[tissue], sequence) for tissue in Tissue])
    return (1000 * values / values[Tissue.CSF]).astype(np.float32)


def body_signal(body: Body, sequence: Sequence) -> np.ndarray:
    """Return the int16 signal of a body's voxels.

    In soft tissue the density is that of protons; in spongy bone more mineral leaves less marrow (a fifth of the
    volume is mineral at density 1), and metal destroys the signal some millimetres around it.
    """
    from scipy.ndimage import gaussian_filter

    table = tissue_signal(sequence)
    out = np.empty(body.tissue.shape, np.int16)
    for k in range(len(out)):
        tissue, density = body.tissue[k], body.density[k].astype(np.float32)
        amount = np.where(tissue == Tissue.TRABECULAR, np.clip(1.2 - 0.2 * density, 0, 1.2), density)
        amount[(tissue > Tissue.TRABECULAR) & (tissue < Tissue.NUCLEUS)] = 1
        out[k] = np.clip(np.rint(table[tissue] * amount), 0, 32000)
    metal = body.tissue == Tissue.METAL
    if metal.any():
        where = np.argwhere(metal)
        margin = np.ceil(12 / body.geometry.step).astype(int)
        low = np.maximum(where.min(0) - margin, 0)
        high = np.minimum(where.max(0) + margin + 1, metal.shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        near = gaussian_filter(metal[box].astype(np.float32), 4.0 / body.geometry.step)
        # Beside the void the displaced signal piles up.
        pile = 1 + 0.8 * np.exp(-(((near - 0.05) / 0.02) ** 2))
        out[box] = np.clip(out[box] * np.clip(1 - near / 0.12, 0, 1) * pile, 0, 32000).astype(np.int16)
    return out


def magnetic_resonance(
    body: Body, geometry: Geometry, sequence: Sequence, rng: np.random.Generator | None
) -> tuple[Image, Segmentation]:
    """Scan a body.

    Parameters
    ----------
    body : the digital patient
    geometry : the grid of the MR, usually thick sagittal slices (partial volume across them)
    sequence : contrast, noise, coil
    rng : of field and noise; None for a clean, even picture

    Returns
    -------
    image : int16, CSF about 1000, modality MR
    truth : the body's structures at the centres of the voxels
    """
    whole = body.geometry
    body = near(body, geometry)
    array = averaged(body_signal(body, sequence), body.geometry, geometry, fill=0.0)
    if rng is not None:
        if sequence.bias:
            array *= np.exp(sequence.bias * slow_field(geometry.shape, rng, cells=3))
        if sequence.reach:
            array *= _coil(geometry, whole, sequence.reach)
        array = rician(array, 1000 / sequence.snr, rng)
    metadata = {"RepetitionTime": f"{sequence.tr:g}", "EchoTime": f"{sequence.te:g}", "ScanningSequence": "SE"}
    image = Image(np.clip(np.rint(array), 0, 4095).astype(np.int16), geometry, "MR", metadata)
    return image, cut_out(body.truth, geometry)


def _coil(geometry: Geometry, body: Geometry, reach: float) -> np.ndarray:
    """Return the sensitivity of a coil behind the patient, 1 at two thirds of the way to the back."""
    corners = body.to_world(np.array([(0, 0, 0), np.array(body.shape) - 1]))
    back, front = sorted(corners[:, 1])
    axes = [np.arange(n, dtype=float) for n in geometry.shape]
    matrix = geometry.ijk_to_ras
    y = matrix[1, 3] + (
        axes[0][:, None, None] * matrix[1, 2] + axes[1][None, :, None] * matrix[1, 1] + axes[2] * matrix[1, 0]
    )
    return np.clip(0.5 ** ((y - back - (front - back) / 3) / reach), 0, 2).astype(np.float32)
