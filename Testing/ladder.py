"""A ladder of rectangles for a spine, and networks made by hand that see it: the loop of SpineFM without any training.

Every rectangle carries its class in its brightness, upper half and lower half: regular vertebrae 0.6 and 0.6, C2 0.9
and 0.6, S1 0.6 and 0.4, and what only looks like a vertebra 0.3 and 0.3. Turned upside down, a C2 is none.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import Card, card
from SpineSegLib.models.cards import Weights

HALVES = {"between": (0.6, 0.6), "C2": (0.9, 0.6), "S1": (0.6, 0.4), "background": (0.3, 0.3)}
HEIGHT, WIDTH, STEP = 20, 34, 30


def ladder(kinds, *, shape=(400, 240), top=60.0, bend=0.0006, height=HEIGHT):
    """Return a picture (rows, columns) in 0…1 and one mask for each rectangle.

    Parameters
    ----------
    kinds : class of each from the top down; None leaves its place dark
    top : row of the first one's centre
    bend : of the spine to the side, in columns per row squared
    height : in pixels, or one for each
    """
    picture, masks = np.full(shape, 0.02, np.float32), []
    heights = [height] * len(kinds) if np.isscalar(height) else height
    for number, (kind, tall) in enumerate(zip(kinds, heights, strict=True)):
        row = top + STEP * number
        column = shape[1] / 2 + bend * (row - shape[0] / 2) ** 2
        mask = np.zeros(shape, bool)
        left, first = round(column - WIDTH / 2), round(row - tall / 2)
        mask[max(0, first) : first + tall, left : left + WIDTH] = True
        if kind is not None:
            upper, lower = HALVES[kind]
            middle = first + tall // 2
            picture[max(0, first) : middle, left : left + WIDTH] = upper
            picture[max(0, middle) : first + tall, left : left + WIDTH] = lower
        masks.append(mask)
    return picture, masks


def film(picture, *, step=(0.3, 0.3), geometry=None) -> Image:
    """Return a radiograph of a picture; `step` is the height and the width of its pixels."""
    array = np.ascontiguousarray(picture, dtype=np.float32)[None]
    if geometry is None:
        geometry = Geometry(array.shape, np.diag([-step[1], -step[0], 1, 1]))
    return Image(array, geometry, "XR")


def ladder_card(size: int = 400, **arguments: object) -> Card:
    """Return a card of the pipeline for pictures in 0…1."""
    return dataclasses.replace(
        card("unet-xray-small"),
        name="ladder",
        structures=(Structure("bodies"),),
        input={"size": [size, size], "channels": 1, "intensity": {"kind": "window", "low": 0, "high": 1}},
        pipeline={"name": "spinefm", "arguments": {"threshold": 0.5, "smooth": 0.01, **arguments}},
        weights=Weights(),
    )


class Seen:
    """Detects every bright region; `scores` are given from the top down, 0.9 each unless given."""

    def __init__(self, scores=None, least=40):
        self.scores, self.least = scores, least

    def detect(self, images, score=0.6):
        parts, count = ndimage.label(images[0, 0].numpy() > 0.2)
        masks = [parts == n for n in range(1, count + 1) if (parts == n).sum() >= self.least]
        masks.sort(key=lambda mask: np.nonzero(mask)[0].mean())
        scores = [0.9] * len(masks) if self.scores is None else self.scores[: len(masks)]
        masks = masks[: len(scores)]
        boxes = [
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] for rows, columns in map(np.nonzero, masks)
        ]
        kept = [n for n, value in enumerate(scores) if value >= score]
        shape = images.shape[2:]
        return [
            {
                "boxes": torch.tensor([boxes[n] for n in kept], dtype=torch.float32).reshape(-1, 4),
                "scores": torch.tensor([scores[n] for n in kept], dtype=torch.float32),
                "masks": torch.from_numpy(np.stack([masks[n] for n in kept]) if kept else np.zeros((0, *shape), bool)),
            }
        ]


class Regions:
    """Segments the bright region that the point lies in; remembers how many patches it encoded and decoded."""

    size = 96

    def __init__(self):
        self.encoded, self.decoded = [], []

    def encode(self, patches):
        self.encoded.append(len(patches))
        return patches

    def decode(self, embedding, points):
        self.decoded.append(len(points))
        logits = []
        for patch, (x, y) in zip(embedding[:, 0].numpy(), points[:, 0].tolist(), strict=True):
            parts, _ = ndimage.label(patch > 0.2)
            row, column = (min(max(round(v), 0), self.size - 1) for v in (y, x))
            logits.append(np.where((parts == parts[row, column]) & (parts > 0), 8.0, -8.0))
        return torch.tensor(np.stack(logits), dtype=torch.float32)[:, None]


class Halves:
    """Classifies by the brightness above and below the middle."""

    size = 96
    classes = ("C2", "S1", "between", "background")

    def __call__(self, patches):
        chances = []
        middle = self.size // 2
        away = round(0.17 * self.size / 3)
        for patch in patches[:, 0].numpy():
            here = [
                patch[middle + side * away - 1 : middle + side * away + 1, middle - 2 : middle + 2].mean()
                for side in (-1, 1)
            ]
            apart = [np.abs(np.subtract(here, HALVES[name])).sum() for name in self.classes]
            chances.append(-30 * np.array(apart))
        return torch.tensor(np.stack(chances), dtype=torch.float32)


class Straight:
    """Predicts that the spine goes on as it did."""

    def predict_next(self, centroids):
        return 2 * centroids[:, 2] - centroids[:, 1]


class ByHand(torch.nn.Module):
    """The four of them."""

    stride = 1

    def __init__(self, **parts):
        super().__init__()
        self.parts_by_hand = SimpleNamespace(
            **{"detector": Seen(), "segmenter": Regions(), "classifier": Halves(), "predictor": Straight(), **parts}
        )

    def __getattr__(self, name):
        if name in ("detector", "segmenter", "classifier", "predictor"):
            return getattr(self.__dict__["parts_by_hand"], name)
        return super().__getattr__(name)
