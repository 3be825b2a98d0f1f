"""What the tests of networks share: narrow variants, one picture with its mask, training, a table's way of counting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from paper_counter import paper_counts
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import Card, Weights, registry
from SpineSegLib.networks import build

SIDE = 64
"""Side of the pictures that narrow variants see: a multiple of every network's stride; of volumes it is half."""


def _narrow_cervspinenet(arguments: Mapping[str, object]) -> Mapping[str, object]:
    narrow_vit = {"size": SIDE, "width": 64, "depth": 2, "heads": 2, "window": 2, "global_blocks": [1]}
    return {"outputs": 128, **({} if arguments.get("encoder") == "cnn" else narrow_vit)}


def _narrow_linknet(arguments: Mapping[str, object]) -> Mapping[str, object]:
    scales = {"efficientnet": {"width": 0.25, "depth": 0.3}, "mobilenet-v2": {"width": 0.35}}
    encoder = arguments.get("encoder")
    return {"width": 8, **({"scale": scales[encoder]} if encoder else {})}


NARROW: Mapping[str, Mapping[str, object] | Callable[[Mapping[str, object]], Mapping[str, object]]] = {
    "attention-unet": {"width": 4},
    "cervspinenet": _narrow_cervspinenet,
    "channel-unet": {"width": 4},
    "condseg": {"width": 8, "joined": 16},
    "cvm-unet": {"width": 16, "depths": [1, 1, 1, 1], "states": 4},
    "deeplabv3plus": {"depth": 50, "width": 8, "middle": 32, "dropout": 0.0},
    "dense-unet": {"layers": [2, 2, 2, 2], "growth": 8},
    "lightm-unet": {"blocks": [1, 1, 1, 1]},
    "fpn": {"width": 8, "pyramid": 8, "joined": 8, "dropout": 0.0},
    "linknet": _narrow_linknet,
    "md-unet": {"widths": [8, 8, 8, 8, 8, 8]},
    "meta-unet": {"width": 4, "joined": 8},
    "pspnet": {"width": 8, "joined": 16, "dropout": 0.0},
    "residual-unet": {"width": 4},
    "sam": {
        **{"size": SIDE, "width": 32, "depth": 2, "heads": 2, "window": 3, "global_blocks": [1]},
        **{"outputs": 32, "hidden": 64},
    },
    "segformer-text": {"widths": [16, 32, 40, 64], "depths": [1, 1, 1, 1], "decoder": 32, "drop": 0.0, "dropout": 0.0},
    "swin-unet": {"width": 16, "heads": [1, 2, 4, 8], "drop_path": 0.0},
    "triview": {"encoder": {"width": 0.25, "depth": 0.3, "expansion": 2}, "features": 4, "depth": 34, "width": 4},
    "trans-unet": {"width": 16, "layers": 2, "mlp": 32, "image_size": SIDE},
    "unet": {"width": 4},
    "unet-plus-plus": {"width": 4},
    "unet3plus": {"width": 4},
    "unext": {"widths": [8, 8, 16, 20, 24]},
    "vm-unet-v2": {"width": 16, "depths": [1, 1, 1, 1], "middle": 8, "states": 4},
}
"""Network -> arguments, or what makes them of the card's, that let it train within a second."""

BY_PARTS = frozenset({"spinefm", "yolo-unet", "yolo11", "yolo11-seg"})
"""Networks that find vertebra by vertebra: their parts have losses of their own, and tests of their own hold them."""

ONE_BY_ONE = frozenset({"in-parts", "spinefm", "yolo-seg", "yolo-unet"})
"""Pipelines whose result has a segment a vertebra."""

COUNTED_ELSEWHERE: Mapping[str, Mapping[str, object]] = {
    "meta-unet": {"size": 448},
    "swin-unet": {"size": 448, "arguments": {"window": 7}},
    "vm-unet-v2": {"size": 448, "unseen": ["select"]},
    "lightm-unet": {"unseen": ["mamba"]},
    "cvm-unet": {"unseen": ["select"]},
}
"""Card -> the size and other arguments that paper 004 must have counted it with, and parts that its counter did not see
as layers (the card's note says why)."""


