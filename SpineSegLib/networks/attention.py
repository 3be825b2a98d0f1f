"""Attention over channels and places, cheap enough to sit between convolutions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class ECA(nn.Module):
    """Efficient channel attention: each channel is weighed by itself and its nearest neighbours.

    Wang et al., ECA-Net, CVPR 2020, eq. 12: the mean of every channel, a 1D convolution over the k nearest channels,
    a sigmoid; k = |log2(channels) / 2 + 1/2|, taken to the next odd number. Used in the VSS block of paper 004.
    """

    def __init__(self, channels: int):
        super().__init__()
        size = int(abs(math.log2(channels) / 2 + 0.5))
        size += 1 - size % 2
        self.convolution = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (n, c, h, w), each channel times its weight in 0…1."""
        weights = self.convolution(x.mean((2, 3))[:, None])[:, 0]
        return x * torch.sigmoid(weights)[:, :, None, None]


class SCSA(nn.Module):
    """Attention to places, then, guided by it, among channels.

    Si et al., SCSA: exploring the synergistic effects between spatial and channel attention, arXiv 2407.05128. Places:
    means over rows and over columns, four groups of channels, each with its own 1D depthwise convolution that rows and
    columns share, group normalisation, a sigmoid. Channels: the picture pooled in windows, depthwise 1x1 queries, keys
    and values, softmax attention of channels among each other within heads, its mean over places, a sigmoid. (Paper
    004 calls a group "4/C" channels wide and the softmax a sigmoid; the definition it cites is taken.)

    Parameters
    ----------
    channels : of the picture, a multiple of 4 and of `heads`
    heads : groups of channels that attend to each other; 8 as its authors have it, paper 004 does not say
    window : of the pooling before the channels attend; a smaller picture is pooled to one place
    sizes : of the four convolutions
    dropout : of the attention among channels; paper 004 names dropout without its rate, so none by default
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        window: int = 7,
        sizes: tuple[int, int, int, int] = (3, 5, 7, 9),
        dropout: float = 0.0,
    ):
        super().__init__()
        if channels % 4 or channels % heads:
            msg = f"SCSA's channels are {channels}, expected a multiple of 4 and of its {heads} heads"
            raise ValueError(msg)
        self.heads, self.window, self.dropout = heads, window, dropout
        quarter = channels // 4
        self.along = nn.ModuleList(nn.Conv1d(quarter, quarter, n, padding=n // 2, groups=quarter) for n in sizes)
        self.norm_rows, self.norm_columns = nn.GroupNorm(4, channels), nn.GroupNorm(4, channels)
        self.norm = nn.GroupNorm(1, channels)
        # A depthwise 1x1 convolution is one factor per channel, drawn as a convolution's is.
        self.query, self.key, self.value = (nn.Parameter(torch.empty(channels, 1, 1).uniform_(-1, 1)) for _ in "qkv")

    def _weights(self, means: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        groups = [convolution(group) for convolution, group in zip(self.along, means.chunk(4, dim=1), strict=True)]
        return torch.sigmoid(norm(torch.cat(groups, dim=1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (n, c, h, w) times the weights of its rows, columns and channels."""
        n, c = x.shape[:2]
        rows = self._weights(x.mean(3), self.norm_rows)
        columns = self._weights(x.mean(2), self.norm_columns)
        x = x * rows[:, :, :, None] * columns[:, :, None, :]
        pooled = self.norm(functional.avg_pool2d(x, [min(self.window, size) for size in x.shape[2:]], self.window))
        query, key, value = (
            (pooled * factor).reshape(n, self.heads, c // self.heads, -1)
            for factor in (self.query, self.key, self.value)
        )
        attention = torch.softmax(query @ key.mT * (c // self.heads) ** -0.5, dim=-1)
        attention = functional.dropout(attention, self.dropout, self.training)
        weights = (attention @ value).mean(-1).view(n, c, 1, 1)
        return x * torch.sigmoid(weights)
