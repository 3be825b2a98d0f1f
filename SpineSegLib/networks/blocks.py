"""The few building blocks that several networks share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class ConvolutionNormReLU(nn.Sequential):
    """Convolution that keeps the size (at stride 1), batch normalisation and, if wanted, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, *, stride: int = 1, dilation: int = 1, relu: bool = True
    ):
        super().__init__(
            nn.Conv2d(
                inputs, outputs, size, stride=stride, padding=dilation * (size // 2), dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(outputs),
            *([nn.ReLU(inplace=True)] if relu else []),
        )


def enlarge(x: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Return x (n, c, h, w) bilinearly enlarged, corner pixels on corner pixels."""
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


def resized_like(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return x (n, c, h, w) bilinearly resized to the height and width of another tensor."""
    return functional.interpolate(x, other.shape[-2:], mode="bilinear", align_corners=False)
