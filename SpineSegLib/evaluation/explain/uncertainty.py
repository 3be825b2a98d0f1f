"""How unsure a model is: entropy of its probability, and disagreement with itself about turned images.

Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical image segmentation with
convolutional neural networks, Neurocomputing 338, 2019, doi 10.1016/j.neucom.2019.01.103.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.explain.turning import TURNS, Turn
from SpineSegLib.evaluation.metrics import overlap
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.pipelines import Result, segment
from SpineSegLib.progress import Progress, part, silent

CONFIDENCE = (
    "mean probability within the mask, times the mean Dice between the mask and those found in the mirrored, rotated "
    "and scaled images"
)

KNOWN = ("in-parts", "slicewise", "whole-image", "yolo-seg", "yolo-unet")
"""Pipelines whose segments carry the probabilities of a single pass."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What a model found and how sure it is.

    Parameters
    ----------
    result : of the image as it is, in the seconds of all runs; its segments carry probabilities and confidences
    entropy : float32 k, j, i, bits, 0…1: the largest of the structures' binary entropies
    disagreement : float32 k, j, i, 0…0.5: standard deviation of the probability over the image as it is and the turned
        ones that show the place; the largest of the structures'
    confidence : by the structure's name; see `CONFIDENCE`; None for what was not found
    """

    result: Result
    entropy: np.ndarray
    disagreement: np.ndarray
    confidence: Mapping[str, float | None]


def entropy(probability: np.ndarray) -> np.ndarray:
    """Return the binary entropy -p log2 p - (1 - p) log2 (1 - p) in bits, 0 where p is 0 or 1."""
    from scipy.special import entr

    probability = np.asarray(probability, np.float32)
    return (entr(probability) + entr(1 - probability)) / np.float32(np.log(2))


def uncertainty(
    image: Image,
    card: Card,
    *,
    where: object = "image",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    turns: Sequence[Turn] = TURNS,
    report: Progress = silent,
) -> Uncertainty:
    """Segment an image as it is and turned, and measure how far the results agree.

    Parameters
    ----------
    turns : what is done to the image; each costs as much as segmenting it once
    where, weights, device, precision : as of `segment`

    Raises
    ------
    InputError : as `segment`, and for a model that is shown points, whose own choice is no doubt of the model's
    """
    if card.pipeline["name"] == "prompted":
        found = f"{card.name} is shown what to segment"
        raise problem("--model", found, "a model that finds by itself", "Choose another model")
    if card.pipeline["name"] not in KNOWN:
        found = f"{card.name} finds one vertebra after the other, and turned images may have others"
        raise problem("--model", found, "a model that has the same structures in each image", "Choose another model")
    start = time.perf_counter()
    how = {"weights": weights, "device": device, "precision": precision, "keep_probability": True}
    steps, total = 100, 100 * (1 + len(turns))
    result = segment(image, card, where=where, report=_spread(report, 0, steps, total), **how)
    first = result.segmentation
    tallies = [_Tally(first, number) for number in range(len(first.segments))]
    for number, turn in enumerate(turns, start=1):
        progress = _spread(report, number * steps, steps, total)
        turned = segment(turn.apply(image), card, where=f"{where} {turn.name}", report=progress, **how).segmentation
        for tally in tallies:
            tally.add(turned, turn, image.geometry)
    segments = tuple(
        replace(each, confidence=tally.confidence()) for each, tally in zip(first.segments, tallies, strict=True)
    )
    return Uncertainty(
        result=replace(result, segmentation=replace(first, segments=segments), seconds=time.perf_counter() - start),
        entropy=_largest([entropy(each.probability) for each in segments], image.geometry),
        disagreement=_largest([tally.deviation() for tally in tallies], image.geometry),
        confidence={each.name: each.confidence for each in segments},
    )


def _largest(maps: Sequence[np.ndarray], geometry: Geometry) -> np.ndarray:
    """Return the largest value of several maps at each place; 0 everywhere where there is none."""
    return np.maximum.reduce(maps) if maps else np.zeros(geometry.shape, np.float32)


def _spread(report: Progress, start: int, steps: int, total: int) -> Progress:
    """Return a progress for one of several equal parts, whatever steps it counts itself."""
    within = part(report, start, total)
    return lambda step, of, what: within(min(steps, steps * step // max(of, 1)), total, what)


class _Tally:
    """What the runs say about one segment, in memory of a few arrays however many runs there are."""

    def __init__(self, first: Segmentation, number: int):
        segment = first.segments[number]
        self._name, self._probability, self._mask = segment.name, segment.probability, first.mask(segment)
        # Differences from the first run: where all agree the deviation is exactly 0.
        self._sum, self._squares = np.zeros_like(self._probability), np.zeros_like(self._probability)
        self._count = np.ones(self._probability.shape, np.uint8)
        self._dice: list[float] = []

    def add(self, turned: Segmentation, turn: Turn, geometry: Geometry) -> None:
        # By name, which tells vertebrae of unknown level apart; one that a run lacks has probability 0 there.
        segment = next((each for each in turned.segments if each.name == self._name), None)
        empty = np.zeros(turned.geometry.shape, np.float32)
        change = turn.undo(empty if segment is None else segment.probability, geometry) - self._probability
        seen = ~np.isnan(change)
        change[~seen] = 0
        self._sum += change
        self._squares += change**2
        self._count += seen
        mask = turn.undo(empty > 0 if segment is None else turned.mask(segment), geometry, order=0)
        self._dice.append(overlap(self._mask & ~np.isnan(mask), mask == 1).dice)

    def deviation(self) -> np.ndarray:
        mean = self._sum / self._count
        return np.sqrt(np.maximum(self._squares / self._count - mean**2, 0))

    def confidence(self) -> float | None:
        if not self._mask.any():
            return None
        agreement = float(np.mean(self._dice)) if self._dice else 1.0
        return float(min(1.0, self._probability[self._mask].mean(dtype=np.float64) * agreement))
