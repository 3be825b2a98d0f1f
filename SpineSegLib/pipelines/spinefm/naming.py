"""Levels from the ends of the spine that were seen (paper 001, section 3.3), and everything that the user should know.

The paper infers levels from the spine's ends and does not say what happens without one: here they are then left open.
It does not ask which way up the picture is either. Here C2 counts at the upper end alone and S1 at the lower end alone;
the other way round they are signs that the picture is upside down (see `pipeline`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from SpineSegLib.errors import InputError
from SpineSegLib.pipelines.levels import LEFT_OPEN, gap_notes, numbered, numbered_if_room, probable_gaps
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.walk import ENDS, Chain, End, Found

Levels = list[str | None]


def seen_end(chain: Chain) -> float:
    """Return the probability of the end of the spine that was seen where it belongs; 0 without one."""
    seen = [end.value or 0.0 for end, what in ((chain.top, "C2"), (chain.bottom, "S1")) if end.what == what]
    return max(seen, default=0.0)


def is_contrary(chain: Chain) -> bool:
    """Tell whether C2 was found at the lower end or S1 at the upper end."""
    return chain.top.what == "S1" or chain.bottom.what == "C2"


def levels_of(chain: Chain, *, top_level: str | None, trusted: bool) -> tuple[Levels, list[str]]:
    """Return a level for each vertebra, from the top down, or None where it is not known; and notes.

    Parameters
    ----------
    top_level : the uppermost one's, when the user knows it; it goes before the classifier's
    trusted : whether the ends that were seen are to be believed

    Raises
    ------
    InputError : `top_level` is no level
    """
    count = len(chain.vertebrae)
    from_top = chain.top.what == "C2" and trusted
    from_bottom = chain.bottom.what == "S1" and trusted
    notes = []
    if top_level is not None:
        levels, notes = numbered_if_room(count, top_level)
        if not notes:
            notes = _contradictions(levels, chain, "from the level that you named")
        return levels, notes
    try:
        if from_top:
            levels = numbered(count, 0, "C2", where="C2 at the top")
            return levels, _contradictions(levels, chain, "from C2 down")
        if from_bottom:
            return numbered(count, count - 1, "S1", where="S1 at the bottom"), notes
    except InputError as error:
        return [None] * count, [f"{error} {LEFT_OPEN}"]
    if trusted or not (chain.top.what or chain.bottom.what):
        notes.append(
            "Neither C2 nor S1 was recognised, so the levels were left open: name the uppermost vertebra, such as "
            "--top-level C3, and the rest follow."
        )
    return [None] * count, notes


def _contradictions(levels: Sequence[str], chain: Chain, how: str) -> list[str]:
    """Return a sentence for each end of the spine that was seen under another level than it got."""
    notes = []
    for level, end, place in ((levels[0], chain.top, "uppermost"), (levels[-1], chain.bottom, "lowest")):
        if end.what is not None and end.what != level:
            notes.append(
                f"Counted {how} the {place} vertebra is {level}, but it was taken for {end.what}: check the levels. "
                "One may have been missed or taken twice, and some people have a T13 or an L6."
            )
    return notes


def end_notes(chain: Chain, names: Sequence[str], choices: Choices) -> list[str]:
    """Return why the chain ended above and below, a sentence each."""
    return [
        f"Nothing above {names[0]}: {_why(chain.top, choices)}.",
        f"Nothing below {names[-1]}: {_why(chain.bottom, choices)}.",
    ]


def _why(end: End, choices: Choices) -> str:
    return {
        "end": f"it was recognised as {end.what}, where the spine ends ({_share(end.value)})",
        "overlap": f"the next mask overlapped one found before (IoU {_share(end.value)}, above {choices.overlap:g})",
        "background": f"what came next was taken for background ({_share(end.value)})",
        "nothing": "the segmenter found nothing at the next place",
        "border": "the next one would lie outside of the picture",
        "most": f"as many were found as one direction may have ({choices.most})",
    }[end.reason]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def doubts(chain: Chain, names: Sequence[str], choices: Choices, *, from_top: bool) -> tuple[list[str], set[int]]:
    """Return sentences about vertebrae that were probably missed or fused, and the numbers of those that it shifts.

    Parameters
    ----------
    from_top : whether levels were counted from the top, so that those below are in doubt; else those above
    """
    count = len(chain.vertebrae)
    # The dens puts C2's centroid half a step higher, which is no gap.
    first = int(chain.vertebrae[0].kind == "C2" or names[0].startswith("C2"))
    gaps = [number + first for number in probable_gaps([one.centroid for one in chain.vertebrae[first:]])]
    notes, doubtful = gap_notes(names, gaps), set()
    for number in gaps:
        doubtful |= set(range(number + 1, count) if from_top else range(number + 1))
    tall = {number: f"{ratio:.1f} times as high as its neighbours" for number, ratio in tall_ones(chain, choices)}
    tall |= {n: "cut off by its patch" for n, one in enumerate(chain.vertebrae) if n not in tall and is_cut_off(one)}
    for number in sorted(tall):
        doubtful |= set(range(number, count) if from_top else range(number + 1))
        notes.append(
            f"{names[number]} is {tall[number]}: probably two vertebrae in one mask, fused or not told apart, and the "
            "levels beyond may be off by one."
        )
    return notes, doubtful


def is_cut_off(one: Found) -> bool:
    """Tell whether a mask reaches an edge of its patch beyond which the picture goes on: it is too long for one."""
    inner, outer = one.crop.inside, one.crop.area
    seen = one.mask[inner]
    edges = [
        (seen[0], inner[0].start == outer[0].start > 0),
        (seen[-1], inner[0].stop == outer[0].stop < one.mask.shape[0]),
        (seen[:, 0], inner[1].start == outer[1].start > 0),
        (seen[:, -1], inner[1].stop == outer[1].stop < one.mask.shape[1]),
    ]
    return any(goes_on and bool(edge.any()) for edge, goes_on in edges)


def tall_ones(chain: Chain, choices: Choices) -> list[tuple[int, float]]:
    """Return number and ratio of masks whose length along the spine is too many times their neighbours' median.

    C2 with its dens has a limit of its own; S1 is not judged, and none is compared with either of them.
    """
    centroids = np.array([one.centroid for one in chain.vertebrae])
    along = np.gradient(centroids, axis=0) if len(centroids) > 1 else np.array([[0.0, 1.0]])
    heights = []
    for one, direction in zip(chain.vertebrae, along, strict=True):
        rows, columns = np.nonzero(one.mask)
        places = np.stack([columns, rows], axis=1) @ (direction / max(np.linalg.norm(direction), 1e-6))
        heights.append(float(np.ptp(places)) + 1)
    kinds = [one.kind for one in chain.vertebrae]
    found = []
    for number, kind in enumerate(kinds):
        above = [n for n in range(number) if kinds[n] not in ENDS][-2:]
        below = [n for n in range(number + 1, len(kinds)) if kinds[n] not in ENDS][:2]
        limit = {"C2": choices.tall_c2, "S1": np.inf}.get(kind, choices.tall)
        if above or below:
            ratio = heights[number] / float(np.median([heights[n] for n in (*above, *below)]))
            if ratio > limit:
                found.append((number, ratio))
    return found
