"""The whole way of SpineFM, from a radiograph to one segment a vertebra.

Which way up a picture is decides what C2 is, so it is not taken for granted. A picture is looked at with the head where
its geometry says, which for a plain film is the top. It counts as upside down when the detector finds fewer than three
vertebrae in it; or when C2 is found at the lower end, or S1 at the upper end; or when the patch of the lowest vertebra,
turned by half a turn, looks like C2 (that of the uppermost like S1) with no lower a probability than the end of the
spine that was seen where it belongs. Then it is read once more, turned by half a turn: if that shows an end of the
spine where it belongs and the first reading did not, or if the first found nothing, the second counts. A sentence says
so. Where the readings contradict each other the levels are left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from SpineSegLib.anatomy import COLLECTIVES
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.pipelines.levels import TOP_IS_CRANIAL, is_without_patient, structures_at, vertebrae_segmentation
from SpineSegLib.pipelines.prompted import check_points
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.spinefm.candidates import in_order, iou, triples, without_doubles
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.finishing import finished
from SpineSegLib.pipelines.spinefm.naming import doubts, end_notes, is_contrary, levels_of, seen_end
from SpineSegLib.pipelines.spinefm.parts import Detection, Parts
from SpineSegLib.pipelines.spinefm.view import View, turns_to_the_head
from SpineSegLib.pipelines.spinefm.walk import Chain, Found, Walker, mean_step
from SpineSegLib.progress import Progress


def spinefm(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    points: Sequence[tuple[float, float]] = (),
    top_level: str | None = None,
    keep_probability: bool = False,
    **arguments: object,
) -> Segmentation:
    """Segment the vertebrae of a radiograph, one segment each, with their levels where an end of the spine is seen.

    Why it ended at the top and at the bottom, and what is doubtful, goes to the runner's notes.

    Parameters
    ----------
    run : its network is a `parts.Network`
    points : x and y in pixels of the image, each in a vertebra that the detector may have missed
    top_level : level of the uppermost vertebra found; the others follow
    keep_probability : whether segments carry their probabilities, 0 outside of the patch
    arguments : see `Choices`

    Raises
    ------
    InputError : a point outside of the image, or a level that cannot be
    """
    choices = Choices.of(arguments)
    if points:
        check_points(points, image)
    parts = Parts(run, int(card.input["channels"]))
    upright = turns_to_the_head(image.geometry)
    report(0, choices.most, "looking for vertebrae")
    first = read(View.of(image, card, upright), parts, choices, points, report)
    chosen, trusted = first, True
    if top_level is None and first.may_be_upside_down:
        second = read(View.of(image, card, upright + 2), parts, choices, points, report)
        chosen, trusted, note = decided(first, second)
        run.notes.extend(note)
    kind = next((COLLECTIVES[s.kind][0] for s in card.structures if s.kind in COLLECTIVES), "vertebra")
    if chosen.chain is None:
        run.notes.extend(chosen.notes)
        return vertebrae_segmentation([], [], image.geometry, kind=kind)
    return _described(chosen, image, run, choices, report, kind, top_level, trusted, keep_probability)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one look at the picture gave.

    Parameters
    ----------
    view : the picture as it was looked at
    chain : None when no three vertebrae were found to start from
    turned : highest probability of an end of the spine on the wrong side, the patch there being turned by half a turn
    notes : what the user should know
    """

    view: View
    chain: Chain | None
    turned: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> float:
        """Probability of the end of the spine that was seen where it belongs, 0 without one."""
        return 0.0 if self.chain is None else seen_end(self.chain)

    @property
    def may_be_upside_down(self) -> bool:
        """Whether another look is worth its time, see the module."""
        return self.chain is None or is_contrary(self.chain) or 0 < self.turned >= self.end


def read(
    view: View, parts: Parts, choices: Choices, points: Sequence[tuple[float, float]], report: Progress
) -> Reading:
    """Look for vertebrae in a view: candidates, start, chain, and the ends looked at upside down."""
    walker = Walker(parts, view.picture, view.extent, choices)
    given = [Detection(view.place(x, y), 1.0) for x, y in points]
    found = without_doubles([*given, *parts.detect(view.picture, choices.score)], choices.overlap)
    start, notes = _start(in_order(found), walker, choices, report)
    if start is None:
        return Reading(view, None, notes=tuple(notes))
    chain = walker.walk(start, report)
    return Reading(view, chain, _turned(chain, walker), tuple(notes))


