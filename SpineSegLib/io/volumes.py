"""NIfTI, NRRD and MetaImage: whole volumes in one file, read and written with SimpleITK."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io import itk, nifti, nrrd
from SpineSegLib.io.suffixes import NIFTI, NRRD, SEG_NRRD, suffix_of

_AGAIN = "Export the image again"


def read_volume(path: Path) -> tuple[np.ndarray, Geometry, str | None]:
    """Read the voxels of a NIfTI, NRRD or MetaImage file.

    Returns
    -------
    array : k, j, i array; a 2D image has one slice, a fourth dimension of one is dropped
    geometry : its grid; the spacing is unknown where the file has none
    modality : what we noted in the file ourselves, or None

    Raises
    ------
    InputError : it is no such file, is damaged or cut off, has several channels or time points, or points elsewhere
    """
    suffix = suffix_of(path)
    matrix, source, bad = None, None, []
    if suffix in NRRD or suffix == SEG_NRRD:
        header = nrrd.read_header(path)
        matrix, source, modality = header.matrix(), header.spacing_source, header.keys.get(nrrd.MODALITY_KEY)
        image = itk.read(path, "a whole NRRD file", _AGAIN)
    elif suffix in NIFTI:
        bad = nifti.check(path)
        image = itk.read(path, "a whole NIfTI file", _AGAIN)
        source, modality = _note(image)
    else:
        text = _meta_header(path)
        image = itk.read(path, "a whole MetaImage file", _AGAIN)
        source, modality = _note(image)
        if source is None and not re.search(r"^\s*Element(Spacing|Size)\s*=", text, re.MULTILINE):
            source = SpacingSource.UNKNOWN
    array = _one_volume(path, image)
    if len(bad):
        array.reshape(-1)[bad] = np.nan
    if array.ndim == 3 and image.GetDimension() == 4:
        import SimpleITK as sitk

        # The collapsed axis is the last; the strategy keeps the other three axes as they are.
        image = sitk.Extract(
            image, [*image.GetSize()[:3], 0], [0] * 4, sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX
        )
    geometry = itk.geometry_of(image)
    matrix = geometry.ijk_to_ras if matrix is None else matrix
    geometry = Geometry(geometry.shape, matrix, source or SpacingSource.HEADER)
    return array.reshape(geometry.shape), geometry, modality if modality in ("XR", "CT", "MR") else None


def read_nifti_grid(path: Path) -> Geometry:
    """Read the grid of a NIfTI file as `read_volume` gives it, without the voxels.

    Raises
    ------
    InputError : as for `read_volume`
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with itk.quiet():
            reader.ReadImageInformation()
    except RuntimeError:
        # It says what is wrong.
        return read_volume(path)[1]
    source, _ = _note(reader)
    return (
        itk.geometry_of(reader, source or SpacingSource.HEADER) if reader.GetDimension() < 4 else read_volume(path)[1]
    )


def _one_volume(path: Path, image) -> np.ndarray:
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise problem(
            path,
            f"each voxel has {image.GetNumberOfComponentsPerPixel()} values",
            "one grey value a voxel",
            "Save one channel of it",
        )
    array = itk.array_of(image)
    if array.dtype.kind not in "iuf":
        raise problem(path, f"its voxels are {array.dtype}", "real numbers", "Save it with real numbers")
    if array.ndim == 4 and array.shape[0] == 1:
        return array[0]
    if array.ndim not in (2, 3):
        raise problem(
            path,
            f"it has {array.ndim} dimensions ({' x '.join(str(n) for n in array.shape[::-1])})",
            "one volume (three dimensions)",
            "Save one time point of it",
        )
    return array


def _meta_header(path: Path) -> str:
    """Return a MetaImage header's text, having checked that its voxels lie in it or right beside it."""
    with path.open("rb") as file:
        lines = []
        for _ in range(2000):
            line = file.readline(1 << 16).decode("latin-1")
            lines.append(line.strip())
            if not line or line.lstrip().startswith("ElementDataFile"):
                break
    text = "\n".join(lines)
    found = re.search(r"^ElementDataFile\s*=\s*(.*)$", text, re.MULTILINE)
    if not found or not re.search(r"^NDims\s*=", text, re.MULTILINE):
        raise problem(path, "this is not a MetaImage file", "MetaImage (.mha, .mhd)", _AGAIN)
    if found.group(1).strip() != "LOCAL":
        nrrd.check_beside(path, found.group(1))
    return text


def _note(image) -> tuple[SpacingSource | None, str | None]:
    """Read back the note that `write_volume` leaves in a header (`descrip` in NIfTI)."""
    key = "ITK_FileNotes"
    text = image.GetMetaData(key) if image.HasMetaDataKey(key) else ""
    found = re.search(r"SpineSeg modality=(\w*) spacing=(\w+)", text)
    if not found:
        return None, None
    known = found.group(2) in set(SpacingSource)
    return SpacingSource(found.group(2)) if known else None, found.group(1)


def write_volume(
    array: np.ndarray, geometry: Geometry, modality: str | None, path: Path, suffix: str, *, compression: int = 4
) -> None:
    """Write voxels as ``.nrrd``, ``.nii``, ``.nii.gz`` or ``.mha`` (use `written_whole` around it).

    `compression` is the gzip level of a ``.nrrd``, 0 (none) to 9.

    Raises
    ------
    InputError : NIfTI or MetaImage cannot hold a sheared grid
    OSError, InputError : the disk refused
    """
    array = array.astype({"b1": np.uint8, "f2": np.float32}.get(array.dtype.str[1:], array.dtype), copy=False)
    if suffix == ".nrrd":
        keys = {nrrd.SPACING_KEY: str(geometry.spacing_source)} | ({nrrd.MODALITY_KEY: modality} if modality else {})
        nrrd.write_nrrd(path, array, geometry, keys, compression=compression)
        return
    if not itk.orthogonal(geometry):
        raise problem(
            path,
            "the grid is sheared (gantry tilt), which this format cannot hold",
            "orthogonal axes",
            "Save it as .nrrd",
        )
    import SimpleITK as sitk

    image = itk.image_from(array, geometry)
    image.SetMetaData("ITK_FileNotes", f"SpineSeg modality={modality or ''} spacing={geometry.spacing_source}")
    try:
        with itk.quiet():
            sitk.WriteImage(image, str(path), useCompression=suffix != ".nii")
        # SimpleITK does not notice every disk that fills up, so the file is looked at again.
        if suffix in NIFTI:
            nifti.check(path)
        else:
            itk.read(path, "a whole file", _AGAIN)
    except (RuntimeError, InputError):
        raise problem(
            path, "it could not be written whole", "room on the disk", "Free space or choose another folder"
        ) from None


def as_image(path: Path, modality: str | None) -> Image:
    """Read a volume file as an image; `modality` overrides what the file says."""
    array, geometry, noted = read_volume(path)
    return Image(array, geometry, modality or noted)
