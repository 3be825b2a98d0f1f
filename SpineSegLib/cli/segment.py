"""``segment``: one image in, its segmentation out, as files and as numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.about import About, add_report_options
from SpineSegLib.cli.console import Console, common_options, scaled, table
from SpineSegLib.cli.outputs import DICOM, REPORTS, SUFFIXES, TABLE, check_outputs, check_sidecars, write_outputs
from SpineSegLib.cli.probability import check_probability, write_probability
from SpineSegLib.errors import problem
from SpineSegLib.image import MODALITIES, Segmentation

if TYPE_CHECKING:
    from SpineSegLib.image import Image
    from SpineSegLib.models import Card
    from SpineSegLib.pipelines import Result
    from SpineSegLib.progress import Progress


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "segment",
        parents=[common_options(json_of="what was found")],
        help="segment an image",
        description="Segment a CT volume or a radiograph.",
    )
    parser.add_argument("image", metavar="IMAGE", help="DICOM folder or file, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF")
    parser.add_argument("--model", required=True, metavar="NAME", help="one of: python -m SpineSegLib models")
    parser.add_argument(
        "--output",
        required=True,
        action="append",
        type=Path,
        metavar="FILE",
        help=f"{', '.join(SUFFIXES)} (labels on the image), {DICOM} (DICOM SEG of a DICOM series of CT or MR); may be "
        "given several times: all appear, or none",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the table of results")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write a page with picture: .html or .pdf")
    add_report_options(parser)
    add_how_to(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="probability above which a pixel belongs to a structure, instead of the model's own",
    )
    parser.add_argument(
        "--probability",
        type=Path,
        metavar="FILE",
        help="also write, for each pixel, the largest probability of any structure (.nrrd, .nii.gz)",
    )
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        type=pixel,
        metavar="X,Y",
        help="pixel within a structure, for a model that is shown what to segment; once for each structure",
    )
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also tell how sure the model is of each structure; takes six times as long",
    )
    parser.set_defaults(run=run)


def add_how_to(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a model works on an image, whether it is one or many."""
    parser.add_argument("--weights", metavar="FILE", help="safetensors file instead of the model's own")
    parser.add_argument("--modality", choices=MODALITIES, help="what an .nrrd or NIfTI file does not say")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument(
        "--top-level",
        type=str.upper,
        metavar="LEVEL",
        help="level of the uppermost vertebra that is found, such as C2, where they are found one by one",
    )
    parser.add_argument(
        "--vertebrae",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="split the spine that a model of CT finds in one into vertebrae, counted from the top or --top-level",
    )


def pixel(text: str) -> tuple[float, float]:
    """Return x and y of an argument such as 512,304."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{text!r} is no pixel, expected two numbers such as 512,304"
        raise argparse.ArgumentTypeError(msg) from error
    return x, y


def run(options: argparse.Namespace, console: Console) -> None:
    """Segment the image; everything that can be checked is checked before the work starts."""
    from SpineSegLib.models import card, weights_file

    outputs, date = _outputs(options)
    if options.probability:
        check_probability(options.probability, [*options.output, Path(options.image)])
    model = card(options.model)
    weights = weights_file(model, options.weights)
    console.report(0, 100, "reading the image")
    from SpineSegLib.io import read_image
    from SpineSegLib.io.origin import Origin
    from SpineSegLib.models.weights import file_sha256

    image = read_image(options.image, modality=options.modality, report=scaled(console.report, 0, 8))
    console.report(8, 100, f"loading {model.name}")
    found = _found(image, model, options, scaled(console.report, 10, 88))
    warnings = [*found.warnings]
    rows = structures_of(found.segmentation)
    origin = Origin(model.name, model.title, file_sha256(weights))
    about = About(Path(options.image), origin, rows, date, options.case, warnings=warnings)
    warnings = [*warnings, *write_outputs(image, found.segmentation, outputs, scaled(console.report, 88, 100), about)]
    if options.probability:
        warnings += write_probability(image, found.segmentation, options.probability)
    content = {
        "output": str(outputs[0]),
        "outputs": [str(path) for path in outputs],
        "model": model.name,
        "weights_sha256": origin.weights_sha256,
        "structures": rows,
        "seconds": found.seconds,
        "device": found.device,
        "precision": found.precision,
        "warnings": warnings,
    }
    console.result(content, _text(content), warnings)


def _outputs(options: argparse.Namespace) -> tuple[list[Path], str]:
    """Return all files to write, having checked that they can be, and the date on a report."""
    from SpineSegLib.evaluation.report import check_date

    image, outputs = Path(options.image), list(options.output)
    check_outputs(outputs, image, suffixes=(*SUFFIXES, DICOM))
    check_sidecars(outputs)
    for path, suffixes in ((options.csv, (TABLE,)), (options.report, REPORTS)):
        if path:
            check_outputs([path], image, suffixes=suffixes)
            outputs.append(path)
    return outputs, check_date(options.date)


def _found(image: Image, model: Card, options: argparse.Namespace, report: Progress) -> Result:
    from SpineSegLib.pipelines import segment

    how = {name: getattr(options, name) for name in ("weights", "device", "precision")}
    how |= {"where": options.image, "report": report}
    if not options.confidence:
        how |= {"threshold": options.threshold, "keep_probability": options.probability is not None}
        own = {"points": options.point, "top_level": options.top_level, "vertebrae": options.vertebrae}
        return segment(image, model, **own, **how)
    others = ("top_level", "vertebrae", "threshold", "probability")
    asked = next((name for name in others if getattr(options, name) not in (None, False)), None)
    if asked:
        found = f"--{asked.replace('_', '-')} together with --confidence"
        raise problem("--confidence", found, "one of them", "Ask for each in a run of its own")
    from SpineSegLib.evaluation.explain.uncertainty import uncertainty

    return uncertainty(image, model, **how).result


def structures_of(segmentation: Segmentation) -> list[dict]:
    """Return each segment's name, level, code and size; without spacing the size is in pixels only."""
    import numpy as np

    geometry = segmentation.geometry
    listed = []
    for segment in segmentation.segments:
        pixels = int(np.count_nonzero(segmentation.mask(segment)))
        structure = segment.structure
        entry = {"name": segment.name, "level": structure.level, "kind": structure.kind, "code": structure.code.value}
        if geometry.has_spacing and geometry.is_2d:
            entry["area_mm2"] = pixels * geometry.pixel_area
        elif geometry.has_spacing:
            entry["volume_mm3"] = pixels * geometry.voxel_volume
        if segment.confidence is not None:
            entry["confidence"] = segment.confidence
        if segment.edited:
            entry["edited"] = segment.edited
        listed.append({**entry, "pixels": pixels, "colour": list(segment.colour)})
    return listed


def _text(content: dict) -> str:
    rows = [(entry["name"], _size(entry), _sure(entry)) for entry in content["structures"]]
    seconds = f"{content['seconds']:.1f} s on {content['device']} in {content['precision']}"
    return "\n".join([table(rows, right=(1,)), seconds, *(f"wrote {path}" for path in content["outputs"])])


def _sure(entry: dict) -> str:
    return f"confidence {entry['confidence']:.2f}" if "confidence" in entry else ""


def _size(entry: dict) -> str:
    if "volume_mm3" in entry:
        return f"{entry['volume_mm3'] / 1000:.1f} ml"
    if "area_mm2" in entry:
        return f"{entry['area_mm2'] / 100:.1f} cm²"
    return f"{entry['pixels']} pixels"
