"""Endplates of vertebrae: brighter than the marrow between them, where a mask runs on through the discs.

Thin discs, those of the chest above all, are often filled by what a network finds. In a CT they still show as two
bright plates close together.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

DISC = 7
"""mm: two plates with no more between them become one hill, however dark the disc is."""

PAIR = 2.5
"""mm, standard deviation of the mean that is a hill's height."""

BODY = 9.0
"""mm, standard deviation of the mean that a hill rises from."""

REGION = 25.0
"""mm, standard deviation: among so many neighbours a hill is a usual one."""

FAINT = 15.0
"""HU up to which a hill is noise."""

LEAST = 0.1
"""Share of a section below which its mean says nothing."""

WORTH = 0.7
"""Share of a section that a usual hill makes as good as empty."""


def rises(along: np.ndarray, bright: np.ndarray, bins: int, least: float | np.ndarray) -> np.ndarray:
    """Return, for each mm along an axis, by how much the mean of what lies there exceeds that of its surroundings.

    Parameters
    ----------
    along : (n,) whole mm, 0…bins-1, of voxels within the bodies' sections
    bright : (n,) their values, HU
    bins : mm
    least : voxels, of all or by mm, below which a mean says nothing; the neighbours' then stand for it
    """
    count = np.bincount(along, minlength=bins)
    seen = np.flatnonzero(count > least)
    if not len(seen):
        return np.zeros(bins)
    mean = np.bincount(along, bright, minlength=bins)[seen] / count[seen]
    profile = ndimage.gaussian_filter1d(np.interp(np.arange(bins), seen, mean), 1.0)
    profile = ndimage.grey_closing(profile, DISC)
    return ndimage.gaussian_filter1d(profile, PAIR) - ndimage.gaussian_filter1d(profile, BODY)


def usual(rise: np.ndarray) -> np.ndarray:
    """Return how high a hill usually is, by mm along the axis: what `rises` gave, its root mean square nearby."""
    return np.maximum(np.sqrt(2 * ndimage.gaussian_filter1d(rise**2, REGION)), FAINT)


def emptier(share: np.ndarray, rise: np.ndarray, hill: np.ndarray | float, *, most: float = 1.0) -> np.ndarray:
    """Return the share of a section that counts as filled: less of it where plates are.

    Parameters
    ----------
    share, rise : see `filling`, `rises`
    hill : see `usual`
    most : hills higher than so many usual ones are as good as these
    """
    return share * np.maximum(1 - WORTH * np.clip(rise / hill, 0, most), 0)


def middle(rise: np.ndarray, peak: int) -> float:
    """Return where the middle of a hill is, mm: halfway between its slopes, as one plate may be the brighter one."""
    low = rise <= rise[peak] / 2
    before, after = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak + 1 :])
    first = before[-1] + 1 if len(before) else 0
    last = peak + after[0] if len(after) else len(rise) - 1
    return (first + last) / 2
