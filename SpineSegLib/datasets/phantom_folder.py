"""Cases of the digital spine, as ``python -m SpineSegLib phantom`` writes them (`SpineSegLib.phantom.write`).

A data folder holds cases of one kind, or a folder of each kind (``--kind all``). A case is complete once its parameter
file is there; others are left out. The same number is taken for the same patient in every kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import on_one_grid
from SpineSegLib.datasets.polygons import corners, left_to_right
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image, read_segmentation

LABELLED = frozenset({"vertebra", "body", "spinous process", "disc", "sacrum", "spinal canal", "spinal cord"})
"""The digital spine labels each of these wherever it is in the image."""


def cases(folder: str | Path) -> list[Case]:
    """List the finished cases, in order of name; with kinds in sub-folders, names begin with the kind.

    Landmarks of radiographs are the corners of the vertebral bodies that the film shows whole, in the order of
    `SpineSegLib.datasets.polygons.CORNERS` (S1 has its upper endplate alone). Seen from the front they are the ends of
    the endplates at the sides, seen from the side those in front and behind.

    Raises
    ------
    InputError : no such folder, no finished case in it; on loading, a missing or damaged file
    """
    folder = existing(folder)
    roots = [folder] if (folder / "parameters").is_dir() else sorted(p.parent for p in folder.glob("*/parameters"))
    found = [_case(root, path.stem, root != folder) for root in roots for path in _finished(root)]
    if not found:
        raise problem(folder, "no finished case", "cases that the command phantom wrote", "Check --data")
    return found


def _finished(root: Path) -> list[Path]:
    return sorted((root / "parameters").glob("*.json"))


def _case(root: Path, name: str, prefixed: bool) -> Case:
    full = f"{root.name}-{name}" if prefixed else name
    image = root / "images" / f"{name}.png"
    if not (root / "images").is_dir():
        return Case(full, name, partial(_read_volume, root, name), labelled=LABELLED)
    load = partial(_read_film, image, root / "segmentations" / f"{name}.seg.nrrd")
    return Case(full, name, load, partial(_corners, root / "truth" / f"{name}.json"), LABELLED)


def _read_film(image_path: Path, label_path: Path) -> tuple[Image, Segmentation]:
    # The picture reads ten times as fast as the DICOM file, and the segmentation knows the spacing.
    return on_one_grid(read_image(image_path), read_segmentation(label_path), image_path, label_path)


def _read_volume(root: Path, name: str) -> tuple[Image, Segmentation]:
    subject = f"sub-{name}"
    images = sorted((root / "rawdata" / subject).glob("*.nii.gz"))
    labels = sorted((root / "derivatives" / subject).glob("*.seg.nrrd"))
    if len(images) != 1 or len(labels) != 1:
        found = f"{len(images)} images and {len(labels)} .seg.nrrd of {subject}"
        raise problem(root, found, "one of each", "Make the case again with the command phantom")
    image = read_image(images[0], modality="CT" if images[0].name.endswith("_ct.nii.gz") else "MR")
    return on_one_grid(image, read_segmentation(labels[0]), images[0], labels[0])


def _corners(path: Path) -> Mapping[str, np.ndarray]:
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        columns, rows = truth["size"]
        left, right = ("SL", "IL"), ("SR", "IR")
        if truth["kind"] != "ap":
            left, right = ("SA", "IA"), ("SP", "IP")
        shown = {name.removesuffix(" body") for name in truth["structures"] if name.endswith(" body")}
        found = {}
        for level in sorted(shown & set(truth["points"]), key=LEVELS.index):
            points = truth["points"][level]
            # The truth gives row and column; landmarks are x and y.
            ends = [
                np.array([points[a][::-1], points[b][::-1]])
                for a, b in zip(left, right, strict=True)
                if a in points and b in points
            ]
            if ends and all((end >= -0.5).all() and (end <= [columns - 0.5, rows - 0.5]).all() for end in ends):
                found[level] = corners(*ends) if len(ends) == 2 else left_to_right(ends[0])
        return found
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a truth file", "Make the case again") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise problem(path, "it is damaged", "a truth file of the command phantom", "Make the case again") from None
