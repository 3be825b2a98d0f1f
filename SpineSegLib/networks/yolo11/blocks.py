"""The blocks that YOLO11 is made of.

Names are those of arXiv 2410.17725. Batch normalisation has an epsilon of 0.001 and a momentum of 0.03, as in all of
the family.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class CBS(nn.Sequential):
    """Convolution that keeps the size (at stride 1), batch normalisation and, unless linear, SiLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, *, stride: int = 1, groups: int = 1, linear: bool = False
    ):
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            *([] if linear else [nn.SiLU()]),
        )


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, the first narrower by `share`, and the input added."""

    def __init__(self, channels: int, share: float = 0.5):
        super().__init__()
        middle = int(channels * share)
        self.body = nn.Sequential(CBS(channels, middle, 3), CBS(middle, channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        return x + self.body(x)


class C3k(nn.Module):
    """Half of the channels through two bottlenecks, half past them, then three 1x1 convolutions' last joins them."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.through = nn.Sequential(CBS(channels, half), *(Bottleneck(half, 1.0) for _ in range(2)))
        self.past = CBS(channels, half)
        self.join = CBS(2 * half, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        return self.join(torch.cat([self.through(x), self.past(x)], dim=1))


class C3k2(nn.Module):
    """Splits, sends one half through blocks one after the other, and joins all that came by.

    Parameters
    ----------
    blocks : how many
    deep : blocks are `C3k` rather than single bottlenecks
    share : channels of a half, as a share of `outputs`
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 1, deep: bool = False, share: float = 0.5):
        super().__init__()
        self.half = int(outputs * share)
        self.split = CBS(inputs, 2 * self.half)
        self.blocks = nn.ModuleList(C3k(self.half) if deep else Bottleneck(self.half) for _ in range(blocks))
        self.join = CBS((2 + blocks) * self.half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of x (n, inputs, h, w)."""
        found = list(self.split(x).split(self.half, dim=1))
        for block in self.blocks:
            found.append(block(found[-1]))
        return self.join(torch.cat(found, dim=1))


class SPPF(nn.Module):
    """Spatial pyramid pooling: the same 5x5 maximum three times over, which sees 5, 9 and 13 pixels."""

    def __init__(self, channels: int, size: int = 5):
        super().__init__()
        self.size = size
        self.narrow = CBS(channels, channels // 2)
        self.join = CBS(4 * (channels // 2), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        found = [self.narrow(x)]
        for _ in range(3):
            found.append(functional.max_pool2d(found[-1], self.size, stride=1, padding=self.size // 2))
        return self.join(torch.cat(found, dim=1))


class PositionAttention(nn.Module):
    """Attention between all places, with keys half as wide as values, and a depth-wise convolution for position."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.wide = heads, channels // heads
        self.key = self.wide // 2
        self.qkv = CBS(channels, heads * (2 * self.key + self.wide), linear=True)
        self.position = CBS(channels, channels, 3, groups=channels, linear=True)
        self.project = CBS(channels, channels, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        n, channels, height, width = x.shape
        qkv = self.qkv(x).reshape(n, self.heads, 2 * self.key + self.wide, height * width)
        query, key, value = qkv.split([self.key, self.key, self.wide], dim=2)
        share = (query.transpose(2, 3) @ key * self.key**-0.5).softmax(dim=-1)
        seen = (value @ share.transpose(2, 3)).reshape(n, channels, height, width)
        return self.project(seen + self.position(value.reshape(n, channels, height, width)))


class PSA(nn.Module):
    """Attention, then two 1x1 convolutions, each added to what came in."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.attention = PositionAttention(channels, heads)
        self.feed = nn.Sequential(CBS(channels, 2 * channels), CBS(2 * channels, channels, linear=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        x = x + self.attention(x)
        return x + self.feed(x)


class C2PSA(nn.Module):
    """Half of the channels through blocks of attention, half past them; 64 channels a head, at least one head."""

    def __init__(self, channels: int, blocks: int = 1):
        super().__init__()
        self.half = channels // 2
        self.split = CBS(channels, 2 * self.half)
        self.blocks = nn.Sequential(*(PSA(self.half, max(1, self.half // 64)) for _ in range(blocks)))
        self.join = CBS(2 * self.half, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape (n, channels, h, w)."""
        past, through = self.split(x).split(self.half, dim=1)
        return self.join(torch.cat([past, self.blocks(through)], dim=1))
