"""Cases as files, in the layouts of public data sets, so that any reader of those reads them.

Radiographs are pairs of pictures by name::

    images/NAME.png            8 bits, as displayed (MONOCHROME1 is a matter of DICOM alone)
    masks/NAME.png             0 or 255: all vertebrae in one
    labels/vertebrae/NAME.png  VerSe numbers; also bodies, spinous-processes (numbers of their vertebrae) and discs
                               (number of the upper vertebra). Where neighbours overlap the lower one is on top
    segmentations/NAME.seg.nrrd  every structure whole, in layers
    dicom/NAME.dcm             Digital X-Ray

Volumes are VerSe in its BIDS form (https://github.com/anjany/verse)::

    rawdata/sub-NAME/sub-NAME_dir-ax_ct.nii.gz                      (dir-sag_T2w for MR)
    derivatives/sub-NAME/sub-NAME_dir-ax_seg-vert_msk.nii.gz        VerSe numbers
    derivatives/sub-NAME/sub-NAME_dir-ax_seg-subreg_ctd.json        centres of the vertebral bodies, in voxels
    derivatives/sub-NAME/sub-NAME_dir-ax_seg-vert_snp.png           a picture to look at
    derivatives/sub-NAME/sub-NAME_dir-ax.seg.nrrd                   every structure, in layers
    dicom/NAME/0001.dcm …

Both have ``truth/NAME.json`` (points, angles, slips, heights) and ``parameters/NAME.json`` (what made the case). The
parameter file comes last: a case without it is unfinished and is made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, Segmentation
from SpineSegLib.phantom.cases import Case
from SpineSegLib.phantom.dicom_objects import write_film, write_series
from SpineSegLib.phantom.imaging.film import quantised
from SpineSegLib.phantom.sheet import overlay, slices

SaveSegmentation = Callable[[Segmentation, Path], object]
"""Writes a segmentation to a .seg.nrrd file (`SpineSegLib.io.write_segmentation`; this room knows no `io`)."""

PARTS = {"vertebrae": "vertebra", "bodies": "body", "spinous-processes": "spinous process", "discs": "disc"}
"""Folder of label pictures -> kind of structure."""


def finished(out: Path, name: str) -> bool:
    """Tell whether a case lies complete in a folder."""
    return parameter_file(out, name).is_file()


def parameter_file(out: Path, name: str) -> Path:
    """Return the path of the file that says what made a case; it is written last."""
    return out / "parameters" / f"{name}.json"


def write_case(case: Case, out: Path, save_segmentation: SaveSegmentation | None = None) -> list[Path]:
    """Write a case into a folder of cases, whole or not at all.

    Parameters
    ----------
    case : what to write
    out : the folder of all cases
    save_segmentation : writes the layers of all structures; none are written without it

    Returns
    -------
    The files.

    Raises
    ------
    InputError : the folder cannot be written
    """
    # Everything is made in a folder of its own beside the others and moved when it is complete.
    stage = out / f".making-{case.name}-{os.getpid()}"
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        (_write_film if case.image.modality == "XR" else _write_volume)(case, stage, save_segmentation)
        _write_json(stage / "truth" / f"{case.name}.json", case.truth)
        last = parameter_file(stage, case.name)
        _write_json(last, case.parameters)
        files = sorted(path for path in stage.rglob("*") if path.is_file() and path != last)
        written = []
        for path in [*files, last]:
            target = out / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            written.append(target)
        return written
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise problem(out, what, "a folder with room that you may write to", "Choose another folder") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_film(case: Case, stage: Path, save_segmentation: SaveSegmentation | None) -> None:
    name, picture = case.name, case.image.array[0]
    _write_png(stage / "images" / f"{name}.png", quantised(picture, 8))
    union = np.zeros(picture.shape, np.uint8)
    for folder, kind in PARTS.items():
        labels = np.zeros(picture.shape, np.uint8)
        for segment in case.masks.segments:
            if segment.structure.kind == kind:
                mask = case.masks.mask(segment)[0]
                labels[mask] = verse_number(segment.structure.level)
                if kind == "vertebra":
                    union[mask] = 255
        _write_png(stage / "labels" / folder / f"{name}.png", labels)
    _write_png(stage / "masks" / f"{name}.png", union)
    write_film(case, stage / "dicom" / f"{name}.dcm")
    if save_segmentation:
        (stage / "segmentations").mkdir()
        save_segmentation(case.masks, stage / "segmentations" / f"{name}.seg.nrrd")


def _write_volume(case: Case, stage: Path, save_segmentation: SaveSegmentation | None) -> None:
    subject = f"sub-{case.name}"
    raw, derived = stage / "rawdata" / subject, stage / "derivatives" / subject
    raw.mkdir(parents=True)
    derived.mkdir(parents=True)
    stem = f"{subject}_{'dir-ax' if case.kind == 'ct' else 'dir-sag'}"
    geometry = case.image.geometry
    _write_nifti(raw / f"{stem}_{'ct' if case.kind == 'ct' else 'T2w'}.nii.gz", case.image.array, geometry)
    labels = vertebra_labels(case.masks)
    _write_nifti(derived / f"{stem}_seg-vert_msk.nii.gz", labels, geometry)
    _write_json(derived / f"{stem}_seg-subreg_ctd.json", centroid_list(case))
    _write_png(derived / f"{stem}_seg-vert_snp.png", overlay(slices(case.image), slices(case.masks)))
    write_series(case, stage / "dicom" / case.name)
    if save_segmentation:
        save_segmentation(case.masks, derived / f"{stem}.seg.nrrd")


def verse_number(level: str) -> int:
    """Return the VerSe number of a vertebra, or of the upper one of a disc; S1 has that of the sacrum."""
    from SpineSegLib.anatomy import Structure

    return Structure("vertebra", level.partition("/")[0]).verse_label or 26


def vertebra_labels(masks: Segmentation) -> np.ndarray:
    """Return one uint8 label array with the VerSe numbers of whole vertebrae and sacrum."""
    labels = np.zeros(masks.geometry.shape, np.uint8)
    for segment in masks.segments:
        structure = segment.structure
        if structure.kind == "vertebra" or structure.kind == "sacrum":
            labels[masks.mask(segment)] = structure.verse_label or 26
    return labels


def centroid_list(case: Case) -> list[dict]:
    """Return VerSe's list of centroids: the axes' directions, then voxel indices of each body inside the image."""
    geometry = case.image.geometry
    rows: list[dict] = [{"direction": list(axis_letters(geometry))}]
    for level, named in case.truth["points"].items():
        if "centroid" not in named:
            continue
        x, y, z = named["centroid"]
        if all(-0.5 <= v <= n - 0.5 for v, n in zip((x, y, z), geometry.shape[::-1], strict=True)):
            rows.append({"label": verse_number(level), "X": round(x, 2), "Y": round(y, 2), "Z": round(z, 2)})
    return rows


def axis_letters(geometry: Geometry) -> tuple[str, str, str]:
    """Return where i, j and k point: the nearest of R L, A P, S I, each direction once (as nibabel's aff2axcodes)."""
    directions = geometry.ijk_to_ras[:3, :3] / geometry.step[::-1]
    letters = [""] * 3
    left = np.abs(directions)
    for _ in range(3):
        world, axis = np.unravel_index(np.argmax(left), left.shape)
        letters[axis] = ("RL", "AP", "SI")[world][0 if directions[world, axis] > 0 else 1]
        left[world], left[:, axis] = -1, -1
    return tuple(letters)


def _write_nifti(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    step = geometry.step[::-1]
    image.SetSpacing([float(v) for v in step])
    image.SetDirection((lps[:3, :3] / step).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), True, 1)


def _write_png(path: Path, array: np.ndarray) -> None:
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path, compress_level=3)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")
