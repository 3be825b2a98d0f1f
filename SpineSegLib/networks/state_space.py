"""SS2D: a picture read by selective state spaces along its rows and columns, forwards and backwards.

Liu et al., VMamba: visual state space model, arXiv 2401.10166. Decoder of paper 004 (CVM-UNet) and encoder of
VM-UNet-V2.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.selective_scan import selective_scan, softplus, without_autocast

DIRECTIONS = 4
"""Along rows, down columns, and both backwards."""


def in_direction(x: torch.Tensor, direction: int) -> torch.Tensor:
    """Return (n, h, w, m) as a sequence (n, h w, m): 0 row by row, 1 column by column, 2 and 3 the same reversed."""
    sequence = (x.transpose(1, 2) if direction % 2 else x).flatten(1, 2)
    return sequence.flip(1) if direction >= 2 else sequence


def merged(y: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the sum (n, h, w, m) of four sequences (n, 4, h w, m), put back from where `in_direction` took them."""
    rows, columns = (y[:, :2] + y[:, 2:].flip(2)).unbind(1)
    return rows.unflatten(1, (height, width)) + columns.unflatten(1, (width, height)).transpose(1, 2)


class SS2D(nn.Module):
    """Two-dimensional selective scan with its gate.

    Linear to values and gate; values: 3x3 depthwise convolution, SiLU, four scans summed, layer normalisation; times
    SiLU(gate); linear. Every direction has its own Δ, A, B, C and D.

    Parameters
    ----------
    channels : of the picture
    states : N, numbers in each channel's state
    expand : inner channels per channel
    rank : of the map to Δ; a sixteenth of `channels`, rounded up, where None
    steps : smallest and largest Δ at the start, drawn evenly on a logarithmic scale (Mamba, section 3.6)
    """

    def __init__(
        self,
        channels: int,
        states: int = 16,
        expand: float = 2.0,
        rank: int | None = None,
        steps: tuple[float, float] = (1e-3, 1e-1),
    ):
        super().__init__()
        inner = int(expand * channels)
        self.states, self.rank = states, rank or math.ceil(channels / 16)
        self.enter = nn.Linear(channels, 2 * inner, bias=False)
        self.near = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.select = nn.Linear(inner, DIRECTIONS * (self.rank + 2 * states), bias=False)
        bound = self.rank**-0.5
        self.step_weight = nn.Parameter(torch.empty(DIRECTIONS, self.rank, inner).uniform_(-bound, bound))
        low, high = map(math.log, steps)
        first = torch.exp(torch.rand(DIRECTIONS, 1, inner) * (high - low) + low)
        self.step_bias = nn.Parameter(first + torch.log(-torch.expm1(-first)))  # softplus of it is `first`
        row = torch.arange(1, states + 1, dtype=torch.float32).log()
        self.log_a = nn.Parameter(row.repeat(DIRECTIONS, inner, 1))
        self.d = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the picture (n, h, w, channels) scanned and gated, its channels last as they came."""
        values, gate = self.enter(x).chunk(2, dim=-1)
        values = functional.silu(self.near(values.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        y = self.norm(self.scan(values).to(values.dtype))
        return self.leave(y * functional.silu(gate))

    def scan(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of the four scans of (n, h, w, inner), in float32 at least."""
        kind = torch.promote_types(values.dtype, torch.float32)
        selected = self.select(values).to(kind).unflatten(-1, (DIRECTIONS, -1))
        selected = torch.stack([in_direction(selected[..., k, :], k) for k in range(DIRECTIONS)], dim=1)
        step, b, c = selected.split([self.rank, self.states, self.states], dim=-1)
        values = values.to(kind)
        u = torch.stack([in_direction(values, k) for k in range(DIRECTIONS)], dim=1)
        with without_autocast(values.device):
            delta = softplus(step @ self.step_weight + self.step_bias)
        y = selective_scan(u, delta, -torch.exp(self.log_a), b, c)
        return merged(y, *values.shape[1:3]) + values * self.d.sum(0)  # D u is the same place in every direction
