"""What ``models --json`` says of a card, and the counts that are measured on its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from SpineSegLib.models.cards import Card
from SpineSegLib.models.store import weights_state

if TYPE_CHECKING:
    import torch
    from torch import nn


def count(model: Card) -> tuple[int, int]:
    """Return parameters and multiply-adds at the card's input size, of a network without memory (meta device)."""
    import torch

    from SpineSegLib.networks import build

    with torch.device("meta"):
        network = build(model.network["name"], model.network["arguments"])
        picture = torch.empty(1, int(model.input["channels"]), *map(int, model.input["size"]))
    return counts_of(network, picture)


def counts_of(network: nn.Module, picture: torch.Tensor) -> tuple[int, int]:
    """Return the parameters of a network and its multiply-adds on a picture; both may be on the meta device.

    A multiply-add is one multiplication with its addition in a convolution or matrix product: half of the floating
    point operations that PyTorch's counter reports.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    parameters = sum(parameter.numel() for parameter in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(picture)
    return parameters, counter.get_total_flops() // 2


def describe(model: Card) -> Mapping[str, object]:
    """Return a card as plain data: one object of ``models --json``.

    The counts stand on the card, written by ``Testing/count_networks.py`` and held true by a test, so that a list of
    all models takes no time; a card without them is counted.
    """
    counts = model.network.get("counts")
    parameters, multiply_adds = (counts["parameters"], counts["multiply_adds"]) if counts else count(model)
    return {
        "name": model.name,
        "title": model.title,
        "paper": model.paper,
        "modality": list(model.modality),
        "dimension": model.dimension,
        "view": list(model.view),
        "structures": [structure.name for structure in model.structures],
        "input_size": list(model.input["size"]),
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "weights": weights_state(model),
        "licence": model.weights.licence,
        "scores": [dict(score) for score in model.weights.scores],
    }
