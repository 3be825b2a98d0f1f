"""MD-UNet: a U-Net that sees the image at every scale, with dilated convolutions beside max-pooling.

Ge et al., MD-UNET: Multi-input dilated U-shape neural network for segmentation of bladder cancer, Comput. Biol. Chem.
93 (2021) 107510, doi 10.1016/j.compbiolchem.2021.107510. No code of it is public and its abstract states the idea only:
"multi-scale images as the input", "combines max-pooling with dilated convolution". What it leaves open is taken so that
parameters and multiply-adds come close to Table 3 of paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293), 11.81 M and
30.15 G: six levels of 24 to 384 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU
from SpineSegLib.networks.unet import DoubleConvolution


class MDUNet(nn.Module):
    """U-Net with an image pyramid beside the max-pooled features and dilated second convolutions on the way down.

    Parameters
    ----------
    widths : channels of the levels; the number of levels is theirs
    dilation : of the second convolution of each level on the way down
    channels : channels of the image
    classes : channels of the logits
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 96, 192, 384, 384),
        dilation: int = 2,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            nn.Sequential(
                ConvolutionNormReLU(above + channels, level), ConvolutionNormReLU(level, level, dilation=dilation)
            )
            for above, level in pairwise([0, *widths])
        )
        upwards = list(pairwise(widths[::-1]))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(below, level, 2, stride=2) for below, level in upwards)
        self.up = nn.ModuleList(DoubleConvolution(2 * level, level) for _, level in upwards)
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of the stride."""
        image, skips = x, []
        for number, block in enumerate(self.down):
            if number:
                image = functional.avg_pool2d(image, 2)
                x = torch.cat([functional.max_pool2d(skips[-1], 2), image], dim=1)
            skips.append(block(x))
        x = skips.pop()
        for rise, block in zip(self.rise, self.up, strict=True):
            x = block(torch.cat([skips.pop(), rise(x)], dim=1))
        return self.last(x)