def _start(
    candidates: Sequence[Detection], walker: Walker, choices: Choices, report: Progress
) -> tuple[list[Found] | None, list[str]]:
    """Return the three vertebrae to start from, from the top down, or None and what to tell the user."""
    if len(candidates) < 3:
        return None, [_too_few(len(candidates), choices)]
    best: tuple[int, list[Found]] | None = None
    for number, three in enumerate(triples(candidates, uneven=choices.uneven)[: choices.attempts]):
        report(number, choices.most, "segmenting the first three vertebrae")
        centres = [one.centroid for one in three]
        found = walker.at(centres, [mean_step(centres)] * 3)
        if any(one is None for one in found) or _overlapping(found, choices.overlap):
            continue
        refused = sum(one.kind == "background" for one in found)
        if best is None or refused < best[0]:
            best = refused, found
        if refused == 0:
            break
    if best is None or best[0] > 1:
        return None, [
            "No spine was found: what the detector took for vertebrae was taken for background afterwards. Nothing was "
            "segmented; if there is a spine, show three successive vertebrae with --point X,Y."
        ]
    refused, start = best
    doubt = "One of the three vertebrae that it started from was taken for background by the classifier: check it."
    return start, [doubt] if refused else []


def _overlapping(found: Sequence[Found], overlap: float) -> bool:
    return any(iou(a.mask, b.mask) > overlap for n, a in enumerate(found) for b in found[:n])


def _too_few(count: int, choices: Choices) -> str:
    if count == 0:
        return (
            f"No spine was found: the detector saw no vertebra with a score of {choices.score:g} or more. Nothing was "
            "segmented; if there is a spine, show three successive vertebrae with --point X,Y."
        )
    saw = "one vertebra" if count == 1 else f"{count} vertebrae"
    return (
        f"Too little to start from: the detector saw {saw} and three successive ones are needed. Nothing was "
        f"segmented; show {3 - count} more, or all three, with --point X,Y."
    )


def _turned(chain: Chain, walker: Walker) -> float:
    """Return how much the lower end looks like C2, or the upper end like S1, once it is turned by half a turn."""
    if len(chain.vertebrae) < 2:
        return 0.0
    ends = chain.vertebrae[-1], chain.vertebrae[0]
    near = chain.vertebrae[-3:], chain.vertebrae[:3]
    steps = [mean_step([one.centroid for one in some]) for some in near]
    found = walker.classified([one.centroid for one in ends], steps, turned=True)
    looks = [
        chances[what]
        for chances, what in zip(found, ("C2", "S1"), strict=True)
        if max(chances, key=chances.get) == what
    ]
    return max(looks, default=0.0)


def decided(first: Reading, second: Reading) -> tuple[Reading, bool, list[str]]:
    """Return which of two readings counts, whether its ends are to be believed, and what to tell the user.

    Parameters
    ----------
    first, second : as the picture is, and turned by half a turn
    """
    turned = "The picture seems to be upside down: it was read turned by half a turn. Check where the head is."
    if (
        second.chain is not None
        and not is_contrary(second.chain)
        and (first.chain is None or second.end > 0 == first.end)
    ):
        return second, True, [turned]
    if first.chain is None:
        return first, True, []
    if is_contrary(first.chain) and first.end == 0:
        wrong = "S1 was recognised at the upper end" if first.chain.top.what == "S1" else "C2 at the lower end"
        return first, False, [f"The picture may be upside down ({wrong}); turn it, or name the levels yourself."]
    if second.end > 0 or is_contrary(first.chain):
        doubt = "Ends of the spine were recognised with the head at the top and at the bottom"
        return first, False, [f"{doubt}: check where the head is, and name the levels yourself."]
    return first, True, []


def _described(
    reading: Reading,
    image: Image,
    run: Runner,
    choices: Choices,
    report: Progress,
    kind: str,
    top_level: str | None,
    trusted: bool,
    keep_probability: bool,
) -> Segmentation:
    """Return the segmentation of a reading, and add its notes to the runner's."""
    chain = reading.chain
    count = len(chain.vertebrae)
    levels, notes = levels_of(chain, top_level=top_level, trusted=trusted)
    from_top = top_level is not None or chain.top.what == "C2"
    names = [name for _, name, _ in structures_at(levels, kind)]
    step = mean_step([one.centroid for one in chain.vertebrae]) if count > 1 else 0.0
    masks, probabilities = [], {}
    for number, found in enumerate(chain.vertebrae):
        report(number, count, f"bringing {names[number]} to the image's size")
        mask, probability = finished(found, reading.view, step, choices)
        masks.append(mask)
        if keep_probability:
            probabilities[number] = probability
    report(count, count, "done")
    run.notes.extend([*reading.notes, *notes])
    if not any(end.what for end in (chain.top, chain.bottom)) and is_without_patient(image.geometry):
        run.notes.append(TOP_IS_CRANIAL)
    doubt, doubtful = doubts(chain, names, choices, from_top=from_top)
    if top_level is None and chain.bottom.what == "S1" != levels[-1]:
        # Counted from C2, the end does not come out as S1: one of the two is wrong, and nobody knows which.
        doubtful = set(range(count))
    if None in levels:
        doubtful = set()
    run.notes.extend([*doubt, *end_notes(chain, names, choices)])
    return vertebrae_segmentation(
        masks, levels, image.geometry, kind=kind, probabilities=probabilities, doubtful=doubtful
    )
