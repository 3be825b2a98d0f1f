"""A recipe's two sources: of training samples, and of validation samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from SpineSegLib.datasets import Case
from SpineSegLib.errors import problem
from SpineSegLib.models import Card
from SpineSegLib.training.recipe import Recipe
from SpineSegLib.training.sources import SOURCES, MixedSource, Scan, targets_of
from SpineSegLib.training.sources.volumes import Targets, VolumeSource

VALIDATION_SEED = 1_000_003
"""The validation set is drawn once, from a seed of its own: the recipe's and this."""

Pair = tuple[torch.utils.data.Dataset, torch.utils.data.Dataset]


def pair_of(recipe: Recipe, card: Card, training: Sequence[Case], validation: Sequence[Case]) -> Pair:
    """Return the sources of training and of validation samples.

    Raises
    ------
    InputError : the recipe's sampling, or data without labels of what the model segments
    """
    targets = targets_of(card.structures, recipe.foreground)
    _require_labels(recipe, targets, [*training, *validation])
    try:
        if recipe.source == "mixed":
            return _mixed(recipe, card, targets, training, validation)
        settings = dict(recipe.sampling)
        return _pair(recipe, card, targets, recipe.source, training, validation, settings, recipe.validation)
    except (TypeError, KeyError) as error:
        raise problem("recipe", str(error), f"sampling arguments of {recipe.source}", "Correct the recipe") from error
    except ValueError as error:
        raise problem("--data", str(error), "data that the recipe trains on", "Check --data and the recipe") from error


def _pair(
    recipe: Recipe,
    card: Card,
    targets: Targets,
    source: str,
    training: Sequence[Case],
    validation: Sequence[Case],
    settings: dict,
    different: Mapping,
) -> Pair:
    kind, seed, other_seed = SOURCES[source], recipe.seed, recipe.seed + VALIDATION_SEED
    differing = {**settings, **different}
    if not issubclass(kind, VolumeSource):
        settings = {"augmentation": recipe.augmentation, **settings}
        first = kind(training, targets, card.input, seed=seed, samples=recipe.samples, **settings)
        if hasattr(first, "require_labels"):
            first.require_labels()
        return first, kind(validation, targets, card.input, seed=other_seed, **{"shuffle": False, **differing})
    step = float(settings.pop("step"))
    differing.pop("step")
    cases = {case.name: case for case in [*training, *validation]}
    scans = {name: Scan(*case.load(), targets, step) for name, case in cases.items()}
    arguments = (targets, step, card.input)
    first = kind([scans[c.name] for c in training], *arguments, seed=seed, samples=recipe.samples, **settings)
    return first, kind([scans[c.name] for c in validation], *arguments, seed=other_seed, **differing)


def _mixed(recipe: Recipe, card: Card, targets: Targets, training: Sequence[Case], validation: Sequence[Case]) -> Pair:
    """Return mixtures of sources, one for each part of the reader ``several``: part -> source, share and arguments."""
    count = int(recipe.validation["samples"])
    pairs, shares = [], []
    for name, how in recipe.sampling.items():
        settings = dict(how)
        source = str(settings.pop("source"))
        shares.append(float(settings.pop("share")))
        own = [[case for case in cases if case.name.startswith(f"{name}-")] for cases in (training, validation)]
        if not all(own):
            msg = f"no case of the part {name}"
            raise ValueError(msg)
        different = {"samples": count, **recipe.validation.get(name, {})}
        pairs.append(_pair(recipe, card, targets, source, *own, settings, different))
    first, second = (list(parts) for parts in zip(*pairs, strict=True))
    return (
        MixedSource(first, shares, seed=recipe.seed, samples=recipe.samples),
        MixedSource(second, shares, seed=recipe.seed + VALIDATION_SEED, samples=count),
    )


def _require_labels(recipe: Recipe, targets: Targets, cases: list[Case]) -> None:
    """Refuse a data set without labels for one of the outputs: the network would learn that there is nothing.

    Sets that do not tell, or label nothing completely (VerSe), are looked at when they are read.
    """
    for case in cases:
        missing = [t.name for t in targets if case.labelled and not t.kinds & case.labelled]
        if missing:
            found = f"labels of {', '.join(sorted(case.labelled))}, and none of {', '.join(missing)}"
            step = "Choose a model for these labels with --model, or data that have them"
            raise problem("--data", found, f"labels of all that {recipe.model} segments", step)
