"""The hierarchical encoder of SegFormer.

Xie et al., SegFormer: simple and efficient design for semantic segmentation with transformers, NeurIPS 2021,
section 3.1 and table 6, in our own words: patches that overlap, attention whose keys and values are reduced in number,
and a depthwise convolution within the perceptron in place of positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

DEPTHS = {"b0": (2, 2, 2, 2), "b1": (2, 2, 2, 2), "b2": (3, 4, 6, 3), "b3": (3, 4, 18, 3), "b4": (3, 8, 27, 3)}
"""Variant -> blocks of the four stages."""
WIDTHS = {"b0": (32, 64, 160, 256)}
"""Variant -> channels of the four stages, (64, 128, 320, 512) for all others."""
HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)
"""Attention heads of the four stages, and how many times fewer keys there are along each axis."""


def stages_of(variant: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return blocks and channels of a variant's stages; ValueError for an unknown name."""
    if variant not in DEPTHS:
        msg = f"variant is {variant!r}, expected one of {', '.join(DEPTHS)}"
        raise ValueError(msg)
    return DEPTHS[variant], WIDTHS.get(variant, (64, 128, 320, 512))


class Patches(nn.Module):
    """Overlapping patches as tokens, normalised."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h / stride, w / stride, outputs) of (n, inputs, h, w)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Attention(nn.Module):
    """Attention to fewer keys: a convolution of size and stride `reduction` makes them."""

    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, reduction, stride=reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w, width) of the same."""
        images, height, width = x.shape[:3]
        fewer = x
        if self.reduce is not None:
            fewer = self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        q = self.q(x).view(images, height * width, self.heads, -1).transpose(1, 2)
        k, v = self.kv(fewer).view(images, -1, 2, self.heads, q.shape[-1]).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).reshape(images, height, width, -1))


class Perceptron(nn.Module):
    """Two linear layers; between them a 3x3 depthwise convolution, which tells positions apart, and GELU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w, width) of the same."""
        hidden = self.depthwise(self.fc1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.fc2(functional.gelu(hidden))


class Block(nn.Module):
    """Attention and perceptron, each after a normalisation, added to their input or, in training, at times left out."""

    def __init__(self, width: int, heads: int, reduction: int, drop: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp, self.drop = Attention(width, heads, reduction), Perceptron(width, 4 * width), drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w, width) of the same."""
        x = x + self._kept(self.attn(self.norm1(x)))
        return x + self._kept(self.mlp(self.norm2(x)))

    def _kept(self, x: torch.Tensor) -> torch.Tensor:
        """Stochastic depth (Huang et al., ECCV 2016): leave a picture's branch out, and enlarge those that stay."""
        if not self.training or self.drop == 0:
            return x
        keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
        return x * keep.to(x.dtype) / (1 - self.drop)


class MixTransformer(nn.Module):
    """Four stages of blocks, at 1/4, 1/8, 1/16 and 1/32 of the picture.

    Parameters
    ----------
    depths, widths : blocks and channels of the stages
    drop : share of the last block's branches that training leaves out; it rises from 0 along the blocks
    channels : of the picture
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], drop: float = 0.1, channels: int = 3):
        super().__init__()
        drops = iter(torch.linspace(0, drop, sum(depths), device="cpu").tolist())
        inputs = (channels, *widths)
        self.patches = nn.ModuleList(
            Patches(inputs[stage], widths[stage], 3 if stage else 7, 2 if stage else 4) for stage in range(4)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Block(widths[stage], HEADS[stage], REDUCTIONS[stage], next(drops)) for _ in range(depths[stage])),
                nn.LayerNorm(widths[stage], eps=1e-6),
            )
            for stage in range(4)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the four stages' outputs (n, width, h, w)."""
        found = []
        for patches, stage in zip(self.patches, self.stages, strict=True):
            x = stage(patches(x)).permute(0, 3, 1, 2)
            found.append(x)
        return found
