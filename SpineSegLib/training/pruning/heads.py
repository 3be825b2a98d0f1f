"""Attention heads: the dimensions that queries, keys and values share are guessed from the layers, and then proven.

torch-pruning does not follow channels through the reshaping of heads.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from SpineSegLib.training.pruning.following import Group, Place

HEADS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32)


def guessed(network: nn.Module) -> Iterator[tuple[list[str], list[Group]]]:
    """Yield for each attention the layers that make queries, keys and values, and a group for each number of heads.

    An attention is a module with linear layers of its own of which one takes m channels and the others together make
    three times as many of what that one returns, however they share them. A unit is one dimension of every head: of
    query, key, value, of the last layer's input, and of tables of relative positions as long as a head.
    """
    for path, module in network.named_modules():
        linear = {name: child for name, child in module.named_children() if isinstance(child, nn.Linear)}
        for last, leave in linear.items():
            inner = leave.in_features
            makers = {name: each for name, each in linear.items() if name != last and each.out_features % inner == 0}
            if sum(each.out_features for each in makers.values()) != 3 * inner:
                continue
            if any(each.in_features != leave.out_features for each in makers.values()):
                continue
            start = f"{path}." if path else ""
            names = [start + name for name in makers]
            tables = dict(module.named_parameters(recurse=False))
            heads = [number for number in HEADS if inner % number == 0 and inner > number]
            yield names, [_group(start, makers, last, inner // number, number, tables) for number in heads]


def _group(start: str, makers: dict[str, nn.Linear], last: str, depth: int, heads: int, tables) -> Group:
    def place(tensor: str, dim: int, size: int, makes: bool, filters: bool) -> Place:
        positions = torch.arange(size)
        return Place(start + tensor, dim, positions, positions % depth, makes, filters)

    places = [place(f"{last}.weight", 1, heads * depth, False, False)]
    for name, layer in makers.items():
        places.append(place(f"{name}.weight", 0, layer.out_features, True, True))
        if layer.bias is not None:
            places.append(place(f"{name}.bias", 0, layer.out_features, True, False))
    for name, table in tables.items():
        if table.ndim == 2 and table.shape[1] == depth:
            places.append(place(name, 1, depth, True, False))
    return Group(start + next(iter(makers)), depth, heads, tuple(places))
