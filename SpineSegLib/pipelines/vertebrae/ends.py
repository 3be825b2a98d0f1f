"""What the image's edge leaves of the first and the last vertebra: tips of processes, slices of bodies."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineSegLib.pipelines.vertebrae.cuts import Cut

FRAGMENT = 0.04
"""What is smaller than this share of a usual vertebra is counted to its neighbour."""

TIP = 0.01
"""The same share for what the image's edge cuts off: tips of processes of the next vertebra."""

SPECK = 30.0
"""A tip that touches nothing else is a vertebra of its own from so many mm³ on, however small beside the others."""

CUT_OFF = 0.25
"""A vertebra at the image's edge of which less than this share of a usual one is in view is doubtful."""


def without_fragments(numbers: np.ndarray, cuts: list[Cut], edge: np.ndarray) -> tuple[np.ndarray, list[Cut]]:
    """Count fragments to their neighbours, and the numbers from 1 without gaps.

    A small part is a vertebra of its own only at the image's edge, which cut the rest off; elsewhere it is a mistake.

    Parameters
    ----------
    numbers : of each voxel of 1 mm, 0 outside
    cuts : between the numbers
    edge : where the image ends

    Returns
    -------
    numbers, and the cuts between those that are left
    """
    sizes = np.bincount(numbers.ravel(), minlength=len(cuts) + 2)
    sizes[0] = 0
    usual = np.median(sizes[sizes > 0])
    is_kept = sizes > FRAGMENT * usual
    for number in np.flatnonzero((sizes > 0) & ~is_kept & _touches(numbers, edge, len(sizes))):
        size = sizes[number]
        is_kept[number] = size > TIP * usual or (size >= SPECK and _is_apart(numbers, number))
    # Whole vertebrae are few where the image shows little: then everything is kept.
    kept = np.flatnonzero(is_kept if is_kept.any() else sizes)
    table = 1 + np.abs(np.arange(len(sizes))[:, None] - kept[None]).argmin(axis=1)
    table[0] = 0
    return table[numbers], [cuts[number - 2] for number in kept[1:]]


def cut_off(numbers: np.ndarray, edge: np.ndarray, count: int) -> dict[int, float]:
    """Return the mm³ of vertebrae, by number from 0, of which the image's edge leaves little.

    Parameters
    ----------
    numbers : 1… of each voxel of 1 mm, 0 outside
    edge : where the image ends
    count : how many vertebrae there are; what follows, a sacrum, does not count
    """
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[: count + 1].astype(float)
    usual = np.median(sizes[1:]) if count else 0.0
    little = (sizes < CUT_OFF * usual) & _touches(numbers, edge, count + 1)
    return {int(number) - 1: float(sizes[number]) for number in np.flatnonzero(little) if number}


def _touches(numbers: np.ndarray, edge: np.ndarray, count: int) -> np.ndarray:
    """Tell for each number below `count` whether it reaches the image's edge."""
    return np.bincount(numbers[edge], minlength=count)[:count] > 0


def _is_apart(numbers: np.ndarray, number: int) -> bool:
    """Tell whether no voxel of another number touches those of this one, by edges and corners either."""
    around = ndimage.binary_dilation(numbers == number, np.ones((3, 3, 3)))
    return bool(np.isin(numbers[around], (0, number)).all())
