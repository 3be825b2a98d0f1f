"""Networks: tensors in, logits out. They know no files, no geometry and no model card.

Every network takes float images (n, channels, height, width) whose height and width are multiples of its `stride`, and
returns logits (n, classes, height, width).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, str] = {
    "attention-unet": "attention_unet:AttentionUNet",
    "cervspinenet": "cervspinenet:CervSpineNet",
    "channel-unet": "channel_unet:ChannelUNet",
    "condseg": "condseg:ConDSeg",
    "cvm-unet": "cvm_unet:CVMUNet",
    "deeplabv3plus": "deeplabv3plus:DeepLabV3Plus",
    "dense-unet": "dense_unet:DenseUNet",
    "lightm-unet": "lightm_unet:LightMUNet",
    "fpn": "fpn:FPN",
    "linknet": "linknet:LinkNet",
    "md-unet": "md_unet:MDUNet",
    "meta-unet": "meta_unet:METAUNet",
    "pspnet": "pspnet:PSPNet",
    "residual-unet": "residual_unet:ResidualUNet",
    "sam": "sam:Sam",
    "segformer-text": "segformer:TextSegFormer",
    "spinefm": "spinefm:SpineFM",
    "swin-unet": "swin_unet:SwinUNet",
    "trans-unet": "trans_unet:TransUNet",
    "triview": "triview:TriViewLinkNet",
    "unet": "unet:UNet",
    "unet3plus": "unet3plus:UNet3Plus",
    "unet-plus-plus": "unet_plus_plus:UNetPlusPlus",
    "unext": "unext:UNeXt",
    "vm-unet-v2": "vm_unet_v2:VMUNetV2",
    "yolo11": "yolo11:YOLO11",
    "yolo11-seg": "yolo11:YOLO11Seg",
    "yolo-unet": "yolo_unet:YoloUNet",
}
"""Name that a model card uses -> module of this package and its constructor; torch is imported only by `build`."""


def build(name: str, arguments: Mapping[str, object] | None = None) -> nn.Module:
    """Return a network with random weights.

    Parameters
    ----------
    name : in `NETWORKS`
    arguments : of its constructor; and ``pruned``, the shapes of those tensors that are smaller than the constructor
        makes them, filters having been removed (`resize`)

    Raises
    ------
    ValueError : there is no network of that name, or it does not take these arguments
    """
    if name not in NETWORKS:
        msg = f"network is {name!r}, expected one of {', '.join(NETWORKS)}"
        raise ValueError(msg)
    module, constructor = NETWORKS[name].split(":")
    arguments = dict(arguments or {})
    pruned = arguments.pop("pruned", {})
    try:
        network = getattr(import_module(f"SpineSegLib.networks.{module}"), constructor)(**arguments)
    except TypeError as error:
        msg = f"network {name!r} does not take the arguments {arguments}: {error}"
        raise ValueError(msg) from error
    return import_module("SpineSegLib.networks.resize").resize(network, pruned) if pruned else network
