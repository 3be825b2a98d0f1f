"""``evaluate``: how well a segmentation agrees with the truth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from SpineSegLib.evaluation import Evaluation


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common_options(json_of="all metrics with their definitions")],
        help="measure a segmentation against the truth",
        description="Measure a segmentation against the truth, overall and per structure, on the truth's grid.",
    )
    parser.add_argument("prediction", metavar="PREDICTION", help=".seg.nrrd, DICOM SEG, label map or mask picture")
    parser.add_argument("truth", metavar="TRUTH", help=".seg.nrrd, DICOM SEG, label map or mask picture")
    for side in ("prediction", "truth"):
        parser.add_argument(
            f"--{side}-labels",
            metavar="NAMES",
            help=f"what the numbers of the {side} mean: verse, totalsegmentator, or a JSON file {{number: name}}",
        )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write every number to a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    if options.csv and not options.csv.absolute().parent.is_dir():
        raise problem(options.csv, "its folder does not exist", "a file in an existing folder", "Make the folder first")
    from SpineSegLib.evaluation import evaluate
    from SpineSegLib.io import read_segmentation

    console.report(0, 4, "reading the prediction")
    prediction = read_segmentation(options.prediction, structures=_names(options.prediction_labels))
    console.report(1, 4, "reading the truth")
    truth = read_segmentation(options.truth, structures=_names(options.truth_labels))
    console.report(2, 4, "comparing")
    found = evaluate(prediction, truth)
    console.report(3, 4, "writing")
    if options.csv:
        _write_csv(found, options.csv)
    console.report(4, 4, "done")
    console.result(found.to_dict(), _text(found), found.warnings)


def _names(wanted: str | None) -> Mapping | None:
    """Return label number -> structure, or None for what the file itself says."""
    if wanted is None:
        return None
    from SpineSegLib.io import label_tables

    known = {"verse": label_tables.VERSE, "totalsegmentator": label_tables.TOTALSEGMENTATOR}
    if wanted.lower() in known:
        return known[wanted.lower()]
    import json

    try:
        names = json.loads(Path(wanted).read_text(encoding="utf-8"))
        return {int(number): str(name) for number, name in names.items()}
    except (OSError, ValueError, AttributeError) as error:
        expected = 'verse, totalsegmentator, or a JSON file such as {"1": "C1"}'
        raise problem(wanted, f"no names of labels ({error})", expected, "Check the name or the file") from error


def _write_csv(found: Evaluation, path: Path) -> None:
    import csv

    from SpineSegLib.evaluation.metrics import METRICS
    from SpineSegLib.io import written_whole

    columns = [metric.key for metric in METRICS if metric.key in found.overall]
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", *columns, "in", "union of"])
        for name, values in (("overall", found.overall), *found.structures.items()):
            writer.writerow([name, *(values.get(key) for key in (*columns, "in", "union of"))])


def _text(found: Evaluation) -> str:
    from SpineSegLib.evaluation.metrics import METRICS

    unit = "mm" if "hd95_mm" in found.overall else "px"
    keys = ["dice", "iou", "volumetric_similarity", "sensitivity", "precision"]
    keys += [f"{distance}_{unit}" for distance in ("hd95", "hausdorff", "assd")]
    metrics = {metric.key: metric for metric in METRICS}
    titles = [metrics[key].title + (f" {unit}" if metrics[key].unit == unit else "") for key in keys]
    rows = [["structure", *titles, ""]]
    for name, values in (("overall", found.overall), *found.structures.items()):
        note = values.get("in") or ("union of several" if "union of" in values else "")
        rows.append([name, *(_number(values[key], metrics[key].unit) for key in keys), note])
    lines = [table(rows, right=range(1, len(keys) + 1))]
    return "\n".join([*lines, "", *(f"{metrics[key].title}: {metrics[key].definition}" for key in keys)])


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if unit == "1" else f"{value:.2f}"
