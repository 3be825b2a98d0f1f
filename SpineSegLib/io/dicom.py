"""DICOM in: find the files, choose the one image among them, hand it to the reader for slices or for films."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import problem
from SpineSegLib.image import Image
from SpineSegLib.io.damaged import DAMAGED
from SpineSegLib.progress import Progress, silent

if TYPE_CHECKING:
    from pydicom import Dataset

FILM_MODALITIES = ("CR", "DX", "RG", "RF", "XA", "PX", "IO", "MG")
_VOLUME_MODALITIES = ("CT", "MR", "PT", "NM")
_NO_IMAGE = {
    "SR": "a structured report",
    "RTSTRUCT": "a set of contours (RTSTRUCT)",
    "RTPLAN": "a treatment plan",
    "RTDOSE": "a dose distribution",
    "PR": "a presentation state",
    "KO": "a key object note",
    "REG": "a registration",
    "SEG": "a segmentation (DICOM SEG)",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
}
_MAX_FILES = 100_000
_EXPORT = "Export the series again"


def read_dicom(path: Path, *, modality: str | None = None, report: Progress = silent) -> Image:
    """Read the one image in a folder, or the image that a file belongs to.

    Parameters
    ----------
    path : a folder, searched with its sub-folders, or one file; the other slices of its series are found beside it
    modality : overrides what the files say

    Raises
    ------
    InputError : no image or more than one is there, or it is incomplete
    """
    try:
        return _read(path, modality, report)
    except _pydicom_errors():
        raise problem(path, "the DICOM header is damaged", "a whole DICOM file", _EXPORT) from None


def series_files(path: Path, report: Progress = silent) -> list[Path]:
    """Return the files of the one image in a folder, or of the image that a file belongs to, as `read_dicom` finds it.

    Raises
    ------
    InputError : no image or more than one is there
    """
    try:
        return [file for file, _ in _chosen(path, report)]
    except _pydicom_errors():
        raise problem(path, "the DICOM header is damaged", "a whole DICOM file", _EXPORT) from None


def _pydicom_errors() -> tuple[type[Exception], ...]:
    """Return what pydicom raises on damaged files; two of its exceptions have no common ancestor with others."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (InvalidDicomError, BytesLengthException, *DAMAGED)


def _read(path: Path, modality: str | None, report: Progress) -> Image:
    from SpineSegLib.io.dicom_film import read_film
    from SpineSegLib.io.dicom_series import read_slices

    chosen = _chosen(path, report)
    if is_film(chosen[0][1]):
        return read_film(chosen[0][0], modality)
    return read_slices(path, [p for p, _ in chosen], modality, report)


def _chosen(path: Path, report: Progress) -> list[tuple[Path, Dataset]]:
    """Return the files of the one image with their headers."""
    if path.is_dir():
        chosen = _only_series(path, headers(files_in(path), report))
    else:
        first = _header(path)
        if first is None:
            raise problem(path, "this is not DICOM", "a DICOM file", "Check the file, or export the image again")
        _check_is_image(path, first)
        if is_film(first) or ("NumberOfFrames" in first and int(first.NumberOfFrames or 1) > 1):
            chosen = [(path, first)]
        else:
            beside = headers((p for p in sorted(path.parent.iterdir()) if p.is_file()), report)
            uid = first.get("SeriesInstanceUID")
            chosen = [(p, header) for p, header in beside if header.get("SeriesInstanceUID") == uid]
    _check_is_image(chosen[0][0], chosen[0][1])
    if is_film(chosen[0][1]) and len(chosen) > 1:
        names = ", ".join(f"{p.name} ({_columns_rows(header)})" for p, header in chosen[:8])
        raise problem(path, f"it has {len(chosen)} radiographs: {names}", "one", "Give one of these files")
    return chosen


