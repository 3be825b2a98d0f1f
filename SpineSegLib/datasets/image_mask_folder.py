"""A folder of one's own: images and masks that are paired by name.

On disk, either::

    images/NAME.png …   masks/NAME.png, or masks/NAME_mask.png …

or side by side::

    NAME.png …          NAME_mask.png …

Images are PNG, TIFF, JPEG, BMP (8 or 16 bits), DICOM, NIfTI, NRRD or MetaImage; masks are pictures, .seg.nrrd, NIfTI,
NRRD or MetaImage.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import Structure, structure_named
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import IMAGES, LABELS, by_stem, on_one_grid, whose
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.io import read_image, read_segmentation
from SpineSegLib.io.pictures import grey, picture_geometry, pixels
from SpineSegLib.io.suffixes import SEG_NRRD, suffix_of


def cases(
    folder: str | Path,
    *,
    structures: str | Mapping[int, str] | None = None,
    patient: str | Mapping[str, str] | None = None,
    modality: str | None = None,
    images: str = "images",
    masks: str = "masks",
    mask_suffix: str = "_mask",
    skip_unlabelled: bool = False,
) -> list[Case]:
    """List the pairs, in order of name.

    Parameters
    ----------
    folder : where the set lies
    structures : what the masks show: one structure (``"spinous processes"``), for masks of two values, or a name for
        each label number (``{1: "L5", 2: "L4"}``). Unless given, the files' own names hold, else VerSe's numbers, and
        a mask of one value is all vertebrae.
    patient : whom a file shows; see `SpineSegLib.datasets.files.whose`. Every image is a patient unless given
    modality : ``"XR"``, ``"CT"`` or ``"MR"`` where the files do not say; pictures are XR unless given
    images, masks : names of the two folders
    mask_suffix : what a mask's name adds to its image's; needed where both lie side by side
    skip_unlabelled : leave out images without a mask; they are an error otherwise

    Raises
    ------
    InputError : no such folder, no pair in it, a mask without an image; on loading, a mask of another size
    """
    folder = existing(folder)
    what = _structures(structures)
    tell = whose(patient, folder)
    image_files, mask_files = _files(folder, images, masks, mask_suffix)
    pairs = {}
    for stem, path in image_files.items():
        found = [mask_files.pop(name) for name in (stem, stem + mask_suffix) if name in mask_files]
        if len(found) > 1:
            raise problem(found[1], f"{path.name} has another mask, {found[0].name}", "one", "Remove one of them")
        if found:
            pairs[stem] = (path, found[0])
        elif not skip_unlabelled:
            raise problem(path, "it has no mask", "a mask of the same name", "Add it, or set skip_unlabelled")
    if mask_files:
        path = next(iter(mask_files.values()))
        raise problem(path, "it has no image", "an image of the same name", "Add the image, or remove the mask")
    if not pairs:
        raise problem(folder, "no image with a mask", f"pairs in '{images}' and '{masks}'", "Check --data")
    labelled = None
    if what is not None:
        labelled = frozenset(s.kind for s in (what.values() if isinstance(what, Mapping) else [what]))
    return [
        Case(stem, tell(stem), partial(read_pair, image, mask, what, modality), labelled=labelled)
        for stem, (image, mask) in pairs.items()
    ]


def _files(folder: Path, images: str, masks: str, mask_suffix: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images and the masks by stem, from two folders or from one."""
    if (folder / images).is_dir() != (folder / masks).is_dir():
        there, missing = (images, masks) if (folder / images).is_dir() else (masks, images)
        raise problem(folder, f"a folder '{there}' but no '{missing}'", "both", "Add it, or name it in the recipe")
    if (folder / images).is_dir():
        return by_stem(folder / images, IMAGES), by_stem(folder / masks, LABELS)
    everything = by_stem(folder, (*IMAGES, *LABELS))
    marked = {stem: path for stem, path in everything.items() if mask_suffix and stem.endswith(mask_suffix)}
    return {stem: path for stem, path in everything.items() if stem not in marked}, marked


def _structures(given: str | Mapping[int, str] | None) -> Structure | dict[int, Structure] | None:
    if given is None:
        return None
    if isinstance(given, str):
        return structure_named(given)
    try:
        return {int(label): structure_named(str(name)) for label, name in given.items()}
    except (AttributeError, TypeError, ValueError):
        expected = "a structure, or a structure for each label number"
        raise problem("structures", repr(given), expected, "Correct the recipe") from None


def read_pair(
    image_path: Path, mask_path: Path, what: Structure | Mapping[int, Structure] | None, modality: str | None
) -> tuple[Image, Segmentation]:
    """Read an image and its mask.

    Parameters
    ----------
    what : one structure that a mask of two values shows, or a structure for each label number, or None
    modality : of the image, where its file does not say

    Raises
    ------
    InputError : a file is at fault, or the mask has another size
    """
    image = read_image(image_path, modality=modality)
    if isinstance(what, Structure):
        mask, geometry = _inside(mask_path)
        labels = Segmentation.from_masks({what: mask} if mask.any() else {}, geometry)
    else:
        labels = read_segmentation(mask_path, structures=what)
    return on_one_grid(image, labels, image_path, mask_path)


def _inside(path: Path) -> tuple[np.ndarray, Geometry]:
    """Return which voxels of a mask of one structure are inside, and its grid.

    With one value besides 0 it means inside, whatever it is; of a picture with a palette its numbers count. Masks with
    soft edges, and those that JPEG has blurred, are cut at half of what their type holds: 127.5 for 8 bits.
    """
    suffix = suffix_of(path)
    if suffix == SEG_NRRD:
        labels = read_segmentation(path)
        return labels.foreground, labels.geometry
    if suffix == ".png":
        array = grey(path, pixels(path, indices=True))
        values, geometry = array[None], picture_geometry(*array.shape)
    else:
        image = read_image(path)
        values, geometry = image.array, image.geometry
    soft = suffix in (".jpg", ".jpeg") or len(np.unique(values)) > 2
    if values.dtype.kind in "ui" and soft:
        return values > np.iinfo(values.dtype).max / 2, geometry
    return values > 0, geometry
