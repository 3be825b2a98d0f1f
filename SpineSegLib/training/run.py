"""One training run: from a recipe and a data folder to weights, a card, a log and its curves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from SpineSegLib.datasets import READERS, read_cases
from SpineSegLib.errors import problem
from SpineSegLib.models import card as find_card
from SpineSegLib.models.weights import load_network, save_weights
from SpineSegLib.networks import build
from SpineSegLib.progress import Progress, silent
from SpineSegLib.training.fit import fit, plot_log, read_log
from SpineSegLib.training.recipe import Recipe, find_recipe, read_recipe
from SpineSegLib.training.sources import CtCase, FilmSource, SliceSource

SOURCES = {"slices": SliceSource, "films": FilmSource}


def train(
    recipe: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    resume: bool = False,
    report: Progress = silent,
) -> Path:
    """Train a model.

    Parameters
    ----------
    recipe : YAML file, or the name of one in ``Resources/Recipes``
    data : folder that the recipe's reader understands
    out : folder for ``weights.safetensors`` (float16), ``card.json`` (the card's ``weights`` entry), ``log.csv``,
        ``curves.png`` and ``last.ckpt``; a finished run is not overwritten
    weights : safetensors file of the same model to start from, instead of random weights
    resume : go on from ``last.ckpt`` in `out`

    Returns
    -------
    The folder `out`

    Raises
    ------
    InputError : the recipe, the data or the output folder is at fault
    """
    name, recipe, out = find_recipe(recipe).stem, read_recipe(recipe), Path(out)
    card = find_card(recipe.model)
    for field, known in (("data", READERS), ("source", SOURCES)):
        if getattr(recipe, field) not in known:
            found = f"{field} is {getattr(recipe, field)!r}"
            raise problem(f"recipe {name}", found, f"one of {', '.join(known)}", "Correct the recipe")
    _prepare(out, resume)
    report(0, recipe.epochs, f"reading {data}")
    torch.manual_seed(recipe.seed)
    training, validation = _sources(recipe, card.input, data)
    start = "" if weights is None else " --weights FILE"
    network = load_network(card, weights) if start else build(card.network["name"], card.network["arguments"])
    network.train()
    fit(network, recipe, training, validation, out, resume=resume, report=report)
    facts = save_weights(network, out / "weights.safetensors")
    log = read_log(out / "log.csv")
    entry = {
        "file": f"{card.name}.safetensors",
        **facts,
        "licence": recipe.licence,
        "training": {
            "data": [dict(item) for item in recipe.training_data],
            "seed": recipe.seed,
            "command": f"python -m SpineSegLib train {name} --data FOLDER --out FOLDER{start}",
            "epochs": len(log),
            "validation": "other random draws from the same scans; final Dice "
            + (log[-1]["validation_dice"] if log else "not measured"),
        },
    }
    (out / "card.json").write_text(
        json.dumps({"weights": entry, "recipe": asdict(recipe)}, indent=2) + "\n", encoding="utf-8"
    )
    plot_log(out / "log.csv", out / "curves.png")
    return out


def _prepare(out: Path, resume: bool) -> None:
    if (out / "weights.safetensors").exists():
        raise problem(out, "a finished run", "an empty or new folder", "Name another with --out, or remove this one")
    if (out / "last.ckpt").exists() and not resume:
        raise problem(out, "an unfinished run", "an empty or new folder", "Go on with --resume, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK)
    except OSError as error:
        raise problem(out, str(error.strerror), "a folder that can be made", "Name another with --out") from error
    if not writable:
        raise problem(out, "a read-only folder", "one that can be written", "Name another with --out")


def _sources(recipe: Recipe, card_input, data):
    settings = dict(recipe.sampling)
    step = float(settings.pop("step"))
    try:
        cases = [CtCase(*case.load(), recipe.foreground, step) for case in read_cases(recipe.data, data)]
    except ValueError as error:
        raise problem(data, str(error), "labels that the recipe trains on", "Check --data and the recipe") from error
    kind = SOURCES[recipe.source]
    try:
        training = kind(cases, card_input, seed=recipe.seed, samples=recipe.samples, **settings)
        # The validation set is drawn once, from a seed of its own.
        validation = kind(cases, card_input, seed=recipe.seed + 1_000_003, **{**settings, **dict(recipe.validation)})
    except TypeError as error:
        raise problem("recipe", str(error), f"sampling arguments of {recipe.source}", "Correct the recipe") from error
    return training, validation