def is_film(header: Dataset) -> bool:
    """Tell whether a header is that of a projection radiograph, not of slices in the patient.

    'OT' (other) and no modality at all count as films when they have no place in the patient: scanned radiographs
    come so.
    """
    placed = "ImagePositionPatient" in header or "PerFrameFunctionalGroupsSequence" in header
    modality = header.get("Modality", "")
    return modality in FILM_MODALITIES or (modality in ("OT", "") and not placed)


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and its sub-folders, sorted; InputError when there is none."""
    files = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.name.upper() != "DICOMDIR" and path.is_file():
            files.append(path)
        if len(files) > _MAX_FILES:
            raise problem(folder, f"it has more than {_MAX_FILES} files", "one study", "Give the folder of one series")
    if not files:
        raise problem(folder, "the folder is empty", "the DICOM files of one series", "Check the folder")
    return sorted(files)


def _header(path: Path) -> Dataset | None:
    """Read what is needed to choose among files, or return None for a file that is no DICOM."""
    import pydicom

    wanted = [
        *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
        *("Rows", "Columns", "NumberOfFrames", "ImageType", "ImagePositionPatient", "PerFrameFunctionalGroupsSequence"),
    ]
    try:
        with path.open("rb") as file:
            preamble = file.read(132)[128:] == b"DICM"
        # Files from before DICOM part 10 have no preamble; they are told by a plausible header.
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=not preamble)
        return header if preamble or ("SOPClassUID" in header and "Modality" in header) else None
    except (OSError, *_pydicom_errors()):
        return None


def headers(files: Iterable[Path], report: Progress = silent) -> list[tuple[Path, Dataset]]:
    """Read what is needed to choose among files; those that are no DICOM are left out."""
    files = list(files)
    found = []
    for number, path in enumerate(files):
        if number % 20 == 0:
            report(number, 2 * len(files), "reading DICOM headers")
        header = _header(path)
        if header is not None:
            found.append((path, header))
    return found


def images_among(files: Iterable[Path]) -> list[list[Path]]:
    """Return the images among files: each radiograph, each file of many frames, each series of slices."""
    found: dict[object, list[Path]] = {}
    for path, header in headers(files):
        if _has_pixels(header):
            single = is_film(header) or int(header.get("NumberOfFrames") or 1) > 1
            found.setdefault(path if single else header.get("SeriesInstanceUID"), []).append(path)
    return list(found.values())


def _has_pixels(header: Dataset) -> bool:
    return "Rows" in header and header.get("Modality") not in _NO_IMAGE


def _check_is_image(path: Path, header: Dataset) -> None:
    if not _has_pixels(header):
        kind = _NO_IMAGE.get(
            header.get("Modality", ""), f"DICOM without pixels ({header.get('Modality', 'no modality')})"
        )
        raise problem(path, f"this is {kind}", "an image", "Give the image series that it belongs to")
    modality = header.get("Modality", "")
    if modality not in (*FILM_MODALITIES, *_VOLUME_MODALITIES, "OT", ""):
        raise problem(path, f"its modality is {modality}", "CT, MR or a radiograph (CR, DX)", "Give such an image")


def _only_series(folder: Path, headers: list[tuple[Path, Dataset]]) -> list[tuple[Path, Dataset]]:
    """Return the files of the only image series; localizers and screenshots count when there is nothing else."""
    if not headers:
        raise problem(folder, "no file in it is DICOM", "the DICOM files of one series", "Check the folder")
    images = [(path, header) for path, header in headers if _has_pixels(header)]
    if not images:
        _check_is_image(folder, headers[0][1])
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path, header in images:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    if len(series) > 1:
        main = {uid: files for uid, files in series.items() if not _by_the_way(files[0][1])}
        series = main or series
    if len(series) > 1:
        raise problem(
            folder,
            f"it has {len(series)} series: {'; '.join(_named(files) for files in list(series.values())[:12])}",
            "one series",
            "Give one file of the series that you want",
        )
    return next(iter(series.values()))


def _by_the_way(header: Dataset) -> bool:
    """Tell whether a series is a localizer or a screenshot, not the examination."""
    kinds = [str(kind).upper() for kind in header.get("ImageType") or []]
    return "LOCALIZER" in kinds or "SCREEN SAVE" in kinds or str(header.get("SOPClassUID", "")).startswith(_SECONDARY)


_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def _named(files: list[tuple[Path, Dataset]]) -> str:
    path, header = files[0]
    frames = sum(int(h.get("NumberOfFrames") or 1) for _, h in files)
    title = str(header.get("SeriesDescription") or "without description")[:60]
    number, kind = header.get("SeriesNumber", "?"), header.get("Modality", "?")
    return f"number {number} '{title}' ({kind}, {frames} images, {path.name})"


def _columns_rows(header: Dataset) -> str:
    return f"{header.get('Columns')} x {header.get('Rows')}"


def dataset(path: Path, *, pixels: bool = True) -> Dataset:
    """Read a DICOM file, with or without its pixels.

    Raises
    ------
    InputError : it is damaged
    """
    import pydicom
    from pydicom import uid

    try:
        data = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        if "TransferSyntaxUID" not in data.file_meta:
            # Files from before DICOM part 10 do not say how they are encoded; pydicom has found it out.
            implicit, little = data.original_encoding
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
        return data
    except (OSError, *_pydicom_errors()):
        raise problem(path, "the file is damaged or cut off", "a whole DICOM file", _EXPORT) from None
