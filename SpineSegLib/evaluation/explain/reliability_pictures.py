"""The reliability curve of a model as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineSegLib.evaluation.explain.calibration import LEAST, Calibration
from SpineSegLib.evaluation.explain.drawing import NOTE


def save_reliability(found: Calibration, path: Path) -> None:
    """Write a PNG: for each structure, how often pixels of a probability belong to it, and how many there are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(found.everywhere)
    figure = Figure(figsize=(4.6 * len(names) + 0.6, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(names), squeeze=False, sharex=True, height_ratios=[3, 1])
    for column, name in enumerate(names):
        _curve(axes[0, column], name, found)
        _amount(axes[1, column], found.everywhere[name].count)
    figure.suptitle(f"Calibration of {found.model} on {len(found.cases)} cases", fontsize=12)
    figure.supxlabel(f"predicted probability\n{NOTE}", fontsize=9)
    figure.savefig(path, format="png", dpi=130, metadata={"Software": "SpineSeg"})


def _curve(axes, name: str, found: Calibration) -> None:
    everywhere, uncertain = found.everywhere[name], found.uncertain[name]
    some = uncertain.count > 0
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    chance, truth = uncertain.chance[some] / uncertain.count[some], uncertain.truth[some] / uncertain.count[some]
    axes.fill_between(chance, chance, truth, color="#ff7a1a", alpha=0.2)
    axes.plot(chance, truth, color="#1f5fbf", marker="o", markersize=4, label="measured")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="part that belongs to the structure")
    text = f"ECE {everywhere.ece:.4f} over all pixels"
    if uncertain.ece is not None:
        text += f"\nECE {uncertain.ece:.4f} where the probability is {LEAST:g} or more"
    axes.set_title(f"{name}\n{text}", fontsize=10)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    axes.grid(alpha=0.25)


def _amount(axes, count: np.ndarray) -> None:
    edges = np.linspace(0, 1, len(count) + 1)
    axes.bar(edges[:-1], np.maximum(count, 0.5), width=np.diff(edges), align="edge", color="0.55", edgecolor="white")
    axes.set(yscale="log", ylabel="pixels", ylim=(0.8, None))
