"""The one entrance to every pipeline: checks, device, precision, and the fall back to the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card, load_network
from SpineSegLib.progress import Progress, silent

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, eq=False)
class Result:
    """What a pipeline found.

    Parameters
    ----------
    segmentation : on the image's grid
    seconds : of the whole work, loading the weights included
    warnings : what the user should know, a sentence each
    device, precision : what it ran on
    """

    segmentation: Segmentation
    seconds: float
    warnings: tuple[str, ...]
    device: str
    precision: str


@dataclass(frozen=True, eq=False)
class Runner:
    """A network on its device: pictures in, probabilities out.

    Parameters
    ----------
    network : in evaluation mode
    device, precision : such as ``"cpu"`` and ``"float32"``
    """

    network: torch.nn.Module
    device: str
    precision: str

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return probabilities (n, classes, h, w) of pictures (n, channels, h, w), float32 on the CPU."""
        import torch

        reduced = self.precision == "bfloat16"
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=reduced):
            return torch.sigmoid(self.network(pictures).float()).cpu()


def _pipelines() -> Mapping[str, Callable]:
    from SpineSegLib.pipelines.slicewise import slicewise
    from SpineSegLib.pipelines.whole_image import whole_image

    return {"slicewise": slicewise, "whole-image": whole_image}


def choose_device(wanted: str = "auto") -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``; InputError when the wanted one is not there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted, False):
        usable = ", ".join(name for name, usable in there.items() if usable)
        raise problem("--device", repr(wanted), f"one of {usable} on this machine", "Choose another, or auto")
    return wanted


def segment(
    image: Image,
    card: Card,
    *,
    where: object = "the image",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    report: Progress = silent,
) -> Result:
    """Segment an image with a model.

    Parameters
    ----------
    image : on any grid; the result is on the same
    card : the model's
    where : what errors call the image, such as its file
    weights : a file instead of the model's own
    device : ``"auto"`` takes CUDA, then MPS, then the CPU
    precision : ``"float32"``, ``"bfloat16"``, or ``"auto"``, which is float32 until a machine's own check says more

    Raises
    ------
    InputError : the image is not for this model or unusable, or the weights are at fault
    Cancelled : `report` asked to stop
    """
    import torch

    start = time.perf_counter()
    misfit = card.misfit(image)
    if misfit:
        raise problem(where, misfit, "an image that the model was made for", "Choose another model or image")
    flaw = image.flaw()
    if flaw:
        raise problem(where, flaw, "an image with contrast and finite values", "Check how the image was made")
    if precision not in PRECISIONS:
        raise problem("--precision", repr(precision), f"one of {', '.join(PRECISIONS)}", "Choose one of them")
    precision = "float32" if precision == "auto" else precision
    device = choose_device(device)
    report(0, 1, f"loading {card.name}")
    network = load_network(card, weights).to(memory_format=torch.channels_last)
    pipeline = _pipelines()[card.pipeline["name"]]
    arguments = dict(card.pipeline["arguments"])
    warnings = []
    try:
        found = pipeline(image, card, Runner(network.to(device), device, precision), report=report, **arguments)
    except torch.OutOfMemoryError:
        if device == "cpu":
            raise
        warnings.append(f"The {device} device ran out of memory; the CPU did the work instead.")
        report(0, 1, warnings[-1])
        device = "cpu"
        found = pipeline(image, card, Runner(network.to(device), device, precision), report=report, **arguments)
    warnings += [
        f"Nothing was found of {segment.name}."
        for segment in found.segments
        if not (found.layers[segment.layer] == segment.label).any()
    ]
    return Result(found, time.perf_counter() - start, tuple(warnings), device, precision)
