"""Filters taken out, so that time and memory fall: what paper 003 does not do, its filters being zeroed only."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from SpineSegLib.networks.resize import resize
from SpineSegLib.training.pruning.following import Group
from SpineSegLib.training.pruning.groups import Structure
from SpineSegLib.training.pruning.proof import without

Choice = Sequence[tuple[Group, torch.Tensor]]
"""Groups, each with the numbers of the units that go."""
SCOPES = ("layer", "network")


def importance(group: Group, sensitivities: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return for each unit the mean sensitivity of its filters (units,); those that are added go together."""
    total, count = torch.zeros(group.units), torch.zeros(group.units)
    for place in group.places:
        if place.filters:
            values = sensitivities[place.tensor]
            total.index_add_(0, place.units, values[place.positions % len(values)].float().cpu())
            count.index_add_(0, place.units, torch.ones(len(place.units)))
    return total / count.clamp(min=1)


def choose(
    structure: Structure,
    sensitivities: Mapping[str, torch.Tensor],
    share: float,
    *,
    multiple: int = 16,
    scope: str = "layer",
) -> list[tuple[Group, torch.Tensor]]:
    """Return what to remove: in each group at least the share with the lowest sensitivity.

    Parameters
    ----------
    sensitivities : see `sensitivity`
    share : of the units, 0 to 1
    multiple : of which the channels that stay are one, rounded down, but not to none: processors work on as many at a
        time, and a layer of 17 takes the time of one of 32. Layers that are narrower stay whole.
    scope : ``"layer"`` ranks within each group, ``"network"`` all together. The paper's one threshold is the latter;
        as the gradients of layers differ by orders of magnitude it empties whole layers, so it is not the default.

    Raises
    ------
    ValueError : the share or the scope is none
    """
    if not 0 <= share < 1 or scope not in SCOPES:
        msg = f"share is {share!r} and scope {scope!r}, expected 0 to less than 1, and one of {', '.join(SCOPES)}"
        raise ValueError(msg)
    values = [importance(group, sensitivities) for group in structure.groups]
    threshold = torch.cat(values).quantile(share) if scope == "network" and values and share else None
    chosen = []
    for group, value in zip(structure.groups, values, strict=True):
        by_share = math.floor(group.units * (1 - share) + 1e-9)
        stay = by_share if threshold is None else int((value >= threshold).sum())
        step = multiple // math.gcd(multiple, group.width) if share else 1
        stay = min(group.units, max(stay // step * step, step))
        if stay < group.units:
            chosen.append((group, value.argsort(stable=True)[: group.units - stay].sort().values))
    return chosen


def removed(network: nn.Module, choice: Choice) -> nn.Module:
    """Return a copy of a network without the units chosen; the rest has its values.

    It is described by the shapes of its tensors (`SpineSegLib.networks.resize`), so that its weights load with the card
    of the whole network.
    """
    gone: dict[str, dict[int, list[torch.Tensor]]] = {}
    for group, units in choice:
        for place in group.places:
            positions = place.positions[torch.isin(place.units, units)]
            gone.setdefault(place.tensor, {}).setdefault(place.dim, []).append(positions)
    before = network.state_dict()
    cut = {
        name: without(before[name], {dim: torch.cat(positions) for dim, positions in dims.items()})
        for name, dims in gone.items()
    }
    small = resize(copy.deepcopy(network), {name: value.shape for name, value in cut.items()})
    with torch.no_grad():
        after = small.state_dict()
        for name, value in cut.items():
            after[name].copy_(value)
    return small
