"""The selective scan as a plain loop: what the fast one is tested and timed against."""

from __future__ import annotations

import math

import torch


def reference_scan(u, delta, a, b, c) -> torch.Tensor:
    """Return what `SpineSegLib.networks.selective_scan` does, one step of algorithm 2 of Mamba after the other.

    Shapes: u and delta (g, l, d), a (g, d, n), b and c (g, l, n), y (g, l, d).
    """
    decays = torch.exp(delta.transpose(0, 1)[..., None] * a).unbind()
    inputs = ((delta * u).transpose(0, 1)[..., None] * b.transpose(0, 1)[:, :, None]).unbind()
    state = torch.zeros_like(decays[0])
    states = []
    for decay, new in zip(decays, inputs, strict=True):
        state = torch.addcmul(new, decay, state)
        states.append(state)
    return torch.matmul(torch.stack(states), c.transpose(0, 1)[..., None])[..., 0].transpose(0, 1)


def scan_arguments(length: int, channels: int, *, groups: int = 4, states: int = 16, seed: int = 0):
    """Return u, delta, a, b and c in float64 as Mamba initialises them: Δ about 0.001…0.1, A about -1…-states."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    low, high = math.log(1e-3), math.log(0.1)
    first = torch.exp(torch.rand(1, 1, channels, generator=generator, dtype=torch.float64) * (high - low) + low)
    bias = first + torch.log(-torch.expm1(-first))
    delta = torch.nn.functional.softplus(normal(groups, length, channels) * 0.5 + bias)
    a = -torch.arange(1, states + 1, dtype=torch.float64) * torch.exp(0.2 * normal(groups, channels, states))
    u, b, c = normal(groups, length, channels), normal(groups, length, states), normal(groups, length, states)
    return u, delta, a, b, c
