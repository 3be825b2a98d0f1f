"""NRRD: reading its header, writing whole files.

SimpleITK reads the voxels, but its writer knows no `list` axis (the layers of a segmentation), and its reader follows
a detached header to any place on the disk; so the header is looked at here first.

Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import LPS_TO_RAS, Geometry, SpacingSource

_TYPES = {
    "i1": "signed char",
    "u1": "unsigned char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "i8": "long long int",
    "u8": "unsigned long long int",
    "f4": "float",
    "f8": "double",
}
_SPACES = {
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
_HEADER_LIMIT = 8 << 20
SPACING_KEY = "SpineSeg_SpacingSource"
MODALITY_KEY = "SpineSeg_Modality"


@dataclass(frozen=True)
class NrrdHeader:
    """The header of a NRRD file: its fields (lower-case names) and its own key/value pairs."""

    fields: Mapping[str, str]
    keys: Mapping[str, str]

    @property
    def has_spacing(self) -> bool:
        """True when the file says how large its voxels are."""
        spacings = self.fields.get("spacings", "nan").lower().split()
        return "space directions" in self.fields or any(word != "nan" for word in spacings)

    @property
    def spacing_source(self) -> SpacingSource:
        """Where the spacing came from: what we wrote there, else whether there is one."""
        try:
            return SpacingSource(self.keys[SPACING_KEY])
        except (KeyError, ValueError):
            return SpacingSource.HEADER if self.has_spacing else SpacingSource.UNKNOWN

    def matrix(self) -> np.ndarray | None:
        """Return ijk_to_ras, exact and with any shear, or None when the header has no three directions in space."""
        to_ras = _SPACES.get(self.fields.get("space", "").lower())
        vectors = _vectors(self.fields.get("space directions", ""))
        vectors = [vector for vector in vectors if vector is not None]
        if to_ras is None or len(vectors) != 3 or any(len(vector) != 3 for vector in vectors):
            return None
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(vectors).T
        origin = _vectors(self.fields.get("space origin", "(0,0,0)"))
        matrix[:3, 3] = origin[0]
        return to_ras @ matrix


def _vectors(text: str) -> list[list[float] | None]:
    """Return the vectors of a field; None for an axis that is not in space (``none``, or nothing but NaN)."""
    found = re.findall(r"none|\(([^)]*)\)", text)
    vectors = [[float(number) for number in inner.split(",")] if inner else None for inner in found]
    return [None if vector is None or np.isnan(vector).all() else vector for vector in vectors]


def read_header(path: Path) -> NrrdHeader:
    """Read a NRRD file's header and make sure that its voxels lie in it or right beside it.

    Raises
    ------
    InputError : it is no NRRD, or its data lie in another folder, in several files, or nowhere
    """
    with path.open("rb") as file:
        if file.read(4) != b"NRRD":
            raise problem(path, "this is not a NRRD file", "NRRD", "Check the file, or export the image again")
        file.seek(0)
        lines = _header_lines(path, file)
    fields, keys = {}, {}
    for line in lines[1:]:
        if line.startswith("#"):
            continue
        name, separator, value = line.partition(":=")
        colon = line.find(": ")
        if separator and (colon < 0 or colon > len(name)):
            keys[name] = re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", value)
        elif colon > 0:
            fields[line[:colon].strip().lower()] = line[colon + 2 :].strip()
    _check_data_file(path, fields)
    return NrrdHeader(fields, keys)


def _header_lines(path: Path, file) -> list[str]:
    lines, size = [], 0
    for raw in iter(lambda: file.readline(_HEADER_LIMIT), b""):
        size += len(raw)
        line = raw.rstrip(b"\r\n")
        if not line:
            break
        if size > _HEADER_LIMIT:
            raise problem(path, "its header has no end", "a NRRD header", "Export the image again")
        lines.append(line.decode("utf-8", errors="replace"))
    return lines


def _check_data_file(path: Path, fields: Mapping[str, str]) -> None:
    name = fields.get("data file", fields.get("datafile"))
    if name is not None:
        check_beside(path, name)


def check_beside(header: Path, name: str) -> None:
    """Refuse a detached header whose voxels are not one file in its own folder: paths in files are not trusted."""
    folder = header.parent.resolve()
    single = not re.search(r"[%\s]", name.strip()) and name.strip().upper() != "LIST"
    beside = (header.parent / name.strip()).resolve() if single else None
    if beside is None or beside.parent != folder:
        raise problem(
            header,
            f"its voxels lie elsewhere ({name[:80]!r})",
            "one data file in the same folder",
            "Save the image as one file, such as .nrrd or .mha",
        )
    if not beside.is_file():
        raise problem(header, f"its data file {beside.name} is missing", "the data file beside it", "Copy it there too")


def write_nrrd(
    path: Path,
    array: np.ndarray,
    geometry: Geometry,
    keys: Mapping[str, str] | None = None,
    *,
    layered: bool = False,
    compression: int = 4,
) -> None:
    """Write a gzip-compressed NRRD in LPS, as 3D Slicer does.

    Parameters
    ----------
    path : the file, overwritten; use `written_whole` around it
    array : k, j, i array, or k, j, i, layer when `layered`
    geometry : its grid, sheared ones too
    keys : own key/value pairs
    layered : the last axis is a `list` of layers
    compression : gzip level, 0 (none) to 9
    """
    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    directions = ["(" + ",".join(f"{value:.17g}" for value in lps[:3, axis]) + ")" for axis in range(3)]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_TYPES[array.dtype.str[1:]]}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in array.shape[::-1]),
        "space directions: " + " ".join([*["none"] * layered, *directions]),
        "kinds: " + " ".join([*["list"] * layered, "domain", "domain", "domain"]),
        "endian: little",
        "encoding: gzip",
        "space origin: (" + ",".join(f"{value:.17g}" for value in lps[:3, 3]) + ")",
    ]
    for name, value in (keys or {}).items():
        text = str(value).replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{name}:={text}")
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode("utf-8"))
        squeeze = zlib.compressobj(level=compression, wbits=31)
        for part in array:
            file.write(squeeze.compress(np.ascontiguousarray(part, dtype=array.dtype.newbyteorder("<")).tobytes()))
        file.write(squeeze.flush())
