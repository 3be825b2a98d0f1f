"""YOLO11's backbone and its neck: from a picture to feature maps at an 8th, a 16th and a 32nd of its size."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.yolo11.blocks import C2PSA, CBS, SPPF, C3k2

STRIDES = (8, 16, 32)
"""Pixels of the picture per pixel of the three feature maps."""


class Body(nn.Module):
    """Backbone of five halvings, and a path aggregation network down and up over its last three.

    Parameters
    ----------
    channels : of the picture
    depth : factor of the number of blocks in a stage (2 at 1.0), at least one
    width : factor of the channels, which are then rounded up to multiples of 8
    most : channels, before `width`, that no stage exceeds
    deep : every stage has blocks of `C3k`, as the sizes m, l and x have; otherwise the last ones do

    Attributes
    ----------
    outputs : channels of the three feature maps
    """

    def __init__(self, channels: int, *, depth: float, width: float, most: int, deep: bool):
        super().__init__()
        blocks = max(1, round(2 * depth))

        def wide(number: int) -> int:
            return -int(-min(number, most) * width // 8) * 8

        def stage(inputs: int, outputs: int, *, last: bool = False, share: float = 0.5) -> C3k2:
            return C3k2(inputs, outputs, blocks=blocks, deep=deep or last, share=share)

        w64, w128, w256, w512, w1024 = map(wide, (64, 128, 256, 512, 1024))
        self.stem = nn.Sequential(
            CBS(channels, w64, 3, stride=2),
            CBS(w64, w128, 3, stride=2),
            stage(w128, w256, share=0.25),
        )
        self.third = nn.Sequential(CBS(w256, w256, 3, stride=2), stage(w256, w512, share=0.25))
        self.fourth = nn.Sequential(CBS(w512, w512, 3, stride=2), stage(w512, w512, last=True))
        self.fifth = nn.Sequential(
            CBS(w512, w1024, 3, stride=2), stage(w1024, w1024, last=True), SPPF(w1024), C2PSA(w1024, blocks)
        )
        self.down_fourth = stage(w1024 + w512, w512)
        self.down_third = stage(w512 + w512, w256)
        self.to_fourth = CBS(w256, w256, 3, stride=2)
        self.up_fourth = stage(w256 + w512, w512)
        self.to_fifth = CBS(w512, w512, 3, stride=2)
        self.up_fifth = stage(w512 + w1024, w1024, last=True)
        self.outputs = (w256, w512, w1024)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return three feature maps, the largest first, of pictures (n, channels, h, w), h and w multiples of 32."""
        third = self.third(self.stem(x))
        fourth = self.fourth(third)
        fifth = self.fifth(fourth)
        fourth = self.down_fourth(torch.cat([_twice(fifth), fourth], dim=1))
        third = self.down_third(torch.cat([_twice(fourth), third], dim=1))
        fourth = self.up_fourth(torch.cat([self.to_fourth(third), fourth], dim=1))
        return [third, fourth, self.up_fifth(torch.cat([self.to_fifth(fourth), fifth], dim=1))]


def _twice(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
