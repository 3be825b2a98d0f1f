"""Samples of several sources in fixed shares: projections of CT beside films, say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class MixedSource(torch.utils.data.Dataset):
    """Each sample comes from one of several sources, drawn by its share.

    Parameters
    ----------
    parts : sources of samples of the same shape, each as long as this one
    shares : of the samples, in the order of the parts; their sum is taken as the whole
    seed : of the choice
    samples : samples an epoch
    """

    def __init__(self, parts: Sequence[torch.utils.data.Dataset], shares: Sequence[float], *, seed: int, samples: int):
        if len(parts) < 2 or any(share <= 0 for share in shares):
            msg = (
                f"shares {list(shares)} of {len(parts)} parts; two parts or more are mixed, each with a positive share"
            )
            raise ValueError(msg)
        self.parts, self.seed, self.samples = list(parts), seed, samples
        self.limits = np.cumsum(shares) / np.sum(shares)
        self.epoch = -1

    def __len__(self) -> int:
        return self.samples

    def set_epoch(self, epoch: int) -> None:
        """Draw an epoch of each part."""
        self.epoch = epoch
        for part in self.parts:
            part.set_epoch(epoch)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = np.random.default_rng([self.seed, max(self.epoch, 0), 2_000_000 + index]).random()
        return self.parts[int(np.searchsorted(self.limits[:-1], drawn, side="right"))][index]
