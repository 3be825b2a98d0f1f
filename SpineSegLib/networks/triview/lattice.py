"""A volume cut into the slices of one view, and what is found in these brought onto one lattice for all views.

Volumes are (n, c, d, h, w). A lattice cell is a cube of `STEP` voxels a side: an encoder halves its slices in-plane,
and they are averaged through it, so that cell (k, j, i) of every view speaks of voxels 2k…2k+1, 2j…2j+1, 2i…2i+1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

STEP = 2
"""Voxels along a side of a lattice cell."""
VIEWS: dict[str, tuple[int, int, int]] = {"axial": (2, 3, 4), "sagittal": (4, 2, 3), "coronal": (3, 2, 4)}
"""View -> axes of (n, c, d, h, w) that become slice, row and column."""


def slices_of(volume: torch.Tensor, view: str) -> torch.Tensor:
    """Return a volume's slices in a view, (n slices, c, rows, columns), channels last in memory."""
    along, rows, columns = VIEWS[view]
    slices = volume.permute(0, along, rows, columns, 1)
    return slices.reshape(-1, *slices.shape[2:]).permute(0, 3, 1, 2)


def on_lattice(found: torch.Tensor, view: str, count: int) -> torch.Tensor:
    """Return a view's features (n, d / 2, h / 2, w / 2, c) on the lattice.

    Parameters
    ----------
    found : (n slices, c, rows / 2, columns / 2)
    count : volumes n
    """
    _, channels, rows, columns = found.shape
    cells = found.permute(0, 2, 3, 1).reshape(count, -1, STEP, rows, columns, channels).mean(2)
    order = VIEWS[view]
    return cells.permute(0, *(1 + order.index(axis) for axis in (2, 3, 4)), 4)


def in_parts(run: Callable[[torch.Tensor], torch.Tensor], slices: torch.Tensor, most: int | None) -> torch.Tensor:
    """Return ``run(slices)``, at most so many slices at a time, so that memory does not grow with the volume."""
    if most is None or len(slices) <= most:
        return run(slices)
    return torch.cat([run(part) for part in slices.split(most)])
