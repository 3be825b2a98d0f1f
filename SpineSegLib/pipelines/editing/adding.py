"""A vertebra that was missed, from one click: the point prompt of Segment Anything or of SpineFM's segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from SpineSegLib.anatomy import COLLECTIVES
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation, resample
from SpineSegLib.models import Card
from SpineSegLib.pipelines.editing.chain import Vertebra, vertebrae_of
from SpineSegLib.pipelines.editing.shapes import add_mask
from SpineSegLib.pipelines.run import Result, segment

PROMPTED = {"prompted": "prompted", "spinefm": "spinefm-point"}
"""Pipeline of a card -> the one that segments what lies at a point."""


def takes_a_click(card: Card) -> bool:
    """Tell whether a model can be shown a vertebra that was missed."""
    return card.pipeline["name"] in PROMPTED


def add_at_point(
    segmentation: Segmentation, image: Image, card: Card, point: tuple[float, float], **how: object
) -> tuple[Segmentation, Result]:
    """Add the vertebra that a person clicked on, as a model sees it from that one point.

    The piece that the click lies in is taken, without voxels of other vertebrae. It gets the level between its
    neighbours if one is free.

    Parameters
    ----------
    image : the radiograph, on any grid
    card : of a model that takes a point, see `takes_a_click`
    point : x and y in pixels of the image
    how : further arguments of `pipelines.segment`: weights, device, precision, report, where

    Returns
    -------
    The new segmentation, and what the model gave.

    Raises
    ------
    InputError : the model takes no point, nothing was found at it, or it lies in a vertebra that is there already
    """
    if not takes_a_click(card):
        raise problem("--model", f"{card.name} takes no point", "sam or spinefm, or one like them", "Choose another")
    result = segment(image, _at_point(card, segmentation, image), points=[point], **how)
    found = result.segmentation
    if not found.segments:
        raise problem("--add", "nothing was found there", "a vertebra", "Click in the middle of one")
    mask = _piece(found.mask(found.segments[0]), point)
    if not found.geometry.same_as(segmentation.geometry):
        mask = resample(mask.astype(np.uint8), found.geometry, segmentation.geometry, order=0) > 0
    kinds = [COLLECTIVES[s.kind][0] if s.kind in COLLECTIVES else s.kind for s in card.structures]
    what = f"added by {card.name} from a click"
    return add_mask(segmentation, mask, kind=kinds[0], what=what), result


def _piece(mask: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """Return the piece of a mask (1, rows, columns) that a pixel lies in; empty where that is none."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask[0], np.ones((3, 3)))
    row, column = (int(np.clip(round(place), 0, n - 1)) for place, n in zip(point[::-1], mask.shape[1:], strict=True))
    here = pieces[row, column]
    return (pieces == here)[None] if here else np.zeros_like(mask)


def _at_point(card: Card, segmentation: Segmentation, image: Image) -> Card:
    """Return a card whose pipeline segments what lies at a point."""
    pipeline: Mapping[str, object] = card.pipeline
    name, arguments = PROMPTED[pipeline["name"]], dict(pipeline["arguments"])
    if name == "spinefm-point":
        arguments["along"] = _step(vertebrae_of(segmentation), image)
    return replace(card, pipeline={**pipeline, "name": name, "arguments": arguments})


def _step(vertebrae: list[Vertebra], image: Image) -> tuple[float, float]:
    """Return the median step from one vertebra to the next, x and y in pixels of the image: the scale of a patch."""
    if len(vertebrae) < 2:
        expected = "two or more, whose distance says how large one is"
        raise problem("--add", f"the segmentation has {len(vertebrae)} vertebrae", expected, "Take the model sam")
    places = image.geometry.to_index(np.array([one.centre for one in vertebrae]))[:, 1:]
    steps = np.diff(places, axis=0)
    # Where one was missed the step is twice as long; the shorter half is not misled by it.
    lengths = np.linalg.norm(steps, axis=1)
    row, column = steps[np.argsort(lengths)[(len(lengths) - 1) // 2]]
    return float(column), float(row)
