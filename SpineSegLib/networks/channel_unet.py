"""Channel-UNet: a U-Net with a second decoder of global attention upsampling.

The name is of Chen et al., Channel-Unet, Front. Genet. 10 (2019) 1110, doi 10.3389/fgene.2019.01110. What paper 004
(CVM-UNet, Eng. Res. Express 2025 7 025293) counts under it, 49.15 M parameters, is the variant that passes as
"channel U-Net" in public collections: the U-Net of Ronneberger et al. with, at each level, a third input made by global
attention upsampling (Li et al., Pyramid attention network, BMVC 2018, arXiv 1805.10180).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU
from SpineSegLib.networks.unet import DoubleConvolution


class GlobalAttentionUpsample(nn.Module):
    """The enlarged level below plus the skip, whose channels are weighted by the mean of the level below."""

    def __init__(self, below: int, channels: int):
        super().__init__()
        self.skip = ConvolutionNormReLU(channels, channels, relu=False)
        self.weight = nn.Conv2d(below, channels, 1, bias=False)
        self.rise = nn.Sequential(
            nn.ConvTranspose2d(below, channels, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return (n, channels, h, w) of the level below (n, below, h/2, w/2) and the skip (n, channels, h, w)."""
        weight = torch.relu(self.weight(below.mean((2, 3), keepdim=True)))
        return torch.relu(self.rise(below) + self.skip(skip) * weight)


class ChannelUNet(nn.Module):
    """U-Net with transposed convolutions; each level up also joins the global attention branch.

    Parameters
    ----------
    width : channels of the first level; 64 in the baseline, smaller for small variants. Levels have 1, 2, 4, 8, 16
        times as many.
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(self, width: int = 64, channels: int = 3, classes: int = 1):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in pairwise([channels, *widths]))
        upwards = list(pairwise(widths[::-1]))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(below, level, 2, stride=2) for below, level in upwards)
        self.attention = nn.ModuleList(GlobalAttentionUpsample(below, level) for below, level in upwards)
        self.up = nn.ModuleList(DoubleConvolution(3 * level, level) for _, level in upwards)
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            skips.append(x)
        attended = skips.pop()
        for rise, attention, block in zip(self.rise, self.attention, self.up, strict=True):
            skip = skips.pop()
            attended = attention(attended, skip)
            x = block(torch.cat([skip, rise(x), attended], dim=1))
        return self.last(x)
