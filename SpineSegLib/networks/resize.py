"""Layers with fewer channels than the constructor gives them: the shape of a network from which filters were removed.

A removed network is described by the shapes of those tensors that are smaller than the constructor's. That needs no
library and no pickle: the shapes stand on a card, or are those of the weights file itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Shapes = Mapping[str, Sequence[int]]
"""Name of a parameter or buffer, as in the state dictionary -> its shape."""


def resize(network: nn.Module, shapes: Shapes) -> nn.Module:
    """Give tensors of a network smaller shapes, in place; they keep their first values along each axis.

    ``network.pruned`` then holds all shapes that the network was ever given in this way.

    Raises
    ------
    ValueError : there is no such tensor, its shape is not the old one made smaller, or a layer cannot have it
    """
    before = network.state_dict()
    layers: dict[str, nn.Module] = {}
    for name, shape in shapes.items():
        if name not in before:
            msg = f"there is no tensor {name}"
            raise ValueError(msg)
        old, new = tuple(before[name].shape), tuple(int(size) for size in shape)
        if len(old) != len(new) or not all(1 <= n <= o for n, o in zip(new, old, strict=True)):
            msg = f"{name} is {'x'.join(map(str, new))}, expected {'x'.join(map(str, old))} or fewer channels"
            raise ValueError(msg)
        path, _, leaf = name.rpartition(".")
        layers[path] = network.get_submodule(path)
        put(layers[path], leaf, before[name][tuple(slice(size) for size in new)].clone())
    for path, layer in layers.items():
        fit_attributes(layer, path)
    network.pruned = {**getattr(network, "pruned", {}), **{name: list(map(int, s)) for name, s in shapes.items()}}
    return network


def put(layer: nn.Module, name: str, value: torch.Tensor) -> None:
    """Replace a parameter or a buffer of a layer by another of any shape."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value, requires_grad=old.requires_grad)
    setattr(layer, name, value)


def fit_attributes(layer: nn.Module, path: str = "") -> None:
    """Set what a layer says of its sizes to what its tensors have.

    Raises
    ------
    ValueError : the layer cannot have tensors of these shapes
    """
    if isinstance(layer, _ConvNd):
        outputs, inputs = layer.weight.shape[:2]
        if layer.transposed:
            outputs, inputs = inputs, outputs
        if layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels:  # depthwise: a group a channel
            layer.groups = layer.weight.shape[0]
        layer.in_channels = inputs * (1 if layer.transposed else layer.groups)
        layer.out_channels = outputs * (layer.groups if layer.transposed else 1)
        if layer.in_channels % layer.groups or layer.out_channels % layer.groups:
            msg = f"{path} cannot have {layer.in_channels} and {layer.out_channels} channels in {layer.groups} groups"
            raise ValueError(msg)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _BatchNorm):
        layer.num_features = len(layer.running_mean)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)
        if layer.num_channels % layer.num_groups:
            msg = f"{path} cannot have {layer.num_channels} channels in {layer.num_groups} groups"
            raise ValueError(msg)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, nn.MultiheadAttention):
        msg = f"{path} cannot have fewer channels"
        raise ValueError(msg)
