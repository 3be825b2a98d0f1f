"""Which channels of a network go together: what must be removed at once, and what cannot be.

torch-pruning (Fang et al., DepGraph: towards any structural pruning, CVPR 2023, arXiv 2301.12900) follows a filter's
output through additions, concatenations, normalisations and depthwise convolutions to every tensor that has a place for
it. It knows layers, but not what a network does with numbers of channels on its own: heads, shifted fifths, states. So
each group is put to the proof: when its channels change places in all of its tensors alike, the output must stay the
same, and with one channel fewer the network must still run. Where only the same change within equal parts passes, such
as the dimensions of attention heads or the channels of grouped convolutions, each part loses the same ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from SpineSegLib.networks.resize import fit_attributes, put

PARTS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32)
"""Numbers of equal parts (heads, groups, fifths) that are tried."""
OUTPUT = "it makes the output"
STEPS = 20_000
"""Of following one layer's channels; more than that is not followed."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where the units of a group lie in one tensor.

    Parameters
    ----------
    tensor : name in the state dictionary
    dim : of its axes
    positions : along that axis, (n,)
    units : which unit lies there, (n,)
    makes : whether the tensor makes the channels (a filter, its bias, its normalisation) or only takes them
    filters : whether it holds filters: the weight of a convolution or of a linear layer
    """

    tensor: str
    dim: int
    positions: torch.Tensor
    units: torch.Tensor
    makes: bool
    filters: bool


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that go together.

    A unit is what cannot be divided: one filter and, where filters are added or multiplied, all of these; in each part.

    Parameters
    ----------
    layer : that the group was followed from
    units : how many there are
    width : channels of the layer that a unit takes
    places : see `Place`
    """

    layer: str
    units: int
    width: int
    places: tuple[Place, ...]


@dataclass(frozen=True, eq=False)
class Structure:
    """What can be removed from a network.

    Parameters
    ----------
    groups : that can lose units
    kept : layer -> why its channels stay
    """

    groups: tuple[Group, ...]
    kept: dict[str, str]

    def makes_output(self, layer: str) -> bool:
        """Say whether a layer's filters are the network's outputs."""
        return self.kept.get(layer) == OUTPUT


def structure_of(network: nn.Module, example: torch.Tensor, within: str = "") -> Structure:
    """Return the groups of a network's channels.

    Parameters
    ----------
    network : any whose ``forward`` returns tensors; it is not changed
    example : images (n, channels, h, w) of any size that the network takes; small ones do
    within : dotted name of the one part of the network that may lose channels

    Raises
    ------
    ImportError : torch-pruning is not installed
    """
    probe = _Probe(network, example)
    kept: dict[str, str] = {}
    left: list[Group] = []
    inside = f"{within}." if within else ""
    for layer, found in _followed(probe.network, example.to(probe.dtype)):
        if isinstance(found, str):
            kept[layer] = found
        elif not all(place.tensor.startswith(inside) for place in found.places if place.makes):
            kept[layer] = "it is not of the part that is pruned"
        elif found.units < 2:
            kept[layer] = "it has one channel"
        else:
            left.append(found)
    symmetric = _standing(left, probe.symmetric)
    groups = _standing(symmetric, probe.runs_without)
    for group in left:
        if group in groups:
            continue
        found = _in_parts(group, probe)
        if found is not None:
            groups.append(found)
        elif group in symmetric:
            kept[group.layer] = "the network counts on its number"
        else:
            kept[group.layer] = "its channels have places of their own"
    return Structure(tuple(groups), kept)


def _standing(groups: list[Group], proof: Callable[[list[Group]], bool]) -> list[Group]:
    """Return the groups that stand a proof; all are tried at once, and by halves where that fails."""
    if not groups or proof(groups):
        return groups
    half = len(groups) // 2
    return _standing(groups[:half], proof) + _standing(groups[half:], proof) if half else []


def _in_parts(group: Group, probe: _Probe) -> Group | None:
    """Return the group in the fewest equal parts with which it stands the proof."""
    pairs = group.units // 2
    if group.units % 2 == 0 and pairs > 1 and not probe.symmetric([in_parts(group, pairs)]):
        return None  # Changes in fewer parts comprise this one.
    for parts in PARTS:
        if group.units % parts == 0 and group.units > parts:
            candidate = in_parts(group, parts)
            if probe.symmetric([candidate]) and probe.runs_without([candidate]):
                return candidate
    return None


def _followed(network: nn.Module, example: torch.Tensor) -> Iterator[tuple[str, Group | str]]:
    """Yield each layer that makes channels with its group, or with why there is none."""
    from torch_pruning import DependencyGraph
    from torch_pruning.dependency.dependency import Dependency
    from torch_pruning.dependency.index_mapping import update_index_mapping

    graph = DependencyGraph().build_dependency(network, example, verbose=False)
    update_index_mapping(graph)
    names = {module: name for name, module in network.named_modules()}
    parameters = {id(parameter): name for name, parameter in network.named_parameters()}
    seen: set[str] = set()
    for module, root in list(graph.module2node.items()):
        if not isinstance(module, nn.modules.conv._ConvNd | nn.Linear) or names.get(module) in (None, *seen):
            continue
        layer = names[module]
        if _ends(root):
            yield layer, OUTPUT
            continue
        pruner = graph.get_pruner_of_module(module)
        first = Dependency(pruner.prune_out_channels, pruner.prune_out_channels, source=root, target=root)
        group = _gathered(graph, first, pruner.get_out_channels(module), names, parameters, layer)
        if isinstance(group, Group):
            seen |= {place.tensor.rpartition(".")[0] for place in group.places if place.makes and place.filters}
        yield layer, group


