"""Fitting by Lightning: one loop for every network, resumable, with a log and its curves.

What is trained is the network, or the one part of it that the recipe names. It is asked for, in this order:

- ``training_loss(images, targets)``: a scalar, in place of the recipe's loss; also called in evaluation mode, for the
  validation loss
- ``training_outputs(images)`` and ``auxiliary_weights``: several logits, weighted
- ``training_logits(images, masks)``: logits from prompts made of the truth
- its logits

``validation_score(images, targets)``, a scalar in 0…1 (higher is better, a mean over the images), takes the place of
Dice where there is one; ``score_name`` says what it is. Targets are what the source's samples carry as their second
element, collated by the source's ``collate`` where it has one.
"""

from __future__ import annotations

import csv
import logging
import math
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from SpineSegLib.errors import problem
from SpineSegLib.progress import Progress
from SpineSegLib.training.losses import weighted_loss
from SpineSegLib.training.recipe import Recipe

LOGGED = ("train_loss", "validation_loss", "validation_dice", "validation_score")


class Fit(lightning.LightningModule):
    """A network with a recipe's loss, optimiser and schedule.

    Where the recipe names a part, all others are frozen: no gradients, and evaluation mode (their batch normalisation
    does not go on counting).
    """

    def __init__(self, network: nn.Module, recipe: Recipe):
        super().__init__()
        # Channels last halves the time of narrow convolutions on a CPU.
        self.network, self.recipe = network.to(memory_format=torch.channels_last), recipe
        self.counts = torch.zeros(3)
        if recipe.part:
            trained = {id(weight) for weight in self.trained.parameters()}
            for weight in self.network.parameters():
                weight.requires_grad_(weight.requires_grad and id(weight) in trained)
        self.train()

    @property
    def trained(self) -> nn.Module:
        """What is trained: the network, or the part that the recipe names."""
        return self.network.get_submodule(self.recipe.part or "")

    @property
    def score(self) -> str:
        """Name of the measure by which epochs are compared: higher is better."""
        return "validation_score" if hasattr(self.trained, "validation_score") else "validation_dice"

    def train(self, mode: bool = True) -> Fit:
        """Set the mode of what is trained; the rest stays in evaluation mode."""
        super().train(mode)
        if self.recipe.part:
            self.network.eval()
            self.trained.train(mode)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of what is trained."""
        return self.trained(_channels_last(images))

    def loss(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the recipe's loss; it is computed in float32 whatever the network computed in."""
        with torch.autocast(logits.device.type, enabled=False):
            return weighted_loss(_as_pictures(logits.float()), _as_pictures(masks), self.recipe.loss)

    def on_train_epoch_start(self) -> None:
        """Draw what the network itself draws (drop-out) from seed and epoch, so that a resumed run draws the same."""
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> torch.Tensor:
        """Return the loss of a batch: of all outputs, where the network has several for training."""
        images, masks = batch
        if hasattr(self.trained, "training_loss"):
            loss = self.trained.training_loss(_channels_last(images), masks)
        elif hasattr(self.trained, "training_outputs"):
            outputs = self.trained.training_outputs(_channels_last(images))
            parts = zip(self.trained.auxiliary_weights, outputs, strict=True)
            loss = sum(weight * self.loss(logits, masks) for weight, logits in parts)
        elif hasattr(self.trained, "training_logits"):
            loss = self.loss(self.trained.training_logits(images, masks), masks)
        else:
            loss = self.loss(self(images), masks)
        if not torch.isfinite(loss):
            found = f"the loss is {float(loss.detach())} in epoch {self.current_epoch + 1}"
            raise problem("train", found, "a number", "Lower the learning rate, or use precision: float32")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the epoch before."""
        self.counts = torch.zeros(3, self._outputs, device=self.device)

    @property
    def _outputs(self) -> int:
        return self.counts.shape[1] if self.counts.ndim == 2 else 1

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> None:
        """Count agreeing pixels; Dice is taken over the whole validation set, output by output."""
        images, masks = batch
        options = {"batch_size": len(images), "sync_dist": True}
        if hasattr(self.trained, "training_loss"):
            self.log("validation_loss", self.trained.training_loss(_channels_last(images), masks).detach(), **options)
        if hasattr(self.trained, "validation_score"):
            self.log("validation_score", self.trained.validation_score(_channels_last(images), masks), **options)
            return
        prompted = hasattr(self.trained, "training_logits")
        logits = self.trained.training_logits(images, masks) if prompted else self(images)
        found, there = _as_pictures(logits) > 0, _as_pictures(masks) > 0.5  # Soft masks are shares of a voxel.
        counts = torch.stack([each.sum(dim=(0, 2, 3)) for each in (found & there, found, there)])
        self.counts = self.counts + counts.float()
        if not hasattr(self.trained, "training_loss"):
            self.log("validation_loss", self.loss(logits, masks), **options)

    def on_validation_epoch_end(self) -> None:
        """Log Dice at probability 0.5, the mean over the outputs."""
        if self.score != "validation_dice":
            return
        both, found, there = self.all_gather(self.counts).reshape(-1, *self.counts.shape).sum(dim=0)
        self.log("validation_dice", (2 * both / (found + there).clamp(min=1)).mean())

    def configure_optimizers(self) -> dict:
        """Return the recipe's optimiser and schedule."""
        arguments = dict(self.recipe.optimiser)
        kind = getattr(torch.optim, str(arguments.pop("name")), None)
        encoder_lr = arguments.pop("encoder_lr", None)
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        if encoder_lr is not None:
            encoder = {id(weight) for weight in self.trained.encoder.parameters()}
            weights = [
                {"params": [w for w in weights if id(w) not in encoder]},
                {"params": [w for w in weights if id(w) in encoder], "lr": float(encoder_lr)},
            ]
        try:
            optimiser = kind(weights, **arguments)
        except (TypeError, ValueError) as error:
            found = f"optimiser {dict(self.recipe.optimiser)} ({error})"
            raise problem("recipe", found, "a class of torch.optim and its arguments", "Correct the recipe") from error
        return {"optimizer": optimiser, "lr_scheduler": self._schedule(optimiser)}

    def _schedule(self, optimiser: torch.optim.Optimizer) -> dict:
        schedule = dict(self.recipe.schedule)
        if schedule["name"] == "plateau":
            factor, patience = float(schedule.get("factor", 0.1)), int(schedule.get("patience", 10))
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=factor, patience=patience)
            return {"scheduler": plateau, "monitor": "validation_loss"}
        if schedule["name"] == "step":
            every, factor = int(schedule["every"]), float(schedule.get("factor", 0.1))
            return {"scheduler": torch.optim.lr_scheduler.StepLR(optimiser, every, factor)}
        total = max(1, self.trainer.estimated_stepping_batches)
        warm = max(1, round(float(schedule.get("warmup", 0)) * total))

        def factor_at(step: int) -> float:
            if schedule["name"] == "constant":
                return 1.0
            rising = min(1.0, (step + 1) / warm)
            return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - warm) / max(1, total - warm))))

        return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, factor_at), "interval": "step"}


