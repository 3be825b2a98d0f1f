"""What the tests of SpineFM's networks share: a card of tiny ones, and films with a column of bodies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture
from torch import nn

from SpineSegLib.models import Card, Weights, card
from SpineSegLib.networks import build

TINY = {
    "channels": 1,
    "detector": {
        **{"size": 64, "longest": 64, "depth": 18, "width": 8, "norm": "batch", "trained_stages": 5, "pyramid": 16},
        **{"hidden": 32, "masks": 16, "anchors": [8, 16, 32, 64, 128], "proposals": [60, 40], "samples": [32, 16]},
        "detections": 10,
    },
    "segmenter": {
        **{"size": 64, "patch": 8, "width": 32, "depth": 2, "heads": 2, "window": 4, "global_blocks": [1]},
        **{"outputs": 32, "hidden": 64, "zero": False, "trained": "all"},
    },
    "classifier": {"size": 32, "depth": 18, "width": 4},
}
LEVELS = ("C2", "C3", "C4", "C5", "C6")


def tiny_card(**changes: object) -> Card:
    """Return the small model's card with networks that train within a second; changes are of `TINY`."""
    model = card("spinefm-cervical-small")
    intensity = {"kind": "percentile", "low": 0, "high": 100}
    return replace(
        model,
        input={"size": [96, 96], "channels": 1, "intensity": intensity},
        network={"name": "spinefm", "arguments": {**TINY, **changes}},
        weights=Weights(),
    )


def tiny(seed: int = 0, **changes: object) -> nn.Module:
    """Return the tiny networks with random weights from a seed."""
    torch.manual_seed(seed)
    return build("spinefm", {**TINY, **changes})


def column(random: np.random.Generator, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy film (side, side) and the numbers 1…5 of its bodies, C2 being the tall and bright one."""
    picture, labels = random.normal(60, 6, (side, side)), np.zeros((side, side), np.uint8)
    left, lean = random.uniform(0.3, 0.5) * side, random.uniform(-0.15, 0.15)
    for number in range(len(LEVELS)):
        top = round((0.08 + 0.17 * number) * side)
        across = round(left + lean * top)
        labels[top : top + round(0.12 * side), across : across + round(0.15 * side)] = number + 1
    picture[labels > 0] += 70
    picture[labels == 1] += 60
    return picture.clip(0, 255).astype(np.uint8), labels


def write_films(folder: Path, count: int) -> Path:
    """Write films and their labels for the reader ``image-mask-folder``; return the folder."""
    random = np.random.default_rng(3)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        picture, labels = column(random)
        Picture.fromarray(picture).save(folder / "images" / f"p{number}.png")
        Picture.fromarray(labels).save(folder / "masks" / f"p{number}.png")
    return folder


READER = {
    "reader": "image-mask-folder",
    "structures": {number: f"{level} vertebral body" for number, level in enumerate(LEVELS, start=1)},
}
