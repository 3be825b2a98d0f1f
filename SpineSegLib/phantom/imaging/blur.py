"""Gaussian blurs of any width at the price of a narrow one."""

from __future__ import annotations

import numpy as np


def shrunk(array: np.ndarray, stride: int) -> np.ndarray:
    """Return the means over squares of `stride` pixels of a (rows, columns) array, its edges repeated to fill them."""
    rows, columns = (-(-n // stride) * stride for n in array.shape)
    if (rows, columns) != array.shape:
        array = np.pad(array, ((0, rows - array.shape[0]), (0, columns - array.shape[1])), mode="edge")
    return array.reshape(rows // stride, stride, columns // stride, stride).mean(axis=(1, 3))


def grown(array: np.ndarray, stride: int, size: tuple[int, int]) -> np.ndarray:
    """Return the inverse of `shrunk`, linear between the squares' centres, float32 of `size`."""
    at = [np.clip((np.arange(n) + 0.5) / stride - 0.5, 0, m - 1) for n, m in zip(size, array.shape, strict=True)]
    out = array.astype(np.float32)
    for axis, position in enumerate(at):
        low = np.minimum(position.astype(np.intp), max(array.shape[axis] - 2, 0))
        high = np.minimum(low + 1, array.shape[axis] - 1)
        part = (position - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part
        out = out.take(low, axis) * (1 - part) + out.take(high, axis) * part
    return out


def blurred(array: np.ndarray, sigma: float) -> np.ndarray:
    """Return a (rows, columns) array blurred by a Gaussian of `sigma` pixels, its edges repeated; float32.

    Wide ones work on a coarse copy: its squares (up to a third of sigma) are allowed for in the width.
    """
    from scipy.ndimage import gaussian_filter

    stride = int(sigma // 3)
    if stride < 2:
        return gaussian_filter(array, sigma, mode="nearest", output=np.float32)
    # Averaging over squares and the linear way back widen by their own variances.
    rest = np.sqrt(sigma**2 - (stride**2 - 1) / 12 - stride**2 / 6)
    return grown(gaussian_filter(shrunk(array, stride), rest / stride, mode="nearest"), stride, array.shape)
