"""From probabilities to masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SMOOTH = 30.0
"""mm along the spine over which its axis is smoothed."""


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


def near_column(mask: np.ndarray, step: Sequence[float], radius: float) -> np.ndarray:
    """Return the mask without what lies far from the spine's axis: ribs, sternum, shoulders, hips.

    The axis runs through the medians of the largest part's slices, smoothed; ribs that hang on it move a median little.
    Beyond the part's ends it goes straight on, and what is near it may be half as many millimetres further away.

    Parameters
    ----------
    mask : boolean, k, j, i, k along the spine
    step : mm of a voxel along k, j, i
    radius : mm within a slice
    """
    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if not count:
        return mask
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    levels = np.flatnonzero(largest.any(axis=(1, 2)))
    k = np.arange(len(mask))
    gap = np.maximum(np.maximum(levels[0] - k, k - levels[-1]), 0) * step[0]
    smooth = max(1, round(SMOOTH / step[0]))
    apart = np.zeros(mask.shape, np.float32)
    for axis, other in ((1, 2), (2, 1)):
        found = ndimage.median_filter(_medians(largest.sum(axis=other)[levels]), smooth, mode="nearest")
        found = ndimage.uniform_filter1d(found, smooth, mode="nearest")
        centre = np.interp(k, levels, found)
        shape = [len(mask), 1, 1]
        shape[axis] = mask.shape[axis]
        apart += (((np.arange(mask.shape[axis]) - centre[:, None]) * step[axis]) ** 2).reshape(shape)
    return mask & (apart <= ((radius + gap / 2) ** 2)[:, None, None])


def _medians(counts: np.ndarray) -> np.ndarray:
    """Return the median position in each row of counts (rows, positions)."""
    total = counts.cumsum(axis=1)
    return (total * 2 >= total[:, -1:]).argmax(axis=1).astype(float)
