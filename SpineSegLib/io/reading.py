"""Reading images and segmentations: the path's suffix and content choose the reader."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import MODALITIES, Geometry, Image, Segmentation
from SpineSegLib.io import label_maps, nrrd, pictures, seg_nrrd, volumes
from SpineSegLib.io.damaged import DAMAGED
from SpineSegLib.io.suffixes import DICOM, META, NIFTI, NRRD, PICTURES, SEG_NRRD, suffix_of
from SpineSegLib.progress import Progress, silent

_FORMATS = "DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF"


def read_image(path: str | Path, *, modality: str | None = None, report: Progress = silent) -> Image:
    """Read an image from a file or a DICOM folder.

    Parameters
    ----------
    path : a DICOM folder (searched with its sub-folders), any file of a DICOM series, a DICOM radiograph, or a
        NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF file
    modality : ``"XR"``, ``"CT"`` or ``"MR"``; overrides what the file says. Pictures are XR unless told otherwise;
        a volume file that does not say stays None.
    report : told about every DICOM file read

    Returns
    -------
    CT in Hounsfield units; radiographs with bright bone and the values that the detector's modality LUT gives (see
    `SpineSegLib.io.dicom_film`); other images as stored.

    Raises
    ------
    InputError : no such file, or one that is not a whole single grey image with a known place of every slice
    """
    path = Path(path)
    if modality not in (*MODALITIES, None):
        msg = f"modality is {modality!r}, expected one of {', '.join(MODALITIES)}"
        raise ValueError(msg)
    with readable(path):
        if path.is_dir() or is_dicom(path):
            from SpineSegLib.io.dicom import read_dicom

            return read_dicom(path, modality=modality, report=report)
        suffix = suffix_of(path)
        if suffix in PICTURES:
            return pictures.read_picture(path, modality)
        if suffix == SEG_NRRD or (suffix in NRRD and seg_nrrd.is_segmentation(nrrd.read_header(path))):
            raise problem(path, "this is a segmentation", "an image", "Give the image that it was made on")
        if suffix in (*NIFTI, *NRRD, *META):
            return volumes.as_image(path, modality)
        raise _unknown(path, suffix, "an image")


def read_geometry(path: str | Path) -> Geometry:
    """Read the grid of an image, without its voxels where the format allows that (NIfTI).

    Raises
    ------
    InputError : as for `read_image`
    """
    path = Path(path)
    if suffix_of(path) in NIFTI:
        with readable(path):
            return volumes.read_nifti_grid(path)
    return read_image(path).geometry


def read_segmentation(path: str | Path, *, structures: Mapping[int, Structure | str] | None = None) -> Segmentation:
    """Read a segmentation: a ``.seg.nrrd``, a DICOM segmentation, a label map or a label picture.

    Parameters
    ----------
    path : a .seg.nrrd; a DICOM SEG, or a folder with one (see `SpineSegLib.io.dicom_seg.read_dicom_seg`: it comes on
        the grid of its images where these lie beside it); a label map as NIfTI, NRRD or MetaImage; or a label or mask
        picture (PNG, TIFF)
    structures : label number -> structure or its name, instead of what the file and its sidecar say (for instance
        `SpineSegLib.io.label_tables.TOTALSEGMENTATOR`); numbers not named there belong to nothing. Label maps
        without names are read with VerSe's numbers.

    Raises
    ------
    InputError : no such file, or one that is no whole segmentation
    """
    path = Path(path)
    with readable(path):
        if path.is_dir() or is_dicom(path):
            from SpineSegLib.io.dicom_seg import read_dicom_seg

            found = read_dicom_seg(path)
            return found if structures is None else _renamed(found, structures)
        suffix = suffix_of(path)
        if suffix == SEG_NRRD or (suffix in NRRD and seg_nrrd.is_segmentation(nrrd.read_header(path))):
            found = seg_nrrd.read_seg_nrrd(path)
            return found if structures is None else _renamed(found, structures)
        if suffix in (*NIFTI, *NRRD, *META, *PICTURES):
            return label_maps.read_label_map(path, structures)
        raise _unknown(path, suffix, "a segmentation")


def read_labelled_series(segmentation: Path, series: Sequence[Path]) -> tuple[Image, Segmentation]:
    """Read a DICOM series and a DICOM segmentation of it, as `SpineSegLib.io.dicom_seg.find_segmentations` finds them.

    Raises
    ------
    InputError : a file is damaged, or the frames do not lie on the grid of the series
    """
    from SpineSegLib.io.dicom_seg import read_dicom_seg
    from SpineSegLib.io.dicom_series import read_slices

    with readable(segmentation):
        image = read_slices(series[0].parent, list(series), None, silent)
        return image, read_dicom_seg(segmentation, image.geometry)


def _renamed(segmentation: Segmentation, structures: Mapping[int, Structure | str]) -> Segmentation:
    """Keep the segments whose label value is in `structures`, under that structure."""
    from SpineSegLib.anatomy import structure_named

    table = {int(n): structure_named(s) if isinstance(s, str) else s for n, s in structures.items()}
    kept = [
        replace(segment, structure=table[segment.label]) for segment in segmentation.segments if segment.label in table
    ]
    return replace(segmentation, segments=tuple(kept))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the disk or a damaged file makes readers raise into one line."""
    if not path.exists():
        raise problem(path, "there is no such file or folder", _FORMATS, "Check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise problem(path, "the file is empty", _FORMATS, "Export it again")
    try:
        # What pydicom or Pillow find odd in a file is of no consequence or told in our own words.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        why = error.strerror or "it cannot be read"
        raise problem(path, why, "a file that you may read", "Check its permissions") from error
    except DAMAGED as error:
        raise problem(path, "it is damaged", "a file that keeps to its format", "Export it again") from error


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM: by its preamble, or by its suffix where an old file has none."""
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return True
    return suffix_of(path) in DICOM


def _unknown(path: Path, suffix: str, what: str) -> InputError:
    found = f"unknown file type {suffix}" if suffix else "no suffix and no DICOM inside"
    return problem(path, found, f"{what} as {_FORMATS}", "Export it in one of these")
