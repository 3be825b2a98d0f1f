"""``explain``: where a segmentation errs, what a network looked at, and how far a model is to be believed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli import explain_errors
from SpineSegLib.cli.console import Console, common_options, scaled, table
from SpineSegLib.cli.segment import pixel
from SpineSegLib.errors import problem
from SpineSegLib.image import MODALITIES

if TYPE_CHECKING:
    from SpineSegLib.evaluation.explain.calibration import Calibration
    from SpineSegLib.evaluation.explain.looking import Look
    from SpineSegLib.evaluation.explain.maps import Explanation

MAPS = (".png", ".nrrd", ".nii.gz", ".mha")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "explain",
        help="see why: errors, attention, Grad-CAM, uncertainty, calibration",
        description="See where a segmentation errs, what a network looked at, and how far a model is to be believed.",
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    explain_errors.add_to(kinds)
    _add_attention(kinds)
    _add_gradcam(kinds)
    _add_uncertainty(kinds)
    _add_calibration(kinds)


def _image_parser(kinds: argparse._SubParsersAction, name: str, **words: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, parents=[common_options(json_of="the numbers")], **words)
    parser.add_argument("image", metavar="IMAGE", help="DICOM, NIfTI, NRRD, MetaImage or a picture")
    parser.add_argument("--model", required=True, metavar="NAME", help="one of: python -m SpineSegLib models")
    parser.add_argument("--weights", metavar="FILE", help="safetensors file instead of the model's own")
    parser.add_argument("--modality", choices=MODALITIES, help="what an .nrrd or NIfTI file does not say")
    parser.add_argument(
        "--out",
        required=True,
        action="append",
        type=Path,
        metavar="FILE",
        help=f"{MAPS[0]} (picture) or {', '.join(MAPS[1:])} (the map's numbers on the image's grid); several times",
    )
    return parser


def _add_attention(kinds: argparse._SubParsersAction) -> None:
    parser = _image_parser(
        kinds,
        "attention",
        help="attention rollout of a transformer",
        description="Attention rollout and, with --point, what the token there attends to in the last block. For "
        "CervSpineNet, SAM and TransUNet. A file of numbers holds the last of the maps.",
    )
    parser.add_argument("--point", type=pixel, metavar="X,Y", help="pixel whose attention is shown, too")
    parser.set_defaults(run=_attention)


def _add_gradcam(kinds: argparse._SubParsersAction) -> None:
    parser = _image_parser(
        kinds,
        "gradcam",
        help="which features speak for the prediction",
        description="Grad-CAM at the layer that the model's card names, else at its encoder or its deepest layer.",
    )
    parser.add_argument("--structure", metavar="NAME", help="one of the model's; all of them unless given")
    parser.add_argument("--score", choices=("probability", "logit"), default="probability", help="what is propagated")
    parser.add_argument(
        "--point", action="append", default=[], type=pixel, metavar="X,Y", help="for a model that is shown points"
    )
    parser.set_defaults(run=_gradcam)


def _add_uncertainty(kinds: argparse._SubParsersAction) -> None:
    parser = _image_parser(
        kinds,
        "uncertainty",
        help="entropy, and disagreement about turned images",
        description="Entropy of the probability, its standard deviation over the mirrored, rotated and scaled image, "
        "and a confidence in each structure. A file of numbers holds the standard deviation.",
    )
    parser.set_defaults(run=_uncertainty)


def _add_calibration(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "calibration",
        parents=[common_options(json_of="curves and errors")],
        help="whether probabilities mean what they say",
        description="Reliability curve and expected calibration error of a model over cases with truth.",
    )
    parser.add_argument("data", metavar="DIR", type=Path, help="folder that the reader understands")
    parser.add_argument("--reader", default="phantom-folder", metavar="NAME", help="of --data (phantom-folder)")
    parser.add_argument("--model", required=True, metavar="NAME", help="one of: python -m SpineSegLib models")
    parser.add_argument("--weights", metavar="FILE", help="safetensors file instead of the model's own")
    parser.add_argument("--cases", type=int, metavar="N", help="only the first so many")
    parser.add_argument(
        "--out", required=True, action="append", type=Path, metavar="FILE", help=".png or .json; several times"
    )
    parser.set_defaults(run=_calibration)


def _look(options: argparse.Namespace, console: Console, points=()) -> Look:
    check_suffixes(options.out, MAPS)
    from SpineSegLib.evaluation.explain.looking import look_at
    from SpineSegLib.io import read_image
    from SpineSegLib.models import card

    model = card(options.model)
    console.report(0, 100, "reading the image")
    image = read_image(options.image, modality=options.modality, report=scaled(console.report, 0, 10))
    console.report(10, 100, f"loading {model.name}")
    return look_at(image, model, where=options.image, weights=options.weights, points=points)


def _attention(options: argparse.Namespace, console: Console) -> None:
    from SpineSegLib.evaluation.explain.maps import explain_attention

    prompts = [options.point] if options.point else []
    look = _look(options, console, prompts)
    console.report(20, 100, "looking")
    _write_maps(explain_attention(look, options.point), options, console)


def _gradcam(options: argparse.Namespace, console: Console) -> None:
    from SpineSegLib.evaluation.explain.maps import explain_gradcam

    look = _look(options, console, options.point)
    console.report(20, 100, "looking")
    _write_maps(explain_gradcam(look, score=options.score, structure=options.structure), options, console)


def _write_maps(found: Explanation, options: argparse.Namespace, console: Console) -> None:
    """Write the picture and the numbers, print the notes."""
    from SpineSegLib.evaluation.explain.files import save_map, save_picture

    console.report(90, 100, "writing")
    for path in options.out:
        if path.suffix.lower() == ".png":
            save_picture(found.draw(), path)
        else:
            save_map(found.maps[-1].values, found.image, path)
    console.report(100, 100, "done")
    notes = [each.note for each in found.maps]
    content = {"outputs": [str(path) for path in options.out], "maps": notes}
    console.result(content, "\n".join([*notes, *(f"wrote {path}" for path in options.out)]))


def _uncertainty(options: argparse.Namespace, console: Console) -> None:
    check_suffixes(options.out, MAPS)
    from SpineSegLib.evaluation.explain.uncertainty import CONFIDENCE, uncertainty
    from SpineSegLib.evaluation.explain.uncertainty_pictures import explanation
    from SpineSegLib.io import read_image
    from SpineSegLib.models import card

    model = card(options.model)
    image = read_image(options.image, modality=options.modality, report=scaled(console.report, 0, 5))
    found = uncertainty(
        image, model, where=options.image, weights=options.weights, report=scaled(console.report, 5, 90)
    )
    maps = explanation(image, found)
    from SpineSegLib.evaluation.explain.files import save_map, save_picture

    for path in options.out:
        if path.suffix.lower() == ".png":
            save_picture(maps.draw(), path)
        else:
            save_map(found.disagreement, image, path)
    console.report(100, 100, "done")
    outputs = [str(path) for path in options.out]
    content = {"outputs": outputs, "confidence": dict(found.confidence), "definition": CONFIDENCE}
    rows = [("structure", "confidence")]
    rows += [(name, "not found" if value is None else f"{value:.3f}") for name, value in found.confidence.items()]
    lines = [table(rows, right=(1,)), f"confidence: {CONFIDENCE}", *(f"wrote {path}" for path in outputs)]
    console.result(content, "\n".join(lines), found.result.warnings)


def _calibration(options: argparse.Namespace, console: Console) -> None:
    check_suffixes(options.out, (".png", ".json"))
    from SpineSegLib.datasets import read_cases
    from SpineSegLib.evaluation.explain.calibration import calibrate
    from SpineSegLib.evaluation.explain.files import save_json
    from SpineSegLib.io import written_whole
    from SpineSegLib.models import card

    model = card(options.model)
    cases = read_cases(options.reader, options.data)
    if options.cases is not None and options.cases < 1:
        raise problem("--cases", str(options.cases), "a positive number", "Give another number")
    found = calibrate(cases[: options.cases], model, weights=options.weights, report=scaled(console.report, 0, 95))
    content = found.to_dict()
    for path in options.out:
        if path.suffix.lower() == ".json":
            save_json(content, path)
        else:
            from SpineSegLib.evaluation.explain.reliability_pictures import save_reliability

            with written_whole(path) as temporary:
                save_reliability(found, temporary)
    console.report(100, 100, "done")
    console.result(content, _calibration_text(found, options.out), [f"{n}: {line}" for n, line in found.failed.items()])


def _calibration_text(found: Calibration, outputs: list[Path]) -> str:
    from SpineSegLib.evaluation.explain.calibration import DEFINITION, LEAST

    rows = [("structure", "ECE", f"ECE, p >= {LEAST:g}", "Brier")]
    for name, one in found.everywhere.items():
        few = found.uncertain[name].ece
        rows.append((name, f"{one.ece:.4f}", "-" if few is None else f"{few:.4f}", f"{one.brier:.4f}"))
    lines = [table(rows, right=(1, 2, 3)), f"{len(found.cases)} cases; {DEFINITION}"]
    return "\n".join([*lines, *(f"wrote {path}" for path in outputs)])


def check_suffixes(outputs: list[Path], known: tuple[str, ...]) -> None:
    """Make sure, before any work, that every output can be written."""
    for path in outputs:
        if not path.name.lower().endswith(known):
            raise problem(path, "an output of unknown kind", " or ".join(known), "Change its suffix")
        if not path.absolute().parent.is_dir():
            raise problem(path, "its folder does not exist", "a file in an existing folder", "Make the folder first")
