"""Masks that tests of metrics share: lumpy pairs, grids, boxes of rows for levels."""

from __future__ import annotations

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Segmentation, SpacingSource

T5, T6, T7 = (Structure("vertebra", level) for level in ("T5", "T6", "T7"))
SPINE, VERTEBRAE, CORD = Structure("spine"), Structure("vertebrae"), Structure("spinal cord")


def blobs(shape, seed):
    """Return two lumpy masks that overlap in part."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(3, *shape))
    smooth = [gaussian_filter(field, [min(2, n - 1) for n in shape]) for field in noise]
    level = [field / field.std() for field in smooth]
    return level[0] + level[1] > 0.9, level[0] + level[2] > 0.9


def grid(shape, spacing=(1, 1, 1), source=SpacingSource.HEADER):
    """Return a grid along the axes with a spacing given as k, j, i."""
    return Geometry(shape, np.diag([*spacing[::-1], 1.0]), source)


def plates(geometry, **rows):
    """Return a segmentation with one box a structure, given as name=(first row, last row + 1)."""
    masks = {}
    for name, (start, stop) in rows.items():
        mask = np.zeros(geometry.shape, bool)
        mask[:, start:stop, 3:12] = True
        masks[{"spine": SPINE, "vertebrae": VERTEBRAE, "cord": CORD}.get(name) or Structure("vertebra", name)] = mask
    return Segmentation.from_masks(masks, geometry)
