"""A volume through a network that takes volumes, tile by tile: where tiles lie, and how they are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

Box = tuple[slice, slice, slice]


def starts(count: int, size: int, overlap: float) -> list[int]:
    """Return where tiles begin along an axis: evenly spread, from edge to edge, overlapping by at least that share.

    Examples
    --------
    >>> starts(100, 64, 0.25)
    [0, 36]
    >>> starts(40, 64, 0.25)
    [0]
    """
    if count <= size:
        return [0]
    stride = max(1, int(size * (1 - overlap)))
    return [round(at) for at in np.linspace(0, count - size, -(-(count - size) // stride) + 1)]


def boxes(shape: Sequence[int], size: Sequence[int], overlap: float) -> Iterator[Box]:
    """Yield the tiles of a volume, from its first slices to its last."""
    axes = [starts(n, side, overlap) for n, side in zip(shape, size, strict=True)]
    for k in axes[0]:
        for j in axes[1]:
            for i in axes[2]:
                yield tuple(slice(at, min(at + side, n)) for at, side, n in zip((k, j, i), size, shape, strict=True))


def weights(size: Sequence[int], spread: float = 0.125) -> np.ndarray:
    """Return how much a tile's voxels count: a Gaussian, since a network sees least at the edges of its tile.

    Parameters
    ----------
    spread : standard deviation in sides of the tile; an eighth as in nnU-Net (Isensee et al., Nature Methods 2021)
    """
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (spread * n)) ** 2) for n in size]
    return np.maximum(axes[0][:, None, None] * axes[1][:, None] * axes[2], 1e-4).astype(np.float32)


def through(
    volume: np.ndarray,
    tiles: Sequence[Box],
    size: Sequence[int],
    run: Callable[[torch.Tensor], torch.Tensor],
    classes: int,
    after: Callable[[], None],
) -> np.ndarray:
    """Return probabilities (classes, k, j, i): the weighted means of all tiles, 0 where there is none.

    Parameters
    ----------
    volume : float32 k, j, i in 0…1
    tiles : see `boxes`; what a tile lacks at the ends of a small volume is 0, as outside of scans in training
    size : of a tile
    run : network, (1, 1, d, h, w) to probabilities (1, classes, d, h, w)
    after : called after each tile; it may raise to stop the work
    """
    found = np.zeros((classes, *volume.shape), np.float32)
    total = np.zeros(volume.shape, np.float32)
    weight = weights(size)
    for box in tiles:
        part = volume[box]
        filled = np.zeros(size, np.float32)
        inside = tuple(slice(0, n) for n in part.shape)
        filled[inside] = part
        probabilities = run(torch.from_numpy(filled)[None, None])[0].numpy()
        found[(slice(None), *box)] += probabilities[(slice(None), *inside)] * weight[inside]
        total[box] += weight[inside]
        after()
    np.maximum(total, 1e-6, out=total)
    found /= total
    return found
