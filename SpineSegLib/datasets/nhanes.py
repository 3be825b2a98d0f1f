"""NHANES II: digitised lateral films of neck and loins, about 600 of them with landmarks of the vertebral bodies.

Long et al., National Library of Medicine (datadiscovery.nlm.nih.gov; off-line since January 2025). On disk, folders of
one format each, with names C (cervical) or L (lumbar) and the number of the person::

    fullres/C02213.nh2      raw, 12 of 16 bits, without a header: 1463 x 1755 (cervical) or 2048 x 2487 (lumbar)
    tif8/C02213.tif         the same size with 8 bits; also jpg, jpgahe, jpgaheus (the last two are sharpened)
    marks/C02213.txt        coordinates of the bodies as text, in pixels of the full size

The files of ``tif8roi`` are cropped, and nothing says where, so landmarks do not fit them.

A .nh2 says neither its size nor its byte order: the number of bytes tells the first, and as 12 bits never exceed 4095,
the values tell the second. Films are scanned at 146 dpi: 25.4 / 146 = 0.174 mm at the film.

The column layout of ``marks`` is not documented anywhere that could be found; SpineFM (arXiv:2411.00326) says seven
vertices a body. Read are numbers separated by blanks, commas or semicolons, with ``#`` before remarks, in any of these
forms, x before y::

    C3 412.0 310.5 431.0 308.0 …            a body a line: level, then its seven points
    C3                                      a level, then a point a line
    412.0 310.5
    C3 1 412.0 310.5                        a point a line: level, number of the point, x, y

Anything else is an error that names the line.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import by_stem
from SpineSegLib.datasets.films import bright_bone, with_spacing
from SpineSegLib.datasets.polygons import bodies
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image
from SpineSegLib.io.pictures import picture_geometry
from SpineSegLib.io.suffixes import PICTURES, suffix_of

SPACING = 25.4 / 146
"""mm a pixel, at the film."""
SIZES = {1463 * 1755 * 2: (1755, 1463), 2048 * 2487 * 2: (2487, 2048)}
"""Bytes of a .nh2 -> rows and columns."""
FORMATS = ("fullres", "tif8", "jpg", "jpgahe", "jpgaheus")
"""Folders of films, best first."""
_NAME = re.compile(r"([CcLl])(\d+)")


def cases(
    folder: str | Path,
    *,
    films: str | None = None,
    vertices: int | None = 7,
    rows_first: bool = False,
    inverted: bool | str = "auto",
    skip_missing: bool = False,
) -> list[Case]:
    """List the films that have landmarks, in order of name; both films of a person are one patient's.

    Landmarks are the points of each body as the file gives them, round the body. Masks are the polygons that they form.

    Parameters
    ----------
    folder : holds ``marks`` and a folder of films
    films : name of the folder of films; unless given the first of `FORMATS` that is there
    vertices : points of every body; None allows any number from three (two for an endplate alone, which has no mask)
    rows_first : points are y, x
    inverted : ``"auto"``, or whether films have dark bone; `SpineSegLib.datasets.films.bright_bone`
    skip_missing : leave out landmarks whose film is not there; they are an error otherwise

    Raises
    ------
    InputError : no such folder, an unknown layout or name; on loading, a .nh2 of an unknown size or with more than 12
        bits, or a line of landmarks that cannot be read
    """
    folder = existing(folder)
    if films is None:
        films = next((name for name in FORMATS if (folder / name).is_dir()), None)
    if films is None or not (folder / films).is_dir() or not (folder / "marks").is_dir():
        layout = f"the folders marks and {films or ' or '.join(FORMATS)}"
        raise problem(folder, "another layout", layout, "Check --data")
    if films == "tif8roi":
        raise problem(folder / films, "cropped films", "one of " + ", ".join(FORMATS), "Choose films of full size")
    pictures = by_stem(folder / films, (*PICTURES, ".nh2"))
    marks = {path.stem: path for path in sorted((folder / "marks").iterdir()) if not path.name.startswith(".")}
    found = []
    for stem, path in marks.items():
        person = _NAME.fullmatch(stem)
        if not person:
            raise problem(path, "an unknown name", "C or L and a number, such as C02213", "Check --data")
        if stem not in pictures:
            if skip_missing:
                continue
            raise problem(path, f"no film {stem} in {films}", "the film of every landmarks", "Add it, or skip_missing")
        points = partial(read_marks, path, vertices=vertices, rows_first=rows_first)
        found.append(Case(stem, person[2], partial(_read, pictures[stem], path, points, inverted), points))
    if not found:
        raise problem(folder, "no film with landmarks", "NHANES II", "Check --data")
    return found


def _read(film: Path, marks: Path, points: partial, inverted: bool | str) -> tuple[Image, Segmentation]:
    image = read_nh2(film) if suffix_of(film) == ".nh2" else read_image(film)
    image = with_spacing(image, SPACING)
    labels = bodies(points(), image.geometry, marks)
    return bright_bone(image, labels, inverted), labels


def read_nh2(path: Path) -> Image:
    """Read a raw film of 12 bits; its spacing is unknown to the file.

    Raises
    ------
    InputError : it has an unknown size, or more than 12 bits in either byte order
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a .nh2 file", "Check the path") from None
    if len(content) not in SIZES:
        known = " or ".join(f"{size} ({columns} x {rows})" for size, (rows, columns) in SIZES.items())
        raise problem(path, f"{len(content)} bytes", known, "Fetch it again")
    readings = [
        np.frombuffer(content, order).astype(np.uint16).reshape(SIZES[len(content)]) for order in ("<u2", ">u2")
    ]
    readings = [values for values in readings if values.max() <= 4095]
    if not readings:
        raise problem(path, "values of more than 12 bits", "0 to 4095 in one byte order", "Fetch it again")
    # Where both orders fit (few grey values), the film is the smoother one.
    values = min(readings, key=lambda film: np.abs(np.diff(film.astype(np.int32), axis=1)).mean())
    return Image(values[None], picture_geometry(*values.shape), "XR")


