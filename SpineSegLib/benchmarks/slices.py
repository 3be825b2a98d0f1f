"""Whether the time that a volume takes grows with its slices and not faster."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.pipelines import segment

MODEL = "triview-linknet152-small"
SLICES = (64, 128, 256, 512)


def column(slices: int, side: int = 160) -> Image:
    """Return a trunk of water with a column of bone as a CT of so many slices, 1.5 mm apart."""
    j, i = np.mgrid[:side, :side] - side / 2
    trunk = np.where((i / 0.45) ** 2 + (j / 0.35) ** 2 < side**2, 40, -1000)
    trunk[(abs(i) < 0.12 * side) & (abs(j - 0.15 * side) < 0.12 * side)] = 500
    array = np.repeat(trunk[None].astype(np.int16), slices, axis=0)
    array[::18] = np.minimum(array[::18], 80)  # discs
    return Image(array, Geometry(array.shape, np.diag([-1.2, -1.2, 1.5, 1.0])), "CT")


def growth(repeats: int) -> list[Row]:
    """Time `segment` on 64 to 512 slices against the time of 64, times so much more slices: 1 is linear.

    The weights are random and the whole volume is looked at: where a trained model looks twice depends on the patient.
    """
    model = card(MODEL)
    arguments = {**model.pipeline["arguments"], "look": None}
    model = type(model)(**{**vars(model), "pipeline": {**model.pipeline, "arguments": arguments}})
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        save_weights(build(model.network["name"], model.network["arguments"]), weights)
        runs = [
            partial(segment, column(count), model, weights=weights, device="cpu", precision="float32")
            for count in SLICES
        ]
        times = race(*runs, repeats=repeats)
    return [
        Row(
            f"{MODEL}, segment, {count} slices",
            f"{count // SLICES[0]} x the time of {SLICES[0]}",
            seconds,
            times[0] * count / SLICES[0],
        )
        for count, seconds in zip(SLICES, times, strict=True)
    ]
