"""U-Net with bilinear upsampling.

Ronneberger, Fischer & Brox, U-Net, MICCAI 2015, with batch normalisation, padded convolutions and bilinear upsampling:
the reading that reproduces the 17.26 M parameters and 141 G multiply-adds at 480x480 of paper 004's Table 3
(CVM-UNet, Eng. Res. Express 2025 7 025293).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class DoubleConvolution(nn.Sequential):
    """Twice: 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, middle: int | None = None):
        middle = middle or outputs
        super().__init__(
            nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Four levels of double convolutions down and up, with concatenated skips.

    Parameters
    ----------
    width : channels of the first level; 64 in the paper, smaller for small variants. Levels have 1, 2, 4, 8 and (as
        bilinear upsampling keeps channels) again 8 times as many.
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16
    block: type[nn.Module] = DoubleConvolution
    """What each level computes: block(inputs, outputs, middle)."""

    def __init__(self, width: int = 64, channels: int = 3, classes: int = 1):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.first = self.block(channels, width)
        self.down = nn.ModuleList(self.block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList()
        below = widths[-1]
        for level in (3, 2, 1, 0):
            joined = below + widths[level]
            below = max(widths[level] // 2, 1) if level else width
            self.up.append(self.block(joined, below, joined // 2))
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        skips = [self.first(x)]
        for block in self.down:
            skips.append(block(functional.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skips.pop(), x], dim=1))
        return self.last(x)