def read_marks(path: Path, *, vertices: int | None = 7, rows_first: bool = False) -> dict[str, np.ndarray]:
    """Return level -> (n, 2) x, y from a file of landmarks (see the module for its forms).

    Raises
    ------
    InputError : a line that cannot be read, a level without `vertices` points, or no level at all
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a text file", "Check the path") from None
    except UnicodeDecodeError:
        raise problem(path, "it is no ASCII text", "coordinates of vertebrae", "Fetch it again") from None
    points: dict[str, list[tuple[float, float]]] = {}
    numbered: dict[str, list[int]] = {}
    level = None
    for number, line in enumerate(lines, start=1):
        words = re.split(r"[\s,;:]+", line.partition("#")[0].strip(" \t,;:"))
        if words == [""]:
            continue
        given = _level(words[0])
        level = given or level
        values = _numbers(words[1:] if given else words)
        if level is None or values is None:
            raise _bad_line(path, number, line)
        own = points.setdefault(level, [])
        if given and len(values) == 3 and values[0] == int(values[0]):
            numbered.setdefault(level, []).append(int(values[0]))
            values = values[1:]
        if len(values) % 2:
            raise _bad_line(path, number, line)
        own += zip(values[::2], values[1::2], strict=True)
    return {
        name: _checked(path, name, own, numbered.get(name), vertices, rows_first) for name, own in _some(path, points)
    }


def _some(path: Path, points: dict) -> list:
    if not points:
        raise problem(path, "no landmarks", "a level and its points", "Fetch it again")
    return sorted(points.items(), key=lambda item: LEVELS.index(item[0]))


def _checked(
    path: Path, level: str, points: list, numbers: list[int] | None, vertices: int | None, rows_first: bool
) -> np.ndarray:
    wrong = len(points) != vertices if vertices is not None else len(points) < 2
    if wrong:
        expected = f"{vertices} a body" if vertices is not None else "two or more"
        raise problem(path, f"{level} has {len(points)} points", expected, "Correct the file, or set vertices")
    array = np.array(points, dtype=float)
    if numbers is not None:
        if sorted(numbers) != list(range(min(numbers), min(numbers) + len(points))):
            raise problem(path, f"the points of {level} are numbered {numbers}", "each number once", "Correct the file")
        array = array[np.argsort(numbers)]
    return array[:, ::-1].copy() if rows_first else array


def _level(word: str) -> str | None:
    found = re.fullmatch(r"([ctls])0?(\d{1,2})", word.lower())
    level = f"{found[1].upper()}{int(found[2])}" if found else None
    return level if level in LEVELS else None


def _numbers(words: list[str]) -> list[float] | None:
    try:
        values = [float(word) for word in words if word]
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _bad_line(path: Path, number: int, line: str) -> InputError:
    return problem(path, f"line {number} is {line.strip()[:60]!r}", "a level and points x y", "Correct the file")
