"""What pruning costs and saves: parameters, multiply-adds, milliseconds, Dice."""

from __future__ import annotations

import copy
import logging
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from SpineSegLib.models.describe import counts_of
from SpineSegLib.training.fit import Fit
from SpineSegLib.training.recipe import Recipe


def example_for(network: nn.Module, channels: int, side: int | None = None) -> torch.Tensor:
    """Return noise for a network: a square (1, channels, h, w), or a cube for one that takes volumes.

    Its side is the one given, else at least 64 pixels.
    """
    stride = int(getattr(network, "stride", 1))
    side = side or stride * -(-64 // stride)
    axes = 3 if getattr(network, "volumetric", False) else 2
    return torch.rand(1, channels, *[side] * axes, generator=torch.Generator().manual_seed(0))


def loss_of(network: nn.Module, recipe: Recipe, batch: object) -> torch.Tensor:
    """Return the recipe's loss of a batch, as training takes it, in evaluation mode."""
    module = Fit(network, recipe)
    module.log = lambda *_arguments, **_options: None  # It is no training run.
    return module.eval().training_step(batch, 0)


def score_of(network: nn.Module, recipe: Recipe, batches: Sequence[object], folder: Path) -> float:
    """Return the validation Dice, or the network's own score, as training measures it."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    module = Fit(copy.deepcopy(network), recipe)
    trainer = lightning.Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        accelerator="cpu",
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*num_workers.*|.*does not have many workers.*|.*LeafSpec.*")
        loader = DataLoader(batches, batch_size=None, collate_fn=_same)
        (found,) = trainer.validate(module, loader, verbose=False)
    return float(found[module.score])


def _same(batch: object) -> object:
    return batch


def size_of(network: nn.Module, picture: torch.Tensor) -> dict[str, int]:
    """Return the parameters and multiply-adds of a network on a picture, counted without computing."""
    parameters, multiply_adds = counts_of(copy.deepcopy(network).to("meta"), picture.to("meta"))
    return {"parameters": parameters, "multiply_adds": multiply_adds}


def milliseconds_of(networks: Sequence[nn.Module], picture: torch.Tensor, repeats: int) -> list[float]:
    """Return the milliseconds that each network takes, run by turns with channels last as in use; medians.

    A volume (n, c, d, h, w) stays as it is: networks that take it bring its slices into that order.
    """
    ready = [network.eval().to(memory_format=torch.channels_last) for network in networks]
    picture = picture.contiguous(memory_format=torch.channels_last) if picture.ndim == 4 else picture
    times: list[list[float]] = [[] for _ in ready]
    with torch.no_grad():
        for turn in range(repeats + 1):
            for network, taken in zip(ready, times, strict=True):
                start = time.perf_counter()
                network(picture)
                if turn:
                    taken.append(time.perf_counter() - start)
    return [1000 * statistics.median(taken) for taken in times]
