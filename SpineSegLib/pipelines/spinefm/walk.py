"""The induction: from three vertebrae to the next, upwards and downwards at once (paper 001, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from SpineSegLib.models.crops import Crop
from SpineSegLib.models.spine_patches import in_picture, patch_around, patch_side
from SpineSegLib.pipelines.masks import large_parts
from SpineSegLib.pipelines.spinefm.candidates import iou
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.parts import Parts, centre_of
from SpineSegLib.progress import Progress


@dataclass(frozen=True, eq=False)
class Found:
    """A vertebra.

    Parameters
    ----------
    centroid : x and y in pixels of the picture
    mask : boolean, in the whole picture
    crop, probability : the patch that it was segmented in, and its probabilities there
    chances : probability of each of the classifier's classes
    """

    centroid: np.ndarray
    mask: np.ndarray
    crop: Crop
    probability: np.ndarray
    chances: dict[str, float]

    @property
    def kind(self) -> str:
        """The class with the highest probability."""
        return max(self.chances, key=self.chances.__getitem__)


@dataclass(frozen=True)
class End:
    """Why the chain ended on one side.

    Parameters
    ----------
    reason : ``"end"`` (C2 or S1 was kept), ``"overlap"``, ``"background"``, ``"nothing"`` (an empty mask), ``"border"``
        (the next centroid lies outside of the picture) or ``"most"``
    value : the IoU, or the probability of the class, where the reason is one
    what : ``"C2"`` or ``"S1"`` where the reason is ``"end"``
    """

    reason: str
    value: float | None = None
    what: str | None = None


ENDS = ("C2", "S1")


@dataclass(frozen=True, eq=False)
class Chain:
    """All vertebrae from the top of the picture down, and why there are no more at the top and at the bottom."""

    vertebrae: list[Found]
    top: End
    bottom: End


class Walker:
    """Walks along the spine of one picture.

    Parameters
    ----------
    picture : (rows, columns) in 0…1, its pixels square in the patient
    extent : rows and columns of it that the film fills; beyond there is only padding
    """

    def __init__(self, parts: Parts, picture: np.ndarray, extent: tuple[int, int], choices: Choices):
        self.parts, self.picture, self.extent, self.choices = parts, picture, extent, choices

    def at(self, points: Sequence[np.ndarray], steps: Sequence[float]) -> list[Found | None]:
        """Return what lies at points, with patches for steps of this length; None where the mask is empty.

        Each patch is encoded once. Its mask at the point gives a centroid, which is the prompt of the next mask, as
        often as `refinements` says; the classifier sees the patch around the last centroid.
        """
        network, how = self.parts.network, self.choices
        shape = self.picture.shape
        crops = [
            patch_around(shape, point, patch_side(how.segmenter_patch, step), network.segmenter.size)
            for point, step in zip(points, steps, strict=True)
        ]
        embedding = self.parts.encode([crop.cut(self.picture) for crop in crops])
        centres = list(points)
        for _ in range(how.refinements + 1):
            chances = self.parts.decode(embedding, crops, centres)
            masks = [large_parts(chance > how.inside, 1.0) for chance in chances]
            centres = [
                np.array(in_picture(crop, centre_of(mask))) if mask.any() else centre
                for crop, mask, centre in zip(crops, masks, centres, strict=True)
            ]
        kinds = self.classified(centres, steps)
        found = []
        for crop, chance, centre, kind in zip(crops, chances, centres, kinds, strict=True):
            whole = np.zeros(shape, bool)
            whole[crop.inside] = large_parts(crop.undo(chance) > how.inside, 1.0)
            found.append(Found(centre, whole, crop, chance, kind) if whole.any() else None)
        return found

    def classified(
        self, points: Sequence[np.ndarray], steps: Sequence[float], *, turned: bool = False
    ) -> list[dict[str, float]]:
        """Return the classifier's probabilities for patches around points, turned by half a turn if that is asked."""
        size = self.parts.network.classifier.size
        crops = [
            patch_around(self.picture.shape, point, patch_side(self.choices.classifier_patch, step), size)
            for point, step in zip(points, steps, strict=True)
        ]
        patches = [crop.cut(self.picture) for crop in crops]
        return self.parts.classify([patch[::-1, ::-1] for patch in patches] if turned else patches)

    def walk(self, start: Sequence[Found], report: Progress) -> Chain:
        """Return the whole chain, both directions going on at once so that their patches share a pass.

        The paper classifies what the induction finds; here the first three are classified too, so that an end of the
        spine among them ends the chain: what was detected above a C2 or below an S1 is left out.

        Parameters
        ----------
        start : three vertebrae from the top of the picture down
        report : told about every vertebra
        """
        up, down = _Side(start[::-1]), _Side(start)
        first = up.begin("C2", among=(2, 1), against=("S1", 2))
        last = down.begin("S1", among=(2, 1), against=("C2", 2))
        kept = start[2 - first : last + 1]
        while active := [side for side in (up, down) if side.end is None]:
            total = len(kept) + len(up.new) + len(down.new)
            report(total, max(self.choices.most, total + 1), f"{total} vertebrae found")
            self._step(active)
        return Chain([*up.new[::-1], *kept, *down.new], up.end, down.end)

    def _step(self, active: list[_Side]) -> None:
        """Take each side one vertebra further, or find why there is none."""
        for side in active:
            if len(side.new) >= self.choices.most:
                side.end = End("most")
        active = [side for side in active if side.end is None]
        if not active:
            return
        points = self.parts.predict_next([side.newest() for side in active])
        inside = []
        for side, point in zip(active, points, strict=True):
            if self._in_film(point):
                inside.append((side, point))
            else:
                side.end = End("border")
        if not inside:
            return
        steps = [side.step() for side, _ in inside]
        for (side, _), found in zip(inside, self.at([point for _, point in inside], steps), strict=True):
            side.judge(found, self.choices.overlap)

    def _in_film(self, point: np.ndarray) -> bool:
        rows, columns = self.extent
        return bool(np.isfinite(point).all() and 0 <= point[0] <= columns - 1 and 0 <= point[1] <= rows - 1)


