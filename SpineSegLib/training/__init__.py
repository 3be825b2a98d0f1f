"""Training: recipes, sources of samples, losses, fitting, and the weights and card that come out."""

from __future__ import annotations

from pathlib import Path

from SpineSegLib.progress import Progress, silent


def train(
    recipe: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    resume: bool = False,
    report: Progress = silent,
) -> Path:
    """Train a recipe's model; see `SpineSegLib.training.run.train`."""
    from SpineSegLib.training.run import train as run

    return run(recipe, data, out, weights=weights, resume=resume, report=report)
