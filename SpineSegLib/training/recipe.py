"""Recipes: a training run as a YAML file that reads like a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

import yaml

from SpineSegLib.errors import problem
from SpineSegLib.io.mappings import load_yaml
from SpineSegLib.resources import resource


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, apart from where its data lie.

    Parameters
    ----------
    model : name of the card whose network and input are trained
    data : reader of the data folder, or ``{"reader": name, …}`` with options of the reader
    source : how samples are made of the data, one of `SpineSegLib.training.sources.SOURCES`
    seed : of everything random
    epochs, batch : epochs, and samples a step
    optimiser : ``name`` (a class of torch.optim) and its arguments; ``encoder_lr`` is the network's ``encoder``'s own
    training_data : what the card says of the data: name, licence, cite, labels
    licence : of the weights
    loss : terms, see `weighted_loss`; none for a network that has its own (``training_loss``)
    part : of a network of several, such as ``detector``: it alone is trained, the others stay as they are
    samples : samples an epoch; every picture once where it is None
    foreground : structure kinds of each output, where they are not the card's structures
    split : how cases are divided, see `split_cases`; without one, training and validation draw from the same cases
    augmentation : steps, see `SpineSegLib.training.augment`
    sampling : arguments of the source
    validation : arguments of the source that differ in validation, and its ``samples``
    schedule : ``{"name": "cosine", "warmup": share of all steps}``, ``constant``, ``step`` (``every`` epochs ×
        ``factor``) or ``plateau`` (``patience`` epochs without gain of the validation loss × ``factor``)
    accumulate : batches whose gradients are summed before a step
    precision : ``float32`` or ``bfloat16`` (of the multiplications; weights stay float32)
    clip : largest norm of the gradient; None for no limit
    average : decay of the exponential moving average of the weights, which then is what is validated and kept
    keep : weights of the ``last`` or of the ``best`` epoch (validation Dice, or the network's own score)
    early_stopping : ``{"monitor": "dice" (or the network's own score) or "loss", "patience": epochs}``
    """

    model: str
    data: str | Mapping[str, object]
    source: str
    seed: int
    epochs: int
    batch: int
    optimiser: Mapping[str, object]
    training_data: Sequence[Mapping[str, str]]
    licence: str
    loss: Mapping[str, object] = field(default_factory=dict)
    part: str | None = None
    samples: int | None = None
    foreground: Sequence[str] | None = None
    split: Mapping[str, object] | None = None
    augmentation: Sequence[Mapping[str, object]] = ()
    sampling: Mapping[str, object] = field(default_factory=dict)
    validation: Mapping[str, object] = field(default_factory=dict)
    schedule: Mapping[str, object] = field(default_factory=lambda: {"name": "constant"})
    accumulate: int = 1
    precision: str = "float32"
    clip: float | None = None
    average: float | None = None
    keep: str = "last"
    early_stopping: Mapping[str, object] | None = None

    @property
    def reader(self) -> tuple[str, dict]:
        """Name of the reader and its options."""
        options = {"reader": self.data} if isinstance(self.data, str) else dict(self.data)
        return str(options.pop("reader", "")), options


CHOICES = {
    "precision": ("float32", "bfloat16"),
    "keep": ("last", "best"),
    "schedule": ("constant", "cosine", "step", "plateau"),
}


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
        data = load_yaml(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise problem(path, f"no recipe ({error})", "a YAML file", f"Recipes that ship: {known}") from error
    if not isinstance(data, dict):
        raise problem(path, "no recipe", "a YAML mapping", f"Recipes that ship: {known}")
    names = {each.name: each for each in fields(Recipe)}
    required = [n for n, each in names.items() if each.default is MISSING and each.default_factory is MISSING]
    missing = [name for name in required if name not in data]
    extra = sorted(set(map(str, data)) - set(names))
    if missing or extra:
        found = "; ".join(
            f"{what} {', '.join(which)}" for what, which in (("no", missing), ("unknown", extra)) if which
        )
        raise problem(path, found, f"the fields {', '.join(names)}", "Correct the recipe")
    recipe = Recipe(**data)
    flaw = _flaw(recipe)
    if flaw:
        raise problem(path, *flaw, "Correct the recipe")
    return recipe


def _flaw(recipe: Recipe) -> tuple[str, str] | None:
    for name in ("seed", "epochs", "samples", "batch", "accumulate"):
        value = getattr(recipe, name)
        if name == "samples" and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < (0 if name == "seed" else 1):
            return f"{name} is {value!r}", "a positive whole number"
    if recipe.samples is None and recipe.source in ("slices", "films"):
        return "no samples", f"how many samples an epoch the source {recipe.source} draws"
    chosen = {"precision": recipe.precision, "keep": recipe.keep, "schedule": recipe.schedule.get("name")}
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            return f"{name} is {value!r}", f"one of {', '.join(CHOICES[name])}"
    monitor = (recipe.early_stopping or {}).get("monitor", "dice")
    if monitor not in ("dice", "loss"):
        return f"the monitor of early_stopping is {monitor!r}", "dice (or the network's own score) or loss"
    if recipe.average is not None and not 0 < recipe.average < 1:
        return f"average is {recipe.average!r}", "a decay between 0 and 1"
    return None
