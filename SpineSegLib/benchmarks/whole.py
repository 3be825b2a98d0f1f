"""Whole calls of `segment`: from an image in memory to its segmentation, the loading of the weights included."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.pipelines import segment


def cervspinenet(repeats: int) -> list[Row]:
    """Time CervSpineNet on one radiograph of 1024x1024 against the 9 to 10 s that the paper states for a CPU.

    The weights are random: time does not depend on them.
    """
    model = card("cervspinenet")
    torch.manual_seed(0)
    array = np.random.default_rng(0).integers(0, 4096, (1, 1024, 1024), dtype=np.uint16)
    image = Image(array, Geometry(array.shape, np.diag([-0.2, -0.2, 1.0, 1.0])), "XR")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        save_weights(build(model.network["name"], model.network["arguments"]), weights)

        def run(precision: str) -> None:
            segment(image, model, weights=weights, device="cpu", precision=precision)

        times = race(lambda: run("float32"), lambda: run("bfloat16"), repeats=repeats)
    paper = "paper 000: 9-10 s on 24 cores of a Xeon Gold 6136"
    return [
        Row("CervSpineNet, segment, float32", paper, times[0], 9.5),
        Row("CervSpineNet, segment, bfloat16", paper, times[1], 9.5),
    ]
