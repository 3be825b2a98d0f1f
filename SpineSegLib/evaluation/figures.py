"""Figures like the papers': box plots, confidence intervals, training curves, time bars; as PNG and as SVG."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.model_comparison import MetricComparison
from SpineSegLib.evaluation.tables import headed
from SpineSegLib.evaluation.times import Times
from SpineSegLib.io import all_written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart."""
_GREY = "#555555"


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG (150 dots an inch) and SVG; the same figure gives the same bytes."""
    import matplotlib

    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with all_written_whole(*paths) as temporaries, matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(temporaries[0], dpi=150, metadata={"Software": None})
        figure.savefig(temporaries[1], metadata={"Date": None, "Creator": None})
    return paths


def box_plot(found: MetricComparison) -> Figure:
    """Draw one metric: a box a model (quartiles, median, whiskers of 1.5 times their distance) and every case."""
    import numpy as np

    models = list(found.values)
    figure, axes = _figure(width=max(4.0, 1.4 + 0.9 * len(models)))
    values = [list(found.values[model].values()) for model in models]
    boxes = axes.boxplot(values, widths=0.5, patch_artist=True, showfliers=False, medianprops={"color": "black"})
    # A fixed seed spreads the dots the same way every time.
    spread = np.random.default_rng(0)
    for place, (box, of_model) in enumerate(zip(boxes["boxes"], values, strict=True)):
        box.set(facecolor=_colour(place), alpha=0.45)
        beside = place + 1 + spread.uniform(-0.16, 0.16, len(of_model))
        axes.plot(beside, of_model, "o", color=_colour(place), markersize=3, alpha=0.6, markeredgewidth=0)
    _models_below(axes, models)
    counts = sorted({len(of_model) for of_model in values})
    cases = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    axes.set(ylabel=headed(found.metric), title=f"{found.metric.title}, {cases} cases")
    return figure


def interval_plot(found: MetricComparison, confidence: float = 0.95) -> Figure:
    """Draw one metric: each model's mean with its two confidence intervals."""
    models = [model for model, values in found.models.items() if values.mean is not None]
    figure, axes = _figure(width=6.0, height=1.3 + 0.45 * len(models))
    for place, model in enumerate(models):
        values = found.models[model]
        for low, high, offset, style in (
            (values.t_low, values.t_high, -0.12, "-"),
            (values.bootstrap_low, values.bootstrap_high, 0.12, (0, (2, 1))),
        ):
            if low is not None:
                axes.plot([low, high], [place + offset] * 2, color=_colour(place), linestyle=style, linewidth=2)
        axes.plot(values.mean, place, "o", color=_colour(place), markersize=7)
    axes.plot([], [], "-", color=_GREY, label="Student's t")
    axes.plot([], [], linestyle=(0, (2, 1)), color=_GREY, label="bootstrap")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.set(xlabel=headed(found.metric), title=f"Mean and {100 * confidence:g} % confidence interval")
    axes.grid(axis="y", visible=False)
    return figure


def training_curves(logs: Mapping[str, Path]) -> Figure:
    """Draw the logs of training runs: losses on the left, every other number of the validation on the right.

    Raises
    ------
    InputError : a log that cannot be read or has no column ``epoch``
    """
    curves = {name: _log(path) for name, path in logs.items()}
    figure, (left, right) = _figure(width=9.5, columns=2)
    for place, (name, columns) in enumerate(curves.items()):
        epochs = columns.pop("epoch")
        rest = 0
        for title, values in columns.items():
            axes = left if "loss" in title else right
            style = "-" if title.startswith("train") or axes is right else "--"
            if axes is right:
                style, rest = ("-", "--", ":", "-.")[rest % 4], rest + 1
            axes.plot(epochs, values, linestyle=style, color=_colour(place), label=f"{name}: {title.replace('_', ' ')}")
    for axes, label in ((left, "loss"), (right, "score")):
        axes.set(xlabel="epoch", ylabel=label)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _log(path: Path) -> dict[str, list[float]]:
    """Return the columns of a log; an empty cell is a gap in its curve."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or "epoch" not in rows[0]:
            raise problem(path, "no column epoch", "the log.csv of a training run", "Give that file")
        return {title: [float(row[title] or "nan") for row in rows] for title in rows[0]}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise problem(path, f"it cannot be read ({error})", "the log.csv of a training run", "Check it") from error


def time_bars(times: Times, *, seed: int = 0) -> Figure:
    """Draw everyone's mean time a case (left), and people against automatic ways with SD (right)."""
    import numpy as np

    described = times.describe(seed=seed)
    people = [seconds for who in times.manual for seconds in times.totals[who]]
    figure, (left, right) = _figure(width=9.5, height=max(3.0, 1.6 + 0.4 * len(described)), columns=2)
    names = [*times.manual, "mean of people", *times.automatic]
    means = [described[who].mean if who in described else float(np.mean(people)) for who in names]
    colours = [_colour(1) if who in times.automatic else _colour(0) for who in names]
    bars = left.barh(range(len(names)), means, color=colours)
    left.bar_label(bars, [f"{mean:.1f} s" for mean in means], padding=3)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set(xlabel="seconds a case", xlim=(0, 1.2 * max(means)))
    left.grid(axis="y", visible=False)
    groups = {"people": people, **{who: times.totals[who] for who in times.automatic}}
    means = [float(np.mean(values)) for values in groups.values()]
    spread = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in groups.values()]
    colours = [_colour(0)] + [_colour(1)] * len(times.automatic)
    right.bar(range(len(groups)), means, 0.5, yerr=spread, capsize=6, color=colours)
    right.set(
        ylabel="seconds a case, mean and SD", ylim=(0, 1.15 * max(m + s for m, s in zip(means, spread, strict=True)))
    )
    _models_below(right, list(groups), first=0, room=44 // len(groups))
    saved = ", ".join(f"{who} saves {percent:.2f} %" for who, percent in times.saved().items())
    right.set_title(saved, fontsize=10)
    return figure


def _figure(width: float, height: float = 3.6, columns: int = 1) -> tuple[Figure, Axes | Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(1, columns, squeeze=False)[0]
    for axes in grid:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, (grid[0] if columns == 1 else grid)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _models_below(axes: Axes, models: Sequence[str], first: int = 1, room: int = 11) -> None:
    """Write the models' names below the axis, slanted where one has more letters than there is room for."""
    crowded = max(map(len, models)) > room
    turn = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(first, first + len(models)), models, **turn)
    axes.grid(axis="x", visible=False)
