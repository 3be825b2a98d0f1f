"""What `train_alike.py` trains, what came out, and whether it goes the way of the papers' ablations."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from SpineSegLib.anatomy import structure_named  # noqa: E402
from SpineSegLib.errors import problem  # noqa: E402
from SpineSegLib.io import written_whole  # noqa: E402
from SpineSegLib.models import Card  # noqa: E402
from SpineSegLib.models import card as find_card  # noqa: E402
from SpineSegLib.models.cards import Weights  # noqa: E402
from SpineSegLib.training.recipe import Recipe, read_recipe  # noqa: E402

PLAN, RESULTS = ROOT / "Testing" / "alike.yaml", ROOT / "Testing" / "alike.json"
TARGET = "spinous processes"
LEVEL = 0.05
"""Of the test that tells a difference from none."""


@dataclass(frozen=True)
class Run:
    """One narrow network and how it is trained.

    Parameters
    ----------
    name : of the network's card, or of the recipe whose loss is tried
    card : the network's, with narrow arguments, a small input and one structure
    recipe : as `fit` takes it
    facts : what decides the run beside the common recipe: arguments, side of the picture, loss
    """

    name: str
    card: Card
    recipe: Recipe
    facts: Mapping[str, object]

    def with_seed(self, seed: int) -> Recipe:
        """Return the recipe with another seed."""
        return replace(self.recipe, seed=seed)


@dataclass(frozen=True)
class Ablation:
    """One step of a paper's ablation.

    Parameters
    ----------
    what : that is added
    before, after : runs without and with it
    printed : Dice of both in the paper; None for the last, which is printed as the best of its table
    """

    paper: int
    what: str
    before: str
    after: str
    printed: tuple[float, float | None]

    @property
    def direction(self) -> int:
        """1 where the paper's Dice rises, 0 where it stays, -1 where it falls."""
        before, after = self.printed
        return 1 if after is None else int(np.sign(after - before))

    @property
    def names(self) -> set[str]:
        """Of both runs."""
        return {self.before, self.after}


@dataclass(frozen=True)
class Plan:
    """The content of ``alike.yaml``: runs, networks (name of a card -> run), ablations and the common recipe."""

    runs: Mapping[str, Run]
    networks: Mapping[str, str]
    ablations: Sequence[Ablation]
    recipe: Mapping[str, object]

    @property
    def steps(self) -> int:
        """Of each training."""
        return int(self.recipe["samples"]) * int(self.recipe["epochs"]) // int(self.recipe["batch"])


@dataclass
class Results:
    """The content of ``alike.json``."""

    recipe: Mapping[str, object]
    runs: dict[str, dict] = field(default_factory=dict)
    times: dict = field(default_factory=dict)

    def finished(self, run: Run, seed: int) -> bool:
        """Say whether the run has a result with this seed and its present arguments."""
        entry = self.runs.get(run.name, {})
        return entry.get("facts") == run.facts and str(seed) in entry.get("seeds", {})

    def add(self, run: Run, seed: int, scores: Mapping[str, object]) -> None:
        """Add a result; those of other arguments go."""
        from SpineSegLib.models.describe import count

        entry = self.runs.get(run.name, {})
        if entry.get("facts") != run.facts:
            entry = {"facts": run.facts, "parameters": count(run.card)[0], "seeds": {}}
        entry["seeds"][str(seed)] = dict(scores)
        self.runs[run.name] = entry

    def dice(self, name: str) -> np.ndarray | None:
        """Return Dice of each held-out neck, the mean over the seeds; None while there is no result."""
        seeds = self._cases(name)
        return np.mean(list(seeds.values()), axis=0) if seeds else None

    def verdict(self, step: Ablation) -> tuple[float, str] | None:
        """Return our gain in Dice, and ``"same"``, ``"other"`` or ``"undecided"``; None while a result is missing.

        A gain is one where Wilcoxon's signed-rank test over the necks tells it from none, and where the means of all
        seeds that both have agree on its sign.
        """
        from scipy.stats import wilcoxon

        before, after = self._cases(step.before), self._cases(step.after)
        both = sorted(before.keys() & after.keys())
        if not both:
            return None
        gains = np.array([after[seed] - before[seed] for seed in both])
        gain = gains.mean(axis=0)
        agreed = len(set(np.sign(gains.mean(axis=1)))) == 1
        clear = agreed and bool(gain.any()) and wilcoxon(gain).pvalue < LEVEL
        ours = int(np.sign(gain.mean())) if clear else 0
        if ours == step.direction:
            return float(gain.mean()), "same"
        return float(gain.mean()), "other" if ours else "undecided"

    def _cases(self, name: str) -> dict[str, np.ndarray]:
        seeds = self.runs.get(name, {}).get("seeds", {})
        return {seed: np.array(scores["cases"]) for seed, scores in seeds.items()}


def read_plan(path: Path = PLAN) -> Plan:
    """Read ``alike.yaml``."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    runs = {name: _run(name, name, narrow, data) for name, narrow in data["networks"].items()}
    for name in data["losses"]["recipes"]:
        network = data["losses"]["network"]
        run = _run(name, network, data["networks"][network], data, loss=read_recipe(name).loss)
        key = f"{name}, its loss" if name in runs else name
        runs[key] = replace(run, name=key)
    ablations = [Ablation(**{**step, "printed": tuple(step["printed"])}) for step in data["ablations"]]
    networks = {name: name for name in data["networks"]} | data["same"]
    return Plan(runs, networks, ablations, data["recipe"])


def _run(name: str, network: str, narrow: Mapping, data: Mapping, *, loss: Mapping | None = None) -> Run:
    full = find_card(network)
    side = data["sides"][full.input["size"][0]]
    arguments = {**full.network["arguments"], **narrow, "channels": 3, "classes": 1}
    card = replace(
        full,
        structures=(structure_named(TARGET),),
        view=("lateral",),
        input={"size": [side, side], "channels": 3, "intensity": data["intensity"]},
        network={"name": full.network["name"], "arguments": arguments},
        weights=Weights(),
    )
    fields = {**data["recipe"], **({"loss": dict(loss)} if loss else {})}
    recipe = Recipe(
        model=network, data="phantom-folder", source="pictures", seed=0, training_data=(), licence="", **fields
    )
    return Run(name, card, recipe, {"arguments": dict(narrow), "side": side, "loss": dict(recipe.loss)})


def read_results(plan: Plan, path: Path = RESULTS) -> Results:
    """Read ``alike.json``; InputError when it was made with another recipe."""
    if not path.exists():
        return Results(plan.recipe)
    results = Results(**json.loads(path.read_text(encoding="utf-8")))
    if results.recipe != plan.recipe:
        raise problem(path, "results of another recipe", f"that of {PLAN.name}", "Remove the file and train again")
    return results


def write_results(results: Results, path: Path = RESULTS) -> None:
    """Write ``alike.json``, numbers of a list in one line."""
    text = json.dumps({"recipe": results.recipe, "runs": results.runs, "times": results.times}, indent=1)
    text = re.sub(r"\[[\s\d.,]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    with written_whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8", newline="\n")
