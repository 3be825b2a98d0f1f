"""Following a layer's channels through a network to every tensor that has a place for them, by torch-pruning's graph.

Fang et al., DepGraph: towards any structural pruning, CVPR 2023, arXiv 2301.12900.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

OUTPUT = "it makes the output"
LOST = "its channels are not followed to their end"
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


def followed(network: nn.Module, example: torch.Tensor) -> Iterator[tuple[str, Group | str]]:
    """Yield each layer that makes channels with its group, or with why there is none."""
    from torch_pruning import DependencyGraph
    from torch_pruning.dependency.dependency import Dependency
    from torch_pruning.dependency.index_mapping import update_index_mapping

    graph = DependencyGraph()
    try:
        graph.build_dependency(network, example, verbose=False)
    except TypeError:  # It adds up sizes of a concatenation that it could not infer, its last step but one.
        for node in graph.module2node.values():
            if node.type.name == "CONCAT":
                node.module.concat_sizes = [0] * len(node.inputs)
        update_index_mapping(graph)
    for node in graph.module2node.values():
        if node.type.name == "CONCAT":
            _place_inputs(node)
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


def _place_inputs(node) -> None:
    """Tell a concatenation where its inputs begin.

    torch-pruning infers their sizes from the layers before them, and takes a gate's one channel for those of what it
    gates; the shapes that autograd recorded are right.
    """
    from torch_pruning.dependency.index_mapping import _ConcatIndexMapping

    function = node.grad_fn
    whole = function._input_metadata[0].shape
    dim = getattr(function, "_saved_dim", 1)
    dim = (dim - (1 << 64) if dim >= 1 << 63 else dim) % len(whole)
    channels = (2,) if len(whole) == 3 else (1, len(whole) - 1)  # Tokens have theirs last, pictures first or last.
    if dim not in channels:
        return
    total = whole[dim]
    sizes = [None if f is None else f._input_metadata[number].shape[dim] for f, number in function.next_functions]
    unknown = sizes.count(None)  # of what needs no gradient, such as the picture
    if unknown > 1 or len(sizes) - unknown != len(node.inputs):
        return
    known = sum(size for size in sizes if size)
    start, begins = 0, []
    for size in sizes:
        begins += [] if size is None else [(start, start + size)]
        start += total - known if size is None else size
    for ends in ("inwards", "outwards"):
        done = []
        for before, (first, last) in zip(node.inputs, begins, strict=True):
            dependencies = node.dependencies if ends == "inwards" else before.dependencies
            target = before if ends == "inwards" else node
            for each in dependencies:
                if each.target is target and not any(each is other for other in done):
                    each.index_mapping[1] = _ConcatIndexMapping(offset=[first, last], reverse=ends == "inwards")
                    done.append(each)
                    break


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
            return LOST
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
            return LOST
        for tensor, dim, makes, filters, groups, size in tensors:
            within = [(position % (size // groups), channel) for position, channel in pairs]
            held.setdefault((tensor, dim, makes, filters), []).extend(within)
        for each in node.dependencies:
            further = _mapped(each, pairs) if each.is_triggered_by(function) else ()
            if further is None:
                return LOST
            if further:
                stack.append((each, further))
    return _grouped(layer, channels, held)


def _mapped(dependency, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...] | None:
    """Return (position, channel) at the other end of a dependency, None where torch-pruning loses them."""
    from torch_pruning._helpers import _HybridIndex

    if not any(mapping is not None for mapping in dependency.index_mapping):
        return pairs
    indices = [_HybridIndex(idx=position, root_idx=channel) for position, channel in pairs]
    for mapping in dependency.index_mapping:
        if mapping is not None:
            try:
                indices = mapping(indices)
            except ZeroDivisionError:  # of heads that it takes for repeated ones
                return None
    if any(index.root_idx is None for index in indices):
        return None
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
