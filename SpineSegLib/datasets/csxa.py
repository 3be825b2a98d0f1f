"""CSXA, the Cervical Spine X-ray Atlas: lateral films of the neck with the corners of C3 to C7.

Ran et al., Sci Data 11:625, 2024, doi:10.1038/s41597-024-03383-0 (scidb.cn, data set
8e3b3d5e60a348ba961e19d48b881c90). On disk a PNG and a JSON of one name (seven digits), in one folder or in two::

    0012345.png   0012345.json

The JSON is labelme's; the names of its 23 points are those in the authors' own program (github yran888/CSXA-dataset,
aux_info_cal.py): ``C2 centroid``, ``C2 bottom left``, ``C2 bottom right``, ``C3 top left`` … ``C7 bottom right``, left
and right as the picture shows them::

    {"shapes": [{"label": "C3 top left", "points": [[511.2, 640.8]], "shape_type": "point"}, …]}

A flat object is read too: ``{"C3 top left": [511.2, 640.8], …}``, with ``{"x": …, "y": …}`` as well. Names are matched
by a table that also knows upper, superior, anterior and the like; one that it does not know is an error. Some films
are stored with dark bone and are turned over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.films import bright_bone, spacing_of, with_spacing
from SpineSegLib.datasets.polygons import bodies, corners, left_to_right
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image

_UPPER = ("top", "upper", "superior", "sup")
_LOWER = ("bottom", "lower", "inferior", "inf")
_ENDS = ("left", "right", "anterior", "posterior", "ant", "post", "front", "back")
POINTS = {
    **{f"{plate} {end}": ("upper", end) for plate in _UPPER for end in _ENDS},
    **{f"{end} {plate}": ("upper", end) for plate in _UPPER for end in _ENDS},
    **{f"{plate} {end}": ("lower", end) for plate in _LOWER for end in _ENDS},
    **{f"{end} {plate}": ("lower", end) for plate in _LOWER for end in _ENDS},
    **{"centroid": None, "center": None, "centre": None},
}
"""Name of a point, without its level -> endplate and end; None for a point that is no corner."""
LEVELS = ("C2", "C3", "C4", "C5", "C6", "C7")
_LEVEL = re.compile(r"c\s?(\d)\s+(.+)")
_PIXEL_EQUIVALENT = ("pixel equivalent", "pixel spacing", "pixel size")
_LIMIT = 64 << 20


def cases(
    folder: str | Path,
    *,
    spacing: float | str | Mapping[str, float] | None = None,
    inverted: bool | str = "auto",
    skip_unlabelled: bool = False,
) -> list[Case]:
    """List the films, in order of name; each shows another patient.

    Masks are the vertebral bodies inside the corners of C3 to C7; C2's is not marked. Landmarks are the corners in the
    order of `SpineSegLib.datasets.polygons.CORNERS`; C2 has its lower endplate alone.

    Parameters
    ----------
    folder : where the set lies, with or without sub-folders
    spacing : mm a pixel (the set's pixel equivalent) where the JSON has none; `SpineSegLib.datasets.films.spacing_of`
    inverted : ``"auto"``, or whether all films have dark bone; `SpineSegLib.datasets.films.bright_bone`
    skip_unlabelled : leave out films without a JSON; they are an error otherwise

    Raises
    ------
    InputError : no such folder, no pair in it, a name twice or without its partner; on loading, a point with an unknown
        name, twice or missing, or points outside the film
    """
    folder = existing(folder)
    films, marks = _by_stem(folder, "*.png"), _by_stem(folder, "*.json")
    unmarked, alone = sorted(set(films) - set(marks)), sorted(set(marks) - set(films))
    if alone:
        raise problem(marks[alone[0]], "it has no film", f"{alone[0]}.png in the set", "Add it, or remove the JSON")
    if unmarked and not (skip_unlabelled and marks):
        expected = f"{unmarked[0]}.json in the set"
        raise problem(films[unmarked[0]], "it has no landmarks", expected, "Add it, or set skip_unlabelled")
    if not films:
        raise problem(folder, "no film", "CSXA's pairs of PNG and JSON", "Check --data")
    known = spacing_of(spacing, folder)
    return [
        Case(
            stem,
            stem,
            partial(_read, films[stem], path, known(stem), inverted),
            partial(read_points, path),
        )
        for stem, path in marks.items()
    ]


def _by_stem(folder: Path, pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(pattern)):
        if path.name.startswith("."):
            continue
        if path.stem in found:
            raise problem(path, f"{found[path.stem]} has the same name", "each name once", "Remove one of them")
        found[path.stem] = path
    return dict(sorted(found.items()))


def _read(film: Path, marks: Path, spacing: float | None, inverted: bool | str) -> tuple[Image, Segmentation]:
    image = read_image(film)
    content = _content(marks)
    size = content.get("imageWidth"), content.get("imageHeight")
    rows, columns = image.array.shape[1:]
    if None not in size and size != (columns, rows):
        found = f"points on a film of {size[0]} x {size[1]}"
        raise problem(marks, found, f"{columns} x {rows} as {film.name}", "Check that the two belong together")
    image = with_spacing(image, _pixel_equivalent(content) or spacing)
    labels = bodies(_landmarks(marks, content), image.geometry, marks)
    return bright_bone(image, labels, inverted), labels


def read_points(path: Path) -> dict[str, np.ndarray]:
    """Return level -> corners (4, 2), or (2, 2) for C2, from a JSON file.

    Raises
    ------
    InputError : the file is damaged, or a point has an unknown name, is there twice, or is missing
    """
    return _landmarks(path, _content(path))


def _content(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig")) if path.stat().st_size < _LIMIT else None
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a JSON file", "Check the path") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise problem(path, "it is no JSON object", "CSXA's landmarks", "Fetch the file again")
    return content


def _landmarks(path: Path, content: dict) -> dict[str, np.ndarray]:
    plates: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for name, value in _named_points(content):
        level, plate, end = _meaning(path, name)
        if plate is None:
            continue
        ends = plates.setdefault(level, {}).setdefault(plate, {})
        if end in ends:
            raise problem(path, f"the point {name!r} is there twice", "each point once", "Correct the file")
        ends[end] = _point(path, name, value)
    missing = [level for level in LEVELS[1:] if level not in plates]
    if missing:
        raise problem(path, f"no corner of {missing[0]}", "corners of C3 to C7, such as 'C3 top left'", "Complete it")
    found = {}
    for level in sorted(plates):
        wanted = ("lower",) if level == "C2" else ("upper", "lower")
        for plate in wanted:
            if len(plates[level].get(plate, {})) != 2:
                count = len(plates[level].get(plate, {}))
                raise problem(path, f"{level} has {count} {plate} corners", "two", "Correct the file")
        ends = [np.array(list(plates[level][plate].values())) for plate in wanted]
        found[level] = corners(*ends) if len(ends) == 2 else left_to_right(ends[0])
    return found


def _named_points(content: dict) -> Iterator[tuple[str, object]]:
    """Yield name and place of every point: all of labelme's shapes, or what is named after a level in a flat object."""
    if isinstance(content.get("shapes"), list):
        for shape in content["shapes"]:
            points = shape.get("points") if isinstance(shape, dict) else None
            single = points[0] if isinstance(points, list) and len(points) == 1 else points
            yield str(shape.get("label") if isinstance(shape, dict) else shape), single
        return
    for holder in ("keypoints", "key_points", "points", "landmarks"):
        if isinstance(content.get(holder), dict):
            content = content[holder]
            break
    for name, value in content.items():
        # Sex, age, curvature and parameters such as C2S stand beside the points in a flat object.
        if _LEVEL.fullmatch(_tidy(name)) and isinstance(value, (list, dict)):
            yield name, value


def _tidy(name: str) -> str:
    return " ".join(re.sub(r"[_\-./]+", " ", name.lower()).split())


def _meaning(path: Path, name: str) -> tuple[str, str | None, str | None]:
    found = _LEVEL.fullmatch(_tidy(name))
    if not found or f"C{found[1]}" not in LEVELS or found[2] not in POINTS:
        raise _unknown(path, name)
    place = POINTS[found[2]]
    return (f"C{found[1]}", *(place or (None, None)))


def _unknown(path: Path, name: str) -> InputError:
    return problem(path, f"an unknown point {name!r}", "C2 to C7 with top or bottom, left or right", "Rename it")


def _point(path: Path, name: str, value: object) -> np.ndarray:
    if isinstance(value, dict):
        value = [value.get("x"), value.get("y")]
    try:
        point = np.array(value, dtype=float)
    except (TypeError, ValueError):
        point = np.empty(0)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise problem(path, f"the point {name!r} is at {value!r}", "one pair x, y", "Correct the file")
    return point


def _pixel_equivalent(content: dict) -> float | None:
    for name, value in content.items():
        if _tidy(str(name)) in _PIXEL_EQUIVALENT and isinstance(value, (int, float)) and 0 < value < 10:
            return float(value)
    return None
