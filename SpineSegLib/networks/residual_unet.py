"""Residual U-Net: the bilinear U-Net with a shortcut around each double convolution.

Zhang, Liu & Wang, Road extraction by deep residual U-Net, IEEE Geosci. Remote Sens. Lett. 15 (2018) 749,
doi 10.1109/LGRS.2018.2802944, in the form whose size paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293) prints:
18.06 M parameters are those of its U-Net and of 1x1 shortcuts.
"""

from __future__ import annotations

import torch
from torch import nn

from SpineSegLib.networks.blocks import ConvolutionNormReLU
from SpineSegLib.networks.unet import UNet


class ResidualDoubleConvolution(nn.Module):
    """Two 3x3 convolutions with batch normalisation; a 1x1 convolution of the input is added before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, middle: int | None = None):
        super().__init__()
        middle = middle or outputs
        self.body = nn.Sequential(ConvolutionNormReLU(inputs, middle), ConvolutionNormReLU(middle, outputs, relu=False))
        self.shortcut = ConvolutionNormReLU(inputs, outputs, 1, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of (n, inputs, h, w)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResidualUNet(UNet):
    """`UNet` with a `ResidualDoubleConvolution` for each double convolution; the same arguments."""

    block = ResidualDoubleConvolution
