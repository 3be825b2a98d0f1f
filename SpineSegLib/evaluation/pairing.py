"""Which structures of two segmentations are compared with each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from SpineSegLib.anatomy import COLLECTIVES, LEVELS, Structure
from SpineSegLib.image import Segment, Segmentation

BySide = Mapping[Structure, list[Segment]]


def by_structure(segmentation: Segmentation, side: str, warnings: list[str]) -> dict[Structure, list[Segment]]:
    """Return the segments of each structure; several of one are said to be joined."""
    found: dict[Structure, list[Segment]] = {}
    for segment in segmentation.segments:
        found.setdefault(segment.structure, []).append(segment)
    for structure, segments in found.items():
        if len(segments) > 1:
            warnings.append(f"the {side} has {len(segments)} segments for {structure.name}; they were joined")
    return found


@dataclass(frozen=True)
class Pair:
    """Segments of both sides that are compared under one name.

    Parameters
    ----------
    ours, theirs : segments of the prediction and of the truth; none where a side lacks the structure
    union_of : the structures that were joined, where they were
    structure : None for a union of several
    """

    name: str
    ours: list[Segment]
    theirs: list[Segment]
    union_of: list[str] = field(default_factory=list)
    structure: Structure | None = None


def levels_of(pairs: Iterable[Pair]) -> list[Pair]:
    """Join the structures of each vertebral level (body, spinous process …); discs lie between levels."""
    levels: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.structure and pair.structure.level in LEVELS:
            levels.setdefault(pair.structure.level, []).append(pair)
    return [
        Pair(
            level,
            [segment for pair in of_level for segment in pair.ours],
            [segment for pair in of_level for segment in pair.theirs],
            [pair.name for pair in of_level] if len(of_level) > 1 else [],
        )
        for level, of_level in sorted(levels.items(), key=lambda item: LEVELS.index(item[0]))
    ]


def pairs_of(ours: BySide, theirs: BySide, warnings: list[str]) -> list[Pair]:
    """Match structures by level and kind, and where only one side has levels, unions of them with what they make up.

    A side without any segment lacks every structure of the other.
    """
    names = {*ours, *theirs}
    levelled = [not side or any(structure.level for structure in side) for side in (ours, theirs)]
    if all(levelled):
        return [Pair(s.name, ours.get(s, []), theirs.get(s, []), structure=s) for s in _in_order(names)]
    pairs = [Pair(s.name, ours[s], theirs[s], structure=s) for s in _in_order(names) if s in ours and s in theirs]
    rest = {s for s in names if not (s in ours and s in theirs)}
    detailed, binary = (ours, theirs) if levelled[0] else (theirs, ours)
    for whole in _in_order(s for s in rest if s in binary and s.kind in COLLECTIVES):
        members = _in_order(s for s in detailed if s.level and s.kind in COLLECTIVES[whole.kind])
        if members:
            joined = [segment for member in members for segment in detailed[member]]
            sides = (joined, binary[whole]) if levelled[0] else (binary[whole], joined)
            pairs.append(Pair(whole.name, *sides, [member.name for member in members]))
            rest -= {whole, *members}
    if rest:
        listed = ", ".join(s.name for s in _in_order(rest))
        warnings.append(f"without a counterpart on the other side, counted in the overall numbers alone: {listed}")
    return pairs


def vertebrae_of(segmentation: Segmentation) -> dict[str, list[Segment]]:
    """Return by kind (``"vertebra"``, ``"body"``) the segments that show one vertebra each.

    A vertebra whose level is not known is a segment of the kind's collective structure with a name of its own, such as
    'unlabelled, 2nd from the top'; without such a name it is all of them in one.
    """
    kinds = {"vertebra": "vertebra", "body": "body", "vertebrae": "vertebra", "bodies": "body"}
    found: dict[str, list[Segment]] = {}
    for segment in segmentation.segments:
        structure = segment.structure
        if structure.kind in kinds and (structure.level or segment.name != structure.name):
            found.setdefault(kinds[structure.kind], []).append(segment)
    return found


def vertebrae_pairs(prediction: Segmentation, truth: Segmentation) -> dict[str, tuple[list[Segment], list[Segment]]]:
    """Return by kind the vertebrae of both sides that are to be matched one to one.

    Whole vertebrae are matched with whole ones and bodies with bodies; where the two sides have no kind in common,
    whatever the prediction has with all that the truth has. A binary prediction, which has segments but none that
    shows one vertebra, is not matched.
    """
    ours, theirs = vertebrae_of(prediction), vertebrae_of(truth)
    if prediction.segments and not ours:
        return {}
    some = [kind for kind in theirs if kind in ours]
    if some:
        return {kind: (ours[kind], theirs[kind]) for kind in some}
    return {kind: ([one for each in ours.values() for one in each], theirs[kind]) for kind in theirs}


def _in_order(structures: Iterable[Structure]) -> list[Structure]:
    return sorted(structures, key=lambda structure: structure.order)
