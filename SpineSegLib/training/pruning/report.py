"""The report of pruning: a table of its stages and a curve over the share."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

STAGES = ("before", "zeroed", "removed", "fine-tuned")


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Parameters
    ----------
    share : of the filters that were asked to go
    stage : one of `STAGES`
    parameters, multiply_adds : of the network at the card's input size; zeros are counted
    milliseconds : of one picture on this machine's CPU
    score : validation Dice, or the network's own score where it has one
    """

    share: float
    stage: str
    parameters: int
    multiply_adds: int
    milliseconds: float
    score: float


TITLES = ("share", "stage", "parameters", "multiply-adds", "ms", "Dice")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text."""
    return (
        f"{row.share:.0%}",
        row.stage,
        f"{row.parameters / 1e6:.2f} M",
        f"{row.multiply_adds / 1e9:.2f} G",
        f"{row.milliseconds:.1f}",
        f"{row.score:.4f}",
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [TITLES, ("---",) * len(TITLES), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_report(rows: Sequence[Row], out: Path, title: str) -> None:
    """Write ``report.csv``, ``report.md``, ``report.json`` and ``curve.png``."""
    with (out / "report.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (out / "report.md").write_text(f"# {title}\n\n{markdown(rows)}", encoding="utf-8")
    (out / "report.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    _draw(rows, out / "curve.png", title)


def read_report(path: Path) -> list[Row]:
    """Return the rows of a ``report.json``."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _draw(rows: Sequence[Row], picture: Path, title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    before = next(row for row in rows if row.stage == "before")
    looks = {"zeroed": ("tab:orange", "s--"), "removed": ("tab:blue", "o-"), "fine-tuned": ("tab:green", "*")}
    for stage, (colour, look) in looks.items():
        some = sorted((row for row in rows if row.stage == stage), key=lambda row: row.share)
        if not some:
            continue
        start = [] if stage == "fine-tuned" else [before]
        size = {"markersize": {"zeroed": 9, "removed": 5, "fine-tuned": 13}[stage], "fillstyle": "full"}
        if stage == "zeroed":
            size["fillstyle"] = "none"  # Where both are the same, both are seen.
        points = [*start, *some]
        left.plot(
            [100 * row.share for row in points], [row.score for row in points], look, color=colour, label=stage, **size
        )
    left.axhline(before.score, color="grey", linewidth=1, linestyle=":", label="before")
    left.set_ylabel("validation Dice")
    removed = [before, *sorted((row for row in rows if row.stage == "removed"), key=lambda row: row.share)]
    for name, label, look in (
        ("parameters", "parameters", "o-"),
        ("multiply_adds", "multiply-adds", "s-"),
        ("milliseconds", "time on this CPU", "^--"),
    ):
        whole = getattr(before, name)
        values = [100 * getattr(row, name) / whole for row in removed]
        right.plot([100 * row.share for row in removed], values, look, markersize=5, label=label)
    right.set_ylabel("after removal, % of before")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("share of filters pruned, %")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(picture, dpi=120)