def _as_pictures(values: torch.Tensor) -> torch.Tensor:
    """Return (n, classes, h, w) as it is; of volumes (n, classes, d, h, w) the slices one below the other."""
    return values.flatten(2, 3) if values.ndim == 5 else values


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return images in the layout of the network's weights; what has other than four axes stays as it is."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


class _Epochs(Callback):
    """Draws each epoch's samples, reports progress and keeps the log, one line an epoch."""

    def __init__(self, source, log: Path, report: Progress):
        self.source, self.log_file, self.report = source, log, report

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        self._say(trainer, trainer.current_epoch, f"epoch {trainer.current_epoch + 1}")
        self.source.set_epoch(trainer.current_epoch)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_arguments: object) -> None:
        # Also what lets a run be cancelled within an epoch.
        self._say(trainer, trainer.current_epoch, f"epoch {trainer.current_epoch + 1}")

    def on_train_epoch_end(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row = {"epoch": trainer.current_epoch + 1}
        row |= {
            name: f"{float(trainer.callback_metrics[name]):.5f}" for name in LOGGED if name in trainer.callback_metrics
        }
        rows = [old for old in read_log(self.log_file) if int(old["epoch"]) < row["epoch"]] + [row]
        with self.log_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(rows)
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in list(row.items())[1:])
        self._say(trainer, row["epoch"], text)

    def _say(self, trainer: lightning.Trainer, step: int, what: str) -> None:
        if trainer.is_global_zero:
            self.report(step, trainer.max_epochs, what)


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the log's lines: epoch, train_loss, validation_loss, and validation_dice or validation_score."""
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
    for name, label in (("validation_dice", "validation Dice"), ("validation_score", "validation score")):
        if rows and name in rows[0]:
            right.plot(epochs, [float(row[name]) for row in rows], color="tab:green", label=label)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)


