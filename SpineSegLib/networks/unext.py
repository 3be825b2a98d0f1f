"""UNeXt: convolutions at high resolution, shifted multilayer perceptrons on tokens at low resolution.

Valanarasu & Patel, UNeXt: MLP-based rapid medical image segmentation network, MICCAI 2022, arXiv 2203.04967.
Baseline of paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

SHIFT = 5
"""Groups of channels that are shifted by -2, -1, 0, 1 and 2 tokens."""


def shifted(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Return tokens (n, h, w, c) with each fifth of the channels moved along an axis, zeros moving in."""
    reach = SHIFT // 2
    size = x.shape[axis]
    padding = [0] * 6
    padding[2 * (3 - axis)] = padding[2 * (3 - axis) + 1] = reach
    parts = functional.pad(x, padding).chunk(SHIFT, dim=-1)
    return torch.cat([part.narrow(axis, 2 * reach - number, size) for number, part in enumerate(parts)], dim=-1)


class TokenisedBlock(nn.Module):
    """Section 2, tokenised MLP: shift along the width, linear, depthwise 3x3, GELU, shift along the height, linear."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first, self.second = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return tokens of the same shape (n, h, w, c)."""
        y = self.first(shifted(self.norm(x), 2))
        y = functional.gelu(self.position(y.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return x + self.second(shifted(y, 1))


class TokenStage(nn.Module):
    """A tokenised block between a change of layout there and back, normalised at the end."""

    def __init__(self, channels: int, *, normalise_first: bool = False):
        super().__init__()
        self.before = nn.LayerNorm(channels) if normalise_first else nn.Identity()
        self.block = TokenisedBlock(channels)
        self.after = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape (n, c, h, w)."""
        return self.after(self.block(self.before(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class UNeXt(nn.Module):
    """Three convolutional and two tokenised stages down, the same up, with added skips.

    Parameters
    ----------
    widths : channels of the five stages; those of the paper, smaller for small variants
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(self, widths: Sequence[int] = (16, 32, 128, 160, 256), channels: int = 3, classes: int = 1):
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.MaxPool2d(2), nn.ReLU(inplace=True))
            for a, b in pairwise([channels, *widths[:3]])
        )
        self.embed = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths[2:]))
        self.tokens_down = nn.ModuleList(TokenStage(width, normalise_first=True) for width in widths[3:])
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b)) for a, b in pairwise(widths[::-1])
        )
        self.tokens_up = nn.ModuleList(TokenStage(width) for width in widths[3:1:-1])
        self.top = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for embed, tokens in zip(self.embed, self.tokens_down, strict=True):
            x = tokens(embed(x))
            skips.append(x)
        skips.pop()
        for number, block in enumerate(self.up):
            x = _doubled(block(x)) + skips.pop()
            if number < len(self.tokens_up):
                x = self.tokens_up[number](x)
        return self.last(_doubled(self.top(x)))


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
