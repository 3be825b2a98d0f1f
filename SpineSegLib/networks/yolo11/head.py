"""YOLO11's heads: for every place of the feature maps a box, a score a class and, for masks, coefficients.

The head is decoupled: boxes and scores have branches of their own; that of the scores is depth-wise separable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from SpineSegLib.networks.yolo11.blocks import CBS

BINS = 16
"""Bins of the distribution of each side's distance, in strides: 0 … 15 (arXiv 2006.04388, eq. 6; their n is 16)."""


def _dense(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(CBS(inputs, middle, 3), CBS(middle, middle, 3), nn.Conv2d(middle, outputs, 1))


def _separable(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        CBS(inputs, inputs, 3, groups=inputs),
        CBS(inputs, middle),
        CBS(middle, middle, 3, groups=middle),
        CBS(middle, middle),
        nn.Conv2d(middle, outputs, 1),
    )


def _places(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (n, places, channels) of maps (n, channels, h, w), in the order of `boxes.places`."""
    return torch.cat([each.flatten(2) for each in maps], dim=2).transpose(1, 2)


class BoxHead(nn.Module):
    """Distances of the four sides as distributions, and a score for each class.

    Parameters
    ----------
    inputs : channels of the feature maps
    classes : how many
    prior : probability of a class that every place begins with (Lin et al., arXiv 1708.02002, 4.1)
    """

    def __init__(self, inputs: Sequence[int], classes: int, prior: float):
        super().__init__()
        box, score = max(16, inputs[0] // 4, 4 * BINS), max(inputs[0], min(classes, 100))
        self.boxes = nn.ModuleList(_dense(each, box, 4 * BINS) for each in inputs)
        self.scores = nn.ModuleList(_separable(each, score, classes) for each in inputs)
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, math.log(prior / (1 - prior)))

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the logits of the distances (n, places, 4, 16), and of the scores by feature map, (n, classes, h, w).

        Sides are left, top, right, bottom.
        """
        boxes = _places([branch(each) for branch, each in zip(self.boxes, maps, strict=True)])
        scores = [branch(each) for branch, each in zip(self.scores, maps, strict=True)]
        return boxes.unflatten(2, (4, BINS)), scores


class MaskHead(nn.Module):
    """Prototypes of masks at a quarter of the picture's size, and for every place the coefficients of its mask.

    Parameters
    ----------
    inputs : channels of the feature maps
    width : channels of the prototypes' convolutions
    prototypes : how many
    """

    def __init__(self, inputs: Sequence[int], width: int, prototypes: int = 32):
        super().__init__()
        self.prototypes = nn.Sequential(
            CBS(inputs[0], width, 3),
            nn.ConvTranspose2d(width, width, 2, stride=2),
            CBS(width, width, 3),
            CBS(width, prototypes),
        )
        middle = max(inputs[0] // 4, prototypes)
        self.coefficients = nn.ModuleList(_dense(each, middle, prototypes) for each in inputs)

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coefficients (n, places, prototypes) and prototypes (n, prototypes, h/4, w/4)."""
        coefficients = _places([branch(each) for branch, each in zip(self.coefficients, maps, strict=True)])
        return coefficients, self.prototypes(maps[0])
