"""``phantom``: the digital spine; images with exact masks, corners and measurements."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.errors import problem
from SpineSegLib.progress import Progress, part

KINDS = ("ct", "lateral-cervical", "lateral-lumbar", "ap", "mr")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "phantom",
        parents=[common_options(json_of="what was written")],
        help="make images of a digital spine with exact masks and measurements",
        description="Images of a digital spine: radiographs as pairs of pictures, CT and MR in VerSe's layout, all "
        "also as DICOM, with the truth (masks, corners, angles, slips, heights) and everything that made it as JSON. "
        "The same seed gives the same bytes. Finished cases in --out are kept, so a run can be taken up again.",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the cases")
    parser.add_argument(
        "--kind",
        default="lateral-cervical",
        choices=(*KINDS, "all"),
        help="kind of image (lateral-cervical); all: a folder of each",
    )
    parser.add_argument("--count", type=int, default=1, metavar="N", help="number of cases (1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what the cases are drawn from (0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="number of processes (1)")
    shapes = parser.add_mutually_exclusive_group()
    shapes.add_argument(
        "--shapes",
        metavar="DIR",
        action="append",
        default=[],
        help="folder of closed surfaces, one a bone; may be repeated",
    )
    shapes.add_argument("--built-in", action="store_true", help="the shapes that the software brings (the default)")
    parser.add_argument("--sheet", metavar="FILE.png", help="write a picture sheet of all kinds instead of cases")
    _image_options(parser)
    _patient_options(parser)
    parser.set_defaults(run=run)


def _image_options(parser: argparse.ArgumentParser) -> None:
    image = parser.add_argument_group("the image (drawn from the seed where nothing is said)")
    image.add_argument("--size", type=int, metavar="PIXELS", help="along the longer side")
    image.add_argument("--rotation", type=float, metavar="DEG", help="turn the patient (a radiograph), or the scan")
    image.add_argument("--monochrome", type=int, choices=(1, 2), help="photometric interpretation of a radiograph")
    image.add_argument("--slice-step", type=float, metavar="MM", help="between the slices of a CT")
    image.add_argument("--no-noise", action="store_true", help="an image without noise")


def _patient_options(parser: argparse.ArgumentParser) -> None:
    body = parser.add_argument_group("the patient (drawn from the seed where nothing is said)")
    number = {"type": float, "metavar": "DEG"}
    body.add_argument("--sex", choices=("female", "male"))
    body.add_argument("--age", type=float, metavar="YEARS")
    body.add_argument("--stature", type=float, metavar="MM")
    body.add_argument("--lordosis", help="C2-C7 in images of the neck, L1-S1 in others", **number)
    body.add_argument("--kyphosis", help="T4-T12", **number)
    body.add_argument("--t1-slope", **number)
    body.add_argument("--sacral-slope", **number)
    body.add_argument("--motion", help="flexion (-) or extension (+) of the neck of this seed", **number)
    body.add_argument("--cobb", help="a curve of this Cobb angle from T5 to T12, convex to the right", **number)
    text = {"action": "append", "default": []}
    body.add_argument("--curve", metavar="T5:T11:30:right", help="a coronal curve; up to three, top to bottom", **text)
    body.add_argument("--slip", metavar="L4:20", help="slip over the next vertebra, percent, + to the front", **text)
    body.add_argument("--fracture", metavar="T12:wedge:30", help="wedge, biconcave or crush; percent of height", **text)
    body.add_argument("--pars-defect", metavar="LEVEL", **text)
    body.add_argument("--process-fracture", metavar="LEVEL", help="a fractured spinous process", **text)
    body.add_argument("--fused", metavar="C5/C6", help="a fused disc", **text)
    body.add_argument("--plate", metavar="C5-C6", help="an anterior plate with screws")
    body.add_argument("--extra", choices=("T13", "L6"), **text)
    body.add_argument("--region", metavar="C1-T2", help="first and last level of a CT or MR")
    body.add_argument("--osteophytes", type=float, metavar="0-1")
    body.add_argument("--mineral", type=float, metavar="RATIO", help="of trabecular bone against a healthy adult's")
    body.add_argument("--mend-holes", type=int, metavar="EDGES", help="close surfaces with up to so many open edges")


def run(options: argparse.Namespace, console: Console) -> None:
    """Make cases, or a sheet."""
    if bool(options.out) == bool(options.sheet):
        found = "both --out and --sheet" if options.out else "neither --out nor --sheet"
        raise problem("phantom", found, "one of them", "Name a folder with --out, or a picture with --sheet")
    if options.sheet:
        _sheet(options, console)
        return
    chosen = options.kind
    kinds = KINDS if chosen == "all" else (chosen,)
    made = kept = 0
    for number, kind in enumerate(kinds):
        options.kind = kind
        out = Path(options.out, kind) if len(kinds) > 1 else Path(options.out)
        share = (number * options.count, len(kinds) * options.count)
        new, old = _generate(options, out, part(console.report, *share))
        made, kept = made + new, kept + old
    content = {"output": options.out, "kind": chosen, "seed": options.seed, "made": made, "kept": kept}
    console.result(content, f"{options.out}: {made} made, {kept} there already")


def _generate(options: argparse.Namespace, out: Path, report: Progress) -> tuple[int, int]:
    """Make the cases of one kind; return how many were made and how many were there."""
    from SpineSegLib.io import write_segmentation
    from SpineSegLib.phantom.batch import generate
    from SpineSegLib.phantom.cases import Order

    order = Order(
        kind=options.kind,
        seed=options.seed,
        shapes=_shapes(options.shapes),
        size=options.size,
        rotation=options.rotation,
        inverted=None if options.monochrome is None else options.monochrome == 1,
        slice_step=options.slice_step,
        noise=not options.no_noise,
        body=body_options(options),
    )
    return generate(
        order, out, count=options.count, jobs=options.jobs, save_segmentation=write_segmentation, report=report
    )


def _shapes(folders: list[str]) -> tuple[Path, ...]:
    for folder in folders:
        if not Path(folder).is_dir():
            raise problem(folder, "no such folder", "a folder of closed surfaces (.ply, .stl, …)", "Check --shapes")
    return tuple(Path(folder) for folder in folders)


def body_options(options: argparse.Namespace) -> dict:
    """Return the patient's options as `build_body` takes them; what was not said is left out."""
    neck = options.kind == "lateral-cervical" or (options.region or "").upper().startswith("C")
    found = {
        "sex": options.sex,
        "age": options.age,
        "stature": options.stature,
        "cervical_lordosis" if neck else "lumbar_lordosis": options.lordosis,
        "thoracic_kyphosis": options.kyphosis,
        "t1_slope": options.t1_slope,
        "sacral_slope": options.sacral_slope,
        "motion": options.motion,
        "osteophytes": options.osteophytes,
        "mineral": options.mineral,
        "mend_holes": options.mend_holes,
        "curves": _curves(options),
        "slips": [_parts("--slip", text, "L4:20", level=str, percent=float) for text in options.slip],
        "fractures": [
            _parts("--fracture", text, "T12:wedge:30", level=str, kind=str, loss=float) for text in options.fracture
        ],
        "pars_defects": [level.upper() for level in options.pars_defect],
        "process_fractures": [level.upper() for level in options.process_fracture],
        "fused": [disc.upper().replace("-", "/") for disc in options.fused],
        "plate": _levels("--plate", options.plate),
        "region": _levels("--region", options.region),
        "extra": options.extra,
    }
    return {name: value for name, value in found.items() if value is not None and value != []}


