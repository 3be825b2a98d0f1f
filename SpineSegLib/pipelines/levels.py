"""Levels of vertebrae that were found one by one: their order, their names, and where one was probably missed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, Structure
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Geometry, Segment, Segmentation

UNLABELLED_KINDS = {"vertebra": "vertebrae", "body": "bodies"}
"""Kind of a structure that shows one vertebra -> the kind it has while nobody knows its level."""

TOP_IS_CRANIAL = "The picture does not say where the head is: its top was taken for cranial."

LEFT_OPEN = "The levels were left open."

DOUBTFUL = "doubtful"
"""Stands behind the name of a vertebra that is not to be trusted."""

Names = Sequence[str | None]
"""A level a vertebra, from the head down; None where it is not known."""


def numbered(
    count: int,
    at: int = 0,
    level: str = "C2",
    *,
    extra: Collection[str] = (),
    missing: Collection[str] = (),
    where: object = "--top-level",
) -> list[str]:
    """Return the levels of `count` vertebrae from the head down, of which number `at` is `level`.

    Parameters
    ----------
    count : how many there are, none left out in between
    at : which one's level is known, counted from 0
    level : what that is. T13 and L6 are skipped in counting unless they are named, here or in `extra`
    extra : T13, L6, or both, where this person has them
    missing : levels that this person lacks, such as T12
    where : what an error calls the source of the known level

    Raises
    ------
    InputError : no such level, or there are more vertebrae above or below it than a spine has

    Examples
    --------
    >>> numbered(3, level="T12")
    ['T12', 'L1', 'L2']
    >>> numbered(3, at=1, level="T13")
    ['T12', 'T13', 'L1']
    """
    unknown = [name for name in (level, *extra, *missing) if name not in LEVELS]
    if unknown:
        raise problem(where, repr(unknown[0]), f"one of {', '.join(LEVELS)}", "Name a level")
    there = {name for name in LEVELS if name not in OPTIONAL_LEVELS} | {*extra} - {*missing} | {level}
    spine = [name for name in LEVELS if name in there and name not in {*missing} - {level}]
    first = spine.index(level) - at
    if first < 0 or first + count > len(spine):
        above, below = at, count - at - 1
        found = f"{level} with {above} vertebrae above it and {below} below"
        room = f"at most {spine.index(level)} above and {len(spine) - spine.index(level) - 1} below ({spine[-1]})"
        raise problem(where, found, room, "Name another level, or check what was found")
    return spine[first : first + count]


def numbered_if_room(count: int, top_level: str) -> tuple[list[str | None], list[str]]:
    """Return the levels of `count` vertebrae that were found, of which the user named the uppermost; and notes.

    Where a spine has not so many from there on, all levels stay open and a note says why: what was found is worth
    more than a refusal after the work is done.

    Raises
    ------
    InputError : no such level
    """
    numbered(1, level=top_level)
    try:
        return list(numbered(count, level=top_level)), []
    except InputError as error:
        return [None] * count, [f"{error} {LEFT_OPEN}"]


def unlabelled(count: int) -> list[str]:
    """Return names of vertebrae whose level nobody knows: ``unlabelled, 1st from the top`` and so on."""
    return [f"unlabelled, {_ordinal(number)} from the top" for number in range(1, count + 1)]


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def head_direction(geometry: Geometry) -> np.ndarray:
    """Return the unit vector (3,) of the world that points to the head.

    That is z in RAS. A radiograph or a plain picture has no place in the patient: its slice lies across the world's z,
    and a spine that is seen lengthwise in it proves that this z is not the patient's. There the top of the picture is
    taken for cranial (see `TOP_IS_CRANIAL`).
    """
    if is_without_patient(geometry):
        up = -geometry.ijk_to_ras[:3, 1]
        return up / np.linalg.norm(up)
    return np.array([0.0, 0.0, 1.0])


def is_without_patient(geometry: Geometry, *, flat: float = 0.3) -> bool:
    """Tell whether a single picture has no place in the patient: neither of its axes rises by `flat` of its length."""
    axes = geometry.ijk_to_ras[:3, :2] / np.linalg.norm(geometry.ijk_to_ras[:3, :2], axis=0)
    return geometry.is_2d and bool((np.abs(axes[2]) < flat).all())


def order_cranial_to_caudal(centroids: np.ndarray, geometry: Geometry | None = None) -> np.ndarray:
    """Return the indices that sort centroids from the head down, along the line fitted to them (paper 001, §3.1).

    Parameters
    ----------
    centroids : (n, 3) in the world (RAS)
    geometry : of the image, for the direction of the head; z in RAS without it
    """
    points = np.asarray(centroids, dtype=float).reshape(-1, 3)
    head = np.array([0.0, 0.0, 1.0]) if geometry is None else head_direction(geometry)
    if len(points) < 2:
        return np.arange(len(points))
    line = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    line *= -1.0 if line @ head < 0 else 1.0
    return np.argsort(-(points @ line), kind="stable")


def probable_gaps(centroids: np.ndarray, factor: float = 1.6) -> list[int]:
    """Return after which vertebra, counted from 0, one was probably missed.

    Parameters
    ----------
    centroids : (n, 2) or (n, 3), in order along the spine, in any unit that is the same in all directions
    factor : a distance is too large when it exceeds this many times the local spacing, the median of up to two
        distances on either side. Spacing grows by less than a fifth from one vertebra to the next
    """
    apart = np.linalg.norm(np.diff(np.asarray(centroids, dtype=float), axis=0), axis=1)
    gaps = []
    for number, distance in enumerate(apart):
        around = np.delete(apart, number)[max(number - 2, 0) : number + 2]
        if len(around) and distance > factor * np.median(around):
            gaps.append(number)
    return gaps


def gap_notes(names: Sequence[str], gaps: Sequence[int]) -> list[str]:
    """Return a sentence for each of `probable_gaps`; the levels themselves are not shifted."""
    return [
        f"Between {names[number]} and {names[number + 1]} a vertebra was probably missed: "
        "they lie too far apart, and the levels beyond may be off by one."
        for number in gaps
    ]


def structures_at(levels: Names, kind: str = "vertebra") -> list[tuple[Structure, str, tuple[int, int, int]]]:
    """Return structure, name and colour of vertebrae, given from the head down.

    Parameters
    ----------
    levels : a level each, or None
    kind : ``"vertebra"`` or ``"body"``
    """
    listed = []
    for number, (level, unknown) in enumerate(zip(levels, unlabelled(len(levels)), strict=True)):
        if level is None:
            structure = Structure(UNLABELLED_KINDS[kind])
            # As many colours as levels, but paler, so that none looks like the level that it may not be.
            strong = Structure(kind, LEVELS[number % len(LEVELS)]).colour
            listed.append((structure, unknown, tuple((part + 255) // 2 for part in strong)))
        else:
            structure = Structure(kind, level)
            listed.append((structure, structure.name, structure.colour))
    return listed


def vertebrae_segmentation(
    masks: Sequence[np.ndarray],
    levels: Names,
    geometry: Geometry,
    *,
    kind: str = "vertebra",
    probabilities: Mapping[int, np.ndarray] | None = None,
    doubtful: Collection[int] = (),
) -> Segmentation:
    """Pack one mask a vertebra, given from the head down, into a segmentation with names, codes and colours.

    Parameters
    ----------
    masks : boolean k, j, i arrays; where two overlap they go to different layers
    levels : one each, or None where it is not known
    geometry : the masks' grid
    kind : what the masks show, ``"vertebra"`` or ``"body"``
    probabilities : k, j, i arrays by the number of the mask
    doubtful : numbers of masks whose names say that they are not to be trusted
    """
    described = structures_at(levels, kind)
    packed = Segmentation.from_masks(
        ((structure, mask) for (structure, _, _), mask in zip(described, masks, strict=True)), geometry
    )
    segments = [
        Segment(
            segment.structure,
            segment.layer,
            segment.label,
            f"{name} ({DOUBTFUL})" if number in doubtful else name,
            colour,
            (probabilities or {}).get(number),
        )
        for number, (segment, (_, name, colour)) in enumerate(zip(packed.segments, described, strict=True))
    ]
    return Segmentation(packed.layers, tuple(segments), geometry)
