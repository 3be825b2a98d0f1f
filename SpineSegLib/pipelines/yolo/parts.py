"""A picture through a network in one piece, whose mask then falls into vertebrae: its connected parts.

Paper 002's comparisons with DeepLabV3+ and U-Net3+ on the whole image.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import fitted
from SpineSegLib.pipelines.levels import vertebrae_segmentation
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.yolo.assemble import assembled, kind_of
from SpineSegLib.pipelines.yolo.boxes import letterbox_of
from SpineSegLib.pipelines.yolo.views import views_of
from SpineSegLib.progress import Progress

NOTHING = "No vertebra was found: no pixel has a probability above {:g}."


def in_parts(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    threshold: float = 0.5,
    keep_fraction: float = 0.1,
    gap: float = 1.6,
    tall: float = 1.6,
    top_level: str | None = None,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment a radiograph or a sagittal slice; vertebrae that touch in the mask stay one.

    Parameters
    ----------
    threshold : probability above which a pixel belongs to a vertebra
    keep_fraction : a part is a vertebra when it has at least this share of the largest one's pixels
    gap, tall : see `SpineSegLib.pipelines.yolo.chain`; what is too high for a vertebra is reported there
    top_level, keep_probability : as of `boxwise`
    """
    import torch

    report(0, 2, "segmenting")
    views = views_of(image)
    box = letterbox_of(views, card)
    square = box.pad(fitted(views.pictures[0], box, card.input["intensity"]))
    pictures = torch.from_numpy(np.repeat(square[None, None], int(card.input["channels"]), axis=1))
    probability = box.undo(run(pictures)[0, 0].numpy())
    report(1, 2, "telling vertebrae apart")
    labels, count = ndimage.label(probability > threshold, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = [n + 1 for n in range(count) if sizes[n] >= keep_fraction * sizes.max()]
    if not large:
        run.notes.append(NOTHING.format(threshold))
        return vertebrae_segmentation([], [], image.geometry, kind=kind_of(card))
    areas = ndimage.find_objects(labels)
    pieces = [
        (number, 0, areas[label - 1], np.where(labels[areas[label - 1]] == label, probability[areas[label - 1]], 0))
        for number, label in enumerate(large)
    ]
    out = assembled(
        image,
        card,
        run,
        views,
        pieces,
        told=[(1.0, None)] * len(large),
        middle=0,
        threshold=threshold,
        keep_fraction=0.0,
        top_level=top_level,
        gap=gap,
        tall=tall,
        keep_probability=keep_probability,
    )
    report(2, 2, "done")
    return out
