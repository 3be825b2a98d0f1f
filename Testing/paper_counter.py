"""Counts of networks with scans as paper 004's Table 3 has them: by thop's rules, which see layers that run.

Parameters that stand by themselves (in a VMamba scan: A, D, what selects, what steps), the layers of a fused kernel
(all of Mamba's), matrix products and scans are left out. A normalisation is 4 per value, and a transposed convolution
counts its output's places.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn


def paper_counts(network: nn.Module, size: int, channels: int = 3, unseen: Collection[str] = ()) -> tuple[int, int]:
    """Return parameters and multiply-adds of a network on the meta device.

    `unseen` : names of modules that the counted code does not have as layers
    """
    seen: dict[int, int] = {}
    multiply_adds = 0
    hooks = []

    def hook(module, _inputs, output):
        nonlocal multiply_adds
        seen.update({id(parameter): parameter.numel() for parameter in module.parameters(recurse=False)})
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            kernel = module.weight[0, 0].numel() * module.in_channels // module.groups
            multiply_adds += output.numel() * kernel
        elif isinstance(module, nn.Linear):
            multiply_adds += output.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            multiply_adds += 4 * output.numel()

    for name, module in network.named_modules():
        if not list(module.children()) and not set(name.split(".")) & set(unseen):
            hooks.append(module.register_forward_hook(hook))
    with torch.device("meta"), torch.no_grad():
        network.eval()(torch.empty(1, channels, size, size))
    for one in hooks:
        one.remove()
    return sum(seen.values()), multiply_adds
