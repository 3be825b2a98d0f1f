"""A last look at the volume itself, so that edges lie where the image has them. Not in paper 003."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class EdgeHead(nn.Module):
    """Corrects logits by the values around each voxel: a 3x3x3 convolution over image and logits, ReLU, 1x1x1.

    The three slices around each are channels of a 2D convolution: the same sum as a 3D convolution's, faster on a CPU.

    Parameters
    ----------
    channels : of the volume
    classes : of the logits
    width : channels in between
    """

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.look = nn.Conv2d(3 * (channels + classes), width, 3, padding=1)
        self.again = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, classes, 1)
        # It starts as no correction at all.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, volume: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return the correction (n, classes, d, h, w) of logits for a volume (n, channels, d, h, w)."""
        n, classes, d, h, w = logits.shape
        # Logits of any size would drown an image in 0…1.
        both = torch.cat([volume, torch.tanh(logits / 4)], dim=1)
        both = functional.pad(both, (0, 0, 0, 0, 1, 1), mode="replicate")
        slices = torch.cat([both[:, :, start : start + d] for start in range(3)], dim=1)
        slices = slices.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found = self.last(torch.relu(self.again(torch.relu(self.look(slices)))))
        return found.reshape(n, d, classes, h, w).transpose(1, 2)
