"""A small copy of every data set that a reader knows, as it lies on disk, with patients enough to split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dataset_copies as films
import dataset_volumes as volumes
import numpy as np
from seg_writing import write_study

from SpineSegLib.image import Geometry
from SpineSegLib.io import write_segmentation

SPINE = volumes.toy_spine("LAS", (1.0, 1.0, 2.0), labels=(19, 20, 21))


@dataclass(frozen=True)
class Copy:
    """A data set on disk and what a recipe has to say of it.

    Parameters
    ----------
    write : writes the set into a folder
    source : of samples, see `SpineSegLib.training.sources.SOURCES`
    kind : structure that the set labels
    options : of the reader, where it needs any
    """

    write: Callable[[Path], object]
    source: str
    kind: str
    options: Mapping[str, object] = field(default_factory=dict)


def _csxa(folder: Path) -> None:
    for number in range(4):
        films.write_csxa(folder, f"001234{number}", flat=number == 1, inverted=number == 2)


def _aasce(folder: Path) -> None:
    films.write_aasce(folder, names=("a AP.jpg", "b AP.jpg"))


def _buu(folder: Path) -> None:
    for number in range(1, 4):
        films.write_buu(folder, person=f"000{number}-F-03{number}", header=number == 2)


def _nhanes(folder: Path) -> None:
    for number, name in enumerate(("C02213", "C02214", "L02213")):
        films.write_nhanes(folder, name, form=("line", "block", "numbered")[number])


def _films_with_masks(folder: Path) -> None:
    for number in range(4):
        mask = np.zeros((72, 56), np.uint8)
        mask[10 + number : 60 : 12] = 255
        mask[:, : 12 + number] = mask[:, 30:] = 0
        picture = films.film(72, 56, seed=number) // 2 + mask // 3
        films.write_picture(folder / "images" / f"000001{number}.png", picture)
        films.write_picture(folder / "masks" / f"000001{number}.png", mask)


def _phantoms(folder: Path) -> None:
    from simple_body import simple_body

    from SpineSegLib.phantom.cases import Order, image_of
    from SpineSegLib.phantom.write import write_case

    body = simple_body(2.0)
    for number in range(3):
        case = image_of(body, Order("lateral-cervical", size=64), number, image_seed=number)
        write_case(case, folder, write_segmentation)


def _pairs(folder: Path, image: str, mask: str) -> None:
    """Write the toy spine for three patients, at these places."""
    scan, labels, _ = SPINE.arrays()
    for name in ("a", "b", "c"):
        volumes.save_nifti(folder / image.replace("*", name), scan, SPINE.affine)
        volumes.save_nifti(folder / mask.replace("*", name), labels, SPINE.affine)


def _total_segmentator(folder: Path) -> None:
    scan, labels, _ = SPINE.arrays()
    for name in ("s1", "s2"):
        volumes.save_nifti(folder / name / "ct.nii.gz", scan, SPINE.affine)
        for number, level in ((19, "T12"), (20, "L1"), (21, "L2")):
            mask = (labels == number).astype(np.uint8)
            volumes.save_nifti(folder / name / "segmentations" / f"vertebrae_{level}.nii.gz", mask, SPINE.affine)


def _verse(folder: Path) -> None:
    for name in ("sub-verse004", "sub-verse005", "sub-verse400_split-verse090"):
        volumes.write_verse_bids(folder / "dataset-verse20training", name, SPINE)


def _dicom(folder: Path) -> None:
    matrix = np.diag([-3.0, -3.0, 4.0, 1.0])
    matrix[:3, 3] = (30, 40, -20)
    grid = Geometry((10, 20, 18), matrix)
    for number, patient in enumerate(("P1", "P2"), start=1):
        write_study(folder, grid, patient=patient, number=number)


def _several(folder: Path) -> None:
    _films_with_masks(folder / "old")
    _films_with_masks(folder / "new")


COPIES: dict[str, Copy] = {
    "aasce": Copy(_aasce, "pictures", "body"),
    "bids": Copy(lambda folder: _pairs(folder, "sub-*_ct.nii.gz", "sub-*_seg-vert_msk.nii.gz"), "slices", "vertebra"),
    "buu-lspine": Copy(_buu, "pictures", "body"),
    "cervspinenet": Copy(_films_with_masks, "pictures", "spinous processes"),
    "csxa": Copy(_csxa, "pictures", "body"),
    "ct-folder": Copy(_total_segmentator, "films", "vertebra"),
    "ctspine1k": Copy(lambda folder: _pairs(folder, "volumes/*.nii.gz", "labels/*_seg.nii.gz"), "slices", "vertebra"),
    "dicom-seg": Copy(_dicom, "slices", "vertebra"),
    "image-mask-folder": Copy(_films_with_masks, "pictures", "bodies", {"structures": "bodies"}),
    "nhanes": Copy(_nhanes, "pictures", "body"),
    "phantom-folder": Copy(_phantoms, "pictures", "body"),
    "several": Copy(
        _several,
        "pictures",
        "spinous processes",
        {
            "parts": {
                name: {"reader": "image-mask-folder", "structures": "spinous processes"} for name in ("old", "new")
            }
        },
    ),
    "spider": Copy(
        lambda folder: volumes.write_spider(folder, volumes.spider_grid()), "pictures", "vertebra", {"slices": "mid"}
    ),
    "spider-slices": Copy(films.write_spider_slices, "pictures", "vertebra"),
    "verse": Copy(_verse, "slices", "vertebra"),
    "volume-folder": Copy(
        lambda folder: _pairs(folder, "images/*.nii.gz", "masks/*.nii.gz"), "slices", "vertebra", {"labels": "verse"}
    ),
}
"""Reader -> its copy."""
