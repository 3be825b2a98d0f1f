"""Files of tensors: safetensors, and the public .pth files of others, of which nothing but tensors is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import problem

if TYPE_CHECKING:
    import torch

FOREIGN = (".pth", ".pt")
"""Suffixes of PyTorch's own format, such as that of ``sam_vit_b_01ec64.pth``."""


def read_tensors(path: Path, of: str, suffix: str | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name.

    Parameters
    ----------
    of : the model that they should be of, for the text of an error
    suffix : of the file where it came from, if it now has another

    Raises
    ------
    InputError : it is no such file, or holds anything else than tensors
    """
    return _pickled(path, of) if (suffix or path.suffix.lower()) in FOREIGN else _safe(path, of)


def _safe(path: Path, of: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise problem(path, f"no safetensors file ({error})", f"weights of {of}", "Install them again") from error


def read_pruned(path: Path) -> dict[str, list[int]]:
    """Return the shapes of tensors that pruning made smaller, as a safetensors file itself says; empty if it does not.

    Raises
    ------
    InputError : what the file says there is no such thing
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            said = json.loads((file.metadata() or {}).get("pruned", "{}"))
        return {str(name): [int(size) for size in shape] for name, shape in said.items()}
    except SafetensorError:
        return {}  # `read_tensors` says that it is no such file.
    except (OSError, ValueError, TypeError, AttributeError) as error:
        step = "Prune again, or name another file"
        raise problem(path, f"a note of pruned layers that cannot be read ({error})", "shapes by name", step) from error


def _pickled(path: Path, of: str) -> dict[str, torch.Tensor]:
    import torch

    try:
        with path.open("rb") as file:  # by its name PyTorch would take it for safetensors
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or a hostile file leads to
        reason = str(error).splitlines()[0][:120]
        raise problem(path, f"no file of tensors ({reason})", f"weights of {of}", "Download it again") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = isinstance(found, Mapping) and all(isinstance(value, torch.Tensor) for value in found.values())
    if not tensors or not found:
        raise problem(path, "no tensors by name", f"weights of {of}", "Name a file with a state dictionary")
    return {str(name): value.contiguous() for name, value in found.items()}


def encoder_among(tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return those of a foreign file's tensors that make up a network's encoder whole, by the network's names.

    Segment Anything's ``image_encoder.…`` is CervSpineNet's encoder, a ResNet of torchvision's (``conv1.weight``, …)
    that of DeepLabV3+ and LinkNet.

    Parameters
    ----------
    tensors : of the file
    own : of the network

    Returns
    -------
    Empty where the file does not hold the encoder
    """
    wanted = [name for name in own if name.startswith("encoder.")]
    for prefix in ("image_encoder.", "encoder.", ""):
        names = {name: prefix + name.removeprefix("encoder.") for name in wanted}
        if wanted and all(n in tensors and tensors[n].shape == own[name].shape for name, n in names.items()):
            return {name: tensors[n] for name, n in names.items()}
    return {}
