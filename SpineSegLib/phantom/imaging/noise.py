"""Noise as images have it: correlated grain, Rician magnitudes, slow fields."""

from __future__ import annotations

import numpy as np


def grain(shape: tuple[int, int, int], rng: np.random.Generator, *, sharpness: float, along: float = 0.0) -> np.ndarray:
    """Return the noise of filtered back-projection: no slow part, most power at middle frequencies, variance 1.

    In-plane its power spectrum is that of a ramp times a Gaussian apodisation (S. J. Riederer, N. J. Pelc and
    D. A. Chesler, Phys. Med. Biol. 23, 1978).

    Parameters
    ----------
    shape : k, j, i
    sharpness : where the apodisation falls off, in parts of the Nyquist frequency: 0.4 soft, 0.8 bone kernel
    along : correlation of neighbouring slices, 0 to 1
    """
    fy = np.fft.fftfreq(shape[1])[:, None]
    fx = np.fft.rfftfreq(shape[2])[None]
    f = np.hypot(fy, fx) / 0.5
    response = np.sqrt(f * np.exp(-((f / sharpness) ** 2))).astype(np.float32)
    out = np.empty(shape, np.float32)
    before = None
    for k in range(shape[0]):
        white = rng.standard_normal(shape[1:], dtype=np.float32)
        if before is not None and along:
            white = along * before + np.float32(np.sqrt(1 - along**2)) * white
        before = white
        out[k] = np.fft.irfft2(np.fft.rfft2(white) * response, s=shape[1:])
    return out / np.float32(out.std())


def rician(signal: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return the magnitude of a complex signal with Gaussian noise of `sigma` in both parts.

    H. Gudbjartsson and S. Patz, Magn. Reson. Med. 34, 1995: the mean square is signal² + 2 sigma².
    """
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32))


def slow_field(shape: tuple[int, ...], rng: np.random.Generator, *, cells: int = 4) -> np.ndarray:
    """Return a smooth random field with mean 0 and standard deviation 1, varying over 1/`cells` of the longest side."""
    from scipy.ndimage import zoom

    longest = max(shape)
    coarse = tuple(max(2, min(n, round(cells * n / longest) + 2)) for n in shape)
    field = zoom(rng.standard_normal(coarse), [n / m for n, m in zip(shape, coarse, strict=True)], order=3)
    field = field[tuple(slice(0, n) for n in shape)].astype(np.float32)
    return (field - field.mean()) / max(float(field.std()), 1e-6)