def narrowed(model: Card) -> Card:
    """Return the card with a narrow variant of its network, for small pictures, without weights, never a pruned one."""
    arguments = {name: value for name, value in model.network["arguments"].items() if name != "pruned"}
    small = NARROW.get(model.network["name"], {})
    arguments |= small(arguments) if callable(small) else small
    network = {"name": model.network["name"], "arguments": arguments}
    size = [SIDE, SIDE] if len(model.input["size"]) == 2 else [SIDE // 2] * 3
    return replace(model, network=network, input={**model.input, "size": size}, weights=Weights())


@cache
def distinct() -> Mapping[str, Card]:
    """Return the narrowed cards whose networks differ, by the name of the first card that has each; not `BY_PARTS`."""
    found: dict[str, Card] = {}
    for name, model in registry().items():
        if model.network["name"] in BY_PARTS:
            continue
        small = narrowed(model)
        arguments = {key: value for key, value in small.network["arguments"].items() if key != "channels"}
        found.setdefault(json.dumps([small.network["name"], arguments], sort_keys=True), replace(small, name=name))
    return {model.name: model for model in found.values()}


def made(model: Card, seed: int = 0) -> nn.Module:
    """Return the card's network with random weights from a seed."""
    torch.manual_seed(seed)
    return build(model.network["name"], model.network["arguments"])


def ladder(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy grey picture with a column of brighter blocks, float32 0…1, and the blocks' mask, bool."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    middle = width / 2 + 0.1 * width * np.sin(3 * rows / height)
    mask = (abs(columns - middle) < 0.17 * width) & (rows % (height // 4) > 0.06 * height)
    picture = 0.3 + 0.2 * columns / width + 0.25 * mask + rng.normal(0, 0.05, mask.shape)
    return np.clip(picture, 0, 1).astype(np.float32), mask


def batch_of(model: Card, times: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ladder as images (1, channels, h, w) and masks (1, classes, h, w) of a multiple of the card's size.

    A volume (1, channels, d, h, w) has the ladder in every slice.
    """
    *slices, height, width = (times * side for side in model.input["size"])
    picture, mask = (
        torch.from_numpy(values.astype(np.float32)).expand(1, 1, *slices, height, width)
        for values in ladder(height, width)
    )
    repeat = [1] * (picture.ndim - 2)
    channels, classes = int(model.input["channels"]), len(model.structures)
    return picture.repeat(1, channels, *repeat), mask.repeat(1, classes, *repeat)


def image_for(model: Card, height: int, width: int) -> Image:
    """Return ladders as an image that the card takes, of any size: a single picture, or five slices 3 mm apart."""
    picture, _ = ladder(height, width)
    array = np.stack([picture] * (5 if model.dimension == 3 else 1)) * 2000 - 800
    return Image(array, Geometry(array.shape, np.diag([-2.0, -2.0, 3.0, 1.0])), model.modality[0])


def loss_of(network: nn.Module, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return what training minimises, as `training.fit` does: cross-entropy plus Dice, of all outputs."""
    if hasattr(network, "training_outputs"):
        outputs, weights = network.training_outputs(images), network.auxiliary_weights
    elif hasattr(network, "training_logits"):
        outputs, weights = [network.training_logits(images, masks)], [1.0]
    else:
        outputs, weights = [network(images)], [1.0]
    total = torch.zeros(())
    for weight, logits in zip(weights, outputs, strict=True):
        logits = logits.float()
        found = torch.sigmoid(logits)
        dice = 1 - 2 * (found * masks).sum() / (found.sum() + masks.sum())
        total = total + weight * (functional.binary_cross_entropy_with_logits(logits, masks) + dice)
    return total


def dice_of(network: nn.Module, images: torch.Tensor, masks: torch.Tensor) -> float:
    """Return the Dice of what the network finds in use."""
    with torch.no_grad():
        prompted = hasattr(network, "training_logits")
        found = (network.training_logits(images, masks) if prompted else network(images)) > 0
    return float(2 * (found * masks).sum() / (found.sum() + masks.sum()))


def as_paper_004_counts(model: Card) -> tuple[int, int]:
    """Return parameters and multiply-adds as the counter thop does, which the table of paper 004 is made with.

    It takes a transposed convolution for one at the size of its output and leaves out products of activations, and it
    ran what training runs. Of a network with scans it misses more (see `paper_counter`).
    """
    how = COUNTED_ELSEWHERE.get(model.name, {})
    size = how.get("size", int(model.input["size"][0]))
    extra = 0

    def transposed(layer: nn.ConvTranspose2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal extra
        extra += (output[0, 0].numel() - inputs[0][0, 0].numel()) * layer.weight.numel()

    with torch.device("meta"):
        network = build(model.network["name"], {**model.network["arguments"], **how.get("arguments", {})}).eval()
        picture = torch.empty(1, int(model.input["channels"]), size, size)
    if "unseen" in how:
        return paper_counts(network, size, int(model.input["channels"]), how["unseen"])
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(transposed)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        getattr(network, "training_outputs", network)(picture)
    counts = {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}
    layers = ("aten.convolution", "aten.mm", "aten.addmm")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return parameters, sum(counts.get(name, 0) for name in layers) // 2 + extra
