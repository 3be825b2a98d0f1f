"""SpineFM vertebra by vertebra: the whole pipeline with the networks of its narrow card."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card
from SpineSegLib.networks import build
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.spinefm import spinefm as pipeline
from SpineSegLib.progress import silent

EACH_WAY = 3
"""Vertebrae that are found in each direction, beside the three at the start: nine in all."""


class _Answered(nn.Module):
    """SpineFM's networks, which compute as always and give the answers of a straight spine.

    Untrained ones would find nothing, and trained ones a number of vertebrae that depends on the picture.
    """

    def __init__(self, network: nn.Module, side: int):
        super().__init__()
        self.network, self.side, self.step = network, side, side / 16
        self.detector = self.segmenter = self.classifier = self.predictor = self
        self.classes, self.size = network.classifier.classes, network.segmenter.size

    def detect(self, images: torch.Tensor, score: float = 0.6) -> list[Mapping[str, torch.Tensor]]:
        self.network.detector.detect(images, score=score)
        middles = self.side / 2 + self.step * torch.tensor([-1.0, 0.0, 1.0])
        rows, columns = torch.meshgrid(*(torch.arange(float(self.side)),) * 2, indexing="ij")
        away = torch.maximum((rows - middles[:, None, None]).abs(), (columns - self.side / 2).abs())
        reach = 0.4 * self.step
        boxes = torch.tensor([[self.side / 2 - reach, m - reach, self.side / 2 + reach, m + reach] for m in middles])
        return [{"boxes": boxes, "scores": torch.full((3,), 0.9), "masks": away < reach}]

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        return self.network.segmenter.encode(patches)

    def decode(self, embedding: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        logits = self.network.segmenter.decode(embedding, points)
        y, x = torch.meshgrid(*(torch.arange(float(self.size)),) * 2, indexing="ij")
        away = torch.maximum(*((axis - points[:, :, n, None]).abs() for n, axis in enumerate((x, y))))
        return torch.where(away < 0.1 * self.size, 8.0, -8.0).to(logits)[:, None]

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        size = self.network.classifier.size
        logits = self.network.classifier(nn.functional.interpolate(patches, (size, size)))
        return torch.where(torch.arange(len(self.classes)) == self.classes.index("between"), 9.0, 0.0).expand_as(logits)

    def predict_next(self, centroids: torch.Tensor) -> torch.Tensor:
        self.network.predictor.predict_next(centroids)
        return 2 * centroids[:, 2] - centroids[:, 1]


def spinefm(repeats: int) -> list[Row]:
    """Time the narrow SpineFM on a film of 1024x882, nine vertebrae, against the aim of 1.5 s each on two cores.

    The weights are random: time does not depend on them. Detecting, post-processing and the turned look at both ends
    are in; reading files and loading weights are not.

    Raises
    ------
    AssertionError : another number of vertebrae was found
    """
    model = card("spinefm-cervical-small")
    torch.manual_seed(0)
    network = build(model.network["name"], model.network["arguments"]).eval().to(memory_format=torch.channels_last)
    array = np.random.default_rng(0).integers(0, 4096, (1, 1024, 882), dtype=np.uint16)
    image = Image(array, Geometry(array.shape, np.diag([-0.2, -0.2, 1.0, 1.0])), "XR")
    answered = _Answered(network, int(model.input["size"][0]))
    count = 3 + 2 * EACH_WAY

    def run(precision: str) -> None:
        runner = Runner(answered, "cpu", precision)
        found = pipeline(image, model, runner, report=silent, most=EACH_WAY, **model.pipeline["arguments"])
        if len(found.segments) != count:
            msg = f"{len(found.segments)} vertebrae were found, expected {count}: {' '.join(runner.notes)}"
            raise AssertionError(msg)

    times = race(lambda: run("float32"), lambda: run("bfloat16"), repeats=repeats)
    aim = "the aim: 1.5 s a vertebra on 2 cores"
    return [
        Row("SpineFM, narrow, seconds a vertebra, float32", aim, times[0] / count, 1.5),
        Row("SpineFM, narrow, seconds a vertebra, bfloat16", aim, times[1] / count, 1.5),
    ]
