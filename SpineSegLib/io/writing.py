"""Writing images and segmentations: the suffix chooses the format, and files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import label_maps, pictures, seg_nrrd, volumes
from SpineSegLib.io.atomic import all_written_whole, written_whole
from SpineSegLib.io.suffixes import SEG_NRRD, sidecar_of, suffix_of

_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")


def write_image(image: Image, path: str | Path, *, compression: int = 4) -> None:
    """Write an image as ``.nrrd``, ``.nii.gz``, ``.nii``, ``.mha`` or, a single slice without loss, ``.png``.

    Where its spacing came from and its modality are noted in the file, except in a PNG, which holds no spacing.
    `compression` is the gzip level of a ``.nrrd``, 0 (none, for a file that is read once and deleted) to 9.

    Raises
    ------
    InputError : the suffix is unknown, the format cannot hold the image, or the file cannot be written
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in (*_VOLUMES, ".png"):
        raise problem(
            path,
            f"no image is written as {suffix or 'a file without suffix'}",
            _either(*_VOLUMES, ".png"),
            "Change the suffix",
        )
    if suffix == ".png" and not image.geometry.is_2d:
        raise problem(
            path, f"the image has {image.geometry.shape[0]} slices", "one slice for a PNG", "Save it as .nrrd"
        )
    with written_whole(path) as temporary:
        if suffix == ".png":
            pictures.write_picture(image.array[0], temporary)
        else:
            volumes.write_volume(
                image.array, image.geometry, image.modality, temporary, suffix, compression=compression
            )


def write_segmentation(segmentation: Segmentation, path: str | Path) -> tuple[str, ...]:
    """Write a segmentation; the suffix chooses the format.

    - ``.seg.nrrd`` keeps names, colours, terminology and overlaps, as 3D Slicer does (not the probabilities);
    - ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha`` are label maps, and ``.png`` a label picture of one slice, each with
      a sidecar ``<stem>.json`` that names the numbers (VerSe's for vertebrae).

    Returns
    -------
    Warnings in words: what the format could not keep.

    Raises
    ------
    InputError : the suffix is unknown, the format cannot hold it, or the file cannot be written
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix == SEG_NRRD:
        with written_whole(path) as temporary:
            seg_nrrd.write_seg_nrrd(segmentation, temporary)
        return ()
    if suffix not in (*_VOLUMES, ".png"):
        raise problem(
            path,
            f"no segmentation is written as {suffix or 'a file without suffix'}",
            _either(SEG_NRRD, *_VOLUMES, ".png"),
            "Change the suffix",
        )
    labels, table, warnings = label_maps.flatten(segmentation)
    names = label_maps.sidecar_content(table, segmentation.geometry, sidecar_of(path))
    with all_written_whole(path, sidecar_of(path)) as (temporary, sidecar):
        if suffix == ".png":
            label_maps.write_label_picture(labels, table, temporary)
        else:
            volumes.write_volume(labels, segmentation.geometry, None, temporary, suffix)
        sidecar.write_text(names, encoding="utf-8")
    return warnings


def _either(*suffixes: str) -> str:
    return " or ".join([", ".join(suffixes[:-1]), suffixes[-1]])
