"""U-Net3+: a U-Net whose every decoder level sees every scale, supervised at each of them.

Huang et al., UNet 3+: a full-scale connected UNet for medical image segmentation, ICASSP 2020, arXiv 2004.08790, with
the 26.97 M parameters of its Table 1. Segmenter of paper 002 (YOLO-UNet, Digital Health 2025, doi
10.1177/20552076251347695), which describes the full-scale skips and the deep supervision; the classification that the
article can switch outputs off with is no part of that reading.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

LEVELS = 5


class Unit(nn.Sequential):
    """3x3 convolution with bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Fusion(nn.Module):
    """A decoder level: every scale brought to its size, convolved, joined and convolved again (section 2.1, fig. 2).

    Finer encoder levels are max-pooled, coarser decoder levels bilinearly enlarged.

    Parameters
    ----------
    level : 0 is the finest
    widths : channels of each level's input, the finest first
    branch : channels that each scale is convolved to
    """

    def __init__(self, level: int, widths: list[int], branch: int):
        super().__init__()
        self.level = level
        self.branches = nn.ModuleList(Unit(width, branch) for width in widths)
        self.join = Unit(len(widths) * branch, len(widths) * branch)

    def forward(self, scales: list[torch.Tensor]) -> torch.Tensor:
        """Return (n, levels * branch, h, w) of the level's size, of maps of every level, the finest first."""
        parts = []
        for number, (branch, x) in enumerate(zip(self.branches, scales, strict=True)):
            if number < self.level:
                x = functional.max_pool2d(x, 2 ** (self.level - number))
            elif number > self.level:
                x = functional.interpolate(x, scale_factor=2 ** (number - self.level), mode="bilinear")
            parts.append(branch(x))
        return self.join(torch.cat(parts, dim=1))


class UNet3Plus(nn.Module):
    """U-Net3+ with full-scale skips and deep supervision.

    Parameters
    ----------
    width : channels of the first level; 64 in the article, smaller for small variants. Levels have 1, 2, 4, 8 and 16
        times as many.
    branch : channels of each scale within a decoder level, 64 in the article; `width` unless given
    supervised : whether `training_outputs` gives the coarser levels' logits too
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(
        self,
        width: int = 64,
        branch: int | None = None,
        supervised: bool = True,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        branch = branch or width
        widths = [width * 2**level for level in range(LEVELS)]
        joined = LEVELS * branch
        self.down = nn.ModuleList(nn.Sequential(Unit(a, b), Unit(b, b)) for a, b in pairwise([channels, *widths]))
        # Encoder maps up to the level itself, decoder maps of the coarser ones; the coarsest is the encoder's own.
        self.up = nn.ModuleList(
            Fusion(level, [*widths[: level + 1], *[joined] * (LEVELS - 2 - level), widths[-1]], branch)
            for level in range(LEVELS - 1)
        )
        heads = [joined] * (LEVELS - 1) + [widths[-1]] if supervised else [joined]
        self.heads = nn.ModuleList(nn.Conv2d(inputs, classes, 3, padding=1) for inputs in heads)
        self.auxiliary_weights = (1.0,) * len(heads)
        """The article adds the losses of all levels up."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def _levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the decoder's maps, the finest first, and the coarsest of the encoder."""
        maps = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            maps.append(x)
        for level in reversed(range(LEVELS - 1)):
            # Finer places still hold the encoder's maps, coarser ones the decoder's already.
            maps[level] = self.up[level](maps)
        return maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        return self.heads[0](self._levels(x)[0])

    def training_outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of every level, the finest first, each (n, classes, h, w); see `auxiliary_weights`."""
        found = []
        for level, (head, each) in enumerate(zip(self.heads, self._levels(x), strict=False)):
            logits = head(each)
            found.append(functional.interpolate(logits, scale_factor=2**level, mode="bilinear") if level else logits)
        return found
