"""The selective scan against the loop that defines it, at the sizes of two levels of CVM-UNet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.networks.selective_scan import selective_scan

REFERENCE = "loop over the positions, autograd"


def reference_scan(
    u: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    """Return what `selective_scan` does, one step of Mamba's algorithm 2 after the other.

    Shapes: u and delta (g, l, d), a (g, d, n), b and c (g, l, n), y (g, l, d).
    """
    decays = torch.exp(delta.transpose(0, 1)[..., None] * a).unbind()
    inputs = ((delta * u).transpose(0, 1)[..., None] * b.transpose(0, 1)[:, :, None]).unbind()
    state = torch.zeros_like(decays[0])
    outputs = []
    for decay, new, read in zip(decays, inputs, c.unbind(1), strict=True):
        state = decay * state + new
        outputs.append(torch.einsum("gdn,gn->gd", state, read))
    return torch.stack(outputs, dim=1)


def scan_arguments(
    length: int, channels: int, *, groups: int = 4, states: int = 16, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Return u, delta, a, b and c in float64 as Mamba initialises them: Δ about 0.001…0.1, A about -1…-states."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    low, high = math.log(1e-3), math.log(0.1)
    first = torch.exp(torch.rand(1, 1, channels, generator=generator, dtype=torch.float64) * (high - low) + low)
    bias = first + torch.log(-torch.expm1(-first))
    delta = torch.nn.functional.softplus(normal(groups, length, channels) * 0.5 + bias)
    a = -torch.arange(1, states + 1, dtype=torch.float64) * torch.exp(0.2 * normal(groups, channels, states))
    u, b, c = normal(groups, length, channels), normal(groups, length, states), normal(groups, length, states)
    return u, delta, a, b, c


def _gradients(scan: Callable[..., torch.Tensor], arguments: Sequence[torch.Tensor], weights: torch.Tensor):
    arguments = [x.detach().requires_grad_() for x in arguments]
    return torch.autograd.grad(scan(*arguments), arguments, weights)


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    worst = float((ours - theirs).abs().max() / theirs.std())
    if worst > 1e-4:
        msg = f"the scans differ by {worst:.1e} standard deviations, expected at most 1e-4 in float32"
        raise AssertionError(msg)


def forward(repeats: int) -> list[Row]:
    """Time four directions of 120x120 places with 96 channels of 16 states, without gradients, in float32."""
    arguments = [x.float() for x in scan_arguments(120 * 120, 96)]
    with torch.inference_mode():
        _same(selective_scan(*arguments), reference_scan(*arguments))
        times = race(lambda: selective_scan(*arguments), lambda: reference_scan(*arguments), repeats=repeats)
    return [Row("selective scan 120x120, 96 channels, forward", REFERENCE, *times)]


def training(repeats: int) -> list[Row]:
    """Time four directions of 60x60 places with 192 channels of 16 states, with all gradients, in float32."""
    arguments = [x.float() for x in scan_arguments(60 * 60, 192)]
    weights = torch.randn(arguments[0].shape, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        _gradients(selective_scan, arguments, weights), _gradients(reference_scan, arguments, weights), strict=True
    ):
        _same(ours, theirs)
    times = race(
        lambda: _gradients(selective_scan, arguments, weights),
        lambda: _gradients(reference_scan, arguments, weights),
        repeats=repeats,
    )
    return [Row("selective scan 60x60, 192 channels, forward and backward", REFERENCE, *times)]
