"""From probabilities to masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

AROUND = 40.0
"""mm to all sides of the axis, within a slice, in which it is looked for in the next slice."""
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

    The axis is followed from slice to slice along the largest part, from where that is narrow, and smoothed; ribs and a
    shoulder that hang on it turn it away little. Beyond the part's ends it goes straight on, and what is near it may be
    half as many millimetres further away.

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
    for axis, found in enumerate(_followed(largest[levels], step[1:]).T, start=1):
        found = ndimage.median_filter(found, smooth, mode="nearest")
        found = ndimage.uniform_filter1d(found, smooth, mode="nearest")
        centre = np.interp(k, levels, found)
        shape = [len(mask), 1, 1]
        shape[axis] = mask.shape[axis]
        apart += (((np.arange(mask.shape[axis]) - centre[:, None]) * step[axis]) ** 2).reshape(shape)
    return mask & (apart <= ((radius + gap / 2) ** 2)[:, None, None])


def _followed(part: np.ndarray, step: Sequence[float]) -> np.ndarray:
    """Return the median position (j, i) in each slice, of what lies around that of the slice before.

    It begins where most of a slice lies around its own median: there is nothing but spine.
    """
    reach = [max(1, round(AROUND / size)) for size in step]
    middles = np.array([_median(piece, (0, 0)) for piece in part])
    shares = np.array([_around(piece, centre, reach)[0].sum() for piece, centre in zip(part, middles, strict=True)])
    sizes = part.sum(axis=(1, 2))
    shares = np.where(sizes >= np.median(sizes) / 2, shares / sizes, 0)
    best = np.flatnonzero(shares >= shares.max() - 1e-9)
    start = int(best[np.abs(best - len(part) / 2).argmin()])
    found = np.zeros((len(part), 2))
    found[start] = middles[start]
    for numbers in (range(start + 1, len(part)), range(start - 1, -1, -1)):
        centre = found[start]
        for number in numbers:
            piece, corner = _around(part[number], centre, reach)
            centre = _median(piece, corner) if piece.any() else centre
            found[number] = centre
    return found


def _around(piece: np.ndarray, centre: Sequence[float], reach: Sequence[int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the part of a slice around a place, and where it begins."""
    low = [max(0, round(place) - r) for place, r in zip(centre, reach, strict=True)]
    high = [round(place) + r + 1 for place, r in zip(centre, reach, strict=True)]
    return piece[low[0] : high[0], low[1] : high[1]], (low[0], low[1])


def _median(piece: np.ndarray, corner: Sequence[int]) -> np.ndarray:
    """Return the median position (j, i) of what a piece of a slice holds."""
    totals = (piece.sum(axis=1).cumsum(), piece.sum(axis=0).cumsum())
    return np.array(
        [(total * 2 >= total[-1]).argmax() + first for total, first in zip(totals, corner, strict=True)], float
    )
