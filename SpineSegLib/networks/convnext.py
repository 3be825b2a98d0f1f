"""ConvNeXt encoders of any width.

Liu et al., A ConvNet for the 2020s, CVPR 2022. Parameters carry torchvision's names, so the state dictionaries of its
ConvNeXts load at their widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (n, c, h, w)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with every place's channels normalised."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ToLast(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution, normalisation, 1x1 to four times the channels, GELU, 1x1 back, scale, identity."""

    def __init__(self, channels: int, layer_scale: float):
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _ToLast(),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, as large as its input."""
        return x + self.layer_scale * self.block(x).permute(0, 3, 1, 2)


class ConvNeXtEncoder(nn.Module):
    """The four stages of a ConvNeXt without its classifier.

    Parameters
    ----------
    depths : blocks of each stage; 3, 3, 9, 3 are ConvNeXt-T's
    widths : channels of each stage; 96, 192, 384, 768 are ConvNeXt-T's
    channels : channels of the image
    stem : side and stride of the first convolution
    layer_scale : of a block's output at the start of training
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        widths: Sequence[int] = (96, 192, 384, 768),
        channels: int = 3,
        stem: int = 4,
        layer_scale: float = 1e-6,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        before = 0
        for depth, width in zip(depths, widths, strict=True):
            if before:
                layers.append(nn.Sequential(ChannelNorm(before, eps=1e-6), nn.Conv2d(before, width, 2, stride=2)))
            else:
                layers.append(
                    nn.Sequential(nn.Conv2d(channels, width, stem, stride=stem), ChannelNorm(width, eps=1e-6))
                )
            layers.append(nn.Sequential(*(ConvNeXtBlock(width, layer_scale) for _ in range(depth))))
            before = width
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the four stages of an image (n, channels, h, w), at 1, 1/2, 1/4 and 1/8 of its size over `stem`."""
        stages = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number % 2:
                stages.append(x)
        return stages
