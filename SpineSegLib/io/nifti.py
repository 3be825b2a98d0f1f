"""NIfTI: what SimpleITK does not say about a file.

niftilib, which SimpleITK uses, fills a cut-off file up with zeros and turns what is not a number into zero, without a
word; on a full disk it writes a cut-off file and reports success. So files are looked through here first.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem

_AGAIN = "Export the image again"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class _Layout:
    """Where a NIfTI file's voxels lie: offset and size in bytes, and their type where it is a floating-point one."""

    offset: int
    size: int
    floating: np.dtype | None


def check(path: Path) -> np.ndarray:
    """Refuse a file that is no NIfTI or ends too early, and find the voxels that are not a number.

    Returns
    -------
    Flat indices of the voxels that are not finite numbers, in the file's own (k, j, i) order.
    """
    with path.open("rb") as file:
        opened = gzip.open if file.read(2) == b"\x1f\x8b" else Path.open
    try:
        with opened(path, "rb") as file:
            layout = _nifti_layout(path, file.read(348))
            file.read(max(0, layout.offset - 348))
            there, bad = 0, []
            while there < layout.size and (chunk := file.read(min(_CHUNK, layout.size - there))):
                if layout.floating is not None:
                    whole = chunk[: len(chunk) - len(chunk) % layout.floating.itemsize]
                    finite = np.isfinite(np.frombuffer(whole, layout.floating))
                    bad.append(np.flatnonzero(~finite) + there // layout.floating.itemsize)
                there += len(chunk)
            # The rest holds gzip's checksum.
            while file.read(_CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise problem(path, "it is damaged or cut off", "a whole NIfTI file", _AGAIN) from None
    if there < layout.size:
        raise problem(path, f"it is cut off after {there} of {layout.size} bytes", "a whole NIfTI file", _AGAIN)
    return np.concatenate(bad) if bad else np.zeros(0, np.intp)


def _nifti_layout(path: Path, head: bytes) -> _Layout:
    order = {b"\x5c\x01\x00\x00": "<", b"\x00\x00\x01\x5c": ">"}.get(head[:4])
    if order is None or len(head) < 348 or head[344:347] not in (b"n+1", b"ni1"):
        raise problem(path, "this is not a NIfTI file", "NIfTI-1 (.nii, .nii.gz)", _AGAIN)
    if head[344:347] == b"ni1":
        raise problem(path, "its voxels lie in another file", "NIfTI in one file", "Save it as .nii.gz")
    dim = struct.unpack(order + "8h", head[40:56])
    kind, bits = struct.unpack(order + "2h", head[70:74])
    offset = struct.unpack(order + "f", head[108:112])[0]
    if not (1 <= dim[0] <= 7 and min(dim[1 : 1 + dim[0]]) > 0 and bits > 0 and 0 <= offset < 2**31):
        raise problem(path, "its header is damaged", "a NIfTI header", _AGAIN)
    size = math.prod(dim[1 : 1 + dim[0]]) * bits // 8
    floating = {16: np.dtype(order + "f4"), 64: np.dtype(order + "f8")}.get(kind)
    return _Layout(max(348, int(offset)), size, floating)
