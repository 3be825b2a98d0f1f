"""The proof of a group: its channels change places and nothing changes; one goes and the network runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from SpineSegLib.networks.resize import fit_attributes, put
from SpineSegLib.training.pruning.following import Group, Place


class Probe:
    """A copy of a network with random values, on which groups are tried.

    In float64, so that a difference is not taken for rounding; in float32 where the network cannot.
    """

    def __init__(self, network: nn.Module, example: torch.Tensor):
        self.network = copy.deepcopy(network).eval()
        self.network.requires_grad_(True)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in (*self.network.parameters(), *self.network.buffers()):
                if tensor.is_floating_point():
                    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
                    spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
                    # Factors keep a variance positive; a constant such as 1e-6 would hide what it scales.
                    small = spread < 1e-3
                    tensor.copy_(0.5 + 0.2 * noise.abs() if small else tensor * torch.exp(0.1 * noise))
        self.example = example
        self.dtype = torch.float64
        try:
            self.network.double()
            self.wanted = self._output()
        except (RuntimeError, TypeError):
            self.dtype = torch.float32
            self.network.float()
            self.wanted = self._output()

    def _output(self, gradients: bool = False) -> list[torch.Tensor]:
        with torch.set_grad_enabled(gradients):
            return [each.double() for each in _flat(self.network(self.example.to(self.dtype)))]

    def symmetric(self, groups: Sequence[Group]) -> bool:
        """Say whether the output stays when the units of each group change places."""
        state = self.network.state_dict()
        old = {place.tensor: state[place.tensor].clone() for group in groups for place in group.places}
        with torch.no_grad():
            for group in groups:
                order = _turned(group)
                for place in group.places:
                    here, there = _exchanged(place, order)
                    tensor = state[place.tensor]
                    tensor.index_copy_(place.dim, here, tensor.index_select(place.dim, there))
        try:
            return self._alike()
        finally:
            with torch.no_grad():
                for name, value in old.items():
                    state[name].copy_(value)

    def _alike(self) -> bool:
        tolerance = 1e-9 if self.dtype == torch.float64 else 1e-4
        pairs = zip(self._output(), self.wanted, strict=True)
        return all(
            found.shape == wanted.shape and float((found - wanted).abs().max()) <= tolerance * _spread(wanted)
            for found, wanted in pairs
        )

    def runs_without(self, groups: Sequence[Group]) -> bool:
        """Say whether the network still returns what has the same shape when each group lacks a unit."""
        old = {}
        layers: dict[str, nn.Module] = {}
        try:
            for place in (place for group in groups for place in group.places):
                path, _, leaf = place.tensor.rpartition(".")
                layers[path] = self.network.get_submodule(path)
                before = getattr(layers[path], leaf)
                old.setdefault(place.tensor, before)
                gone = place.positions[place.units == 0]
                # Of two groups in one axis the later one's positions have moved; how many there are is what counts.
                gone = gone.clamp(max=before.shape[place.dim] - 1).unique()
                with torch.no_grad():
                    put(layers[path], leaf, without(before, {place.dim: gone}))
            for path, layer in layers.items():
                fit_attributes(layer, path)
            # Networks may compute in another way when gradients are wanted.
            outputs = (self._output(), self._output(gradients=True))
            return all(a.shape == b.shape for output in outputs for a, b in zip(output, self.wanted, strict=True))
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
            return False
        finally:
            for name, tensor in old.items():
                path, _, leaf = name.rpartition(".")
                setattr(layers[path], leaf, tensor)
            for path, layer in layers.items():
                fit_attributes(layer, path)


def covers_of(group: Group) -> torch.Tensor:
    """Return how often each unit lies in each place (units, places)."""
    return torch.stack([torch.bincount(place.units, minlength=group.units) for place in group.places], dim=1)


def _turned(group: Group) -> torch.Tensor:
    """Return for each unit (units,) the one whose place it takes, among those that lie in as many places."""
    order = torch.arange(group.units)
    covers = covers_of(group)
    for cover in covers.unique(dim=0):
        some = (covers == cover).all(dim=1).nonzero()[:, 0]
        order[some] = some.roll(1)
    return order


def _exchanged(place: Place, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return positions, and those whose values they get when units take each other's places."""
    by_unit = torch.argsort(place.units, stable=True)
    units, positions = place.units[by_unit], place.positions[by_unit]
    counts = torch.bincount(units, minlength=len(order))
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(units)) - starts[units]
    return positions, positions[starts[order[units]] + within]


def without(tensor: torch.Tensor, positions: dict[int, torch.Tensor]) -> torch.Tensor:
    """Return a tensor without some positions of some of its axes."""
    for dim, gone in positions.items():
        keep = torch.ones(tensor.shape[dim], dtype=torch.bool)
        keep[gone] = False
        tensor = tensor.index_select(dim, keep.nonzero()[:, 0].to(tensor.device))
    return tensor


def _spread(wanted: torch.Tensor) -> float:
    spread = float(wanted.std()) if wanted.numel() > 1 else float(wanted.abs().max())
    return spread if math.isfinite(spread) else 0.0


def _flat(output: object) -> list[torch.Tensor]:
    """Return the tensors within lists, tuples and dictionaries."""
    if isinstance(output, torch.Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        return [tensor for each in output.values() for tensor in _flat(each)]
    if isinstance(output, Sequence) and not isinstance(output, str):
        return [tensor for each in output for tensor in _flat(each)]
    return []
