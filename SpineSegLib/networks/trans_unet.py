"""TransUNet: convolutions down, a transformer on the lowest level, a U-Net's way up.

Chen et al., TransUNet: transformers make strong encoders for medical image segmentation, 2021, arXiv 2102.04306. The
paper's own hybrid of ResNet-50 and ViT-B has 105 M parameters. The narrower one here, three strided bottlenecks of up
to 1024 channels and eight transformer layers with four heads and an MLP of 512, is the one of the size that Table 3 of
paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293) prints, 67.86 M.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU, enlarge
from SpineSegLib.networks.unet import DoubleConvolution


class Bottleneck(nn.Module):
    """1x1, 3x3 with stride 2 and 1x1 convolutions at the width of the output, and a strided 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.body = nn.Sequential(
            ConvolutionNormReLU(inputs, outputs, 1),
            ConvolutionNormReLU(outputs, outputs, 3, stride=2),
            ConvolutionNormReLU(outputs, outputs, 1, relu=False),
        )
        self.shortcut = ConvolutionNormReLU(inputs, outputs, 1, stride=2, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h/2, w/2) of (n, inputs, h, w)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Transformer(nn.Module):
    """Layers of self-attention and MLP on the pixels of a feature map, with learned positions.

    Parameters
    ----------
    channels : of the features
    layers, heads, mlp : of the transformer
    grid : side of the square feature map that has a position of its own for each pixel; other maps get them resized
    dropout : in training
    """

    def __init__(self, channels: int, layers: int, heads: int, mlp: int, grid: int, dropout: float):
        super().__init__()
        self.embed = nn.Linear(channels, channels)
        self.positions = nn.Parameter(torch.zeros(1, channels, grid, grid))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                channels, heads, mlp, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape (n, c, h, w)."""
        size = x.shape[-2:]
        positions = self.positions
        if positions.shape[-2:] != size:
            positions = functional.interpolate(positions, size, mode="bilinear", align_corners=False)
        x = self.dropout(self.embed(x.flatten(2).transpose(1, 2)) + positions.flatten(2).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).transpose(1, 2).unflatten(-1, size)


class TransUNet(nn.Module):
    """Convolutional encoder, transformer at 1/16, and a decoder with three skips.

    Parameters
    ----------
    width : channels of the stem; the levels below have 2, 4 and 8 times as many
    layers, heads, mlp : of the transformer
    image_size : that the transformer has positions for; they are resized for other images
    dropout : of the transformer in training
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(
        self,
        width: int = 128,
        layers: int = 8,
        heads: int = 4,
        mlp: int = 512,
        image_size: int = 480,
        dropout: float = 0.1,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.stem = ConvolutionNormReLU(channels, width, 7, stride=2)
        self.down = nn.ModuleList(Bottleneck(width * factor, 2 * width * factor) for factor in (1, 2, 4))
        self.transformer = Transformer(8 * width, layers, heads, mlp, max(image_size // 16, 1), dropout)
        self.reduce = ConvolutionNormReLU(8 * width, 4 * width)
        half, eighth = max(width // 2, 1), max(width // 8, 1)
        self.up = nn.ModuleList(
            DoubleConvolution(a, b)
            for a, b in ((8 * width, 2 * width), (4 * width, width), (2 * width, half), (half, eighth))
        )
        self.last = nn.Conv2d(eighth, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        skips = [self.stem(x)]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = self.reduce(self.transformer(skips.pop()))
        for block in self.up:
            x = enlarge(x)
            x = block(torch.cat([skips.pop(), x], dim=1) if skips else x)
        return self.last(x)
