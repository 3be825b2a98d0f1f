"""Attention U-Net: gates in the skips let through what the level below asks for.

Oktay et al., Attention U-Net: learning where to look for the pancreas, MIDL 2018, arXiv 1804.03999, in two dimensions,
with the gate at the resolution of the skip; 34.88 M parameters as in Table 3 of paper 004 (CVM-UNet, Eng. Res. Express
2025 7 025293).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU
from SpineSegLib.networks.unet import DoubleConvolution


class AttentionGate(nn.Module):
    """Additive attention: the skip times sigmoid(psi(relu(W_x skip + W_g gate))), eqs. 1 and 2 of the paper."""

    def __init__(self, channels: int):
        super().__init__()
        middle = max(channels // 2, 1)
        self.of_skip = ConvolutionNormReLU(channels, middle, 1, relu=False)
        self.of_gate = ConvolutionNormReLU(channels, middle, 1, relu=False)
        self.weight = ConvolutionNormReLU(middle, 1, 1, relu=False)

    def forward(self, skip: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Return the skip (n, c, h, w) weighted at each pixel by what the gate of the same shape makes of it."""
        return skip * torch.sigmoid(self.weight(torch.relu(self.of_skip(skip) + self.of_gate(gate))))


class AttentionUNet(nn.Module):
    """Four levels of double convolutions down and up, with attention gates in the concatenated skips.

    Parameters
    ----------
    width : channels of the first level; 64 in the paper, smaller for small variants. Levels have 1, 2, 4, 8, 16 times
        as many.
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(self, width: int = 64, channels: int = 3, classes: int = 1):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in pairwise([channels, *widths]))
        upwards = list(pairwise(widths[::-1]))
        self.rise = nn.ModuleList(ConvolutionNormReLU(below, level) for below, level in upwards)
        self.gates = nn.ModuleList(AttentionGate(level) for _, level in upwards)
        self.up = nn.ModuleList(DoubleConvolution(2 * level, level) for _, level in upwards)
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            skips.append(x)
        skips.pop()
        for rise, gate, block in zip(self.rise, self.gates, self.up, strict=True):
            x = rise(functional.interpolate(x, scale_factor=2, mode="nearest"))
            x = block(torch.cat([gate(skips.pop(), x), x], dim=1))
        return self.last(x)
