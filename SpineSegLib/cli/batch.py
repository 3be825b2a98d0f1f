"""``batch``: a folder or a table of images, segmented one after the other and remembered case by case."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.cli.outputs import DICOM, KINDS, REPORTS
from SpineSegLib.cli.segment import add_how_to
from SpineSegLib.errors import Cancelled, problem

if TYPE_CHECKING:
    from SpineSegLib.cli.batch_cases import BatchCase


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "batch",
        parents=[common_options(json_of="what came of every case")],
        help="segment a folder or a table of images",
        description="Segment many images. A case that fails has a row that says why, the rest go on, and the exit "
        "status is 1. The same command again goes on where a batch was stopped: finished cases whose image, truth, "
        "model, weights and settings are unchanged are skipped.",
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="a folder of image files and of sub-folders that each hold a DICOM series; or a CSV table with the column "
        "image, and truth, model, top level, output (name of the results) where they are wanted",
    )
    parser.add_argument("--model", metavar="NAME", help="one of: python -m SpineSegLib models; a table may name others")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results; made if absent")
    parser.add_argument(
        "--suffix",
        action="append",
        choices=KINDS,
        help=f"what is written of each case (.seg.nrrd); may be given several times. A {DICOM} is of a DICOM series of "
        f"CT or MR; {' and '.join(REPORTS)} are reports",
    )
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="date on the reports; today unless given")
    parser.add_argument(
        "--case-names",
        action="store_true",
        help="put the name of each case's results on its report; none unless given, for a file's name may tell who "
        "the patient is",
    )
    parser.add_argument("--truth", type=Path, metavar="DIR", help="segmentations with the names of the cases")
    parser.add_argument(
        "--truth-labels",
        metavar="NAMES",
        help="what the numbers of the truth mean: verse, totalsegmentator, or a JSON file {number: name}",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="of the images of a table; the table's own if absent"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that others made or changed, too")
    add_how_to(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Work through the cases; everything that can be checked is checked before the first one."""
    from SpineSegLib.cli.batch_cases import check_cases
    from SpineSegLib.cli.batch_records import DONE, FAILED
    from SpineSegLib.cli.batch_work import Batch

    options.suffix = list(dict.fromkeys(options.suffix or [".seg.nrrd"]))
    for folder in (options.truth, options.folder):
        if folder and not folder.is_dir():
            raise problem(folder, "there is no such folder", "an existing folder", "Check the path")
    console.report(0, 1, "listing the cases")
    cases = _cases(options)
    check_cases(cases, options.out, options.suffix)
    batch = Batch(cases, options, console.report)
    try:
        batch.work()
    except (Cancelled, KeyboardInterrupt) as stopped:
        finished = sum(row["state"] == DONE for row in batch.rows())
        kept = f"{finished} of {len(cases)} cases are finished and kept, the same command goes on from there"
        raise Cancelled(str(stopped) or "interrupted", kept) from stopped
    content = batch.summary()
    console.result(content, _text(content), [f"{row['case']}: {row['warnings']}" for row in _warned(content)])
    failed = [row["case"] for row in content["cases"] if row["state"] == FAILED]
    if failed:
        listed = ", ".join(failed[:5]) + (" …" if len(failed) > 5 else "")
        found = f"{len(failed)} of {len(cases)} cases failed ({listed}); the others are done"
        step = f"See {options.out / 'batch.csv'}, correct them, and give the same command again"
        raise problem(options.input, found, "images that the model was made for", step)


def _cases(options: argparse.Namespace) -> list[BatchCase]:
    from SpineSegLib.cli.batch_cases import cases_in_folder, cases_in_table

    if not options.input.is_dir():
        return cases_in_table(options.input, options.model, folder=options.folder, truths=options.truth)
    if options.folder:
        raise problem("--folder", "it is given with a folder", "a table", "Leave it away")
    if not options.model:
        raise problem("--model", "none", "the name of a model", "See: python -m SpineSegLib models")
    return cases_in_folder(options.input, options.model, truths=options.truth, out=options.out)


def _warned(content: dict) -> list[dict]:
    return [row for row in content["cases"] if row["warnings"]]


def _text(content: dict) -> str:
    rows = [("case", "state", "seconds", "found", "Dice", "")]
    rows += [_line(row) for row in content["cases"]]
    counts = f"{content['done']} done ({content['skipped']} of them before), {content['failed']} failed"
    return "\n".join([table(rows, right=(2, 3, 4)), counts, *(f"wrote {path}" for path in content["tables"])])


def _line(row: dict) -> Sequence[str]:
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
    dice = "" if row["dice"] is None else f"{row['dice']:.4f}"
    return row["case"], row["state"], seconds, str(row["found"] if row["found"] is not None else ""), dice, row["error"]
