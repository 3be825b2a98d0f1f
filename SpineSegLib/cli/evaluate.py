"""``evaluate``: how well a segmentation agrees with the truth, for one case or for folders of cases."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.cli.evaluate_text import text_of, text_of_many
from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from SpineSegLib.evaluation import Evaluation
    from SpineSegLib.evaluation.cases import CasePair
    from SpineSegLib.evaluation.metrics import Settings
    from SpineSegLib.image import Image, Segmentation


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common_options(json_of="all metrics with their definitions")],
        help="measure a segmentation, or folders of them, against the truth",
        description="Measure a segmentation against the truth, overall, per structure and per level, on the truth's "
        "grid. Two folders are paired by file name; a case that fails is reported, the rest go on, and the exit "
        "status is 1.",
    )
    parser.add_argument(
        "prediction", metavar="PREDICTION", help=".seg.nrrd, DICOM SEG, label map or mask picture; or a folder of them"
    )
    parser.add_argument("truth", metavar="TRUTH", help="the same of the truth")
    for side in ("prediction", "truth"):
        parser.add_argument(
            f"--{side}-labels",
            metavar="NAMES",
            help=f"what the numbers of the {side} mean: verse, totalsegmentator, or a JSON file {{number: name}}",
        )
    parser.add_argument(
        "--probability",
        type=Path,
        metavar="FILE",
        help="probability of the prediction as an image (0 to 1; pictures 0 to white); a folder for folders",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="pairs of cases: columns prediction and truth (and case, probability), relative to the two folders",
    )
    parser.add_argument("--tolerance-mm", type=float, metavar="MM", help="of the surface Dice in millimetres (1)")
    parser.add_argument("--tolerance-px", type=float, metavar="PX", help="of the surface Dice in pixels (2)")
    parser.add_argument(
        "--boundary-fraction", type=float, metavar="F", help="boundary IoU's width as part of the diagonal (0.02)"
    )
    parser.add_argument(
        "--identified-dice", type=float, metavar="D", help="a structure is identified when its Dice exceeds this (0)"
    )
    parser.add_argument(
        "--matched-dice",
        type=float,
        metavar="D",
        help="a vertebra has a partner in the prediction, of whatever level, when their Dice exceeds this (0.5)",
    )
    parser.add_argument(
        "--shared-kinds",
        action="store_true",
        help="leave out of the truth the kinds of structure (discs, say) that the prediction has none of",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write every number to a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    if options.csv and not options.csv.absolute().parent.is_dir():
        raise problem(options.csv, "its folder does not exist", "a file in an existing folder", "Make the folder first")
    settings = _settings(options)
    if _many(options):
        _run_many(options, settings, console)
    else:
        _run_one(options, settings, console)


def _settings(options: argparse.Namespace) -> Settings:
    from SpineSegLib.evaluation.metrics import Settings

    given = {
        name: getattr(options, name)
        for name in ("tolerance_mm", "tolerance_px", "boundary_fraction", "identified_dice", "matched_dice")
        if getattr(options, name) is not None
    }
    try:
        return Settings(**given)
    except ValueError as error:
        name, _, found = str(error).partition(" is ")
        found, _, expected = found.partition(", expected ")
        raise problem(f"--{name.replace('_', '-')}", found, expected, "Give another number") from error


def _many(options: argparse.Namespace) -> bool:
    """Tell whether the arguments are folders of cases and not DICOM segmentations."""
    folders = [Path(options.prediction), Path(options.truth)]
    if options.table:
        for folder in folders:
            if not folder.is_dir():
                raise problem(folder, "there is no such folder", "the folder of the table's names", "Check the path")
        return True
    if not all(folder.is_dir() for folder in folders):
        return False
    from SpineSegLib.evaluation.cases import case_files
    from SpineSegLib.io.suffixes import DICOM, suffix_of

    # A folder with DICOM in it is one segmentation, whatever pictures lie beside it.
    files = [path for folder in folders for path in folder.iterdir() if not path.name.startswith(".")]
    if any(path.is_file() and suffix_of(path) in (*DICOM, "") for path in files):
        return False
    return any(case_files(folder) for folder in folders)


def _run_one(options: argparse.Namespace, settings: Settings, console: Console) -> None:
    from SpineSegLib.evaluation import evaluate

    console.report(0, 4, "reading the prediction")
    prediction = _segmentation(options.prediction, options.prediction_labels)
    console.report(1, 4, "reading the truth")
    truth = _segmentation(options.truth, options.truth_labels)
    console.report(2, 4, "comparing")
    probability = read_probability(options.probability) if options.probability else None
    found = evaluate(prediction, truth, probability=probability, settings=settings, shared_kinds=options.shared_kinds)
    console.report(3, 4, "writing")
    if options.csv:
        rows = {"overall": found.overall, **found.structures}
        _write_csv([{"structure": name, **values} for name, values in rows.items()], ["structure"], options.csv)
    console.report(4, 4, "done")
    console.result(found.to_dict(), text_of(found, settings), found.warnings)


def _run_many(options: argparse.Namespace, settings: Settings, console: Console) -> None:
    from SpineSegLib.evaluation import evaluate
    from SpineSegLib.evaluation.cases import evaluate_cases, pairs_by_name, pairs_in_table

    folders = [Path(options.prediction), Path(options.truth), options.probability]
    pairs = pairs_in_table(options.table, *folders) if options.table else pairs_by_name(*folders)
    labels = options.prediction_labels, options.truth_labels

    def measure(pair: CasePair) -> Evaluation:
        both = [_segmentation(path, of) for path, of in zip((pair.prediction, pair.truth), labels, strict=True)]
        probability = read_probability(pair.probability) if pair.probability else None
        return evaluate(*both, probability=probability, settings=settings, shared_kinds=options.shared_kinds)

    results = evaluate_cases(pairs, measure, settings=settings, report=console.report)
    if options.csv:
        _write_csv(list(results.rows()), ["case", "scope", "structure"], options.csv)
    warnings = [f"{name}: {line}" for name, found in results.cases.items() for line in found.warnings]
    warnings += [f"{name} failed: {line}" for name, line in results.failed.items()]
    console.result(results.to_dict(), text_of_many(results, settings), warnings)
    if results.failed:
        names = list(results.failed)
        listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        found = f"{len(names)} of {len(pairs)} cases failed ({listed}); the others were measured"
        raise problem(options.prediction, found, "pairs that can be compared", "See the line of each, and correct it")


def _segmentation(path: str | Path, names: str | None) -> Segmentation:
    from SpineSegLib.io import read_segmentation

    return read_segmentation(path, structures=label_names(names))


def read_probability(path: Path) -> Image:
    """Read a probability: numbers from 0 to 1 as they are, unsigned integers as parts of the largest of their type.

    Raises
    ------
    InputError : as for `read_image`
    """
    from dataclasses import replace

    import numpy as np

    from SpineSegLib.io import read_image

    image = read_image(path)
    if image.array.dtype.kind == "u" and image.array.max() > 1:
        return replace(image, array=(image.array / np.iinfo(image.array.dtype).max).astype(np.float32))
    return image


def label_names(wanted: str | None) -> Mapping | None:
    """Return label number -> structure, or None for what the file itself says."""
    if wanted is None:
        return None
    from SpineSegLib.io import label_tables

    known = {"verse": label_tables.VERSE, "totalsegmentator": label_tables.TOTALSEGMENTATOR}
    if wanted.lower() in known:
        return known[wanted.lower()]
    from SpineSegLib.io.mappings import load_json

    try:
        names = load_json(Path(wanted).read_text(encoding="utf-8"), wanted)
        return {int(number): str(name) for number, name in names.items()}
    except (OSError, ValueError, AttributeError) as error:
        expected = 'verse, totalsegmentator, or a JSON file such as {"1": "C1"}'
        raise problem(wanted, f"no names of labels ({error})", expected, "Check the name or the file") from error


def _write_csv(rows: list[Mapping], first: list[str], path: Path) -> None:
    import csv

    from SpineSegLib.evaluation.metrics import METRICS
    from SpineSegLib.io import written_whole

    present = {key for row in rows for key in row}
    columns = [*first, *(metric.key for metric in METRICS if metric.key in present), "in", "union of"]
    columns += ["error"] if "error" in present else []
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
