"""Weights: safetensors files, checked by size and sha256 before they are used.

Bundled weights lie in ``Resources/Models``; installed ones in the user's folder (`weights_folder`). Nothing is fetched
unless `install_weights` is called with an address.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import InputError, problem
from SpineSegLib.io import written_whole
from SpineSegLib.models.cards import Card, card
from SpineSegLib.models.checkpoints import FOREIGN, encoder_among, read_pruned, read_tensors
from SpineSegLib.progress import Progress, silent
from SpineSegLib.resources import resource

if TYPE_CHECKING:
    import torch
    from torch import nn


def weights_folder() -> Path:
    """Return the folder of installed weights: ``SPINESEG_WEIGHTS`` if set, else the user's data folder."""
    if os.environ.get("SPINESEG_WEIGHTS"):
        return Path(os.environ["SPINESEG_WEIGHTS"])
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share"))
    return base / "SpineSeg" / "weights"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed(model: Card) -> Path:
    return weights_folder() / (model.weights.file or f"{model.name}.safetensors")


def weights_state(model: Card) -> str:
    """Return ``"bundled"``, ``"installed"`` or ``"absent"``; files are looked for, not read."""
    if _installed(model).is_file():
        return "installed"
    if model.weights.bundled and resource("Models", model.weights.file).is_file():
        return "bundled"
    return "absent"


def weights_file(model: Card, override: str | Path | None = None) -> Path:
    """Return the file whose weights to use; installed ones go before bundled ones.

    Parameters
    ----------
    override : a file of the user's own, used as it is

    Raises
    ------
    InputError : there is none, or a file that the card has a checksum for is another
    """
    if override is not None:
        path = Path(override)
        if not path.is_file():
            raise problem(path, "no such file", "a safetensors file", "Check --weights")
        return path
    state = weights_state(model)
    if state == "absent":
        raise problem(
            model.name,
            "no weights",
            "trained or installed ones",
            f"Train them, name a file with --weights, or: python -m SpineSegLib weights install {model.name} FILE",
        )
    path = _installed(model) if state == "installed" else resource("Models", model.weights.file)
    check_file(path, model)
    return path


def check_file(path: Path, model: Card) -> None:
    """Raise InputError when the card states a size or checksum that the file does not have."""
    expected = model.weights
    if expected.bytes is not None and path.stat().st_size != expected.bytes:
        found = f"{path.stat().st_size} bytes"
        raise problem(path, found, f"{expected.bytes} bytes for {model.name}", "Delete the file and install it again")
    if expected.sha256 is not None:
        found = file_sha256(path)
        if found != expected.sha256:
            wanted = f"sha256 {expected.sha256[:12]}… for {model.name}"
            raise problem(path, f"sha256 {found[:12]}…", wanted, "Delete the file and install it again")


def verify_weights(name: str) -> Path:
    """Check a model's weights in full: checksum, names and shapes; return the file. InputError when they are not it."""
    model = card(name)
    path = weights_file(model)
    load_network(model)
    return path


def install_weights(name: str, source: str | Path, report: Progress = silent) -> Path:
    """Copy or fetch a model's weights into the weights folder, whole or not at all.

    Parameters
    ----------
    source : a file, of PyTorch's format too (such as ``sam_vit_b_01ec64.pth`` for ``sam``), which is then rewritten as
        safetensors, or an address (https) that is fetched because the user asked

    Raises
    ------
    InputError : no such file, a failed download, or weights that are not this model's
    """
    model = card(name)
    target = _installed(model)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"the folder cannot be made ({error.strerror})"
        raise problem(
            target.parent, found, "a folder that can be written", "Set SPINESEG_WEIGHTS to another"
        ) from error
    text = str(source)
    if "://" in text and not text.startswith("https://"):
        raise problem(text, "an address that is not https", "https or a file", "Download it yourself and name the file")
    with written_whole(target) as part:
        if text.startswith("https://"):
            _fetch(text, part, report)
        elif Path(source).is_file():
            shutil.copyfile(source, part)
        else:
            raise problem(source, "no such file", "a safetensors file or an https address", "Check the name")
        if (suffix := Path(text).suffix.lower()) in FOREIGN:
            from safetensors.torch import save_file

            save_file(read_tensors(part, model.name, suffix), str(part))
        check_file(part, model)
        _load(part, model)
    return target


def _fetch(address: str, target: Path, report: Progress) -> None:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer, target.open("wb") as file:
            if not answer.geturl().startswith("https://"):
                raise problem(
                    address, "a redirect to an insecure address", "https", "Ask the source for another address"
                )
            of = int(answer.headers.get("Content-Length") or 0)
            done = 0
            while block := answer.read(1 << 20):
                done += len(block)
                file.write(block)
                report(done >> 20, max(of >> 20, done >> 20), f"downloading {Path(address).name}")
    except OSError as error:
        raise problem(
            address, f"download failed ({error})", "a file", "Check the network, or install from a file"
        ) from error


def delete_weights(name: str) -> Path:
    """Delete a model's installed weights and return where they were; bundled ones stay."""
    path = _installed(card(name))
    if not path.is_file():
        raise problem(name, "no installed weights", "some to delete", "See: python -m SpineSegLib weights list")
    path.unlink()
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
    return _load(weights_file(model, weights), model)


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
            network = _load(path, model)
            continue
        _finite(part, path, model)
        network.load_state_dict(part, strict=False)
    return network.eval()


def _load(path: Path, model: Card) -> nn.Module:
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
