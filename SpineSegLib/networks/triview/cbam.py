"""CBAM, attention to channels and then to places.

Woo et al., CBAM: convolutional block attention module, ECCV 2018, arXiv 1807.06521.
"""

from __future__ import annotations

import torch
from torch import nn


class CBAM(nn.Module):
    """Channels weighed by their means and maxima, then places by the means and maxima over the channels.

    Paper 003 says "an attention module" and not which; squeeze and excitation stands in EfficientNet's blocks already.

    Parameters
    ----------
    channels : of the picture
    reduction : of the channels within the shared perceptron, 16 in its paper
    least : channels that the perceptron has at least, for narrow variants
    size : of the convolution over places, 7 in its paper
    """

    def __init__(self, channels: int, reduction: int = 16, least: int = 4, size: int = 7):
        super().__init__()
        inner = max(channels // reduction, least)
        self.channel = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.place = nn.Sequential(nn.Conv2d(2, 1, size, padding=size // 2, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (n, c, h, w) times the weights of its channels and of its places."""
        x = x * torch.sigmoid(self.channel(x.mean((2, 3), keepdim=True)) + self.channel(x.amax((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.place(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))
