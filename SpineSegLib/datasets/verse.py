"""VerSe: CT with labelled vertebrae (Sekuboyina et al., MedIA 2021; Löffler et al. 2020; Liebl et al. 2021).

Three layouts (https://github.com/anjany/verse), told by their names:

BIDS (2019 and 2020; the one that the authors recommend)
    ``rawdata/sub-verse004/sub-verse004_dir-sag_ct.nii.gz``, and in ``derivatives/sub-verse004``
    ``…_seg-vert_msk.nii.gz`` and ``…_seg-subreg_ctd.json``. Scans of one patient are ``sub-verse400_split-verse090_…``.
MICCAI 2019
    ``verse004.nii.gz``, ``verse004_seg.nii.gz``, ``verse004_ctd.json``. Which scans are of one patient is not said.
MICCAI 2020
    ``verse505_CT-sag.nii.gz``, ``…_seg.nii.gz``, ``…_iso-ctd.json``; scans of one patient are ``verse400_verse090_…``,
    ``GL018-GL016…``.

Labels: 1 C1 … 7 C7, 8 T1 … 19 T12, 20 L1 … 25 L6, 28 T13. Vertebrae that are partly outside the image are not labelled.

Centroids are the centres of the vertebral bodies. In BIDS they are voxel indices along the axes that the file's
``direction`` names. In MICCAI's they are millimetres in an image of 1 mm: in 2019 X runs from head to foot, Y from
front to back and Z from right to left; in 2020 X runs from front to back, Y from head to foot and Z from left to right
(the axes 'A, S, L' of their documentation are named by where they start). Against an axis of the image a coordinate c
becomes size - c, as in the authors' own code; that is a voxel beyond the mirrored place of the voxel's centre.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.datasets.bids import Scan, scans
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.grids import read_pair
from SpineSegLib.datasets.sagittal import sagittal_cases
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.io import read_geometry
from SpineSegLib.io.label_tables import VERSE
from SpineSegLib.phantom.write import axis_letters

_MICCAI = re.compile(r"(?P<stem>(?P<first>(?:verse|gl)\d+)(?:[_-](?:verse|gl)\d+)?.*?)(?P<mask>_seg)?\.nii\.gz", re.I)
_ISO = ("_iso-ctd.json", "-iso-ctd.json", "_ctd-iso.json")
_AXES_2019, _AXES_2020 = ("I", "P", "L"), ("P", "I", "R")
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
_LAYOUT = "sub-verse004_ct.nii.gz with derivatives, or verse004.nii.gz with verse004_seg.nii.gz"
_S1 = 26
"""Number of the whole sacrum; where there is a centroid with it, it is that of S1."""


def cases(
    folder: str | Path, *, part: str | None = None, slices: str | int | None = None, skip_unlabelled: bool = False
) -> list[Case]:
    """List the scans, in order of name; splits of a patient are one patient.

    Parameters
    ----------
    folder : one part of the set or several, searched with its sub-folders
    part : only what lies below a folder whose name ends with this: ``"training"``, ``"validation"`` or ``"test"``
    slices : ``"mid"`` or a number: sagittal slices as cases of their own, see `SpineSegLib.datasets.sagittal`
    skip_unlabelled : leave out images without a mask; they are an error otherwise

    Returns
    -------
    Cases whose landmarks are the centroids (see `centroids`), where there is a file of them.

    Raises
    ------
    InputError : no such folder, another layout, a mask without an image; on loading, a mask on another grid
    """
    folder = existing(folder)
    found = scans(folder, skip_unlabelled=skip_unlabelled) or _miccai(folder, skip_unlabelled=skip_unlabelled)
    if not found:
        raise problem(folder, "no scan of VerSe", _LAYOUT, "Check --data")
    if part is not None:
        found = [scan for scan in found if any(p.endswith(part) for p in scan.image.relative_to(folder).parts[:-1])]
        if not found:
            raise problem("part", repr(part), "the end of a folder's name, such as training", "Correct the recipe")
    listed = [Case(s.name, s.patient, partial(_read, s), _landmarks(s), frozenset()) for s in found]
    return listed if slices is None else [one for case in listed for one in sagittal_cases(case, slices)]


def _miccai(folder: Path, *, skip_unlabelled: bool) -> list[Scan]:
    images, masks, patients = {}, {}, {}
    for path in sorted(folder.rglob("*.nii.gz")):
        match = _MICCAI.fullmatch(path.name)
        if match:
            stem = path.with_name(match["stem"])
            (masks if match["mask"] else images)[stem] = path
            patients[stem] = match["first"].lower()
    stray = sorted(set(masks) - set(images))
    if stray:
        raise problem(masks[stray[0]], "its image is not there", f"{stray[0].name}.nii.gz", "Add the image")
    found = []
    for stem, image in images.items():
        if stem not in masks:
            if skip_unlabelled:
                continue
            raise problem(image, "it has no mask", f"{stem.name}_seg.nii.gz", "Add it, or set skip_unlabelled")
        centres = [stem.with_name(stem.name + end) for end in (*_ISO, "_ctd.json")]
        centres = next((path for path in centres if path.is_file()), None)
        names = [other.name for other in images]
        name = stem.name if names.count(stem.name) == 1 else "-".join(stem.relative_to(folder).parts)
        found.append(Scan(name, patients[stem], image, "CT", masks[stem], None, centres))
    return sorted(found, key=lambda scan: scan.name)


def _read(scan: Scan) -> tuple[Image, Segmentation]:
    return read_pair(scan.image, scan.vertebrae, modality=scan.modality, structures=VERSE)


def _landmarks(scan: Scan) -> Callable[[], Mapping[str, np.ndarray]] | None:
    return partial(_centroids_of, scan.centres, scan.image) if scan.centres else None


def _centroids_of(centres: Path, image: Path) -> dict[str, np.ndarray]:
    return centroids(centres, read_geometry(image))


def centroids(path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    """Read a file of centroids.

    Parameters
    ----------
    path : ``…_ctd.json`` or ``…_iso-ctd.json``; rows with 'nan' are skipped
    geometry : the grid of the image

    Returns
    -------
    Level -> (1, 3) float64, the centre of the vertebral body in RAS, mm.

    Raises
    ------
    InputError : it is no such file, has a label that VerSe does not know, or one twice
    """
    axes, rows = _rows(path)
    step = None
    if axes is None:
        axes, step = (_AXES_2020 if path.name.endswith(_ISO) else _AXES_2019), 1.0
    points: dict[str, np.ndarray] = {}
    for label, place in rows:
        level = "S1" if label == _S1 else VERSE[label].level if label in VERSE else ""
        if level == "" or level in points:
            what = "twice" if level else "which VerSe does not have"
            raise problem(path, f"the label {label}, {what}", "1 to 25 or 28, each once", "Correct the file")
        if level is not None:
            points[level] = geometry.to_world(_voxel(geometry, axes, place, step)[::-1])[None]
    return points


def _voxel(geometry: Geometry, axes: tuple[str, ...], place: np.ndarray, step: float | None) -> np.ndarray:
    """Return the i, j, k index of a place along named axes, in voxels, or in steps of `step` mm."""
    voxel = np.zeros(3)
    for axis, letter in enumerate(axis_letters(geometry)):
        size, length = geometry.shape[2 - axis], geometry.step[2 - axis]
        along = letter if letter in axes else _OPPOSITE[letter]
        value = place[axes.index(along)] * (1.0 if step is None else step / length)
        voxel[axis] = value if along == letter else size - value
    return voxel


def _rows(path: Path) -> tuple[tuple[str, ...] | None, list[tuple[int, np.ndarray]]]:
    """Return the axes' directions where the file names them, and label and X, Y, Z of each row."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a file of centroids", "Check the path") from None
    except ValueError:
        content = None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise problem(
            path, "this is no list of centroids", 'a JSON list of {"label", "X", "Y", "Z"}', "Correct the file"
        )
    axes, rows = None, []
    for row in content:
        if "direction" in row:
            axes = tuple(row["direction"])
            if len(axes) != 3 or {letter if letter in "RAS" else _OPPOSITE.get(letter) for letter in axes} != set(
                "RAS"
            ):
                raise problem(path, f"the direction {axes}", "three axes such as P, I, R", "Correct the file")
            continue
        try:
            label, place = int(float(row["label"])), np.array([float(row[axis]) for axis in "XYZ"])
        except (KeyError, TypeError, ValueError, OverflowError):
            if any(str(value).lower() == "nan" for value in row.values()):
                continue
            raise problem(path, f"the row {row}", '{"label", "X", "Y", "Z"} in numbers', "Correct the file") from None
        if all(math.isfinite(value) for value in place):
            rows.append((label, place))
    return axes, rows
