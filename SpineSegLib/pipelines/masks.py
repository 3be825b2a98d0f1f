"""From probabilities to masks."""

from __future__ import annotations

from collections.abc import Sequence

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


def with_bright_rim(
    mask: np.ndarray, values: np.ndarray, step: Sequence[float], *, reach: float, above: float
) -> np.ndarray:
    """Return the mask with the bright voxels right around it: the cortex that a coarse network leaves out.

    Parameters
    ----------
    mask, values : boolean and numbers, k, j, i
    step : mm of a voxel along k, j, i
    reach : mm from the mask
    above : value that a voxel must exceed, such as 200 HU
    """
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return mask
    margin = [int(np.ceil(reach / size)) + 1 for size in step]
    box = tuple(slice(max(part.start - m, 0), part.stop + m) for part, m in zip(found[0], margin, strict=True))
    near = ndimage.distance_transform_edt(~mask[box], sampling=step) <= reach
    out = mask.copy()
    out[box] |= near & (values[box] > above)
    return out
