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
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    threshold: float = 0.5,
    keep_fraction: float = 0.0,
    mirror: bool = False,
    size: int | None = None,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment a radiograph.

    Parameters
    ----------
    threshold : probability above which a pixel belongs to the structure
    keep_fraction : see `large_parts`
    mirror : whether the mean is taken with what is found in the mirror image, turned back: for networks that were
        trained on films mirrored at random, to which both are as good
    size : pixels of the square that the network sees, a multiple of its stride; the card's input size, as in training,
        where None. One a little larger shows more, to networks that were trained on films enlarged at random.
    keep_probability : whether segments carry their probabilities, parts that were dropped included
    """
    looks = 2 if mirror else 1
    report(0, looks + 1, "segmenting")
    pictures, box = in_square(image, card, size)
    square = run(pictures)[0].numpy()
    if mirror:
        report(1, looks + 1, "segmenting the mirror image")
        square = (square + run(pictures.flip(-1))[0].flip(-1).numpy()) / 2
    report(looks, looks + 1, "bringing the result to the image's size")
    found = out_of_square(square, box, image, card, threshold, keep_fraction, keep_probability)
    report(looks + 1, looks + 1, "done")
    return found


def in_square(image: Image, card: Card, size: int | None = None) -> tuple[torch.Tensor, Letterbox]:
    """Return a radiograph as the network wants it, (1, channels, side, side), and what undoes it."""
    _, down, across = image.geometry.step
    box = Letterbox(image.array.shape[1:], size or int(card.input["size"][0]), aspect=down / across)
    picture = box.pad(fitted(image.array[0], box, card.input["intensity"]))
    return torch.from_numpy(np.repeat(picture[None, None], int(card.input["channels"]), axis=1)), box


def out_of_square(
    square: np.ndarray,
    box: Letterbox,
    image: Image,
    card: Card,
    threshold: float,
    keep_fraction: float,
    keep_probability: bool,
) -> Segmentation:
    """Return the segmentation, on the image's grid, of probabilities (classes, side, side)."""
    masks, probabilities = {}, {}
    for structure, each in zip(card.structures, square, strict=True):
        probability = box.undo(each)
        masks[structure] = large_parts(probability > threshold, keep_fraction)[None]
        if keep_probability:
            probabilities[structure] = probability[None]
    return Segmentation.from_masks(masks, image.geometry, probabilities)
