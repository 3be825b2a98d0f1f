"""FPN: features of four levels, each enlarged to 1/4 of the image, added.

Lin et al., Feature pyramid networks for object detection, CVPR 2017, doi 10.1109/CVPR.2017.106, with the segmentation
branch of Kirillov et al., Panoptic feature pyramid networks, CVPR 2019, doi 10.1109/CVPR.2019.00656, in the dimensions
of segmentation-models-pytorch. Baseline of paper 003 (Attention LinkNet-152, Sci Rep 2025 15:13102), which does not say
more; ResNet-34 is the encoder of its LinkNet baseline.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import enlarge
from SpineSegLib.networks.resnet import ResNetEncoder

GROUPS = 32
"""Of the group normalisation, fewer where channels are fewer."""


class Level(nn.Module):
    """3x3 convolution, group normalisation and ReLU, once or before each doubling of the size.

    Parameters
    ----------
    inputs, outputs : channels
    doublings : of the size
    """

    def __init__(self, inputs: int, outputs: int, doublings: int):
        super().__init__()
        self.doublings = doublings
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(min(GROUPS, outputs), outputs),
                nn.ReLU(inplace=True),
            )
            for number in range(max(doublings, 1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, 2^doublings h, 2^doublings w) of (n, inputs, h, w)."""
        for layer in self.layers:
            x = enlarge(layer(x)) if self.doublings else layer(x)
        return x


class FPN(nn.Module):
    """Feature pyramid on a ResNet.

    Parameters
    ----------
    depth : of the ResNet
    width : channels of the ResNet's stem, 64 in the paper, smaller for small variants
    pyramid : channels of the pyramid
    joined : channels of the levels that are added; 32 or a multiple of it, or less
    dropout : of whole channels before the logits, in training
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(
        self,
        depth: int = 34,
        width: int = 64,
        pyramid: int = 256,
        joined: int = 128,
        dropout: float = 0.2,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.encoder = ResNetEncoder(depth, width, channels)
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, pyramid, 1) for inputs in self.encoder.widths)
        self.levels = nn.ModuleList(Level(pyramid, joined, doublings) for doublings in range(4))
        self.dropout = nn.Dropout2d(dropout)
        self.last = nn.Conv2d(joined, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        stages = [lateral(stage) for lateral, stage in zip(self.lateral, self.encoder(x), strict=True)]
        below = stages[-1]
        total = self.levels[3](below)
        for number in (2, 1, 0):
            below = stages[number] + functional.interpolate(below, scale_factor=2, mode="nearest")
            total = total + self.levels[number](below)
        return enlarge(self.last(self.dropout(total)), 4)
