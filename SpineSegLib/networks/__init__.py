"""Networks: tensors in, logits out. They know no files, no geometry and no model card.

Every network takes float images (n, channels, height, width) whose height and width are multiples of its `stride`, and
returns logits (n, classes, height, width).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _linknet(**arguments) -> nn.Module:
    from SpineSegLib.networks.linknet import LinkNet

    return LinkNet(**arguments)


def _unet(**arguments) -> nn.Module:
    from SpineSegLib.networks.unet import UNet

    return UNet(**arguments)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"linknet": _linknet, "unet": _unet}
"""Constructors by the name that a model card uses; torch is imported only when one is called."""


def build(name: str, arguments: Mapping[str, object] | None = None) -> nn.Module:
    """Return a network with random weights.

    Raises
    ------
    ValueError : there is no network of that name, or it does not take these arguments
    """
    if name not in NETWORKS:
        msg = f"network is {name!r}, expected one of {', '.join(NETWORKS)}"
        raise ValueError(msg)
    try:
        return NETWORKS[name](**dict(arguments or {}))
    except TypeError as error:
        msg = f"network {name!r} does not take the arguments {dict(arguments or {})}: {error}"
        raise ValueError(msg) from error
