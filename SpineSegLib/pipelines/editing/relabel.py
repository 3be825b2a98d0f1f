"""This one is C5, and the rest follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, Structure, has_disc_between
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.pipelines.editing.chain import Vertebra, find, is_skip, is_unlabelled, kind_of, marked, vertebrae_of
from SpineSegLib.pipelines.levels import DOUBTFUL, numbered, probable_gaps


def relabel(
    segmentation: Segmentation,
    which: str,
    level: str,
    *,
    extra: Collection[str] | None = None,
    missing: Collection[str] = (),
) -> Segmentation:
    """Name one vertebra; all others follow from it, up and down. No voxel changes.

    Vertebrae are counted on one by one. A level that the old names leave out stays left out where the distance too says
    that one was missed. Parts (bodies, processes) and discs go along. Names, codes and colours become the level's own;
    a segment that keeps its level keeps them as they are, but is doubtful no longer.

    Parameters
    ----------
    segmentation : with vertebrae, named or not
    which : see `chain.find`
    level : what it is
    extra : T13, L6, or both, where this person has them; unless given, those that other vertebrae are named already
    missing : levels that this person lacks, such as T12

    Raises
    ------
    InputError : no such vertebra or level, or there are more vertebrae above or below than a spine has
    """
    vertebrae = vertebrae_of(segmentation)
    at = find(vertebrae, which, where="--relabel")
    if extra is None:
        extra = {one.level for n, one in enumerate(vertebrae) if n != at and one.level in OPTIONAL_LEVELS}
    steps = _steps(vertebrae)
    before = [sum(steps[:number]) for number in range(len(vertebrae))]
    where = f"--relabel {vertebrae[at].name}"
    spine = numbered(before[-1] + 1, before[at], level.upper(), extra=extra, missing=missing, where=where)
    levels = [spine[number] for number in before]
    segments: list[Segment | None] = list(segmentation.segments)
    for vertebra, new in zip(vertebrae, levels, strict=True):
        for number in vertebra.members:
            segments[number] = named(segments[number], Structure(kind_of(segments[number]), new))
    moved = {old.level: new for old, new in zip(vertebrae, levels, strict=True) if old.level}
    members = {number for vertebra in vertebrae for number in vertebra.members}
    taken = {segments[number].structure for number in members}
    for number, segment in enumerate(segmentation.segments):
        if segment.structure.kind == "disc":
            segments[number] = named(segment, _disc(segment, moved, segmentation))
        elif number not in members and segment.structure in taken:
            segments[number] = None  # without a voxel, and its name is another's now
    return replace(segmentation, segments=tuple(segment for segment in segments if segment is not None))


def named(segment: Segment, structure: Structure) -> Segment:
    """Return a segment that shows a structure, with that one's name, code and colour."""
    was = "unlabelled" if is_unlabelled(segment) else segment.structure.name
    if structure == segment.structure:
        plain = segment.name.removesuffix(f" ({DOUBTFUL})")
        return segment if plain == segment.name else marked(segment, "level confirmed", name=plain)
    changes = {"structure": structure, "name": structure.name, "colour": structure.colour}
    return marked(segment, f"named {structure.name}, was {was}", **changes)


def _steps(vertebrae: Sequence[Vertebra]) -> list[int]:
    """Return how many levels each vertebra lies below the one before it."""
    gaps = set(probable_gaps([one.centre for one in vertebrae])) if len(vertebrae) > 1 else set()
    steps = []
    for number, (upper, lower) in enumerate(pairwise(vertebrae)):
        step = 1
        if number in gaps and is_skip(upper.level, lower.level):
            between = LEVELS[LEVELS.index(upper.level) + 1 : LEVELS.index(lower.level)]
            step += sum(level not in OPTIONAL_LEVELS for level in between)
        steps.append(step)
    return steps


def _disc(segment: Segment, moved: dict[str, str], segmentation: Segmentation) -> Structure:
    """Return what a disc is once its vertebrae have moved; itself when neither of them is there."""
    upper, _, lower = segment.structure.level.partition("/")
    if upper not in moved and lower not in moved:
        return segment.structure
    try:
        new_upper = moved[upper] if upper in moved else numbered(2, 1, moved[lower])[0]
        new_lower = moved[lower] if lower in moved else numbered(2, 0, moved[upper])[1]
    except InputError:
        new_upper = new_lower = ""
    if not new_lower or not has_disc_between(new_upper, new_lower):
        found = f"the disc {segment.name} would lie between {new_upper or 'no level'} and {new_lower or 'no level'}"
        raise problem("--relabel", found, "a disc between neighbours", "Remove the disc first, or name another level")
    return Structure("disc", f"{new_upper}/{new_lower}")
