"""Tables like the papers', as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from SpineSegLib.evaluation.metrics import Metric
from SpineSegLib.evaluation.model_comparison import MetricComparison, ModelComparison, metric_named
from SpineSegLib.evaluation.raters import Agreement
from SpineSegLib.evaluation.statistics import Description, Pairwise
from SpineSegLib.evaluation.times import Times

BOLD = "\N{START OF TEXT}"
"""Before a cell that is set in bold, whatever the language."""


@dataclass(frozen=True)
class Grid:
    """A table before it is written in any language.

    Parameters
    ----------
    label : short name, for LaTeX's references
    header, rows : cells; the first column is text, the others are numbers
    note : what stands below
    """

    label: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def markdown(grid: Grid) -> str:
    """Return a table in GitHub's Markdown."""

    def cell(text: str) -> str:
        text, bold = text.removeprefix(BOLD), text.startswith(BOLD)
        text = text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")
        return f"**{text}**" if bold else text

    lines = [grid.header, ["---", *["---:"] * (len(grid.header) - 1)]]
    lines = ["| " + " | ".join(row) + " |" for row in (list(map(cell, lines[0])), lines[1])]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in grid.rows]
    return "\n".join([f"**{grid.caption}**", "", *lines, *(["", grid.note] if grid.note else []), ""])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "³": r"$^3$", "²": r"$^2$", "√": r"$\surd$",
    "χ": r"$\chi$", "–": "--", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def latex(grid: Grid) -> str:
    """Return a table for LaTeX with the package booktabs; what has a meaning there is escaped."""

    def cell(text: str) -> str:
        text, bold = text.removeprefix(BOLD), text.startswith(BOLD)
        text = "".join(_LATEX.get(letter, letter) for letter in text.replace("\n", " "))
        return rf"\textbf{{{text}}}" if bold else text

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(cell, cells)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{cell(grid.caption)}}}",
            rf"\label{{tab:{grid.label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
            r"\toprule",
            line(grid.header),
            r"\midrule",
            *map(line, grid.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\small {cell(grid.note)}"] if grid.note else []),
            r"\end{table}",
            "",
        ]
    )


def number(value: float | None, unit: str = "1") -> str:
    """Return a number as it stands in tables: 4 decimals for parts of 1, else 3."""
    if value is None:
        return "–"
    return f"{value:.4f}" if unit == "1" else f"{value:.3f}"


def p_value(p: float | None) -> str:
    """Return a p value: 4 decimals, small ones as a bound."""
    if p is None:
        return "–"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def headed(metric: Metric) -> str:
    """Return a metric's title with its unit."""
    return metric.title + ("" if metric.unit == "1" else f" ({metric.unit})")


def mean_and_sd(found: Description | None, unit: str) -> str:
    """Return ``mean ± SD``."""
    if found is None or found.mean is None:
        return "–"
    return number(found.mean, unit) + (f" ± {number(found.sd, unit)}" if found.sd is not None else "")


def model_tables(found: ModelComparison) -> list[Grid]:
    """Return means, intervals, Friedman, all pairs, and the reference against each other model."""
    grids = [_means(found), _intervals(found)]
    if len(found.models) > 1:
        grids += [_friedman(found), _pairs(found), _against(found)]
    return grids


def _means(found: ModelComparison) -> Grid:
    rows = []
    for model in found.models:
        cells = [
            (BOLD if one.best() == model and len(one.models) > 1 else "")
            + mean_and_sd(one.models.get(model), one.metric.unit)
            for one in found.metrics.values()
        ]
        rows.append([model, *cells])
    header = ["Model", *(headed(one.metric) for one in found.metrics.values())]
    return Grid("means", "Mean ± SD over cases", header, rows, "Bold: the best mean. " + _lacking(found))


def _lacking(found: ModelComparison) -> str:
    return " ".join(f"{note}." for note in found.notes)


