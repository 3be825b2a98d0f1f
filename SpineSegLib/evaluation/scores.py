"""Scores of models over cases, read from the tables that ``evaluate --csv`` writes or that others made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.io.tables import read_table

TEXTS = {"case", "model", "scope", "structure", "in", "union of", "error"}
"""Columns that hold no metric."""

Scores = dict[str, dict[str, dict[str, float]]]
"""Metric -> model -> case -> number."""


def read_scores(tables: Iterable[tuple[str | None, Path]], *, structure: str = "overall") -> Scores:
    """Read one table a model, or tables with a column ``model``.

    Parameters
    ----------
    tables : name of the model (None: the file's own name, unless the table has the column) and CSV file with a column
        ``case`` and a column a metric
    structure : the rows to take where the table has a column ``structure``: ``"overall"``, or a structure or level

    Raises
    ------
    InputError : no such file, no cases, no number where one is expected, a case twice, or a model twice
    """
    scores: Scores = {}
    owners: dict[str, tuple[int, Path]] = {}
    for place, (name, path) in enumerate(tables):
        found: dict[str, set[str]] = {}
        for number, row in _rows(path, structure):
            model = name or row.get("model") or path.stem
            first = owners.setdefault(model, (place, path))
            if first[0] != place:
                reason = f"the model {model!r} is also in {first[1]}"
                raise problem(path, reason, "one table a model", "Give NAME=FILE with names of their own")
            cases = found.setdefault(model, set())
            if row["case"] in cases:
                raise problem(path, f"the case {row['case']!r} stands there twice", "every case once", "Correct it")
            cases.add(row["case"])
            for metric, text in row.items():
                if metric not in TEXTS and text not in ("", None):
                    value = _number(path, number, metric, text)
                    scores.setdefault(metric, {}).setdefault(model, {})[row["case"]] = value
    return scores


def _rows(path: Path, structure: str) -> list[tuple[int, dict[str, str]]]:
    """Return line number and content of the rows that are asked for."""
    expected, made = "a column case and a column a metric", "Make it with evaluate --csv on folders"
    rows = read_table(path, "case", expected=expected, next_step=made)
    if any(None in row for _line, row in rows):
        raise problem(path, "a row is longer than the header", "a CSV table with commas", "Export it again")
    rows = [(line, row) for line, row in rows if row.get("scope") != "failed"]
    if rows and "structure" not in rows[0][1]:
        return rows
    # A level has the name of its vertebra; where both are there, the vertebra's own row is meant.
    kept = [(line, row) for line, row in rows if row["structure"] == structure]
    scopes = {row.get("scope") for _line, row in kept}
    if {"structure", "level"} <= scopes:
        kept = [(line, row) for line, row in kept if row["scope"] == "structure"]
    if not kept:
        names = ", ".join(dict.fromkeys(row["structure"] for _line, row in rows))
        raise problem(path, f"no rows of {structure!r}", f"one of {names or 'its structures'}", "Give --structure")
    return kept


def _number(path: Path, line: int, metric: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise problem(path, f"line {line}, {metric}: {text!r}", "a number, or nothing", "Correct the table")
    return value


def chosen_metrics(scores: Scores, wanted: Sequence[str] | None) -> list[str]:
    """Return the metrics to compare: those that are wanted, or of the papers' those that all models have.

    Raises
    ------
    InputError : none of the models has a metric that is wanted
    """
    if wanted:
        for metric in wanted:
            if metric not in scores:
                raise problem("--metrics", f"{metric!r} is in no table", f"one of {', '.join(scores)}", "Correct it")
        return list(wanted)
    unit = "mm" if "hd95_mm" in scores else "px"
    usual = ["dice", "iou", "miou", "volumetric_similarity", "sensitivity", "precision", "boundary_iou", "ssim"]
    usual += [f"hd95_{unit}", f"assd_{unit}", f"nsd_{unit}"]
    return [metric for metric in usual if metric in scores] or list(scores)