class _Side:
    """One direction: its vertebrae in the order of the walk, the newest last, and its end once it has one."""

    def __init__(self, start: Sequence[Found]):
        self.chain = list(start)
        self.end: End | None = None

    @property
    def new(self) -> list[Found]:
        return self.chain[3:]

    def newest(self) -> np.ndarray:
        return np.stack([one.centroid for one in self.chain[-3:]])

    def step(self) -> float:
        return mean_step(self.newest())

    def begin(self, end: str, *, among: Sequence[int], against: tuple[str, int]) -> int:
        """End the walk before it begins where the first three hold an end of the spine; return which is the last kept.

        Parameters
        ----------
        end : the class that this direction leads to, which counts at the places `among`
        against : the other end's class, which counts at this place alone: the picture may be upside down
        """
        for place in among:
            if self.chain[place].kind == end:
                self.end = End("end", self.chain[place].chances[end], end)
                return place
        kind, place = against
        if self.chain[place].kind == kind:
            self.end = End("end", self.chain[place].chances[kind], kind)
        return 2

    def judge(self, found: Found | None, overlap: float) -> None:
        """Keep a new vertebra or end the walk, in the paper's order: overlap first, then the class."""
        if found is None:
            self.end = End("nothing")
            return
        # The paper asks for the previous mask alone; a chain that turns back may meet an older one.
        shared = max(iou(found.mask, other.mask) for other in self.chain)
        if shared > overlap:
            self.end = End("overlap", shared)
        elif found.kind == "background":
            self.end = End("background", found.chances["background"])
        else:
            self.chain.append(found)
            if found.kind in ENDS:
                self.end = End("end", found.chances[found.kind], found.kind)


def mean_step(centroids: Sequence[np.ndarray]) -> float:
    """Return the mean distance of successive centroids."""
    return float(np.mean([np.linalg.norm(b - a) for a, b in pairwise(centroids)]))
