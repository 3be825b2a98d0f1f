"""Edges at the volume's own voxels, where the network saw coarser ones.

A probability says to a millimetre or so where an edge is; the volume's values say the rest. Both are put together as
log-odds, as in active contours with local means (Lankton and Tannenbaum, IEEE Trans Image Process 17 (2008) 2029).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SURE = 0.02
"""Probability up to which, and from one minus which on, values change nothing."""
WIDTH = 1.0
"""mm."""
REACH = 2.0
"""Widths at which the mean's Gaussian weights end."""


def sharpened(
    probability: np.ndarray,
    values: np.ndarray,
    step: Sequence[float],
    *,
    width: float = WIDTH,
    share: float = 0.75,
    weight: float = 2.0,
    contrast: float = 60.0,
    between: Sequence[float] = (-200.0, 800.0),
) -> np.ndarray:
    """Return the probabilities with edges where the values have theirs.

    Where the network is not sure, a value is compared with the means inside and outside nearby, each voxel counted by
    its probability. Where these hardly differ, or the inside is the darker one, all stays as it was.

    Parameters
    ----------
    probability, values : k, j, i; of a bright structure
    step : mm of a voxel along k, j, i
    width : mm, standard deviation of what "nearby" weighs; at least a voxel
    share : of the way from the outside's mean to the inside's where the edge is; above a half, as the inside's mean is
        that of bone and marrow, and the edge that of the brighter cortex
    weight : log-odds of a value at the inside's mean against one at the edge, both by the whole contrast
    contrast : difference of the means from which on values count in full
    between : values beyond are set to these, so that neither air nor metal decides a mean
    """
    found = ndimage.find_objects((probability > SURE).astype(np.uint8))
    if not found:
        return probability
    sigma = [max(width / size, 1.0) for size in step]
    reach = margins(step, width)
    box = tuple(slice(max(part.start - m, 0), part.stop + m) for part, m in zip(found[0], reach, strict=True))
    chance = probability[box].astype(np.float32)
    clipped = np.clip(values[box].astype(np.float32), *between)

    def near(array: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(array, sigma, truncate=REACH)

    part, bright = near(chance), near(chance * clipped)
    outside = (near(clipped) - bright) / np.maximum(1 - part, 1e-3)
    apart = bright / np.maximum(part, 1e-3) - outside
    place = (clipped - outside - share * apart) / np.maximum(apart, contrast)
    odds = np.log(np.maximum(chance, 1e-6) / np.maximum(1 - chance, 1e-6))
    odds += weight * np.clip(place, -1.5, 1.5) * np.clip(apart / contrast, 0, 1)
    unsure = (chance > SURE) & (chance < 1 - SURE)
    out = probability.copy()
    out[box][unsure] = (1 / (1 + np.exp(-odds)))[unsure]
    return out


def margins(step: Sequence[float], width: float) -> list[int]:
    """Return how many voxels along each axis a voxel's result depends on."""
    return [int(REACH * max(width / size, 1.0) + 0.5) for size in step]
