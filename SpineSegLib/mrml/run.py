"""A run from volume to result: files out, worker, comparison with a ground truth, and all into the scene at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.exchange import receive, sending
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.segmentations import show_segmentation
from SpineSegLib.mrml.surfaces import grow_surfaces, wants_surfaces
from SpineSegLib.mrml.tables import result_table
from SpineSegLib.mrml.views import middle_voxel, show_in_views
from SpineSegLib.mrml.volumes import show_probability
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

MODEL_ATTRIBUTE = "SpineSeg.Model"
"""Attribute of a segmentation node: the model that made it."""
WEIGHTS_ATTRIBUTE = "SpineSeg.WeightsSha256"
"""Attribute of a segmentation node: the sha256 of the weights that it was made with."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    segmentationNode : the result, if there is one
    tableNode : what was found: level, size, confidence, and metrics where a ground truth was given and comparing worked
    error : one line for the user; with a segmentation, why there are no metrics
    warnings : what the user should know, in sentences
    seconds : from start to end
    probabilityNode : volume of the probability, if it was to be kept
    """

    state: str
    segmentationNode: object = None
    tableNode: object = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    probabilityNode: object = None


class Runner(Jobs):
    """Runs one segmentation at a time; the scene changes only when all of it is done.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic):
        super().__init__(Result, worker, now)

    def start(
        self,
        volumeNode,
        modelName: str,
        segmentationNode=None,
        *,
        modality: str | None = None,
        device: str = "auto",
        weightsFile: str = "",
        options: Sequence[str] = (),
        keepProbability: bool = False,
        truthNode=None,
        tableNode=None,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = lambda *_: None,
        onDone: Callable[[Result], None] = lambda *_: None,
    ) -> None:
        """Start a run and return; ``onDone`` gets its `Result`.

        Parameters
        ----------
        options : further options of ``python -m SpineSegLib segment``, such as ``["--top-level", "C2"]``
        keepProbability : whether the probability becomes a volume of the scene

        Raises
        ------
        InputError : the input cannot be used; nothing was started and nothing is left behind
        RuntimeError : a run is in progress already
        """
        if truthNode is not None and truthNode is segmentationNode:
            raise problem(
                truthNode.GetName(),
                "it is chosen as ground truth and as output, and would be overwritten",
                "two segmentations",
                "Choose another output, or let a new one be made",
            )

        def prepare(folder: Path) -> None:
            exchange, write = sending(volumeNode, folder, modality=modality, truthNode=truthNode)
            arguments = ["segment", str(exchange.image), "--model", modelName, "--output", str(exchange.result)]
            arguments += ["--device", device, "--json"]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--weights", weightsFile] if weightsFile else []
            arguments += ["--probability", str(exchange.probability)] if keepProbability else []
            arguments += options
            self._exchange, self._modelName, self._warnings = exchange, modelName, exchange.notes
            self._segmentationNode, self._tableNode = segmentationNode, tableNode
            self._structures, self._weights, self._keeps = [], "", keepProbability
            for note in exchange.notes:
                onLog(note)
            self._aside(write, lambda _: self._work(arguments, self._segmented), voxels=exchange.voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def _segmented(self, outcome: Outcome) -> None:
        """Compare the finished segmentation with the ground truth, if there is one, else show it."""
        if outcome.state != DONE:
            self._fail(outcome.error)
            return
        if isinstance(outcome.payload, dict):
            self._warnings = (*self._warnings, *outcome.payload.get("warnings", ()))
            self._structures = outcome.payload.get("structures", [])
            self._weights = outcome.payload.get("weights_sha256") or ""
        if not self._exchange.has_truth:
            self._read()
            return
        # A truth often has more kinds of structure than the model was made to find.
        arguments = ["evaluate", str(self._exchange.result), str(self._exchange.truth), "--shared-kinds", "--json"]
        self._work(arguments, self._evaluated, "comparing: ")

    def _evaluated(self, outcome: Outcome) -> None:
        if outcome.state == DONE and isinstance(outcome.payload, dict):
            self._warnings = (*self._warnings, *outcome.payload.get("warnings", ()))
            self._read(outcome.payload)
        else:
            self._read(error=outcome.error or "The comparison printed no numbers; see the log.")

    def _read(self, evaluation: dict | None = None, error: str = "") -> None:
        """Read what the worker wrote, then put it into the scene."""
        from SpineSegLib.io import read_image, read_segmentation

        def read():
            path = self._exchange.probability
            kept = read_image(path, modality=self._exchange.modality) if self._keeps and path.is_file() else None
            segmentation = read_segmentation(self._exchange.result)
            return segmentation, middle_voxel(segmentation), kept

        self._aside(read, lambda found: self._show(*found, evaluation, error), voxels=self._exchange.voxels)

    def _show(self, segmentation, middle, probability, evaluation: dict | None, error: str) -> None:
        """Put everything into the scene, at once; closed surfaces follow, one segment after the other."""
        import slicer

        segmentation, volumeNode = receive(self._exchange, slicer.mrmlScene, segmentation)
        name = volumeNode.GetName()
        segmentationNode = show_segmentation(
            segmentation,
            volumeNode,
            name=f"{name} segmentation",
            segmentationNode=still_there(self._segmentationNode),
            surface=False,
        )
        segmentationNode.SetAttribute(MODEL_ATTRIBUTE, self._modelName)
        segmentationNode.SetAttribute(WEIGHTS_ATTRIBUTE, self._weights)
        probabilityNode = show_probability(probability, volumeNode) if probability is not None else None
        tableNode = result_table(
            self._structures, evaluation, still_there(self._tableNode), name=f"{name} result", scene=slicer.mrmlScene
        )
        show_in_views(volumeNode, segmentation, middle)
        if wants_surfaces(volumeNode):
            grow_surfaces(segmentationNode, self._worker.later)
        self._succeed(
            segmentationNode=segmentationNode,
            tableNode=tableNode,
            probabilityNode=probabilityNode,
            error=error,
            warnings=self._warnings,
        )
