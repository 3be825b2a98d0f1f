"""One vertebra of a radiograph from one point in it: SpineFM's segmenter without its detector and its walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from SpineSegLib.anatomy import COLLECTIVES
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.pipelines.levels import vertebrae_segmentation
from SpineSegLib.pipelines.prompted import check_points
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.finishing import finished
from SpineSegLib.pipelines.spinefm.parts import Parts
from SpineSegLib.pipelines.spinefm.view import View, turns_to_the_head
from SpineSegLib.pipelines.spinefm.walk import Walker
from SpineSegLib.progress import Progress


def spinefm_point(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    points: Sequence[tuple[float, float]],
    along: tuple[float, float],
    keep_probability: bool = False,
    **arguments: object,
) -> Segmentation:
    """Segment the vertebra at each point, one segment each, levels left open; no segment where nothing is found.

    Parameters
    ----------
    run : its network is a `parts.Network`
    points : x and y in pixels of the image, each in a vertebra
    along : step from one vertebra to the next, x and y in pixels of the image, which patches are measured in
    keep_probability : whether segments carry their probabilities, 0 outside of the patch
    arguments : see `Choices`

    Raises
    ------
    InputError : a point outside of the image
    """
    choices = Choices.of(arguments)
    check_points(points, image)
    report(0, len(points), "segmenting what the point lies in")
    view = View.of(image, card, turns_to_the_head(image.geometry))
    walker = Walker(Parts(run, int(card.input["channels"])), view.picture, view.extent, choices)
    masks, probabilities = [], {}
    for number, (x, y) in enumerate(points):
        here = view.place(x, y)
        step = float(np.linalg.norm(view.place(x + along[0], y + along[1]) - here))
        found = walker.at([here], [step])[0]
        report(number + 1, len(points), "bringing it to the image's size")
        if found is None:
            continue
        if found.kind == "background":
            run.notes.append("The classifier took what lies at the point for background: check it.")
        mask, probability = finished(found, view, step, choices)
        if keep_probability:
            probabilities[len(masks)] = probability
        masks.append(mask)
    kind = next((COLLECTIVES[s.kind][0] for s in card.structures if s.kind in COLLECTIVES), "vertebra")
    return vertebrae_segmentation(masks, [None] * len(masks), image.geometry, kind=kind, probabilities=probabilities)
