"""PSPNet: features at 1/8 of the image beside their means over grids of four sizes.

Zhao et al., Pyramid scene parsing network, CVPR 2017, doi 10.1109/CVPR.2017.660, with the first two stages of a ResNet
for the paper's dilated four, as segmentation-models-pytorch has it. Baseline of paper 003 (Attention LinkNet-152, Sci
Rep 2025 15:13102), which does not say more; ResNet-34 is the encoder of its LinkNet baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU, enlarge
from SpineSegLib.networks.resnet import ResNetEncoder


class PSPNet(nn.Module):
    """Pyramid pooling on the first two stages of a ResNet.

    Parameters
    ----------
    depth : of the ResNet
    width : channels of the ResNet's stem, 64 in the paper, smaller for small variants
    grids : rows, and columns, of the grids that features are averaged over
    joined : channels after the pyramid
    dropout : of whole channels before the logits, in training
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 8

    def __init__(
        self,
        depth: int = 34,
        width: int = 64,
        grids: Sequence[int] = (1, 2, 3, 6),
        joined: int = 512,
        dropout: float = 0.2,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.encoder = ResNetEncoder(depth, width, channels, stages=2)
        features = self.encoder.widths[-1]
        part = max(features // len(grids), 1)
        self.pyramid = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(grid),
                # One mean a channel leaves nothing to normalise over.
                ConvolutionNormReLU(features, part, 1)
                if grid > 1
                else nn.Sequential(nn.Conv2d(features, part, 1), nn.ReLU(inplace=True)),
            )
            for grid in grids
        )
        self.join = ConvolutionNormReLU(features + part * len(grids), joined, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.last = nn.Conv2d(joined, classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 8."""
        x = self.encoder(x)[-1]
        means = [
            functional.interpolate(pooled(x), x.shape[-2:], mode="bilinear", align_corners=True)
            for pooled in self.pyramid
        ]
        return enlarge(self.last(self.dropout(self.join(torch.cat([*means, x], dim=1)))), 8)
