"""The one entrance to every pipeline: checks, device, precision, and the fall back to the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card, load_network
from SpineSegLib.pipelines.levels import numbered
from SpineSegLib.pipelines.precision import Trial
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
    trial : to be concluded by the first pictures, which then go through the network in bfloat16 too
    notes : sentences that a pipeline adds for the user; they become the result's warnings
    """

    network: torch.nn.Module
    device: str
    precision: str
    trial: Trial | None = None
    notes: list[str] = field(default_factory=list)

    def __call__(self, pictures: torch.Tensor, *, points: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Return probabilities (n, classes, h, w) of pictures (n, channels, h, w), float32 on the CPU; volumes alike.

        Parameters
        ----------
        points : for each picture (p, 2), x and y in its pixels, for a network that is prompted
        """
        if self.trial is None or self.trial.verdict is not None:
            return self._run(pictures, points, self.precision)[0]
        exact, seconds = self._run(pictures, points, self.precision)
        rounded, seconds_rounded = self._run(pictures, points, "bfloat16")
        self.trial.conclude(exact, rounded, seconds, seconds_rounded)
        return exact

    def _run(
        self, pictures: torch.Tensor, points: Sequence[torch.Tensor] | None, precision: str
    ) -> tuple[torch.Tensor, float]:
        import torch

        start = time.perf_counter()
        reduced = precision == "bfloat16"
        pictures = pictures.to(self.device)
        if pictures.ndim == 4:  # Of a volume, the network itself makes slices.
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=reduced):
            logits = self.network(pictures) if points is None else self.network.prompted(pictures, points)
            return torch.sigmoid(logits.float()).cpu(), time.perf_counter() - start


def _pipelines() -> Mapping[str, Callable]:
    from SpineSegLib.pipelines.prompted import prompted
    from SpineSegLib.pipelines.slabs import slabs
    from SpineSegLib.pipelines.slicewise import slicewise
    from SpineSegLib.pipelines.spinefm import spinefm
    from SpineSegLib.pipelines.spinefm.prompt import spinefm_point
    from SpineSegLib.pipelines.whole_image import whole_image
    from SpineSegLib.pipelines.yolo.boxwise import boxwise
    from SpineSegLib.pipelines.yolo.parts import in_parts

    return {
        "in-parts": in_parts,
        "prompted": prompted,
        "slabs": slabs,
        "slicewise": slicewise,
        "spinefm": spinefm,
        "spinefm-point": spinefm_point,
        "whole-image": whole_image,
        "yolo-seg": boxwise,
        "yolo-unet": boxwise,
    }


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


def out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a graphics card had too little memory; MPS, and libraries below PyTorch, say so in words only."""
    import torch

    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "alloc_failed" in said


def check_image(image: Image, card: Card, where: object = "image") -> None:
    """Raise the InputError for an image that the model was not made for, or in which nothing can be seen."""
    misfit = card.misfit(image)
    if misfit:
        raise problem(where, misfit, "an image that the model was made for", "Choose another model or image")
    flaw = image.flaw()
    if flaw:
        raise problem(where, flaw, "an image with contrast and finite values", "Check how the image was made")


def _arguments(
    card: Card,
    pipeline: Callable,
    points: Sequence[tuple[float, float]],
    top_level: str | None,
    split: bool,
    threshold: float | None,
) -> dict[str, object]:
    """Return the arguments of the card's pipeline, the user's among them; InputError for one that it cannot take."""
    arguments = dict(card.pipeline["arguments"])
    if "points" in signature(pipeline).parameters:
        arguments["points"] = points
    elif points:
        raise problem("--point", f"a point for {card.name}", "none: it finds by itself", "Leave --point away")
    if threshold is not None:
        if not 0 < threshold < 1:
            raise problem(
                "--threshold", f"{threshold:g}", "a probability between 0 and 1", "Choose another, such as 0.5"
            )
        arguments["threshold"] = threshold
    divisible = card.dimension == 3 and [one.kind for one in card.structures] in (["spine"], ["vertebrae"])
    if split and not divisible:
        found = f"it is asked of {card.name}, which gives {', '.join(one.name for one in card.structures[:4])}"
        raise problem("--vertebrae", found, "a model of CT that gives the spine in one", "Leave it away")
    if top_level is not None:
        numbered(1, level=top_level)
        if "top_level" in signature(pipeline).parameters:
            arguments["top_level"] = top_level
        elif not split:
            found = f"{top_level} for {card.name}, which does not tell vertebrae apart"
            step = "Add --vertebrae" if divisible else "Leave it away"
            raise problem("--top-level", found, "a result of one segment a vertebra", step)
    return arguments


def segment(
    image: Image,
    card: Card,
    *,
    where: object = "the image",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    points: Sequence[tuple[float, float]] = (),
    top_level: str | None = None,
    vertebrae: bool | None = None,
    threshold: float | None = None,
    keep_probability: bool = False,
    network: torch.nn.Module | None = None,
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
    precision : ``"float32"``, ``"bfloat16"``, or ``"auto"``, which is bfloat16 where a trial on this machine has shown
        that it is faster and that masks stay the same (see `pipelines.precision`), and float32 elsewhere
    points : x and y in pixels of the image, for a model that is shown what to segment
    top_level : level of the uppermost vertebra that is found, where they are found one by one; the others follow. The
        pipeline of a model that finds them so has an argument of this name
    vertebrae : whether the spine in one that a model of volumes finds is split into vertebrae; unless given, as the
        card's ``"vertebrae"`` says, but not when probabilities are kept, which are those of the whole spine
    threshold : probability above which a pixel belongs to a structure; the card's, or the pipeline's, unless given
    keep_probability : whether segments carry their probabilities on the image's grid (float32, much memory in a volume)
    network : the card's, as `load_network` gives it with the same `weights`, where many images follow each other;
        loaded unless given

    Raises
    ------
    InputError : the image is not for this model or unusable, or the weights are at fault
    Cancelled : `report` asked to stop
    """
    import torch

    start = time.perf_counter()
    check_image(image, card, where)
    if precision not in PRECISIONS:
        raise problem("--precision", repr(precision), f"one of {', '.join(PRECISIONS)}", "Choose one of them")
    pipeline = _pipelines()[card.pipeline["name"]]
    split = bool(card.pipeline.get("vertebrae")) and not keep_probability if vertebrae is None else vertebrae
    arguments = {
        **_arguments(card, pipeline, points, top_level, split, threshold),
        "keep_probability": keep_probability,
    }
    device = choose_device(device)
    report(0, 1, f"loading {card.name}")
    network = (network or load_network(card, weights)).to(memory_format=torch.channels_last)
    trial = None
    if precision == "auto":
        trial = Trial.of(card, weights, device)
        precision = (trial and trial.verdict) or "float32"
    warnings = []
    try:
        run = Runner(network.to(device), device, precision, trial)
        found = pipeline(image, card, run, report=report, **arguments)
    except RuntimeError as error:
        if device == "cpu" or not out_of_memory(error):
            raise
        warnings.append(f"The {device} device ran out of memory; the CPU did the work instead.")
        report(0, 1, warnings[-1])
        device = "cpu"
        run = Runner(network.to(device), device, precision)
        found = pipeline(image, card, run, report=report, **arguments)
    warnings += run.notes
    if split and found.foreground.any():
        from SpineSegLib.pipelines.vertebrae import split_into_vertebrae

        hu = image.array if image.modality == "CT" else None
        parts = split_into_vertebrae(found.foreground, found.geometry, top_level=top_level, hu=hu)
        found = parts.segmentation
        warnings += parts.notes
    warnings += [
        f"Nothing was found of {segment.name}."
        for segment in found.segments
        if not (found.layers[segment.layer] == segment.label).any()
    ]
    return Result(found, time.perf_counter() - start, tuple(warnings), device, precision)
