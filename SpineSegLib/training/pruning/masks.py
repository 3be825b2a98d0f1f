"""Filters at zero, and kept there: steps 3 and 4 of the pruning of paper 003, whose network keeps its size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from SpineSegLib.training.pruning.groups import Structure
from SpineSegLib.training.pruning.removal import Choice
from SpineSegLib.training.pruning.sensitivity import layers_with_filters

Masks = Mapping[str, torch.Tensor]
"""Name of a parameter -> which of its values stay (bool, of its shape)."""
NORMS = ("l1", "l2")


def filter_masks(
    network: nn.Module, structure: Structure, sensitivities: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return the paper's masks: of each convolution, the share of filters with the lowest sensitivity goes.

    "Those whose sensitivities fall below a certain threshold" is read layer by layer: the gradients of layers differ by
    orders of magnitude, and one threshold for all would empty whole layers. Layers that make the output stay.

    Parameters
    ----------
    sensitivities : see `sensitivity`
    share : of the filters, rounded down
    """
    masks = {}
    for name, layer in layers_with_filters(network).items():
        if isinstance(layer, nn.Linear) or structure.makes_output(name):
            continue
        values = sensitivities[f"{name}.weight"]
        kept = torch.ones(len(values), dtype=torch.bool)
        kept[values.argsort(stable=True)[: int(share * len(values))]] = False
        shape = [1] * layer.weight.ndim
        shape[int(layer.transposed)] = len(kept)
        masks[f"{name}.weight"] = kept.view(shape).expand_as(layer.weight).clone()
        if layer.bias is not None and len(layer.bias) == len(kept):
            masks[f"{name}.bias"] = kept
    return masks


def unit_masks(network: nn.Module, choice: Choice) -> dict[str, torch.Tensor]:
    """Return the masks of what `removed` removes: filters with biases, and normalisations, whose shift would go on.

    Where zeros stay zeros up to the next layer (ReLU, GELU, SiLU; not a sigmoid, nor layer normalisation, which counts
    them), the network that is zeroed and the one that is removed return the same.
    """
    parameters = dict(network.named_parameters())
    masks: dict[str, torch.Tensor] = {}
    for group, units in choice:
        for place in group.places:
            if place.makes and place.tensor in parameters:
                tensor = parameters[place.tensor]
                mask = masks.setdefault(place.tensor, torch.ones(tensor.shape, dtype=torch.bool))
                mask.index_fill_(place.dim, place.positions[torch.isin(place.units, units)], False)
    return masks


def zero(network: nn.Module, masks: Masks) -> nn.Module:
    """Set to zero, in place, what the masks do not keep."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask.to(parameters[name].device))
    return network


def hold(network: nn.Module, masks: Masks, *, strength: float = 0.0, norm: str = "l2", accumulate: int = 1) -> None:
    """Let training keep zeros at zero, and add the gradient of λ·R(w) to the loss's.

    Both act on the gradients, so that any training loop and any optimiser that starts without momentum does the same; a
    decay of the weights leaves zeros zero.

    Parameters
    ----------
    masks : of the parameters that were zeroed; may be empty
    strength : λ; the paper gives none
    norm : R, the sum over all weights (not the biases and normalisations) of squares, ``"l2"``, or of absolute values,
        ``"l1"``; the paper does not say
    accumulate : batches whose gradients are summed before a step

    Raises
    ------
    ValueError : there is no such norm
    """
    if norm not in NORMS:
        msg = f"norm is {norm!r}, expected one of {', '.join(NORMS)}"
        raise ValueError(msg)
    for name, parameter in network.named_parameters():
        mask = masks.get(name)
        pull = strength / accumulate if parameter.ndim > 1 else 0.0
        if not parameter.requires_grad or (mask is None and not pull):
            continue

        def changed(gradient, parameter=parameter, mask=mask, pull=pull):
            if pull:
                weight = parameter.detach()
                gradient = gradient + pull * (2 * weight if norm == "l2" else weight.sign())
            return gradient if mask is None else gradient * mask.to(gradient.device)

        parameter.register_hook(changed)
