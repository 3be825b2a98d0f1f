"""Recipes: a training run as a YAML file that reads like a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import yaml

from SpineSegLib.errors import problem
from SpineSegLib.resources import resource


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, apart from where its data lie.

    Parameters
    ----------
    model : name of the card whose network and input are trained
    data : reader of the data folder
    source : how samples are made of the data, ``slices`` or ``films``
    foreground : structure kinds that are foreground
    seed : of everything random
    epochs, samples, batch : epochs, samples an epoch and samples a step
    optimiser : ``name`` (a class of torch.optim) and its arguments
    loss : weights of the losses by name
    sampling : arguments of the source
    schedule : ``{"name": "cosine", "warmup": share of all steps}`` or ``{"name": "constant"}``
    validation : arguments of the source that differ in validation, and its ``samples``
    training_data : what the card says of the data: name, licence, cite, labels
    licence : of the weights
    """

    model: str
    data: str
    source: str
    foreground: Sequence[str]
    seed: int
    epochs: int
    samples: int
    batch: int
    optimiser: Mapping[str, object]
    loss: Mapping[str, float]
    sampling: Mapping[str, object]
    schedule: Mapping[str, object]
    validation: Mapping[str, object]
    training_data: Sequence[Mapping[str, str]]
    licence: str


def find_recipe(name: str | Path) -> Path:
    """Return the path of a recipe given as a file or as the name of one in ``Resources/Recipes``."""
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    return resource("Recipes", f"{path.name}.yaml") if path.name == str(name) else path


def read_recipe(name: str | Path) -> Recipe:
    """Read and check a recipe.

    Raises
    ------
    InputError : it is no recipe; the text names the field at fault
    """
    path = find_recipe(name)
    known = ", ".join(sorted(p.stem for p in resource("Recipes").glob("*.yaml")))
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise problem(path, f"no recipe ({error})", "a YAML file", f"Recipes that ship: {known}") from error
    if not isinstance(data, dict):
        raise problem(path, "no recipe", "a YAML mapping", f"Recipes that ship: {known}")
    names = {field.name: field for field in fields(Recipe)}
    missing = [name for name, field in names.items() if name not in data and field.default is MISSING]
    extra = sorted(set(map(str, data)) - set(names))
    if missing or extra:
        found = "; ".join(
            f"{what} {', '.join(which)}" for what, which in (("no", missing), ("unknown", extra)) if which
        )
        raise problem(path, found, f"the fields {', '.join(names)}", "Correct the recipe")
    recipe = Recipe(**data)
    for field in ("seed", "epochs", "samples", "batch"):
        value = getattr(recipe, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < (0 if field == "seed" else 1):
            raise problem(path, f"{field} is {value!r}", "a positive whole number", "Correct the recipe")
    return recipe
