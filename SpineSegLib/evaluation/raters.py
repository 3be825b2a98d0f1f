"""How far raters agree with each other, and models with raters (the inter-rater table of CervSpineNet's paper)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.agreement import Evaluation
from SpineSegLib.evaluation.cases import case_files
from SpineSegLib.evaluation.statistics import Description, describe
from SpineSegLib.progress import Progress, silent

METRICS_OF_RATERS = ("dice", "iou", "hd95_pooled_px", "ssim", "volumetric_similarity")
"""What the paper reports; they do not change when the two raters swap places on one grid."""


@dataclass(frozen=True)
class Agreement:
    """Two raters, or a model and a rater, over the cases that both have.

    Parameters
    ----------
    kind : ``"rater by rater"`` or ``"model by rater"``
    """

    a: str
    b: str
    kind: str
    cases: int
    metrics: Mapping[str, Description]

    def to_dict(self) -> dict:
        """Return the numbers by name."""
        metrics = {key: found.to_dict() for key, found in self.metrics.items()}
        return {"a": self.a, "b": self.b, "kind": self.kind, "cases": self.cases, "metrics": metrics}


def agreement_of_raters(
    raters: Mapping[str, Path],
    models: Mapping[str, Path],
    measure: Callable[[Path, Path], Evaluation],
    *,
    metrics: Sequence[str] = METRICS_OF_RATERS,
    seed: int = 0,
    report: Progress = silent,
) -> list[Agreement]:
    """Compare each rater with each other one and each model with each rater, case by case.

    Parameters
    ----------
    raters, models : name -> folder of segmentations; files of one name show one case
    measure : reads two files and evaluates the first against the second
    seed : of the confidence intervals

    Raises
    ------
    InputError : fewer than two folders, no common case, a folder that is none, or files that cannot be compared
    """
    if not raters or len(raters) + len(models) < 2:
        raise problem("--rater", "fewer than two to compare", "raters, or a rater and models", "Add NAME=FOLDER")
    double = raters.keys() & models.keys()
    if double:
        raise problem("--model", f"{min(double)!r} is also a rater", "every name once", "Choose another name")
    folders = {**raters, **models}
    for folder in folders.values():
        if not folder.is_dir():
            raise problem(folder, "there is no such folder", "a folder of segmentations", "Check the path")
    files = {name: case_files(folder) for name, folder in folders.items()}
    pairs = [(a, b, "rater by rater") for a, b in combinations(raters, 2)]
    pairs += [(a, b, "model by rater") for a, b in product(models, raters)]
    common = {pair: sorted(files[pair[0]].keys() & files[pair[1]].keys()) for pair in pairs}
    for a, b, _kind in pairs:
        if not common[a, b, _kind]:
            raise problem(folders[a], f"no file has the name of one in {folders[b]}", "the same names", "Rename them")
    done, total = 0, sum(map(len, common.values()))
    found = []
    for (a, b, kind), cases in common.items():
        values: dict[str, list[float]] = {metric: [] for metric in metrics}
        for case in cases:
            report(done, total, f"{a}, {b}: {case}")
            done += 1
            overall = measure(files[a][case], files[b][case]).overall
            for metric in metrics:
                if overall.get(metric) is not None:
                    values[metric].append(overall[metric])
        described = {metric: describe(numbers, seed=seed) for metric, numbers in values.items()}
        found.append(Agreement(a, b, kind, len(cases), described))
    report(total, total, "done")
    return found


def rows_of(agreements: Sequence[Agreement]) -> Iterator[dict[str, object]]:
    """Yield a row for each pair and metric."""
    for one in agreements:
        for metric, found in one.metrics.items():
            yield {"a": one.a, "b": one.b, "kind": one.kind, "metric": metric, **found.to_dict()}
