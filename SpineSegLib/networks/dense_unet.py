"""Dense U-Net: DenseNet-121 going down, its dense blocks again going up.

Huang et al., Densely connected convolutional networks, CVPR 2017, doi 10.1109/CVPR.2017.243, as encoder; the decoder
mirrors it, as in Jégou et al., The one hundred layers tiramisu, CVPRW 2017. The reading with dense blocks of 24, 12 and
6 layers on the way up has 12.26 M parameters; Table 3 of paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293) prints
12.27 M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import enlarge, resized_like


def _norm_relu_convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
    )


class DenseBlock(nn.Module):
    """Layers of a 1x1 and a 3x3 convolution, each fed with the block's input and all layers before it."""

    def __init__(self, layers: int, inputs: int, growth: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                _norm_relu_convolution(inputs + layer * growth, 4 * growth, 1),
                _norm_relu_convolution(4 * growth, growth, 3),
            )
            for layer in range(layers)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, inputs + layers * growth, h, w) of (n, inputs, h, w)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class TransitionUp(nn.Module):
    """Enlarge, reduce to the channels of the skip, join it, and halve."""

    def __init__(self, inputs: int, skip: int):
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(inputs, skip, 1, bias=False), nn.BatchNorm2d(skip), nn.ReLU(inplace=True))
        self.join = nn.Conv2d(2 * skip, skip // 2, 1, bias=False)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return (n, skip / 2, h, w) of (n, inputs, h/2, w/2) and the skip (n, skip, h, w)."""
        return self.join(torch.cat([self.reduce(resized_like(x, skip)), skip], dim=1))


class DenseUNet(nn.Module):
    """DenseNet with a mirrored decoder.

    Parameters
    ----------
    layers : of the four dense blocks; those of DenseNet-121 in the baseline. The first three are mirrored.
    growth : channels that a layer adds; the stem has twice as many
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(self, layers: Sequence[int] = (6, 12, 24, 16), growth: int = 32, channels: int = 3, classes: int = 1):
        super().__init__()
        stem = width = 2 * growth
        self.stem = nn.Sequential(
            nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.down, self.transitions, starts = nn.ModuleList(), nn.ModuleList(), []
        for count in layers[:-1]:
            starts.append(width)
            self.down.append(DenseBlock(count, width, growth))
            width += count * growth
            self.transitions.append(_norm_relu_convolution(width, width // 2, 1))
            width //= 2
        skips = [*starts[1:], width]
        self.bottom = DenseBlock(layers[-1], width, growth)
        width += layers[-1] * growth
        self.rise, self.up = nn.ModuleList(), nn.ModuleList()
        for count, skip in zip(layers[-2::-1], skips[::-1], strict=True):
            self.rise.append(TransitionUp(width, skip))
            self.up.append(DenseBlock(count, skip // 2, growth))
            width = skip // 2 + count * growth
        self.last = nn.Sequential(
            nn.Conv2d(width, stem, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, classes, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        x = self.stem(x)
        skips = []
        for block, transition in zip(self.down, self.transitions, strict=True):
            skips.append(transition(block(x)))
            x = functional.avg_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for rise, block in zip(self.rise, self.up, strict=True):
            x = block(rise(x, skips.pop()))
        return enlarge(self.last(x), 4)
