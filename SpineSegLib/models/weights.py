"""A model's network with its weights: safetensors files, checked by size and sha256 before they are used.

Where the files lie is `SpineSegLib.models.store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import InputError, problem
from SpineSegLib.io import written_whole
from SpineSegLib.models.cards import Card, card
from SpineSegLib.models.checkpoints import encoder_among, read_pruned, read_tensors
from SpineSegLib.models.store import file_sha256, weights_file

if TYPE_CHECKING:
    import torch
    from torch import nn


def verify_weights(name: str) -> Path:
    """Check a model's weights in full: checksum, names and shapes; return the file. InputError when they are not it."""
    model = card(name)
    path = weights_file(model)
    load_network(model)
    return path


def save_weights(network: nn.Module, path: Path) -> dict[str, object]:
    """Write a network's weights in float16 safetensors and return ``{"sha256", "bytes"}``.

    What is not trained stays as it is: counters of batch normalisation, its running statistics, of which small ones
    would vanish, and fixed tables. Of a pruned network, the file says which tensors are smaller than the card's, so
    that it loads with the card of the whole one.
    """
    from safetensors.torch import save_file

    trained = {name for name, _ in network.named_parameters()}

    def halve(name: str, value: torch.Tensor) -> torch.Tensor:
        value = value.detach().cpu().contiguous()
        return value.half() if name in trained else value

    pruned = getattr(network, "pruned", None)
    said = {"pruned": json.dumps(pruned)} if pruned else None
    with written_whole(path) as part:
        save_file({name: halve(name, value) for name, value in network.state_dict().items()}, str(part), said)
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def load_network(model: Card, weights: str | Path | None = None) -> nn.Module:
    """Return the card's network with its weights, in float32 and evaluation mode.

    Raises
    ------
    InputError : no weights, a wrong checksum, no file of tensors, or tensors that are not this network's
    """
    return read_network(weights_file(model, weights), model)


def initial_network(model: Card, *weights: str | Path) -> nn.Module:
    """Return the card's network to start training from: with all of a file's weights, or with those of a part alone.

    Parameters
    ----------
    weights : files, each laid over those before it: of this model, or public ones that hold its encoder, such as
        Segment Anything's ``sam_vit_b_01ec64.pth`` for CervSpineNet, or what the network itself knows of its parts
        (``adopted``, see `SpineSegLib.networks.spinefm.SpineFM`); the rest of the network is then random

    Raises
    ------
    InputError : as `load_network`
    """
    from SpineSegLib.networks import build

    network = None
    for path in (weights_file(model, each) for each in weights):
        tensors = read_tensors(path, model.name)
        network = network or build(model.network["name"], model.network["arguments"])
        own = network.state_dict()
        # Names alone decide: a pruned file's shapes differ.
        part = {} if own.keys() == tensors.keys() else encoder_among(tensors, own)
        if not part and hasattr(network, "adopted") and own.keys() != tensors.keys():
            part = network.adopted(tensors)
        if not part:
            network = read_network(path, model)
            continue
        _finite(part, path, model)
        network.load_state_dict(part, strict=False)
    return network.eval()


def read_network(path: Path, model: Card) -> nn.Module:
    """Return the card's network with a file's weights, its checksum not looked at; errors as `load_network`."""
    tensors = read_tensors(path, model.name)
    network = _blank(model, tensors, path)
    own = network.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys()) or [n for n in own if own[n].shape != tensors[n].shape]
    if wrong:
        found = f"{len(wrong)} tensors that differ in name or shape, such as {wrong[0]}"
        raise problem(path, found, f"the {len(own)} tensors of {model.name}", "Name this model's own weights")
    _finite(tensors, path, model)
    network.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own})
    return network.eval()


def _blank(model: Card, tensors: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """Return the card's network, pruned as the file is; no time is spent on first values that will be replaced."""
    import torch

    from SpineSegLib.networks import build

    arguments = dict(model.network["arguments"])
    pruned = {**arguments.get("pruned", {}), **read_pruned(path)}
    arguments |= {"pruned": pruned} if pruned else {}
    try:
        with torch.device("meta"):
            network = build(model.network["name"], arguments)
    except ValueError as error:
        step = "Name this model's own weights"
        raise problem(path, f"pruned layers of another network ({error})", f"those of {model.name}", step) from error
    every = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    if every <= tensors.keys():
        return network.to_empty(device="cpu")
    return build(model.network["name"], arguments)


def _finite(tensors: Mapping[str, torch.Tensor], path: Path, model: Card) -> None:
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(
            f"{path}: {bad[0]} holds values that are not finite; install the weights of {model.name} again."
        )
