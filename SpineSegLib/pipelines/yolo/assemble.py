"""From what was found in each box to a segmentation: one segment a vertebra, from the head down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.pipelines.levels import UNLABELLED_KINDS, vertebrae_segmentation
from SpineSegLib.pipelines.masks import large_parts
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.yolo.chain import Link, chain_of
from SpineSegLib.pipelines.yolo.views import Views

NOTHING = "No vertebra was found: nothing has a score of {:g} or more."
EMPTY = "{} of the boxes held no vertebra and {} left out."
POINTS = 4000
"""Pixels of a vertebra that are enough to measure it."""

Piece = tuple[int, int, tuple[slice, slice], np.ndarray]
"""Number of the vertebra, of the picture, rows and columns, and probabilities there."""


def kind_of(card: Card) -> str:
    """Return what one vertebra of the card's is: ``"vertebra"`` or ``"body"``."""
    return {collective: kind for kind, collective in UNLABELLED_KINDS.items()}[card.structures[0].kind]


def assembled(
    image: Image,
    card: Card,
    run: Runner,
    views: Views,
    pieces: Iterable[Piece],
    *,
    told: Sequence[tuple[float, str | None]],
    middle: int,
    threshold: float,
    keep_fraction: float,
    top_level: str | None,
    gap: float,
    tall: float,
    keep_probability: bool,
) -> Segmentation:
    """Return one segment a vertebra; a pixel belongs to the vertebra that is most probable there.

    Parameters
    ----------
    pieces : see `Piece`; elsewhere the probability is 0
    told : score and level, by the detector's class, of each vertebra
    middle : picture in which vertebrae are measured and ordered
    threshold : probability above which a pixel belongs to a vertebra
    keep_fraction : see `large_parts`
    top_level, gap, tall : of `chain_of`
    """
    best = np.zeros(views.pictures.shape, np.float32)
    owner = np.full(views.pictures.shape, -1, np.int16)
    every = {number: np.zeros_like(best) for number in range(len(told))} if keep_probability else {}
    for number, picture, area, probability in pieces:
        at = (picture, *area)
        larger = probability > best[at]
        best[at][larger], owner[at][larger] = probability[larger], number
        if keep_probability:
            every[number][at] = np.maximum(every[number][at], probability)
    masks = _masks(np.where(best > threshold, owner + 1, 0), len(told), keep_fraction)
    there = [number for number, mask in enumerate(masks) if mask[middle].any()]
    links = [Link(_points(masks[number][middle], views.step), *told[number]) for number in there]
    chain = chain_of(links, kind=kind_of(card), top_level=top_level, in_patient=views.in_patient, gap=gap, tall=tall)
    if len(there) < len(told):
        lacking = len(told) - len(there)
        run.notes.append(EMPTY.format(lacking, "was" if lacking == 1 else "were"))
    run.notes.extend(chain.notes)
    ordered = [there[number] for number in chain.order]
    return vertebrae_segmentation(
        [views.undo(masks[number]) for number in ordered],
        chain.levels,
        image.geometry,
        kind=kind_of(card),
        probabilities={place: views.undo(every[number]) for place, number in enumerate(ordered) if every},
        doubtful=chain.doubtful,
    )


def _masks(labels: np.ndarray, count: int, keep_fraction: float) -> list[np.ndarray]:
    """Return the mask of each label from 1 on, without its small parts."""
    masks = []
    for label, box in enumerate(ndimage.find_objects(labels, count), start=1):
        mask = np.zeros(labels.shape, bool)
        if box is not None:
            mask[box] = large_parts(labels[box] == label, keep_fraction)
        masks.append(mask)
    return masks


def _points(mask: np.ndarray, step: tuple[float, float]) -> np.ndarray:
    """Return x and y of a mask's pixels, in the unit of `step`; some of them where they are many."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns * step[1], rows * step[0]], axis=1)
    return points[:: max(1, len(points) // POINTS)]
