"""One vertebra after the other, from the head down: which levels they are, and what the user should know about that.

Paper 002 (YOLO-UNet) gives no levels; its authors wish for them (Discussion). The rules here:

- The detector may have classes that are levels, such as C2. Each detection of such a class speaks, with its score, for
  the numbering that makes it right, less where that leaves vertebrae above the first there is; the numbering with most
  in favour is taken. What the user says overrules it.
- Without either nobody knows the levels, and the names say so.
- A distance of more than 1.6 times the local one is a missed vertebra, and one that is more than 1.6 times as high as
  its neighbours is two (fused, or taken for one). Both are counted, so that those beyond keep their levels, and both
  are reported. Where two or more were missed in one place, nothing is known beyond.
- A numbering that is right only from below means that the picture is upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS
from SpineSegLib.pipelines.levels import (
    TOP_IS_CRANIAL,
    numbered_if_room,
    order_cranial_to_caudal,
    probable_gaps,
    unlabelled,
)

NO_LEVEL = "Nothing tells the levels; name that of the uppermost vertebra with --top-level and the others follow."
UPSIDE_DOWN = "The picture seems to be upside down: the lowest vertebra was taken for the one nearest to the head."
UNBELIEVED = "The detector took {} for {}, which cannot be with {} above it; it was not believed."
ABOVE = "One box above {} was left out: nothing of this kind can be there."
DISAGREE = "The detector's levels contradict each other; {:.0%} of its votes were followed."
OVERRULED = "The detector took {} for {}; --top-level was followed."
GAP = "Between {} and {} one vertebra was probably missed: they lie too far apart. It was counted."
LOST = "Between {} and {} several vertebrae were probably missed; levels beyond are not known."
DOUBLE = "{} is much higher than its neighbours: probably two vertebrae, fused or taken for one. It was counted as two."
EXTRAS = 1
"""Boxes above the first vertebra there can be that are left out; with more, the level is not believed instead."""


@dataclass(frozen=True, eq=False)
class Link:
    """A vertebra on its picture.

    Parameters
    ----------
    points : (n, 2) x to the right and y down of its pixels, in mm or any unit that is the same in both
    score : of its detection, 0…1
    level : that the detector's class says; None where it says none
    """

    points: np.ndarray
    score: float = 1.0
    level: str | None = None


@dataclass(frozen=True, eq=False)
class Chain:
    """Vertebrae from the head down.

    Parameters
    ----------
    order : numbers of the links
    levels : one each, or None
    doubtful : places in `order` of those that are probably two
    notes : sentences for the user
    """

    order: list[int]
    levels: list[str | None]
    doubtful: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)


def chain_of(
    links: Sequence[Link],
    *,
    kind: str = "vertebra",
    top_level: str | None = None,
    in_patient: bool = False,
    gap: float = 1.6,
    tall: float = 1.6,
) -> Chain:
    """Order vertebrae and name their levels.

    Parameters
    ----------
    kind : what links show, ``"vertebra"`` or ``"body"``; C1 has no body
    top_level : what the user says of the uppermost one in the picture
    in_patient : whether the picture's top is known to be the head's side
    gap, tall : times the local spacing, times the neighbours' height

    Raises
    ------
    InputError : `top_level` is no level
    """
    if not links:
        return Chain([], [])
    order = _from_above(links)
    down = _Counted([links[n] for n in order], kind, gap, tall)
    up = _Counted([links[n] for n in reversed(order)], kind, gap, tall)
    upside_down = up.support > down.support and not (in_patient or top_level)
    counted = up if upside_down else down
    notes = [UPSIDE_DOWN] if upside_down else []
    levels, kept = counted.from_top(top_level, notes) if top_level else counted.from_votes(notes)
    if not any(levels) and not top_level:
        notes.append(NO_LEVEL)
    if not in_patient and not upside_down and (top_level or not any(levels)):
        notes.append(TOP_IS_CRANIAL)
    names = [level or name for level, name in zip(levels, unlabelled(len(levels)), strict=True)]
    notes += counted.jump_notes(kept, names)
    ordered = order[::-1] if upside_down else order
    doubtful = frozenset(kept.index(n) for n in counted.double if n in kept)
    return Chain([ordered[n] for n in kept], levels, doubtful, notes)


def _from_above(links: Sequence[Link]) -> list[int]:
    """Return the numbers of links from the picture's top down, along the fitted line."""
    centres = np.array([link.points.mean(axis=0) for link in links])
    as_if_upright = np.stack([centres[:, 0], np.zeros(len(centres)), -centres[:, 1]], axis=1)
    return [int(n) for n in order_cranial_to_caudal(as_if_upright)]


