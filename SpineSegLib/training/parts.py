"""Before a run: its folder, and the parts of the data that it trains and validates on."""

from __future__ import annotations

import os
from pathlib import Path

from SpineSegLib.datasets import Case
from SpineSegLib.datasets.splits import Split, read_split, split_cases, write_split
from SpineSegLib.errors import problem
from SpineSegLib.training.recipe import Recipe


def make_folder(out: Path, resume: bool) -> None:
    """Make a run's folder; InputError where it cannot be written, or where it holds another run."""
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


def split_of(recipe: Recipe, cases: list[Case], out: Path, fold: int | None) -> Split | None:
    """Return the split of a recipe that has one; it is written beside the results, and a resumed run's is kept."""
    folds = bool(recipe.split) and "folds" in recipe.split
    if fold is not None and not folds:
        raise problem("--fold", str(fold), "a recipe that splits into folds", "Leave --fold away")
    path = out / "split.json"
    kept = read_split(path, cases) if path.exists() else None
    if not recipe.split or (folds and fold is None):
        if kept is not None:
            found = "the split of an unfinished run, and no --fold"
            raise problem(
                path, found, "the fold that the run began with", "Name it with --fold, or train in another folder"
            )
        return None  # Without --fold, a recipe of folds trains on all.
    if kept is not None and not folds:
        return kept
    split = split_cases(cases, recipe.split, seed=recipe.seed, fold=fold)
    if kept not in (None, split):
        found = f"the split of another fold than {fold}, or of other data"
        raise problem(path, found, "what the run began with", "Give the same --fold and --data, or another --out")
    write_split(split, path)
    return split


def parts_of(split: Split | None, cases: list[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases of training and of validation.

    Papers that split in two, training and test, validate on the test part; the card says so.
    """
    if split is None:
        return cases, cases
    by_name = {case.name: case for case in cases}
    validation = split.validation or split.test
    if not split.training or not validation:
        found = f"{len(split.training)} cases to train on and {len(validation)} to validate on"
        raise problem("--data", found, "at least one of each", "Add cases, or change the recipe's split")
    return [by_name[each] for each in split.training], [by_name[each] for each in validation]
