"""A radiograph through a network in one piece: shrunk into a square, segmented, brought back to its own size."""

from __future__ import annotations

import numpy as np
import torch

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import Letterbox, fitted
from SpineSegLib.pipelines.masks import large_parts
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.progress import Progress


def whole_image(
    image: Image, card: Card, run: Runner, *, report: Progress, threshold: float = 0.5, keep_fraction: float = 0.0
) -> Segmentation:
    """Segment a radiograph.

    Parameters
    ----------
    threshold : probability above which a pixel belongs to the structure
    keep_fraction : see `large_parts`
    """
    report(0, 2, "segmenting")
    size = int(card.input["size"][0])
    _, down, across = image.geometry.step
    box = Letterbox(image.array.shape[1:], size, aspect=down / across)
    picture = box.pad(fitted(image.array[0], box, card.input["intensity"]))
    pictures = torch.from_numpy(np.repeat(picture[None, None], int(card.input["channels"]), axis=1))
    square = run(pictures)[0].numpy()
    report(1, 2, "bringing the result to the image's size")
    masks = {}
    for structure, probability in zip(card.structures, square, strict=True):
        masks[structure] = large_parts(box.undo(probability) > threshold, keep_fraction)[None]
    report(2, 2, "done")
    return Segmentation.from_masks(masks, image.geometry)