class _Counted:
    """Links in one direction, counted from the first, with those that were missed or taken for one."""

    def __init__(self, links: Sequence[Link], kind: str, gap: float, tall: float):
        self.links, self.kind = list(links), kind
        heights, centres = measured(links)
        # The first is not judged: C2 has its dens.
        self.double = [n for n in range(1, len(links)) if _tall(heights, n, tall)]
        near, far = (_gaps(links, centres, self.double, factor) for factor in (gap, gap + 1))
        self.gaps, self.lost = [n for n in near if n not in far], [n for n in near if n in far]
        steps = [1 + (n in self.double) + (n in self.gaps) for n in range(len(links))]
        self.places = [sum(steps[:n]) for n in range(len(links))]
        self.parts = [sum(n < number for n in self.lost) for number in range(len(links))]
        self.votes: dict[tuple[int, int], float] = {}
        for link, place, part in zip(self.links, self.places, self.parts, strict=True):
            if link.level:
                key = part, self._spine(link.level).index(link.level) - place
                self.votes[key] = self.votes.get(key, 0.0) + link.score

    def _spine(self, level: str) -> list[str]:
        """Return every level there can be, among them T13 or L6 when it is the known one."""
        there = [name for name in LEVELS if name not in OPTIONAL_LEVELS or name == level]
        return there[1:] if self.kind == "body" and level != "C1" else there

    def _share(self, key: tuple[int, int]) -> float:
        """Return how many of a part's links a numbering has a level for."""
        part, base = key
        places = [place for place, own in zip(self.places, self.parts, strict=True) if own == part]
        return sum(place + base >= 0 for place in places) / len(places)

    @property
    def _best(self) -> tuple[int, int]:
        return max(self.votes, key=lambda key: self.votes[key] * self._share(key))

    @property
    def support(self) -> float:
        """How much speaks for this direction."""
        return self.votes[self._best] * self._share(self._best) if self.votes else 0.0

    def from_top(self, top_level: str, notes: list[str]) -> tuple[list[str | None], list[int]]:
        """Return the levels when the user names the first one's, and which links are kept: all."""
        reach = 1 + max(place for place, part in zip(self.places, self.parts, strict=True) if not part)
        names, open_notes = numbered_if_room(reach, top_level)
        notes += open_notes
        levels = [None if part else names[place] for place, part in zip(self.places, self.parts, strict=True)]
        for link, level in zip(self.links, levels, strict=True):
            if link.level and level and link.level != level:
                notes.append(OVERRULED.format(level, link.level))
        return levels, list(range(len(self.links)))

    def from_votes(self, notes: list[str]) -> tuple[list[str | None], list[int]]:
        """Return the levels as most of the detector's classes have them, and which links are kept."""
        kept = list(range(len(self.links)))
        if not self.votes:
            return [None] * len(kept), kept
        part, base = self._best
        if len(self.votes) > 1:
            notes.append(DISAGREE.format(self.votes[part, base] / sum(self.votes.values())))
        at = next(n for n in kept if self._agrees(n, part, base))
        level = str(self.links[at].level)
        spine = self._spine(level)
        extra = [n for n in kept if self.parts[n] == part and self.places[n] + base < 0]
        if len(extra) > EXTRAS:
            notes.append(UNBELIEVED.format(f"number {at + 1} from the top", level, len(extra)))
            return [None] * len(kept), kept
        if extra:
            notes.append(ABOVE.format(spine[0]))
        kept = [n for n in kept if n not in extra]
        numbers = {n: self.places[n] + base for n in kept if self.parts[n] == part}
        return [spine[numbers[n]] if numbers.get(n, len(spine)) < len(spine) else None for n in kept], kept

    def _agrees(self, number: int, part: int, base: int) -> bool:
        level = self.links[number].level
        if not level or self.parts[number] != part:
            return False
        return self._spine(level).index(level) - self.places[number] == base

    def jump_notes(self, kept: Sequence[int], names: Sequence[str]) -> list[str]:
        """Return a sentence for each vertebra that was missed or is two."""
        name = dict(zip(kept, names, strict=True))
        notes = [DOUBLE.format(name[n]) for n in self.double if n in name]
        for text, numbers in ((GAP, self.gaps), (LOST, self.lost)):
            notes += [text.format(name[n], name[n + 1]) for n in numbers if n in name and n + 1 in name]
        return notes


def measured(links: Sequence[Link]) -> tuple[np.ndarray, np.ndarray]:
    """Return heights (n,) along the spine and centres (n, 2) of vertebrae in order.

    The first one's centre is that of the part that is as high as the next two are: C2's dens is no part of the spacing.
    """
    centres = np.array([link.points.mean(axis=0) for link in links])
    if len(links) == 1:
        return np.ones(1), centres
    heights = np.array(
        [np.ptp(np.percentile(link.points @ _down(centres, n), [1, 99])) for n, link in enumerate(links)]
    )
    usual = np.median(heights[1:3])
    if heights[0] > 1.3 * usual:
        depth = links[0].points @ _down(centres, 0)
        centres[0] = links[0].points[depth >= np.percentile(depth, 99) - usual].mean(axis=0)
    return heights, centres


def _gaps(links: Sequence[Link], centres: np.ndarray, double: Sequence[int], factor: float) -> list[int]:
    """Return after which links one was probably missed, those that are two being measured as two."""
    owners, places = [], []
    for number, link in enumerate(links):
        halves = [centres[number]]
        if number in double:
            depth = link.points @ _down(centres, number)
            halves = [link.points[half].mean(axis=0) for half in (depth <= np.median(depth), depth > np.median(depth))]
        owners += [number] * len(halves)
        places += halves
    return [owners[n] for n in probable_gaps(np.array(places), factor) if owners[n] != owners[n + 1]]


def _down(centres: np.ndarray, number: int) -> np.ndarray:
    """Return the unit vector (2,) along the spine at a vertebra, away from the first."""
    away = centres[min(number + 1, len(centres) - 1)] - centres[max(number - 1, 0)]
    return away / max(float(np.linalg.norm(away)), 1e-9)


def _tall(heights: np.ndarray, number: int, tall: float) -> bool:
    """Tell whether a vertebra is much higher than up to two on either side, the first one of all left out."""
    beside = [heights[n] for n in range(max(1, number - 2), min(len(heights), number + 3)) if n != number]
    return len(beside) > 1 and heights[number] > tall * float(np.median(beside))
