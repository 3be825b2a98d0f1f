"""The vertebrae of a segmentation in order, whatever their segments are: whole, in parts, with or without a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, neighbours
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.pipelines.levels import (
    DOUBTFUL,
    UNLABELLED_KINDS,
    gap_notes,
    head_direction,
    numbered,
    order_cranial_to_caudal,
    probable_gaps,
    unlabelled,
)

OPEN_KINDS = {**UNLABELLED_KINDS, "spinous process": "spinous processes"}
"""Kind of what belongs to one vertebra -> the kind it has while nobody knows its level."""

_KNOWN_KINDS = {unknown: known for known, unknown in OPEN_KINDS.items()}
_UNLABELLED = unlabelled(1)[0].partition(",")[0]
NEW = f"{_UNLABELLED}, new"
"""Name of a new segment without a level, until it is counted; parts of one vertebra share their name."""


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra of a segmentation.

    Parameters
    ----------
    level : such as ``"C5"``, or None where it is not known
    name : the level, or what its segment is called
    members : numbers of its segments: a body and a spinous process, say
    centre : (3,) in the world: of the whole vertebra or its body where there is one, else of all members together
    """

    level: str | None
    name: str
    members: tuple[int, ...]
    centre: np.ndarray


def is_unlabelled(segment: Segment) -> bool:
    """Tell whether a segment shows one vertebra, or a part of one, whose level nobody knows."""
    return segment.structure.kind in _KNOWN_KINDS and segment.name.startswith(_UNLABELLED)


def kind_of(segment: Segment) -> str:
    """Return the kind that a segment of a vertebra has, or will have once its level is known."""
    return _KNOWN_KINDS.get(segment.structure.kind, segment.structure.kind)


def vertebrae_of(segmentation: Segmentation) -> list[Vertebra]:
    """Return the vertebrae of a segmentation from the head down; segments without voxels count for nothing."""
    sizes, centres = _places(segmentation)
    groups: list[list[int]] = []
    for number, segment in enumerate(segmentation.segments):
        structure = segment.structure
        if not sizes[number]:
            continue
        if is_unlabelled(segment) or (structure.level and structure.kind != "disc"):
            group = next((one for one in groups if _belongs(segmentation, number, one)), None)
            if group is None:
                groups.append([number])
            else:
                group.append(number)
    found = [_vertebra(segmentation, group, sizes, centres) for group in groups]
    order = order_cranial_to_caudal(np.array([one.centre for one in found]), segmentation.geometry)
    return [found[number] for number in order]


def _belongs(segmentation: Segmentation, number: int, group: Sequence[int]) -> bool:
    """Tell whether a segment is another part of the vertebra that a group is; a second C5 body is another vertebra."""
    segment, others = segmentation.segments[number], [segmentation.segments[n] for n in group]
    if others[0].structure.level != segment.structure.level or kind_of(segment) in map(kind_of, others):
        return False
    return segment.structure.level is not None or segment.name == others[0].name


def _vertebra(segmentation: Segmentation, group: list[int], sizes: np.ndarray, centres: np.ndarray) -> Vertebra:
    main = [n for n in group if kind_of(segmentation.segments[n]) in ("vertebra", "body")] or group
    middle = np.average(centres[main], axis=0, weights=sizes[main])
    first = segmentation.segments[group[0]]
    level = None if is_unlabelled(first) else first.structure.level
    return Vertebra(level, level or first.name, tuple(group), segmentation.geometry.to_world(middle))