def fit(
    network: nn.Module,
    recipe: Recipe,
    training,
    validation,
    out: Path,
    *,
    resume: bool,
    report: Progress,
    machine: Mapping[str, object] | None = None,
) -> None:
    """Train `network` in place; ``out/last.ckpt`` is renewed after every epoch and `resume` goes on from it.

    Parameters
    ----------
    training, validation : sources, see `SpineSegLib.training.sources`
    machine : arguments of `lightning.Trainer` about devices and nodes
    """
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lightning.seed_everything(recipe.seed, verbose=False)
    validation.set_epoch(0)
    module = Fit(network, recipe)
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        callbacks=_callbacks(recipe, module.score, training, out, report),
        accumulate_grad_batches=recipe.accumulate,
        precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
        gradient_clip_val=recipe.clip,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=out,
        **(machine or {}),
    )
    checkpoint = out / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message=".*num_workers.*|.*does not have many workers.*|.*exists and is not empty.*|.*LeafSpec.*"
            "|.*smaller than the logging interval.*|.*in eval mode at the start.*",
        )
        trainer.fit(
            module,
            loader(training, recipe.batch, drop_last=len(training) >= recipe.batch),
            loader(validation, recipe.batch),
            ckpt_path=str(checkpoint) if resume and checkpoint.exists() else None,
            weights_only=True,
        )
    best = out / "best.ckpt"
    if recipe.keep == "best" and best.exists():
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)


def loader(source, batch: int, *, drop_last: bool = False) -> DataLoader:
    """Return the batches of a source, in its own order."""
    return DataLoader(source, batch_size=batch, drop_last=drop_last, collate_fn=getattr(source, "collate", None))


def _averaged(decay: float, average: torch.Tensor, now: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return the moving average after one more step; its memory grows with the steps, so that it forgets the start.

    What has not changed, such as a frozen part, stays as it is to the bit.
    """
    if torch.equal(average, now):
        return now
    kept = min(decay, (1 + float(steps)) / (10 + float(steps)))
    return kept * average + (1 - kept) * now


def _callbacks(recipe: Recipe, score: str, training, out: Path, report: Progress) -> list[Callback]:
    found: list[Callback] = [_Epochs(training, out / "log.csv", report)]
    if recipe.average is not None:
        found.append(WeightAveraging(avg_fn=partial(_averaged, float(recipe.average))))
    if recipe.early_stopping is not None:
        loss = recipe.early_stopping.get("monitor") == "loss"
        monitor, mode = ("validation_loss", "min") if loss else (score, "max")
        found.append(EarlyStopping(monitor, mode=mode, patience=int(recipe.early_stopping.get("patience", 10))))
    if recipe.keep == "best":
        found.append(
            ModelCheckpoint(out, "best", monitor=score, mode="max", save_top_k=1, enable_version_counter=False)
        )
    found.append(ModelCheckpoint(out, "last", save_top_k=1, enable_version_counter=False))
    return found
