"""How much each filter matters to the loss: step 2 of the pruning of paper 003.

Saeed et al., Attention LinkNet-152, Scientific Reports 15 (2025) 13102, "A gradient sensitivity based network pruning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

GRADIENTS = ("batch", "sum")


def layers_with_filters(network: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions and linear layers of a network by name; a filter of a linear layer is a row."""
    kinds = nn.modules.conv._ConvNd | nn.Linear
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


def by_filter(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Return the mean (filters,) of values of the shape of a layer's weight over the weights of each filter.

    A grouped transposed convolution has a filter of each number in every group; these are taken together.
    """
    return (
        values.transpose(0, 1).flatten(1).mean(1) if getattr(layer, "transposed", False) else values.flatten(1).mean(1)
    )


def sensitivity(
    network: nn.Module,
    batches: Iterable[object],
    loss: Callable[[object], torch.Tensor],
    *,
    gradients: str = "batch",
) -> dict[str, torch.Tensor]:
    """Return S(F) = 1/|F| · Σ over w in F of |∂L/∂w| for each filter F.

    Parameters
    ----------
    network : in evaluation mode, as the paper has it; its gradients are overwritten
    batches : of a data loader
    loss : of a batch, a scalar with a graph
    gradients : ``"batch"`` takes |∂L/∂w| of each batch and their mean; ``"sum"`` the absolute value of the gradient of
        all. The paper does not say; near a minimum the gradient of all is close to zero for every filter that was
        trained, whether it matters or not, so each batch counts.

    Returns
    -------
    Name of the layer's weight in the state dictionary -> (filters,); layers that get no gradient are at zero

    Raises
    ------
    ValueError : there is no batch, or no such way
    """
    if gradients not in GRADIENTS:
        msg = f"gradients is {gradients!r}, expected one of {', '.join(GRADIENTS)}"
        raise ValueError(msg)
    layers = layers_with_filters(network)
    total = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    count = 0
    for batch in batches:
        network.zero_grad(set_to_none=True)
        loss(batch).backward()
        count += 1
        for name, layer in layers.items():
            if layer.weight.grad is not None:
                total[name] += layer.weight.grad.abs() if gradients == "batch" else layer.weight.grad
    network.zero_grad(set_to_none=True)
    if not count:
        msg = "there is no batch to measure the sensitivity on"
        raise ValueError(msg)
    return {f"{name}.weight": by_filter(layer, total[name].abs() / count) for name, layer in layers.items()}
