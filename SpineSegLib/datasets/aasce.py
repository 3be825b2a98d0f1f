"""AASCE (SpineWeb data set 16): frontal films of scoliosis with the corners of T1 to L5.

Wu et al., MICCAI 2017 (BoostNet), and the AASCE challenge of MICCAI 2019. On disk::

    boostnet_labeldata/data/{training,test}/NAME.jpg
    boostnet_labeldata/labels/{training,test}/filenames.csv     a name a line
                                              landmarks.csv     136 numbers: 68 x / width, then 68 y / height
                                              NAME.jpg.mat      MATLAB 5, variable p2: 68 x 2 pixels
                                              angles.csv        three Cobb angles (not read)

The 68 points are 17 vertebrae from above, each top left, top right, bottom left, bottom right. The set is known for
wrong labels (corrected: zenodo 4413665); a body whose outline crosses itself is an error.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.files import whose
from SpineSegLib.datasets.films import view_of
from SpineSegLib.datasets.polygons import bodies, corners
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image

LEVELS = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
_POINTS = 4 * len(LEVELS)
_PARTS = ("training", "test")


def cases(
    folder: str | Path,
    *,
    part: str | None = None,
    landmarks: str | None = None,
    patient: str | Mapping[str, str] | None = None,
) -> list[Case]:
    """List the films, in order of part and of the table; names are ``training-…`` and ``test-…``.

    Landmarks are the corners in the order of `SpineSegLib.datasets.polygons.CORNERS`, in pixels; there is no spacing.

    Parameters
    ----------
    folder : ``boostnet_labeldata``, or the folder that holds it
    part : ``training`` or ``test``; both unless given
    landmarks : ``mat`` or ``csv``; unless given, the .mat of a film where there is one, else the table
    patient : whom a film shows (`SpineSegLib.datasets.files.whose`); every film is a patient unless given

    Raises
    ------
    InputError : no such folder, an unknown layout, tables of different lengths, a film or .mat that is missing; on
        loading, damaged or impossible points
    """
    folder = existing(folder)
    root = folder / "boostnet_labeldata" if (folder / "boostnet_labeldata").is_dir() else folder
    if part not in (*_PARTS, None) or landmarks not in ("mat", "csv", None):
        raise problem("data", f"part {part!r}, landmarks {landmarks!r}", "training or test; mat or csv", "Correct it")
    parts = [name for name in _PARTS if part in (name, None) and (root / "labels" / name).is_dir()]
    if not parts:
        layout = "data and labels with training and test"
        raise problem(folder, "another layout", layout, "Name the folder boostnet_labeldata with --data")
    tell = whose(patient, folder)
    found = []
    for name in parts:
        for film, source in _films(root, name, landmarks):
            case = f"{name}-{film.stem}"
            load = partial(_read, film, source)
            found.append(Case(case, tell(case), load, partial(_landmarks, film, source)))
    return found


def _films(root: Path, part: str, wanted: str | None) -> list[tuple[Path, Path | tuple[Path, int]]]:
    """Return film and source of its points: a .mat file, or the table and the number of its row."""
    labels = root / "labels" / part
    names = [row[0].strip() for row in _rows(labels / "filenames.csv")]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise problem(labels / "filenames.csv", f"{min(doubled)!r} is there twice", "each film once", "Correct it")
    table = labels / "landmarks.csv"
    found = []
    for number, name in enumerate(names):
        film, mat = root / "data" / part / Path(name).name, labels / f"{Path(name).name}.mat"
        if not film.is_file():
            raise problem(film, "no such film", "every film of filenames.csv", "Complete the set")
        if wanted == "mat" and not mat.is_file():
            raise problem(mat, "no such file", "a .mat of every film", "Complete the set, or use csv")
        found.append((film, mat if wanted != "csv" and mat.is_file() else (table, number)))
    if any(isinstance(source, tuple) for _, source in found) and len(_rows(table)) != len(names):
        count = f"{len(_rows(table))} rows"
        raise problem(table, count, f"{len(names)} as filenames.csv has", "Complete the set")
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a table of the set", "Complete the set") from None
    except (UnicodeDecodeError, csv.Error):
        raise problem(path, "it is no table", "comma-separated values", "Fetch it again") from None


def _read(film: Path, source: Path | tuple[Path, int]) -> tuple[Image, Segmentation]:
    image = view_of(read_image(film), "AP")
    where = source[0] if isinstance(source, tuple) else source
    points = _points(source, image.array.shape[2], image.array.shape[1])
    return image, bodies(_by_level(points), image.geometry, where)


def _landmarks(film: Path, source: Path | tuple[Path, int]) -> dict[str, np.ndarray]:
    if not isinstance(source, tuple):
        return _by_level(_points(source, 1, 1))
    _, rows, columns = read_image(film).array.shape
    return _by_level(_points(source, columns, rows))


def _points(source: Path | tuple[Path, int], columns: int, rows: int) -> np.ndarray:
    """Return (68, 2) x, y in pixels."""
    if not isinstance(source, tuple):
        return _mat_points(source)
    table, number = source
    try:
        numbers = np.array([float(cell) for cell in _rows(table)[number] if cell.strip()])
    except (ValueError, IndexError):
        numbers = np.empty(0)
    if numbers.size != 2 * _POINTS or not np.isfinite(numbers).all():
        found = f"row {number + 1} has {numbers.size} numbers"
        raise problem(table, found, f"{2 * _POINTS}: 68 x, then 68 y", "Fetch it again")
    if numbers.min() < -0.5 or numbers.max() > 1.5:
        found = f"row {number + 1} goes from {numbers.min():g} to {numbers.max():g}"
        raise problem(table, found, "parts of width and height, 0 to 1", "Check which table this is")
    return numbers.reshape(2, _POINTS).T * [columns, rows]


def _mat_points(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    try:
        points = np.asarray(loadmat(path, variable_names=["p2"])["p2"], dtype=float)
    except KeyError:
        raise problem(path, "no variable p2", "68 x 2 landmarks in p2", "Check which set this is") from None
    except NotImplementedError:
        raise _bad_mat(path, "MATLAB 7.3") from None
    except Exception as error:  # SciPy raises nearly anything on a damaged file
        raise _bad_mat(path, "it is damaged") from error
    if points.shape != (_POINTS, 2) or not np.isfinite(points).all():
        raise problem(path, f"p2 has the shape {points.shape}", "68 points x, y", "Check which set this is")
    return points


def _bad_mat(path: Path, found: str) -> InputError:
    return problem(path, found, "a MATLAB file of version 5", "Fetch it again, or use landmarks: csv")


def _by_level(points: np.ndarray) -> dict[str, np.ndarray]:
    return {level: corners(points[4 * n : 4 * n + 2], points[4 * n + 2 : 4 * n + 4]) for n, level in enumerate(LEVELS)}