def _ends(node) -> bool:
    """Say whether what a layer makes gets out of the network without another layer of filters."""
    stack, seen = [node], set()
    while stack:
        node = stack.pop()
        if not node.outputs:
            return True
        for after in node.outputs:
            if id(after) not in seen and not isinstance(after.module, nn.modules.conv._ConvNd | nn.Linear):
                seen.add(id(after))
                stack.append(after)
    return False


def _gathered(graph, first, channels: int, names, parameters, layer: str) -> Group | str:
    """Return the group of all output channels of a layer, following what depends on them."""
    stack = [(first, tuple((channel, channel) for channel in range(channels)))]
    visited = set()
    held: dict[tuple[str, int, bool, bool], list[tuple[int, int]]] = {}
    while stack:
        dependency, pairs = stack.pop()
        node, function = dependency.target, dependency.handler
        key = (id(node), graph.is_out_channel_pruning_fn(function), pairs)
        if key in visited:
            continue
        visited.add(key)
        if len(visited) > STEPS or len(pairs) > 4 * channels:
            return "its channels are not followed to their end"
        kind = node.type.name
        if kind == "OUTPUT":
            return OUTPUT
        if kind in ("MHA", "LSTM", "EMBED", "CUSTOMIZED"):
            return f"{names.get(node.module, kind)} is taken as a whole"
        tensors = _tensors(node, graph.is_out_channel_pruning_fn(function), names, parameters)
        sizes = {size for *_, size in tensors}
        if sizes == {1} and channels > 1:
            continue  # One map that is spread over all channels, such as a gate.
        if any(position >= size for position, _ in pairs for size in sizes):
            return "its channels are not followed to their end"
        for tensor, dim, makes, filters, groups, size in tensors:
            within = [(position % (size // groups), channel) for position, channel in pairs]
            held.setdefault((tensor, dim, makes, filters), []).extend(within)
        for each in node.dependencies:
            if each.is_triggered_by(function) and (further := _mapped(each, pairs)):
                stack.append((each, further))
    return _grouped(layer, channels, held)


def _mapped(dependency, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Return (position, channel) at the other end of a dependency."""
    from torch_pruning._helpers import _HybridIndex

    if not any(mapping is not None for mapping in dependency.index_mapping):
        return pairs
    indices = [_HybridIndex(idx=position, root_idx=channel) for position, channel in pairs]
    for mapping in dependency.index_mapping:
        if mapping is not None:
            indices = mapping(indices)
    return tuple((index.idx, index.root_idx) for index in indices)


def _tensors(node, out: bool, names, parameters) -> list[tuple[str, int, bool, bool, int, int]]:
    """Return the tensors of a node that hold these channels.

    Each with its name, the axis, whether it makes the channels, whether it holds filters, and how many channels there
    are in how many groups (of a grouped convolution), of which each has the same places on that axis.
    """
    module = node.module
    if isinstance(module, nn.Parameter):
        return [(parameters[id(module)], node.pruning_dim, True, False, 1, module.shape[node.pruning_dim])]
    if module not in names:
        return []
    name = names[module]
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        groups = getattr(module, "groups", 1)
        depthwise = groups > 1 and groups == module.in_channels == module.out_channels
        turned = getattr(module, "transposed", False) and not depthwise
        makes = out or depthwise
        axis = int(makes == turned)
        groups = groups if axis == 1 else 1
        found = [(f"{name}.weight", axis, makes, makes, groups, groups * module.weight.shape[axis])]
        bias = module.bias if makes else None
        return found if bias is None else [*found, (f"{name}.bias", 0, True, False, 1, len(bias))]
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [(f"{name}.{leaf}", 0, True, False, 1, len(t)) for leaf, t in tensors if t.ndim == 1 and len(t) > 1]


def _grouped(layer: str, channels: int, held) -> Group:
    """Return the group, its units being the channels that share a position of a tensor."""
    parent = list(range(channels))

    def top(channel: int) -> int:
        while parent[channel] != channel:
            parent[channel] = parent[parent[channel]]
            channel = parent[channel]
        return channel

    for pairs in held.values():
        first: dict[int, int] = {}
        for position, channel in pairs:
            a, b = top(first.setdefault(position, channel)), top(channel)
            parent[max(a, b)] = min(a, b)
    number = {unit: n for n, unit in enumerate(sorted({top(channel) for channel in range(channels)}))}
    places = []
    for (tensor, dim, makes, filters), pairs in held.items():
        unique = sorted({position: number[top(channel)] for position, channel in pairs}.items())
        positions, units = (torch.tensor(column, dtype=torch.long) for column in zip(*unique, strict=True))
        places.append(Place(tensor, dim, positions, units, makes, filters))
    return Group(layer, len(number), max(1, channels // len(number)), tuple(places))


def in_parts(group: Group, parts: int) -> Group:
    """Return the group with units that take the same place in each of equal parts."""
    units = group.units // parts
    places = tuple(Place(p.tensor, p.dim, p.positions, p.units % units, p.makes, p.filters) for p in group.places)
    return Group(group.layer, units, group.width * parts, places)


class _Probe:
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


def _turned(group: Group) -> torch.Tensor:
    """Return for each unit (units,) the one whose place it takes, among those that lie in as many places."""
    order = torch.arange(group.units)
    covers = torch.stack([torch.bincount(place.units, minlength=group.units) for place in group.places], dim=1)
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
