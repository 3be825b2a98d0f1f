"""Small images and weights that stand in for real ones, so that the command line is tested in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineSegLib.image import Geometry, Image

CT_MODEL, FILM_MODEL = "linknet34-ct-small", "unet-xray-small"


def random_weights(name: str, path: Path, *, seed: int = 0) -> Path:
    """Write weights of a model as training would, drawn at random, that find something in about half of an image."""
    import torch
    from safetensors.torch import save_file

    from SpineSegLib.models import card
    from SpineSegLib.networks import build

    torch.manual_seed(seed)
    model = card(name)
    network = build(model.network["name"], model.network["arguments"]).eval()
    coarse = torch.rand(4, int(model.input["channels"]), 8, 8)
    last = [module for module in network.modules() if getattr(module, "bias", None) is not None][-1]
    with torch.no_grad():
        last.bias -= network(torch.nn.functional.interpolate(coarse, size=128, mode="bilinear")).median()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, str(path))
    return path


def small_ct(geometry: Geometry) -> Image:
    """Return a column of bone in water in air."""
    grid = np.indices(geometry.shape)
    away = np.abs(grid - np.reshape(geometry.shape, (3, 1, 1, 1)) / 2)
    hounsfield = np.where((away[1] < 5) & (away[2] < 5), 40, -1000)
    hounsfield[(away[1] < 2) & (away[2] < 2)] = 600
    return Image(hounsfield.astype(np.int16), geometry, "CT")


def small_film() -> Image:
    """Return a bright column on a slope, with spacing."""
    values = np.tile(np.linspace(0, 900, 48), (64, 1))
    values[8:56, 20:28] += 800
    return Image(values[None].astype(np.uint16), Geometry((1, 64, 48), np.diag([-0.4, -0.4, 1, 1])), "XR")


def left_in(folder: Path) -> list[str]:
    """Return the names of everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.rglob("*"))
