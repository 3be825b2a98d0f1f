"""``export``: a segmentation that is there already, written in other formats, as a table, or as a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineSegLib.cli.about import About, add_report_options, origin_of
from SpineSegLib.cli.console import Console, common_options, scaled
from SpineSegLib.cli.outputs import KINDS, check_outputs, write_outputs
from SpineSegLib.errors import problem
from SpineSegLib.image import MODALITIES


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "export",
        parents=[common_options(json_of="what was written")],
        help="write a segmentation in other formats",
        description="Write a segmentation that is there already as DICOM SEG, label or overlay picture, table, report.",
    )
    add_inputs(parser)
    parser.add_argument(
        "--output",
        required=True,
        action="append",
        type=Path,
        metavar="FILE",
        help=f"{', '.join(KINDS)}; may be given several times: all appear, or none",
    )
    parser.add_argument(
        "--dicom",
        type=Path,
        metavar="SERIES",
        help="DICOM folder or file that a .dcm refers to, where IMAGE is a copy of it in another format",
    )
    parser.set_defaults(run=run)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add image and segmentation, and what is known of them."""
    parser.add_argument("image", metavar="IMAGE", help="DICOM folder or file, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF")
    parser.add_argument("segmentation", metavar="SEGMENTATION", help=".seg.nrrd, DICOM SEG, label map or label picture")
    parser.add_argument("--modality", choices=MODALITIES, help="what an .nrrd or NIfTI file does not say")
    parser.add_argument(
        "--labels",
        metavar="NAMES",
        help="what the numbers of a label map mean: verse, totalsegmentator, or a JSON file {number: name}",
    )
    parser.add_argument("--truth", metavar="FILE", help="segmentation to measure against; adds metrics to the table")
    parser.add_argument("--truth-labels", metavar="NAMES", help="what the numbers of the truth mean, as --labels")
    parser.add_argument("--model", metavar="NAME", help="the model that made the segmentation, if one did")
    parser.add_argument("--weights", metavar="FILE", help="the weights that it was made with, if not the model's own")
    parser.add_argument("--weights-sha256", metavar="HEX", help="of these weights, instead of the file; may be empty")
    add_report_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Read both, measure if there is a truth, and write."""
    write_all(options, console, options.output, KINDS, options.dicom)


def write_all(
    options: argparse.Namespace, console: Console, outputs: list[Path], kinds: tuple[str, ...], dicom: Path | None
) -> None:
    """Write a segmentation to every output.

    Parameters
    ----------
    options : parsed, with `add_inputs`
    kinds : suffixes that may be asked for
    dicom : series that a DICOM segmentation refers to; the image unless given
    """
    from SpineSegLib.cli.evaluate import label_names
    from SpineSegLib.cli.segment import structures_of
    from SpineSegLib.evaluation import evaluate
    from SpineSegLib.evaluation.report import check_date
    from SpineSegLib.io import read_image, read_segmentation

    source = Path(dicom or options.image)
    date = check_date(options.date)
    inputs = [Path(each) for each in (options.image, options.segmentation, options.truth) if each]
    for path in outputs:
        if any(path.exists() and other.exists() and path.samefile(other) for other in inputs):
            raise problem(path, "the output is an input", "another file", "Choose another name")
    check_outputs(outputs, source, suffixes=kinds)
    origin = origin_of(options.model, options.weights, options.weights_sha256)
    image = read_image(options.image, modality=options.modality, report=scaled(console.report, 0, 40))
    console.report(40, 100, "reading the segmentation")
    segmentation = read_segmentation(options.segmentation, structures=label_names(options.labels))
    evaluation, notes = None, []
    if options.truth:
        console.report(50, 100, "comparing with the truth")
        truth = read_segmentation(options.truth, structures=label_names(options.truth_labels))
        found = evaluate(segmentation, truth)
        evaluation, notes = found.to_dict(), list(found.warnings)
    rows = structures_of(segmentation)
    about = About(source, origin, rows, date, options.case, evaluation, notes)
    warnings = [*notes, *write_outputs(image, segmentation, outputs, scaled(console.report, 60, 100), about)]
    content = {"outputs": [str(path) for path in outputs], "structures": rows, "warnings": warnings}
    console.result(content, "\n".join(f"wrote {path}" for path in outputs), warnings)
