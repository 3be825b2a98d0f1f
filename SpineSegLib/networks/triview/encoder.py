"""What one view sees: the first four stages of an EfficientNet, an attention module after each."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.efficientnet import EfficientNetStages
from SpineSegLib.networks.triview.cbam import CBAM


class ViewEncoder(nn.Module):
    """What one view says of each of its slices: four stages, each with attention, projected and added at 1/2 the size.

    Parameters
    ----------
    features : channels of the result
    attention : whether a `CBAM` follows each stage, as in paper 003
    **scale : arguments of `EfficientNetStages`
    """

    def __init__(self, features: int, *, attention: bool = True, **scale: float):
        super().__init__()
        self.stages = EfficientNetStages(**{**scale, "stages": 4})
        self.attention = nn.ModuleList(CBAM(width) if attention else nn.Identity() for width in self.stages.widths)
        self.project = nn.ModuleList(nn.Conv2d(width, features, 1) for width in self.stages.widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, features, h / 2, w / 2) of slices (n, channels, h, w), h and w multiples of 16."""
        stem, *stages = self.stages.features
        x, parts = stem(x), []
        for stage, attention, project in zip(stages, self.attention, self.project, strict=True):
            x = attention(stage(x))
            parts.append(project(x))
        found = parts.pop()
        while parts:  # The deepest first, each enlarged to the next one's size.
            found = parts.pop() + functional.interpolate(found, scale_factor=2, mode="bilinear")
        return found