def _intervals(found: ModelComparison) -> Grid:
    rows = []
    for one in found.metrics.values():
        for model, values in one.models.items():
            ends = [
                f"[{number(low, one.metric.unit)}, {number(high, one.metric.unit)}]" if low is not None else "–"
                for low, high in ((values.t_low, values.t_high), (values.bootstrap_low, values.bootstrap_high))
            ]
            rows.append([headed(one.metric), model, str(values.n), number(values.mean, one.metric.unit), *ends])
    percent = f"{100 * found.settings.get('confidence', 0.95):g} %"
    header = ["Metric", "Model", "n", "Mean", f"{percent} CI (t)", f"{percent} CI (bootstrap)"]
    note = f"Bootstrap: {found.settings.get('resamples')} resamples of the cases, seed {found.settings.get('seed')}."
    return Grid("intervals", "Confidence intervals of the mean", header, rows, note)


def _friedman(found: ModelComparison) -> Grid:
    def row(one: MetricComparison) -> list[str]:
        test = one.friedman
        numbers = number(test.statistic, ""), p_value(test.p), number(test.kendall_w, "")
        return [headed(one.metric), str(test.n), *numbers]

    rows = list(map(row, found.metrics.values()))
    header = ["Metric", "n", "χ²", "p", "Kendall's W"]
    return Grid("friedman", "Friedman test over all models", header, rows, "From three models on.")


def _pairs(found: ModelComparison) -> Grid:
    def row(one: MetricComparison, test: Pairwise) -> list[str]:
        numbers = str(test.n), number(test.mean_difference, one.metric.unit), p_value(test.p)
        names = headed(one.metric), f"{test.a} – {test.b}"
        return [*names, *numbers, p_value(test.p_adjusted) + test.stars, one.verdict(test)]

    rows = [row(one, test) for one in found.metrics.values() for test in one.pairwise]
    header = ["Metric", "Models", "n", "Mean difference", "p", "p adjusted", "Better"]
    note = "Bonferroni over the pairs of each metric. * p < 0.05, ** p < 0.01, *** p < 0.001, adjusted."
    return Grid("pairs", "Wilcoxon signed-rank tests between all models", header, rows, note)


def _against(found: ModelComparison) -> Grid:
    def row(one: MetricComparison, test: Pairwise) -> list[str]:
        effect = "–" if test.effect is None else f"{test.effect:+.3f}"
        p = p_value(test.p_adjusted) + test.stars
        return [test.b, headed(one.metric), test.effect_name or "–", effect, test.test or "–", p, one.verdict(test)]

    tests = [(one, test) for one in found.metrics.values() for test in one.against]
    order = {model: place for place, model in enumerate(found.models)}
    rows = [row(*pair) for pair in sorted(tests, key=lambda pair: order[pair[1].b])]
    header = ["Baseline", "Metric", "Effect", "Size", "Test", "p adjusted", "Better"]
    note = (
        "Paired t where Shapiro-Wilk finds the differences normal (p >= 0.05), else Wilcoxon; positive sizes: larger "
        f"numbers of {found.reference}. Benjamini-Hochberg over the whole table. "
        "* p < 0.05, ** p < 0.01, *** p < 0.001, adjusted."
    )
    return Grid("against", f"{found.reference} against each other model", header, rows, note)


def rater_table(agreements: Sequence[Agreement]) -> Grid:
    """Return the inter-rater table: raters with each other, then models with raters."""
    metrics = [metric_named(key) for key in agreements[0].metrics]
    rows = [
        [f"{one.a} – {one.b}", one.kind, str(one.cases)]
        + [mean_and_sd(one.metrics[metric.key], metric.unit) for metric in metrics]
        for one in agreements
    ]
    header = ["Pair", "Kind", "Cases", *(headed(metric) for metric in metrics)]
    return Grid("raters", "Agreement of raters, and of models with raters", header, rows)


def time_table(times: Times, *, seed: int = 0) -> Grid:
    """Return everyone's seconds a case, and what the automatic ways save."""
    saved = times.saved()
    rows = [
        [who, str(found.n), mean_and_sd(found, "s"), f"{saved[who]:.2f} %" if who in saved else "–"]
        for who, found in times.describe(seed=seed).items()
    ]
    header = ["Who", "Cases", "Seconds a case", "Time saved"]
    note = "Time saved: of the mean of all people's times."
    return Grid("times", "Time a case", header, rows, note)