def _curves(options: argparse.Namespace) -> list[dict]:
    curves = [
        _parts("--curve", text, "T5:T11:30:right", upper=str, lower=str, cobb=float, side=str) for text in options.curve
    ]
    if options.cobb is not None:
        if curves:
            raise problem("--cobb", "both --cobb and --curve", "one of them", "Leave one out")
        curves = [{"upper": "T5", "lower": "T12", "cobb": options.cobb, "side": "right"}]
    return curves


def _parts(option: str, text: str, example: str, **kinds: type) -> dict:
    """Return the values between colons; words that name a level are written large."""
    values = text.split(":")
    if len(values) != len(kinds):
        raise problem(option, repr(text), f"values as in {example}", "Correct the option")
    found = {}
    for (name, kind), value in zip(kinds.items(), values, strict=True):
        try:
            found[name] = kind(value.upper() if re.fullmatch(r"[ctlsCTLS]\d+", value) else value)
        except ValueError:
            raise problem(option, repr(text), f"values as in {example}", "Correct the option") from None
    return found


def _levels(option: str, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    first, dash, last = text.upper().partition("-")
    if not dash:
        raise problem(option, repr(text), "two levels such as C5-C6", "Correct the option")
    return first, last


def _sheet(options: argparse.Namespace, console: Console) -> None:
    from SpineSegLib.io import written_whole
    from SpineSegLib.phantom.cases import Order, make_case
    from SpineSegLib.phantom.sheet import write_sheet

    path = Path(options.sheet)
    if path.suffix.lower() != ".png":
        raise problem(path, f"its suffix is {path.suffix!r}", "a .png", "Change the suffix")
    sources = [("built-in shapes", ())]
    if options.shapes:
        sources.append(("mesh shapes", _shapes(options.shapes)))
    body = body_options(options)
    rows, steps = [], len(sources) * len(KINDS)
    with written_whole(path) as temporary:
        for caption, shapes in sources:
            cases = []
            for kind in KINDS:
                console.report(len(rows) * len(KINDS) + len(cases), steps, f"{kind}, {caption}")
                order = Order(kind, options.seed, shapes, options.size, options.rotation, False, body=body)
                cases.append(make_case(order, 0))
            rows.append((caption, cases))
        console.report(steps, steps, path.name)
        write_sheet(rows, temporary)
    console.result({"output": str(path)}, f"wrote {path}")
