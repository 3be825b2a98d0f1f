"""Models compared over the same cases: descriptions, tests, and who is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.metrics import METRICS, Metric
from SpineSegLib.evaluation.scores import Scores
from SpineSegLib.evaluation.statistics import (
    Description,
    Friedman,
    Pairwise,
    against,
    all_pairs,
    common_cases,
    corrected,
    describe,
    friedman,
)

LEVEL = 0.05
"""Below this an adjusted p is called significant, in both papers."""


def metric_named(key: str) -> Metric:
    """Return the metric of a column; one of another name has no unit, and nobody knows which sense is better."""
    return next((metric for metric in METRICS if metric.key == key), Metric(key, key, "1", "as given in the table"))


@dataclass(frozen=True)
class MetricComparison:
    """One metric over all models.

    Parameters
    ----------
    values : model -> case -> number
    pairwise : Wilcoxon between all pairs, Bonferroni within the metric
    against : the reference against each other, Benjamini-Hochberg over all metrics together
    """

    metric: Metric
    values: Mapping[str, Mapping[str, float]]
    models: Mapping[str, Description]
    friedman: Friedman
    pairwise: Sequence[Pairwise]
    against: Sequence[Pairwise] = ()

    def best(self) -> str | None:
        """Return the model with the best mean, or None where no sense is better."""
        means = {model: found.mean for model, found in self.models.items() if found.mean is not None}
        if not means or not self.metric.better:
            return None
        return (max if self.metric.better == "higher" else min)(means, key=means.get)

    def verdict(self, test: Pairwise) -> str:
        """Say who is better by a test: a model's name, or that there is no significant difference."""
        if test.p_adjusted is None:
            return "too few cases"
        if test.p_adjusted >= LEVEL or not test.mean_difference:
            return "no significant difference"
        if not self.metric.better:
            return "different"
        return test.a if (test.mean_difference > 0) == (self.metric.better == "higher") else test.b

    def to_dict(self) -> dict:
        """Return everything but the values by name."""

        def told(test: Pairwise) -> dict:
            return {**test.to_dict(), "better": self.verdict(test)}

        return {
            "title": self.metric.title,
            "unit": self.metric.unit,
            "better": self.metric.better or None,
            "definition": self.metric.definition,
            "models": {model: found.to_dict() for model, found in self.models.items()},
            "best": self.best(),
            "friedman": asdict(self.friedman),
            "pairwise": [told(test) for test in self.pairwise],
            "against": [told(test) for test in self.against],
        }


@dataclass(frozen=True)
class ModelComparison:
    """All metrics over all models; `notes` are what the reader must know."""

    models: Sequence[str]
    reference: str | None
    metrics: Mapping[str, MetricComparison]
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict:
        """Return the part of ``compare --json`` about models."""
        return {
            "models": list(self.models),
            "reference": self.reference,
            "settings": dict(self.settings),
            "metrics": {key: found.to_dict() for key, found in self.metrics.items()},
            "notes": list(self.notes),
        }


def compare_models(
    scores: Scores,
    metrics: Sequence[str],
    *,
    reference: str | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> ModelComparison:
    """Describe and test models over cases.

    Parameters
    ----------
    scores : metric -> model -> case -> number
    metrics : those to compare
    reference : the model that is tested against each other one; the last of several unless given, as papers list
        their own
    seed, confidence, resamples : of the intervals

    Raises
    ------
    InputError : the reference is none of the models
    """
    models = list(dict.fromkeys(model for metric in metrics for model in scores[metric]))
    if reference is not None and reference not in models:
        raise problem("--reference", f"{reference!r}", f"one of {', '.join(models)}", "Correct the name")
    if reference is None and len(models) > 1:
        reference = models[-1]
    tested: dict[str, list[Pairwise]] = {}
    for key in metrics:
        table = {model: scores[key][model] for model in models if model in scores[key]}
        tested[key] = against(key, table, reference) if reference in table else []
    # One family over all metrics, as the one table that they are printed in.
    family = iter(corrected([test for tests in tested.values() for test in tests], "fdr_bh"))
    tested = {key: [next(family) for _ in tests] for key, tests in tested.items()}
    options = {"seed": seed, "confidence": confidence, "resamples": resamples}
    return ModelComparison(
        models,
        reference,
        {key: _one_metric(key, scores[key], models, tested[key], options) for key in metrics},
        options | {"significance": LEVEL},
        _notes(scores, metrics, models),
    )


def _one_metric(key: str, values: Mapping, models: Sequence[str], tests: list[Pairwise], options: dict):
    table = {model: values[model] for model in models if model in values}
    return MetricComparison(
        metric_named(key),
        table,
        {model: describe(list(of_cases.values()), **options) for model, of_cases in table.items()},
        friedman(common_cases(table)[1]),
        all_pairs(key, table),
        tests,
    )


def _notes(scores: Scores, metrics: Sequence[str], models: Sequence[str]) -> list[str]:
    """Say which models lack numbers that others have: their means are over other cases."""
    notes = []
    for key in metrics:
        everywhere = {case for of_cases in scores[key].values() for case in of_cases}
        short = {model: len(everywhere) - len(scores[key].get(model, {})) for model in models}
        lacking = [f"{model} {number}" for model, number in short.items() if number]
        if lacking:
            notes.append(
                f"{metric_named(key).title}: cases without a number ({', '.join(lacking)} of {len(everywhere)}) are "
                "left out of that model's mean and of its tests"
            )
    return notes
