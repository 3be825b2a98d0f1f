"""YOLO-UNet on whole pictures: its pipeline with the networks of its narrow cards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import Card, card
from SpineSegLib.networks import build
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.yolo.boxwise import boxwise
from SpineSegLib.progress import silent

VERTEBRAE = 8
AIM = 2.0


class _Detector(nn.Module):
    """A detector that computes as always and answers with a column of boxes."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def detect(self, images: torch.Tensor, **how: float) -> list[Mapping[str, torch.Tensor]]:
        self.detector.detect(images, **how)
        side, step = images.shape[-1], images.shape[-1] / (VERTEBRAE + 2)
        tops = torch.arange(VERTEBRAE) * step + step
        left = torch.full_like(tops, side / 2 - step)
        boxes = torch.stack([left, tops, left + 1.5 * step, tops + 0.8 * step], dim=1)
        scores, labels = torch.full((VERTEBRAE,), 0.9), torch.zeros(VERTEBRAE, dtype=torch.int64)
        return [{"boxes": boxes, "scores": scores, "labels": labels} for _ in images]


class _Segmenter(nn.Module):
    """A segmenter that computes as always and answers with the middle of each patch."""

    def __init__(self, segmenter: nn.Module):
        super().__init__()
        self.segmenter = segmenter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits, side = self.segmenter(x), x.shape[-1]
        away = (torch.arange(side) - (side - 1) / 2).abs()
        return torch.where(torch.maximum(away[:, None], away) < 0.35 * side, 8.0, -8.0).to(logits).expand_as(logits)


def yolo_unet(repeats: int) -> list[Row]:
    """Time the narrow variants on a film of 1024x882 and a slice of 512x512 with eight vertebrae, against 2 s.

    The weights are random: time does not depend on them. Reading files and loading weights are not in.

    Raises
    ------
    AssertionError : another number of vertebrae was found
    """
    rows = []
    for name, shape in (("yolo-unet-cervical-small", (1024, 882)), ("yolo-unet-lumbar-mr-small", (512, 512))):
        model = card(name)
        torch.manual_seed(0)
        network = build(model.network["name"], model.network["arguments"]).eval().to(memory_format=torch.channels_last)
        network.detector, network.segmenter = _Detector(network.detector), _Segmenter(network.segmenter)
        array = np.random.default_rng(0).integers(0, 4096, (1, *shape), dtype=np.uint16)
        image = Image(array, Geometry(array.shape, np.diag([-0.2, -0.2, 1.0, 1.0])), model.modality[0])
        precisions = ("float32", "bfloat16")
        times = race(*(partial(_run, image, model, network, each) for each in precisions), repeats=repeats)
        for precision, seconds in zip(precisions, times, strict=True):
            rows.append(Row(f"{name}, a picture, {precision}", "the aim: 2 s a picture on 2 cores", seconds, AIM))
    return rows


def _run(image: Image, model: Card, network: nn.Module, precision: str) -> None:
    run = Runner(network, "cpu", precision)
    arguments = {**model.pipeline["arguments"], "top_level": "C2"}
    found = boxwise(image, model, run, report=silent, **arguments)
    if len(found.segments) != VERTEBRAE:
        msg = f"{len(found.segments)} vertebrae were found, expected {VERTEBRAE}: {' '.join(run.notes)}"
        raise AssertionError(msg)