def _places(segmentation: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of voxels of each segment, and its mean k, j, i."""
    sizes, centres = np.zeros(len(segmentation.segments)), np.zeros((len(segmentation.segments), 3))
    for layer_number, layer in enumerate(segmentation.layers):
        voxels = np.nonzero(layer)
        labels = layer[voxels].astype(np.intp)
        counts = np.bincount(labels, minlength=1)
        sums = np.stack([np.bincount(labels, weights=axis, minlength=1) for axis in voxels], axis=1)
        for number, segment in enumerate(segmentation.segments):
            if segment.layer == layer_number and segment.label < len(counts) and counts[segment.label]:
                sizes[number] = counts[segment.label]
                centres[number] = sums[segment.label] / counts[segment.label]
    return sizes, centres


def find(vertebrae: Sequence[Vertebra], which: str, *, where: object = "vertebra") -> int:
    """Return the number, from 0 at the top, of the vertebra that is meant.

    Parameters
    ----------
    which : its level or name, or ``#3`` for the third from the top

    Raises
    ------
    InputError : there is none, or more than one
    """
    text = which.strip()
    if text.startswith("#") and text[1:].isdigit():
        found = [int(text[1:]) - 1] if 0 < int(text[1:]) <= len(vertebrae) else []
    else:
        wanted = text.lower()
        found = [n for n, one in enumerate(vertebrae) if wanted in (one.name.lower(), (one.level or "").lower())]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"#{n} {one.name}" for n, one in enumerate(vertebrae, start=1)) or "none at all"
    what = f"{len(found)} vertebrae are {which!r}" if found else f"there is no vertebra {which!r}"
    raise problem(where, what, f"one of these: {listed}", "Name one by its level, or by # and its number")


def marked(segment: Segment, what: str, **changes: object) -> Segment:
    """Return a segment that says what a person did to it; what was accepted before is to be accepted again."""
    edited = f"{segment.edited}; {what}" if segment.edited else what
    return replace(segment, edited=edited, accepted=False, **changes)


def renumbered(segmentation: Segmentation) -> Segmentation:
    """Return it with the names of vertebrae without a level counted anew from the top."""
    vertebrae, segments = vertebrae_of(segmentation), list(segmentation.segments)
    for vertebra, name in zip(vertebrae, unlabelled(len(vertebrae)), strict=True):
        for number in vertebra.members:
            if is_unlabelled(segments[number]):
                doubt = f" ({DOUBTFUL})" if segments[number].name.endswith(f"({DOUBTFUL})") else ""
                segments[number] = replace(segments[number], name=f"{name}{doubt}")
    return replace(segmentation, segments=tuple(segments))


def axis_at(vertebrae: Sequence[Vertebra], number: int, segmentation: Segmentation) -> np.ndarray:
    """Return the unit vector (3,) along the spine, towards the head, at a vertebra: that between its neighbours."""
    above, below = vertebrae[max(number - 1, 0)], vertebrae[min(number + 1, len(vertebrae) - 1)]
    along = above.centre - below.centre
    length = np.linalg.norm(along)
    return along / length if length > 0 else head_direction(segmentation.geometry)


def level_between(upper: str | None, lower: str | None, share: float = 0.5) -> str | None:
    """Return the level of a vertebra between two others, or None when none is free there.

    Parameters
    ----------
    upper, lower : levels of the neighbours; None at an end of the chain
    share : where it lies between them, from 0 to 1, which tells levels apart when several are free

    Examples
    --------
    >>> level_between("C4", "C6")
    'C5'
    >>> level_between("T12", None)
    'L1'
    """
    if upper is None and lower is None:
        return None
    try:
        if lower is None:
            return numbered(2, 0, upper)[1]
        if upper is None:
            return numbered(2, 1, lower)[0]
    except InputError:
        return None
    between = LEVELS[LEVELS.index(upper) + 1 : LEVELS.index(lower)] if upper in LEVELS and lower in LEVELS else ()
    free = [level for level in between if level not in OPTIONAL_LEVELS]
    return free[min(max(round(share * (len(free) + 1)), 1), len(free)) - 1] if free else None


def level_notes(segmentation: Segmentation) -> list[str]:
    """Return a sentence for each place where levels and distances of vertebrae do not go together."""
    vertebrae = vertebrae_of(segmentation)
    names, levels = [one.name for one in vertebrae], [one.level for one in vertebrae]
    gaps = probable_gaps([one.centre for one in vertebrae]) if len(vertebrae) > 1 else []
    skipped = [number for number in range(len(levels) - 1) if is_skip(levels[number], levels[number + 1])]
    notes = gap_notes(names, [number for number in gaps if number not in skipped])
    for number, (upper, lower) in enumerate(pairwise(levels)):
        if upper and lower and LEVELS.index(lower) <= LEVELS.index(upper):
            notes.append(f"{lower} lies below {upper}: name one of them, and the rest follow.")
        elif number in skipped and number not in gaps:
            notes.append(
                f"Between {upper} and {lower} a level is left out, though they lie as close as others: "
                "name one of them, and the rest follow."
            )
    notes += [
        f"No level fits {name}: name it, and the rest follow."
        for name, level in zip(names, levels, strict=True)
        if level is None and any(levels)
    ]
    return notes


def is_skip(upper: str | None, lower: str | None) -> bool:
    """Tell whether levels are left out between two that are in order."""
    if upper is None or lower is None:
        return False
    return LEVELS.index(upper) < LEVELS.index(lower) and not neighbours(upper, lower)
