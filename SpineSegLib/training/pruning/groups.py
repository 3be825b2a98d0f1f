"""Which channels of a network go together: what must be removed at once, and what cannot be.

torch-pruning (Fang et al., DepGraph: towards any structural pruning, CVPR 2023, arXiv 2301.12900) follows a filter's
output through additions, concatenations, normalisations and depthwise convolutions to every tensor that has a place for
it. It knows layers, but not what a network does with numbers of channels on its own: heads, shifted fifths, states. So
each group is put to the proof: when its channels change places in all of its tensors alike, the output must stay the
same, and with one channel fewer the network must still run. Where only the same change within equal parts passes, such
as the dimensions of attention heads or the channels of grouped convolutions, each part loses the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from SpineSegLib.training.pruning.following import OUTPUT, Group, Place, followed
from SpineSegLib.training.pruning.heads import guessed
from SpineSegLib.training.pruning.proof import Probe, covers_of

PARTS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32)
"""Numbers of equal parts (heads, groups, fifths) that are tried."""


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
    probe = Probe(network, example)
    kept: dict[str, str] = {}
    left: list[Group] = []
    inside = f"{within}." if within else ""
    for layer, found in followed(probe.network, example.to(probe.dtype)):
        if isinstance(found, str):
            kept[layer] = found
        elif not all(place.tensor.startswith(inside) for place in found.places if place.makes):
            kept[layer] = "it is not of the part that is pruned"
        elif found.units < 2:
            kept[layer] = "it has one channel"
        else:
            left += _by_cover(found)
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
    for layers, guesses in guessed(probe.network):
        if set(layers) <= set(kept) and all(layer.startswith(inside) for layer in layers):
            found = next((g for g in guesses if probe.symmetric([g]) and probe.runs_without([g])), None)
            if found is not None:
                groups.append(found)
                kept = {layer: why for layer, why in kept.items() if layer not in layers}
    return Structure(tuple(_apart(groups, kept)), kept)


def _by_cover(group: Group) -> list[Group]:
    """Return the group's units apart by where they lie: keys and values of one layer may go to two layers."""
    covers = covers_of(group)
    unique = covers.unique(dim=0)
    if len(unique) == 1:
        return [group]
    found = []
    for cover in unique:
        some = (covers == cover).all(dim=1)
        number = some.cumsum(0) - 1
        places = []
        for p in group.places:
            here = some[p.units]
            if here.any():
                places.append(Place(p.tensor, p.dim, p.positions[here], number[p.units[here]], p.makes, p.filters))
        found.append(Group(group.layer, int(some.sum()), group.width, tuple(places)))
    return found


def _apart(groups: list[Group], kept: dict[str, str]) -> list[Group]:
    """Return the groups without those that lie where another one does; why these stay is noted."""
    taken: dict[tuple[str, int], set[int]] = {}
    apart = []
    for group in groups:
        if any(taken.get((p.tensor, p.dim), set()) & set(p.positions.tolist()) for p in group.places):
            kept[group.layer] = "another layer's channels lie in the same places"
            continue
        for place in group.places:
            taken.setdefault((place.tensor, place.dim), set()).update(place.positions.tolist())
        apart.append(group)
    return apart


def _standing(groups: list[Group], proof: Callable[[list[Group]], bool]) -> list[Group]:
    """Return the groups that stand a proof; all are tried at once, and by halves where that fails."""
    if not groups or proof(groups):
        return groups
    half = len(groups) // 2
    return _standing(groups[:half], proof) + _standing(groups[half:], proof) if half else []


def _in_parts(group: Group, probe: Probe) -> Group | None:
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


def in_parts(group: Group, parts: int) -> Group:
    """Return the group with units that take the same place in each of equal parts."""
    units = group.units // parts
    places = tuple(Place(p.tensor, p.dim, p.positions, p.units % units, p.makes, p.filters) for p in group.places)
    return Group(group.layer, units, group.width * parts, places)
