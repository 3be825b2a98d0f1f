"""From probabilities to masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def large_parts(mask: np.ndarray, keep_fraction: float) -> np.ndarray:
    """Return the connected parts (neighbours by edges and corners too) not much smaller than the largest.

    Parameters
    ----------
    keep_fraction : a part stays when it has at least this share of the largest part's voxels; 0 keeps all, 1 one
    """
    if not mask.any() or keep_fraction <= 0:
        return mask
    parts, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= keep_fraction * sizes.max())[parts] & mask
