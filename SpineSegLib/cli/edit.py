"""``edit``: correct a segmentation by hand: levels, two vertebrae in one, one in two, one missed, one too many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options, scaled, table
from SpineSegLib.cli.segment import pixel, structures_of
from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from SpineSegLib.image import Segmentation
    from SpineSegLib.progress import Progress

_WHICH = "WHICH is a level or a name, or #3 for the third vertebra from the top; POINT is X,Y or I,J,K in voxels. "


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "edit",
        parents=[common_options(json_of="what is there now")],
        help="correct a segmentation: levels, merge, split, add, remove",
        description=f"Corrects vertebrae in a segmentation, in the order in which the options stand. {_WHICH}"
        "Without any correction it says what is there.",
    )
    parser.add_argument("segmentation", metavar="SEGMENTATION", type=Path, help=".seg.nrrd, DICOM SEG or label map")
    parser.add_argument("--out", metavar="FILE", type=Path, help=".seg.nrrd, which keeps notes, or .nii.gz")
    step = {"action": _Step, "dest": "steps", "default": []}
    pair, points = ("WHICH", "LEVEL"), ("WHICH", "POINT", "POINT")
    parser.add_argument("--relabel", nargs=2, metavar=pair, help="this one is LEVEL, and the rest follow", **step)
    parser.add_argument("--merge", nargs=2, metavar=("WHICH", "OTHER"), help="make one of two neighbours", **step)
    parser.add_argument("--split", nargs=3, metavar=points, help="cut one in two along a line", **step)
    parser.add_argument(
        "--split-seeds", nargs="+", metavar=("WHICH", "POINT"), help="part one from a point in each part", **step
    )
    parser.add_argument("--remove", nargs=1, metavar="WHICH", help="take one away", **step)
    parser.add_argument(
        "--add", nargs=1, metavar="X,Y", help="add the one at this pixel of --image, as --model sees it", **step
    )
    parser.add_argument("--accept", action="store_true", help="mark every segment as looked at and found right")
    parser.add_argument("--extra", nargs="+", type=str.upper, metavar="LEVEL", help="T13 or L6, where there is one")
    parser.add_argument("--missing", nargs="+", type=str.upper, default=[], metavar="LEVEL", help="such as T12")
    parser.add_argument("--image", metavar="IMAGE", help="the radiograph, for --add")
    parser.add_argument("--modality", choices=("XR", "CT", "MR"), help="what the image's file does not say")
    parser.add_argument("--model", metavar="NAME", help="one that takes a point, such as sam or spinefm, for --add")
    parser.add_argument("--weights", metavar="FILE", help="safetensors file instead of the model's own")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.set_defaults(run=run)


class _Step(argparse.Action):
    """Keeps the corrections in the order in which they stand."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        name = option_string.removeprefix("--")
        try:
            values = [values[0], *map(_point, values[1:])] if name.startswith("split") else values
            values = [pixel(values[0])] if name == "add" else values
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        if name == "split-seeds" and len(values) < 3:
            raise argparse.ArgumentError(self, "expected WHICH and two points or more")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (name, values)])


def _point(text: str) -> tuple[float, float, float]:
    """Return i, j, k of an argument such as 512,304 or 250,260,30."""
    try:
        numbers = [float(part) for part in text.split(",")]
        i, j, k = numbers if len(numbers) == 3 else (*numbers, 0.0)
    except ValueError as error:
        msg = f"{text!r} is no voxel, expected two or three numbers such as 512,304"
        raise argparse.ArgumentTypeError(msg) from error
    return i, j, k


def run(options: argparse.Namespace, console: Console) -> None:
    """Correct the segmentation; nothing is written unless every correction could be made."""
    from dataclasses import replace

    from SpineSegLib.io import read_segmentation, write_segmentation
    from SpineSegLib.pipelines.editing import level_notes, vertebrae_of

    if (options.steps or options.accept) and options.out is None:
        raise problem("--out", "no file is named", "a file for the result", "Add --out FILE")
    console.report(0, 100, "reading the segmentation")
    found = read_segmentation(options.segmentation)
    warnings: list[str] = []
    for number, (name, values) in enumerate(options.steps):
        start, stop = (5 + 90 * n // len(options.steps) for n in (number, number + 1))
        report = scaled(console.report, start, stop)
        report(0, 1, f"{name} {values[0] if name != 'add' else ''}")
        found, more = _corrected(found, name, values, options, report)
        warnings += more
    if options.accept:
        found = replace(found, segments=tuple(replace(segment, accepted=True) for segment in found.segments))
    console.report(95, 100, "writing")
    warnings += level_notes(found)
    if options.out is not None:
        warnings += write_segmentation(found, options.out)
    console.report(100, 100, "done")
    content = {
        "output": str(options.out) if options.out else None,
        "vertebrae": [{"name": one.name, "level": one.level} for one in vertebrae_of(found)],
        "structures": structures_of(found),
        "warnings": warnings,
    }
    console.result(content, _text(content), warnings)


def _corrected(
    found: Segmentation, name: str, values: list, options: argparse.Namespace, report: Progress
) -> tuple[Segmentation, list[str]]:
    """Return the segmentation after one correction, and what the user should know about it."""
    from SpineSegLib.pipelines import editing

    if name == "add":
        return _added(found, values[0], options, report)
    if name == "relabel":
        return editing.relabel(found, *values, extra=options.extra, missing=options.missing), []
    if name == "merge":
        return editing.merge(found, *values), []
    if name == "remove":
        return editing.remove(found, *values), []
    split = {"split": editing.split_at_line, "split-seeds": editing.split_at_seeds}[name]
    return split(found, values[0], found.geometry.to_world([point[::-1] for point in values[1:]])), []


def _added(
    found: Segmentation, point: tuple[float, float], options: argparse.Namespace, report: Progress
) -> tuple[Segmentation, list[str]]:
    for option in ("image", "model"):
        if not getattr(options, option):
            raise problem(f"--{option}", "it is not given", "what --add needs", f"Add --{option}")
    from SpineSegLib.io import read_image
    from SpineSegLib.models import card
    from SpineSegLib.pipelines.editing.adding import add_at_point

    image = read_image(options.image, modality=options.modality)
    how = {"weights": options.weights, "device": options.device, "report": report, "where": options.image}
    added, result = add_at_point(found, image, card(options.model), point, **how)
    return added, list(result.warnings)


def _text(content: dict) -> str:
    rows = [(entry["name"], f"{entry['pixels']} voxels", entry.get("edited", "")) for entry in content["structures"]]
    lines = [table(rows, right=(1,))] if rows else ["no segment"]
    return "\n".join([*lines, *([f"wrote {content['output']}"] if content["output"] else [])])
