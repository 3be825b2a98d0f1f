"""One training run: from a recipe and a data folder to weights, a card, a log and its curves."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from SpineSegLib.datasets import read_cases
from SpineSegLib.datasets.splits import Split
from SpineSegLib.errors import problem
from SpineSegLib.models import card as find_card
from SpineSegLib.models.weights import initial_network, save_weights
from SpineSegLib.networks import build
from SpineSegLib.progress import Progress, silent
from SpineSegLib.training.augment import augmentation
from SpineSegLib.training.fit import fit, plot_log, read_log
from SpineSegLib.training.losses import check_terms
from SpineSegLib.training.parts import make_folder, parts_of, split_of
from SpineSegLib.training.recipe import Recipe, find_recipe, read_recipe
from SpineSegLib.training.sources import SOURCES, MixedSource
from SpineSegLib.training.sources.pairs import pair_of
from SpineSegLib.training.sources.volumes import VolumeSource


def train(
    recipe: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    weights: str | Path | Sequence[str | Path] | None = None,
    model: str | None = None,
    reader: str | Mapping[str, object] | None = None,
    fold: int | None = None,
    resume: bool = False,
    machine: Mapping[str, object] | None = None,
    prepare: Callable[[nn.Module], None] | None = None,
    report: Progress = silent,
) -> Path:
    """Train a model.

    Parameters
    ----------
    recipe : YAML file, or the name of one in ``Resources/Recipes``
    data : folder that the recipe's reader understands
    out : folder for ``weights.safetensors`` (float16), ``card.json`` (the card's ``weights`` entry), ``log.csv``,
        ``curves.png``, ``split.json`` where the recipe splits, and ``last.ckpt``; a finished run is not overwritten
    weights : file of the same model to start from, instead of random weights; or of a part of it; or several of these,
        each laid over those before it (`initial_network`)
    model : another model than the recipe's: papers train all of their networks alike
    reader : another ``data`` than the recipe's, for data in another layout
    fold : which part is left out (0, 1, …), where the recipe splits into folds
    resume : go on from ``last.ckpt`` in `out`
    machine : arguments of `lightning.Trainer` about devices and nodes: accelerator, devices, num_nodes, strategy
    prepare : what else is done to the network before it is fitted, a resumed one too, such as holding zeros at zero

    Returns
    -------
    The folder `out`

    Raises
    ------
    InputError : the recipe, the data or the output folder is at fault
    """
    name, recipe, out = find_recipe(recipe).stem, read_recipe(recipe), Path(out)
    recipe = replace(recipe, model=model or recipe.model, data=reader or recipe.data)
    card = find_card(recipe.model)
    if recipe.source not in SOURCES:
        raise problem(
            f"recipe {name}", f"source is {recipe.source!r}", f"one of {', '.join(SOURCES)}", "Correct the recipe"
        )
    try:
        if recipe.loss:
            check_terms(recipe.loss)
        augmentation(recipe.augmentation)
    except ValueError as error:
        raise problem(f"recipe {name}", str(error), "terms and steps that there are", "Correct the recipe") from error
    make_folder(out, resume)
    report(0, recipe.epochs, f"reading {data}")
    torch.manual_seed(recipe.seed)
    kind, options = recipe.reader
    cases = read_cases(kind, data, **options)
    split = split_of(recipe, cases, out, fold)
    training, validation = pair_of(recipe, card, *parts_of(split, cases))
    files = [weights] if isinstance(weights, str | Path) else list(weights or ())
    network = initial_network(card, *files) if files else build(card.network["name"], card.network["arguments"])
    _trainable(recipe, name, network)
    if prepare is not None:
        prepare(network)
    fit(network, recipe, training, validation, out, resume=resume, report=report, machine=machine)
    if int(os.environ.get("LOCAL_RANK", "0")) or int(os.environ.get("NODE_RANK", "0")):
        return out  # The first process writes for all.
    facts = save_weights(network, out / "weights.safetensors")
    log = read_log(out / "log.csv")
    entry = {
        "file": f"{card.name}.safetensors",
        **facts,
        "licence": recipe.licence,
        "training": {
            "data": [dict(item) for item in recipe.training_data],
            "seed": recipe.seed,
            "command": _command(name, model=model, reader=reader, fold=fold)
            + (" --weights" + " FILE" * len(files) if files else ""),
            "epochs": len(log),
            "validation": _validated(recipe, split, log, network),
        },
    }
    (out / "card.json").write_text(
        json.dumps({"weights": entry, "recipe": asdict(recipe)}, indent=2) + "\n", encoding="utf-8"
    )
    plot_log(out / "log.csv", out / "curves.png")
    return out


def _trainable(recipe: Recipe, name: str, network: nn.Module) -> None:
    """Refuse a part that the network lacks, and a loss where the network has its own, or the lack of one."""
    where = f"recipe {name}"
    try:
        trained = network.get_submodule(recipe.part or "")
    except AttributeError:
        parts = ", ".join(each for each, _ in network.named_children())
        raise problem(where, f"part is {recipe.part!r}", f"one of {parts}", "Correct the recipe") from None
    if hasattr(trained, "training_loss") == bool(recipe.loss):
        found = "a loss, though the network has its own" if recipe.loss else "no loss"
        raise problem(where, found, "a loss for a network that has none of its own", "Correct the recipe")


def _command(name: str, **options: object) -> str:
    words = {
        option: json.dumps(value) if isinstance(value, Mapping) else str(value) for option, value in options.items()
    }
    given = [f"--{option} {shlex.quote(word)}" for option, word in words.items() if options[option] is not None]
    return " ".join([f"python -m SpineSegLib train {name} --data FOLDER --out FOLDER", *given])


def _validated(recipe: Recipe, split: Split | None, log: list[dict[str, str]], network: nn.Module) -> str:
    same = "the training pictures themselves, not augmented"
    drawn = issubclass(SOURCES[recipe.source], VolumeSource | MixedSource)
    on = "other random draws from the same data" if drawn else same
    if split is not None:
        on = "patients of the validation part" if split.validation else "patients of the test part, having no other"
    if not log:
        return f"{on}; not measured"
    measure = getattr(network.get_submodule(recipe.part or ""), "score_name", "score")
    column, what = ("validation_dice", "Dice") if "validation_dice" in log[0] else ("validation_score", measure)
    if recipe.keep == "best":
        return f"{on}; best {what} {max(row[column] for row in log)}"
    return f"{on}; final {what} {log[-1][column]}"
