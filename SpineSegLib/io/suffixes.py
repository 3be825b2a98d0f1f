"""Which suffix means which format."""

from __future__ import annotations

from pathlib import Path

NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd", ".nhdr")
META = (".mha", ".mhd")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom", ".ima")
SEG_NRRD = ".seg.nrrd"
_KNOWN = (SEG_NRRD, *NIFTI, *NRRD, *META, *PICTURES, *DICOM)


def split_suffix(path: str | Path) -> tuple[str, str]:
    """Split a file's name into stem and suffix; ``.nii.gz`` and ``.seg.nrrd`` count as one suffix."""
    path = Path(path)
    lower = path.name.lower()
    for suffix in _KNOWN:
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    return path.stem, path.suffix


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case, ``.nii.gz`` and ``.seg.nrrd`` whole."""
    return split_suffix(path)[1].lower()


def sidecar_of(path: str | Path) -> Path:
    """Return where the names of a label map's labels lie: ``case.json`` for ``case.nii.gz``."""
    return Path(path).with_name(split_suffix(path)[0] + ".json")
