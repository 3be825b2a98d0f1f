"""LightM-UNet: a U-Net of 0.05 million parameters whose encoder reads its pictures by Mamba.

Liao et al., LightM-UNet: Mamba assists in lightweight UNet for medical image segmentation, arXiv 2403.05246; the Mamba
layer is Gu & Dao's, arXiv 2312.00752, figure 3. Baseline of paper 004 (CVM-UNet). What the paper leaves open is as in
the authors' public code: one direction, row by row, and one layer normalisation before and after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.selective_scan import selective_scan, softplus, without_autocast

GROUPS = 8
"""Of every group normalisation."""


class Mamba(nn.Module):
    """Mamba's layer: linear to values and gate; values: causal depthwise convolution, SiLU, scan; gated; linear.

    Parameters
    ----------
    channels : of the sequence
    states : numbers in each channel's state
    size : of the causal convolution
    expand : inner channels per channel
    """

    def __init__(self, channels: int, states: int = 16, size: int = 4, expand: int = 2):
        super().__init__()
        inner, self.rank, self.states = expand * channels, math.ceil(channels / 16), states
        self.enter = nn.Linear(channels, 2 * inner, bias=False)
        self.near = nn.Conv1d(inner, inner, size, groups=inner, padding=size - 1)
        self.select = nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.step = nn.Linear(self.rank, inner)
        first = torch.exp(torch.rand(inner) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3))
        with torch.no_grad():
            self.step.weight.uniform_(-(self.rank**-0.5), self.rank**-0.5)
            self.step.bias.copy_(first + torch.log(-torch.expm1(-first)))  # softplus of it is `first`
        self.log_a = nn.Parameter(torch.arange(1, states + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.d = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a sequence (n, length, channels) of the same shape."""
        values, gate = self.enter(x).chunk(2, dim=-1)
        values = functional.silu(self.near(values.mT)[..., : x.shape[1]]).mT
        kind = torch.promote_types(values.dtype, torch.float32)
        step, b, c = self.select(values).to(kind).split([self.rank, self.states, self.states], dim=-1)
        with without_autocast(x.device):
            delta = softplus(self.step(step))
        u = values.to(kind)
        y = selective_scan(u, delta, -torch.exp(self.log_a), b, c) + u * self.d
        return self.leave(y.to(values.dtype) * functional.silu(gate))


class MambaLayer(nn.Module):
    """Normalised, read by Mamba, the input added at a learnt scale, normalised again, and brought to `outputs`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm, self.mamba, self.project = nn.LayerNorm(inputs), Mamba(inputs), nn.Linear(inputs, outputs)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of x (n, inputs, h, w), read row by row."""
        sequence = x.flatten(2).mT
        sequence = self.mamba(self.norm(sequence)) + self.scale * sequence
        return self.project(self.norm(sequence)).mT.unflatten(-1, x.shape[2:])


class ResMambaBlock(nn.Module):
    """Twice group normalisation, ReLU and a Mamba layer, and the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            *(
                part
                for _ in range(2)
                for part in (nn.GroupNorm(GROUPS, channels), nn.ReLU(), MambaLayer(channels, channels))
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, as large as its input."""
        return x + self.main(x)


class _DepthwiseSeparable(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, size: int = 3, bias: bool = False):
        super().__init__(
            nn.Conv2d(inputs, inputs, size, padding=size // 2, groups=inputs, bias=bias),
            nn.Conv2d(inputs, outputs, 1, bias=bias),
        )


class DecoderBlock(nn.Module):
    """Group normalisation, ReLU, depthwise separable convolution, the input at a learnt scale, and both once more."""

    def __init__(self, channels: int):
        super().__init__()
        self.enter = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.ReLU(), _DepthwiseSeparable(channels, channels))
        self.scale = nn.Parameter(torch.ones(1))
        self.leave = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, as large as its input."""
        return self.leave(self.enter(x) + self.scale * x)


class LightMUNet(nn.Module):
    """LightM-UNet.

    Parameters
    ----------
    width : channels of the first level, a multiple of 8; the others have 2, 4 and 8 times as many
    blocks : residual Mamba blocks of each level
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 8

    def __init__(self, width: int = 8, blocks: Sequence[int] = (1, 2, 2, 4), channels: int = 3, classes: int = 1):
        super().__init__()
        widths = [width * 2**level for level in range(len(blocks))]
        self.first = _DepthwiseSeparable(channels, width)
        self.halve = nn.ModuleList(nn.Sequential(MambaLayer(a, 2 * a), nn.MaxPool2d(2)) for a in widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(*(ResMambaBlock(n) for _ in range(count))) for n, count in zip(widths, blocks, strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(2 * n, n, 1, bias=False) for n in widths[:-1])
        self.up = nn.ModuleList(DecoderBlock(n) for n in widths[:-1])
        self.last = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.ReLU(), _DepthwiseSeparable(width, classes, size=1, bias=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 8."""
        x = self.down[0](self.first(x))
        skips = []
        for halve, down in zip(self.halve, self.down[1:], strict=True):
            skips.append(x)
            x = down(halve(x))
        for narrow, up, skip in zip(self.narrow[::-1], self.up[::-1], skips[::-1], strict=True):
            x = functional.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = up(x + skip)
        return self.last(x)
