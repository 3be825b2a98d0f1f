"""``compare``: statistics between models over cases, agreement of raters, time saved, training curves."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from SpineSegLib.evaluation.model_comparison import ModelComparison
    from SpineSegLib.evaluation.raters import Agreement
    from SpineSegLib.evaluation.times import Times


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "compare",
        parents=[common_options(json_of="the statistics")],
        help="statistics between models over the same cases, between raters, and of time",
        description="Compare models over the same cases: mean, SD, 95 % confidence intervals (t and bootstrap), "
        "Friedman, Wilcoxon between all pairs with Bonferroni, and one model against each other one by paired t or "
        "Wilcoxon with effect sizes and Benjamini-Hochberg. With --out: CSV, JSON, Markdown, LaTeX and figures. The "
        "tests take cases for independent; several epochs of one training run are not.",
    )
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help="[NAME=]FILE.csv of evaluate --csv on folders, one a model; or a table with the columns case and model",
    )
    parser.add_argument("--metrics", metavar="KEYS", help="columns to compare, separated by commas (the papers')")
    parser.add_argument("--structure", default="overall", metavar="NAME", help="compare this structure or level only")
    parser.add_argument("--reference", metavar="MODEL", help="tested against each other one (the last model)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (0)")
    parser.add_argument("--resamples", type=int, default=10_000, metavar="N", help="of the bootstrap (10000)")
    parser.add_argument(
        "--rater", action="append", default=[], metavar="NAME=FOLDER", help="segmentations by a person; several times"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=FOLDER", help="segmentations by a model, for the raters"
    )
    parser.add_argument("--times", type=Path, metavar="CSV", help="columns who and seconds (and case, stage)")
    parser.add_argument("--automatic", action="append", default=[], metavar="WHO", help="who of --times is no person")
    parser.add_argument("--log", action="append", default=[], metavar="NAME=CSV", help="log.csv of a training run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write tables and figures there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Compare, write and print."""
    if not (options.tables or options.rater or options.times or options.log):
        raise problem("compare", "nothing to compare", "a TABLE, --rater, --times or --log", "See compare --help")
    if options.resamples < 1:
        raise problem("--resamples", str(options.resamples), "1 or more", "Give another number")
    if options.log and not options.out:
        raise problem("--log", "no place for the curves", "--out", "Add --out FOLDER")
    models = _models(options) if options.tables else None
    raters = _raters(options, console) if options.rater or options.model else None
    times = _times(options) if options.times else None
    content: dict[str, object] = models.to_dict() if models else {}
    if raters:
        content["raters"] = [one.to_dict() for one in raters]
    if times:
        content["times"] = times.to_dict(seed=options.seed)
    if options.out:
        content["files"] = _write(options, content, models, raters, times)
    console.result(content, _text(models, raters, times, options.seed), models.notes if models else ())


def _models(options: argparse.Namespace) -> ModelComparison:
    from SpineSegLib.evaluation.model_comparison import compare_models
    from SpineSegLib.evaluation.scores import chosen_metrics, read_scores

    tables = []
    for text in options.tables:
        # A path may hold an equals sign itself.
        name, _, file = (None, "", text) if Path(text).exists() else text.partition("=")
        tables.append((name or None, Path(file or text)))
    scores = read_scores(tables, structure=options.structure)
    wanted = [key.strip() for key in options.metrics.split(",")] if options.metrics else None
    metrics = chosen_metrics(scores, wanted)
    if not metrics:
        raise problem(tables[0][1], "no numbers", "a column a metric", "Make it with evaluate --csv on folders")
    settings = {"seed": options.seed, "resamples": options.resamples}
    return compare_models(scores, metrics, reference=options.reference, **settings)


def _raters(options: argparse.Namespace, console: Console) -> list[Agreement]:
    from SpineSegLib.evaluation import Evaluation, evaluate
    from SpineSegLib.evaluation.raters import agreement_of_raters
    from SpineSegLib.io import read_segmentation

    def measure(one: Path, two: Path) -> Evaluation:
        return evaluate(read_segmentation(one), read_segmentation(two))

    folders = [_named(given, flag) for given, flag in ((options.rater, "--rater"), (options.model, "--model"))]
    return agreement_of_raters(*folders, measure, seed=options.seed, report=console.report)


def _named(given: Sequence[str], flag: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in found:
            reason = f"{name!r} stands there twice" if name in found else repr(text)
            raise problem(flag, reason, "NAME=PATH, every name once", "Correct it")
        found[name] = Path(path)
    return found


def _times(options: argparse.Namespace) -> Times:
    from SpineSegLib.evaluation.times import read_times

    return read_times(options.times, options.automatic)


def _write(options: argparse.Namespace, content: dict, models, raters, times) -> list[str]:
    """Write everything into the folder and return the names of its files."""
    import json

    from SpineSegLib.evaluation import figures, tables
    from SpineSegLib.evaluation.raters import rows_of

    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(out, error.strerror or str(error), "a folder to write to", "Choose another folder") from error
    grids = [*(tables.model_tables(models) if models else [])]
    grids += [tables.rater_table(raters)] if raters else []
    grids += [tables.time_table(times, seed=options.seed)] if times else []
    written = []
    if models:
        described = [
            {"metric": key, "model": model, **found.to_dict()}
            for key, one in models.metrics.items()
            for model, found in one.models.items()
        ]
        written.append(_csv(out / "models.csv", described))
        tests = [
            {"family": family, **test}
            for one in models.to_dict()["metrics"].values()
            for family in ("pairwise", "against")
            for test in one[family]
        ]
        written += [_csv(out / "tests.csv", tests)] if tests else []
    if raters:
        written.append(_csv(out / "raters.csv", list(rows_of(raters))))
    if grids:
        written.append(_text_file(out / "tables.md", "\n".join(map(tables.markdown, grids))))
        written.append(_text_file(out / "tables.tex", "\n".join(map(tables.latex, grids))))
    drawn: list[tuple[str, Callable]] = []
    for key, one in models.metrics.items() if models else ():
        name = "".join(letter if letter.isalnum() else "-" for letter in key)
        drawn += [(f"box-{name}", lambda one=one: figures.box_plot(one))]
        drawn += [(f"intervals-{name}", lambda one=one: figures.interval_plot(one))]
    if options.log:
        logs = _named(options.log, "--log")
        drawn.append(("training", lambda: figures.training_curves(logs)))
    if times:
        drawn.append(("times", lambda: figures.time_bars(times, seed=options.seed)))
    for name, draw in drawn:
        written += figures.save(draw(), out, name)
    names = [path.name for path in written]
    if content:
        text = json.dumps(content, indent=1, allow_nan=False)
        names.append(_text_file(out / "comparison.json", text).name)
    return names


def _csv(path: Path, rows: Sequence[dict]) -> Path:
    import csv

    from SpineSegLib.io import written_whole

    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _text_file(path: Path, text: str) -> Path:
    from SpineSegLib.io import written_whole

    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _text(models, raters, times, seed: int) -> str:
    from SpineSegLib.cli.console import table
    from SpineSegLib.evaluation import tables

    grids = tables.model_tables(models) if models else []
    grids += [tables.rater_table(raters)] if raters else []
    grids += [tables.time_table(times, seed=seed)] if times else []
    parts = []
    for grid in grids:
        rows = [[cell.removeprefix(tables.BOLD) for cell in row] for row in (grid.header, *grid.rows)]
        parts += [grid.caption, table(rows, right=range(1, len(grid.header))), *([grid.note] if grid.note else []), ""]
    return "\n".join(parts).rstrip() or "done"
