"""Fitting by Lightning: one loop for every network, resumable, with a log and its curves."""

from __future__ import annotations

import csv
import logging
import math
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from SpineSegLib.progress import Progress
from SpineSegLib.training.losses import weighted_loss
from SpineSegLib.training.recipe import Recipe


class Fit(lightning.LightningModule):
    """A network with a recipe's loss, optimiser and schedule."""

    def __init__(self, network: nn.Module, recipe: Recipe):
        super().__init__()
        # Channels last halves the time of narrow convolutions on a CPU.
        self.network, self.recipe = network.to(memory_format=torch.channels_last), recipe
        self.counts = torch.zeros(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's logits."""
        return self.network(images.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, masks = batch
        loss = weighted_loss(self(images), masks, dict(self.recipe.loss))
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the epoch before."""
        self.counts = torch.zeros(3, device=self.device)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> None:
        """Count agreeing pixels; Dice is taken over the whole validation set."""
        images, masks = batch
        logits = self(images)
        found = logits > 0
        self.counts += torch.stack([(found * masks).sum(), found.sum(), masks.sum()])
        loss = weighted_loss(logits, masks, dict(self.recipe.loss))
        self.log("validation_loss", loss, batch_size=len(images))

    def on_validation_epoch_end(self) -> None:
        """Log Dice at probability 0.5."""
        both, found, there = self.counts
        self.log("validation_dice", 2 * both / (found + there).clamp(min=1))

    def configure_optimizers(self) -> dict:
        """Return the recipe's optimiser, its learning rate set anew at every step."""
        arguments = dict(self.recipe.optimiser)
        optimiser = getattr(torch.optim, arguments.pop("name"))(self.network.parameters(), **arguments)
        total = max(1, self.trainer.estimated_stepping_batches)
        schedule = dict(self.recipe.schedule)
        warm = max(1, round(float(schedule.get("warmup", 0)) * total))

        def factor(step: int) -> float:
            if schedule["name"] == "constant":
                return 1.0
            rising = min(1.0, (step + 1) / warm)
            return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - warm) / max(1, total - warm))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class _Epochs(Callback):
    """Draws each epoch's samples, reports progress and keeps the log, one line an epoch."""

    def __init__(self, source, log: Path, report: Progress):
        self.source, self.log_file, self.report = source, log, report

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        self.report(trainer.current_epoch, trainer.max_epochs, f"epoch {trainer.current_epoch + 1}")
        self.source.set_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        row = {"epoch": trainer.current_epoch + 1}
        for name in ("train_loss", "validation_loss", "validation_dice"):
            row[name] = f"{float(trainer.callback_metrics[name]):.5f}"
        rows = [old for old in read_log(self.log_file) if int(old["epoch"]) < row["epoch"]] + [row]
        with self.log_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(rows)
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in list(row.items())[1:])
        self.report(row["epoch"], trainer.max_epochs, text)


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the log's lines: epoch, train_loss, validation_loss, validation_dice."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def plot_log(log: Path, picture: Path) -> None:
    """Draw the curves of a log."""
    from matplotlib.figure import Figure

    rows = read_log(log)
    epochs = [int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("train_loss", "validation_loss"):
        left.plot(epochs, [float(row[name]) for row in rows], label=name.replace("_", " "))
    right.plot(epochs, [float(row["validation_dice"]) for row in rows], color="tab:green", label="validation Dice")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)


def fit(network: nn.Module, recipe: Recipe, training, validation, out: Path, *, resume: bool, report: Progress) -> None:
    """Train `network` in place; ``out/last.ckpt`` is renewed after every epoch and `resume` goes on from it."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lightning.seed_everything(recipe.seed, verbose=False)
    validation.set_epoch(0)
    keep = ModelCheckpoint(dirpath=out, filename="last", save_top_k=1, enable_version_counter=False)
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        callbacks=[_Epochs(training, out / "log.csv", report), keep],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=out,
    )
    checkpoint = out / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*num_workers.*|.*does not have many workers.*|.*exists and is not empty.*"
        )
        trainer.fit(
            Fit(network, recipe),
            DataLoader(training, batch_size=recipe.batch, shuffle=False, drop_last=True),
            DataLoader(validation, batch_size=recipe.batch),
            ckpt_path=str(checkpoint) if resume and checkpoint.exists() else None,
            weights_only=True,
        )
