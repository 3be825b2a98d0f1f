"""UNet++: a U-Net at each depth, nested in one, with dense skips.

Zhou et al., UNet++: redesigning skip connections to exploit multiscale features in image segmentation, IEEE Trans.
Med. Imaging 39 (2020) 1856, doi 10.1109/TMI.2019.2959609. With transposed convolutions of size 4, and without batch
normalisation above the encoder, it has the 47.18 M parameters of Table 3 of paper 004 (CVM-UNet, Eng. Res. Express
2025 7 025293).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.unet import DoubleConvolution

DEPTH = 4


class Node(nn.Module):
    """X^(i,j), eq. 1: two 3x3 convolutions of all earlier nodes of the row and the enlarged node from below."""

    def __init__(self, below: int, outputs: int, earlier: int):
        super().__init__()
        self.rise = nn.ConvTranspose2d(below, outputs, 4, stride=2, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(outputs * (earlier + 1), outputs, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, below: torch.Tensor, earlier: list[torch.Tensor]) -> torch.Tensor:
        """Return (n, outputs, h, w) of the node below (h/2, w/2) and the earlier nodes of the row (h, w)."""
        return self.body(torch.cat([self.rise(below), *earlier], dim=1))


class UNetPlusPlus(nn.Module):
    """Nested U-Nets of one to four levels; the logits are the mean of the four (the paper's accurate mode).

    Parameters
    ----------
    width : channels of the first level; 64 in the baseline, smaller for small variants. Levels have 1, 2, 4, 8, 16
        times as many.
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(self, width: int = 64, channels: int = 3, classes: int = 1):
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in pairwise([channels, *widths]))
        self.nodes = nn.ModuleList(
            nn.ModuleList(Node(widths[row + 1], widths[row], column) for row in range(DEPTH + 1 - column))
            for column in range(1, DEPTH + 1)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in range(DEPTH))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # Without normalisation PyTorch's default would let the signal fade from node to node.
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        rows: list[list[torch.Tensor]] = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            rows.append([x])
        for column in self.nodes:
            for row, node in enumerate(column):
                rows[row].append(node(rows[row + 1][-1], rows[row]))  # the row below has not grown yet
        return torch.stack([head(top) for head, top in zip(self.heads, rows[0][1:], strict=True)]).mean(0)
