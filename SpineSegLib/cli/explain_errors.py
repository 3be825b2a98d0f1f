"""``explain errors``: where a segmentation errs, for one case or the worst of a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import Console, common_options, scaled
from SpineSegLib.errors import problem

if TYPE_CHECKING:
    from SpineSegLib.evaluation.cases import CasePair
    from SpineSegLib.evaluation.explain import ErrorMap
    from SpineSegLib.image import Image

_DISTANCES = (".nrrd", ".nii.gz", ".mha")
_IN_FOLDER = ("errors.png", "errors.seg.nrrd", "distance.nrrd")


def add_to(kinds: argparse._SubParsersAction) -> None:
    """Add the command to the parser of ``explain``."""
    parser = kinds.add_parser(
        "errors",
        parents=[common_options(json_of="the numbers")],
        help="where a segmentation errs",
        description="False positives, false negatives and their signed distance to the true boundary. Of two folders, "
        "paired by file name, the worst cases by Dice on one sheet.",
    )
    parser.add_argument("prediction", type=Path, metavar="PREDICTION", help="segmentation, or a folder of them")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="the same of the truth")
    parser.add_argument("--image", type=Path, metavar="IMAGE", help="that was segmented; a folder for folders")
    parser.add_argument(
        "--probability", type=Path, metavar="FILE", help="of the prediction (0 to 1; pictures 0 to white); or a folder"
    )
    parser.add_argument(
        "--out",
        required=True,
        action="append",
        type=Path,
        metavar="FILE|DIR",
        help=".png (picture), .seg.nrrd (errors as segments), .nrrd, .nii.gz or .mha (signed distance, 0 where there "
        "is no error), several times; or a folder, for all of them",
    )
    parser.add_argument("--worst", type=int, default=12, metavar="N", help="of folders: cases on the sheet (12)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Look at one case or at folders."""
    from SpineSegLib.evaluation.cases import case_files

    folders = [options.prediction, options.truth]
    many = all(folder.is_dir() for folder in folders) and any(case_files(folder) for folder in folders)
    for path in options.out:
        known = path.is_dir() or path.name.lower().endswith((".png",) if many else (".png", *_DISTANCES))
        if not known:
            expected = "a .png or an existing folder" if many else "a .png, .seg.nrrd, .nrrd, .nii.gz, .mha or a folder"
            raise problem(path, "an output of unknown kind", expected, "Change its suffix, or make the folder first")
        if not path.absolute().parent.is_dir():
            raise problem(path, "its folder does not exist", "a file in an existing folder", "Make the folder first")
    if options.worst < 1:
        raise problem("--worst", str(options.worst), "a positive number", "Give another number")
    (_many if many else _one)(options, console)


def _read(prediction: Path, truth: Path, probability: Path | None, image: Path | None) -> tuple[ErrorMap, Image | None]:
    from SpineSegLib.cli.evaluate import read_probability
    from SpineSegLib.evaluation.explain import error_map
    from SpineSegLib.io import read_image, read_segmentation

    chance = read_probability(probability) if probability else None
    errors = error_map(read_segmentation(prediction), read_segmentation(truth), chance)
    return errors, read_image(image) if image else None


def _one(options: argparse.Namespace, console: Console) -> None:
    from SpineSegLib.evaluation.explain import draw_errors, in_words
    from SpineSegLib.evaluation.explain.files import save_picture
    from SpineSegLib.io import write_image, write_segmentation

    console.report(0, 3, "comparing")
    errors, image = _read(options.prediction, options.truth, options.probability, options.image)
    console.report(1, 3, "writing")
    outputs = [each for path in options.out for each in ([path / n for n in _IN_FOLDER] if path.is_dir() else [path])]
    warnings = list(errors.warnings)
    for path in outputs:
        if path.name.lower().endswith(".png"):
            save_picture(draw_errors(errors, image), path)
        elif path.name.lower().endswith(".seg.nrrd"):
            write_segmentation(errors.segmentation(), path)
        elif errors.distance is None:
            warnings.append(f"the truth is empty and has no boundary; {path.name} was not written")
        else:
            write_image(errors.distance_image(), path)
    console.report(3, 3, "done")
    content = {**errors.to_dict(), "outputs": [str(path) for path in outputs], "warnings": warnings}
    counts = [f"{name}: {count} voxels" for name, count in errors.counts().items()]
    console.result(content, "\n".join([in_words(errors), *counts, *(f"wrote {path}" for path in outputs)]), warnings)


def _many(options: argparse.Namespace, console: Console) -> None:
    from SpineSegLib.datasets.files import by_stem
    from SpineSegLib.evaluation.cases import pairs_by_name
    from SpineSegLib.evaluation.explain import contact_sheet
    from SpineSegLib.evaluation.explain.files import save_picture
    from SpineSegLib.evaluation.explain.worst import worst_cases
    from SpineSegLib.io.suffixes import DICOM, META, NIFTI, NRRD, PICTURES

    pairs = pairs_by_name(options.prediction, options.truth, options.probability)
    images = by_stem(options.image, (*DICOM, *META, *NIFTI, *NRRD, *PICTURES)) if options.image else {}

    def look(pair: CasePair) -> tuple[ErrorMap, Image | None]:
        return _read(pair.prediction, pair.truth, pair.probability, images.get(pair.name))

    pictures = any(path.is_dir() for path in options.out)
    found = worst_cases(pairs, look, keep=options.worst, pictures=pictures, report=scaled(console.report, 0, 95))
    if not found.cases:
        line = next(iter(found.failed.values()))
        raise problem(
            options.prediction, f"no case could be looked at ({line})", "pairs of one patient", "Correct them"
        )
    title = f"The {len(found.cases)} worst of {found.measured} cases by Dice"
    sheet = contact_sheet([case.tile for case in found.cases], title=title)
    outputs = []
    for path in options.out:
        outputs.append(path / "worst.png" if path.is_dir() else path)
        save_picture(sheet, outputs[-1])
        for case in found.cases if path.is_dir() else ():
            outputs.append(path / f"{case.name}.png")
            save_picture(case.picture, outputs[-1])
    console.report(100, 100, "done")
    content = {
        "worst": {case.name: case.numbers for case in found.cases},
        "cases": found.measured,
        "failed": found.failed,
        "outputs": [str(path) for path in outputs],
    }
    lines = [f"{case.name}: {case.tile.words}" for case in found.cases]
    warnings = [f"{name} failed: {line}" for name, line in found.failed.items()]
    console.result(content, "\n".join([title, *lines, *(f"wrote {path}" for path in outputs)]), warnings)
