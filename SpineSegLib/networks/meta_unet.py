"""META-UNet: a ResNet-34 whose stages are joined from the top down by local and global attention.

Wu, Zhao & Wang, META-Unet: multi-scale efficient transformer attention Unet for fast and high-accuracy polyp
segmentation, IEEE Trans. Autom. Sci. Eng. 2023, doi 10.1109/TASE.2023.3292373. Baseline of paper 004 (CVM-UNet, Eng.
Res. Express 2025 7 025293).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import enlarge
from SpineSegLib.networks.resnet import ResNetEncoder


def _convolution_prelu(inputs: int, outputs: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)
    )


def _padded(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Return x (n, c, h, w) with zeros at the bottom and at the right up to sides that are multiples."""
    height, width = x.shape[-2:]
    return functional.pad(x, (0, -width % multiple, 0, -height % multiple))


class Attention(nn.Module):
    """Multi-head attention with an MLP, both around normalised inputs; keys and values may be of fewer tokens.

    Parameters
    ----------
    channels : of the tokens
    heads : of the attention
    reduction : side of the squares of tokens that a strided convolution makes one key and one value of; None for all
    """

    def __init__(self, channels: int, heads: int, reduction: int | None = None):
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key_value = nn.Linear(channels, channels, bias=False), nn.Linear(channels, 2 * channels, False)
        if reduction:
            self.reduce_key = nn.Conv2d(channels, channels, reduction, stride=reduction, bias=False)
            self.reduce_value = nn.Conv2d(channels, channels, reduction, stride=reduction, bias=False)
            self.norm_key, self.norm_value = nn.LayerNorm(channels // heads), nn.LayerNorm(channels // heads)
        self.project = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return tokens of the same shape (n, h * w, c), h and w the size."""
        y = self.norm1(x)
        key, value = self.key_value(y).chunk(2, dim=-1)
        if self.reduction:
            key, value = self._fewer(key, self.reduce_key, size), self._fewer(value, self.reduce_value, size)
        query, key, value = (self._by_head(part) for part in (self.query(y), key, value))
        if self.reduction:
            key, value = self.norm_key(key), self.norm_value(value)
        y = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.project(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _fewer(self, x: torch.Tensor, reduce: nn.Conv2d, size: tuple[int, int]) -> torch.Tensor:
        picture = x.transpose(1, 2).unflatten(-1, size)
        return reduce(_padded(picture, self.reduction)).flatten(2).transpose(1, 2)


class MultiscaleAttention(nn.Module):
    """META module: the input times the sigmoid of the sum of attention in windows and attention everywhere.

    Parameters
    ----------
    channels, heads : of both branches
    window : side of the local branch's windows. The paper's 4 does not divide 480 / 16; the features are padded with
        zeros for it, which the published network, made for 352, does not need.
    reduction : of the global branch's keys and values
    """

    def __init__(self, channels: int, heads: int, window: int, reduction: int):
        super().__init__()
        self.window = window
        self.local, self.everywhere = Attention(channels, heads), Attention(channels, heads, reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape (n, c, h, w)."""
        n, c, h, w = x.shape
        padded, side = _padded(x, self.window), self.window
        rows, columns = padded.shape[-2] // side, padded.shape[-1] // side
        windows = padded.reshape(n, c, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        local = self.local(windows.reshape(-1, side * side, c), (side, side))
        local = local.reshape(n, rows, columns, side, side, c).permute(0, 5, 1, 3, 2, 4).reshape(padded.shape)
        everywhere = self.everywhere(x.flatten(2).transpose(1, 2), (h, w)).transpose(1, 2).unflatten(-1, (h, w))
        return x * torch.sigmoid(local[..., :h, :w] + everywhere)


class METAUNet(nn.Module):
    """ResNet-34 and three META modules.

    Parameters
    ----------
    width : channels of the ResNet's stem, 64 in the paper, smaller for small variants
    joined : channels of the features that are joined; 32 in the paper, a multiple of the four heads
    windows : sides of the local windows at 1/16, 1/8 and 1/4
    reductions : of keys and values at 1/16, 1/8 and 1/4
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(
        self,
        width: int = 64,
        joined: int = 32,
        windows: Sequence[int] = (4, 4, 4),
        reductions: Sequence[int] = (4, 8, 8),
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.encoder = ResNetEncoder(34, width, channels)
        self.project = nn.ModuleList(_convolution_prelu(inputs, joined, 1) for inputs in self.encoder.widths)
        self.join = nn.ModuleList(
            MultiscaleAttention(joined, 4, window, reduction)
            for window, reduction in zip(windows, reductions, strict=True)
        )
        self.refine = _convolution_prelu(joined, joined, 3)
        self.last = nn.Conv2d(joined, classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        skips = [project(stage) for project, stage in zip(self.project, self.encoder(x), strict=True)]
        x = skips.pop()
        for join in self.join:
            x = join(skips.pop() + enlarge(x))
        x = enlarge(x)
        return self.last(enlarge(x + self.refine(x)))
