"""A run from volume to result: files out, worker, comparison with a ground truth, and all into the scene at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.exchange import receive, send
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.segmentations import show_segmentation
from SpineSegLib.mrml.tables import metrics_table
from SpineSegLib.mrml.views import show_in_views
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

MODEL_ATTRIBUTE = "SpineSeg.Model"
"""Attribute of a segmentation node: the model that made it."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    segmentationNode : the result, if there is one
    tableNode : metrics against the ground truth, if one was given and the comparison worked
    error : one line for the user; with a segmentation, why there are no metrics
    warnings : what the user should know, in sentences
    seconds : from start to end
    """

    state: str
    segmentationNode: object = None
    tableNode: object = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


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
        truthNode=None,
        tableNode=None,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = lambda *_: None,
        onDone: Callable[[Result], None] = lambda *_: None,
    ) -> None:
        """Start a run and return; ``onDone`` gets its `Result`.

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
            exchange = send(volumeNode, folder, modality=modality, truthNode=truthNode)
            arguments = ["segment", str(exchange.image), "--model", modelName, "--output", str(exchange.result)]
            arguments += ["--device", device, "--json"]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--weights", weightsFile] if weightsFile else []
            self._exchange, self._modelName, self._warnings = exchange, modelName, exchange.notes
            self._segmentationNode, self._tableNode = segmentationNode, tableNode
            for note in exchange.notes:
                onLog(note)
            self._work(arguments, self._segmented)

        self._begin(prepare, onProgress, onLog, onDone)

    def _segmented(self, outcome: Outcome) -> None:
        """Compare the finished segmentation with the ground truth, if there is one, else show it."""
        if outcome.state != DONE:
            self._fail(outcome.error)
            return
        if isinstance(outcome.payload, dict):
            self._warnings = (*self._warnings, *outcome.payload.get("warnings", ()))
        if not self._exchange.has_truth:
            self._show()
            return
        arguments = ["evaluate", str(self._exchange.result), str(self._exchange.truth), "--json"]
        self._work(arguments, self._evaluated, "comparing: ")

    def _evaluated(self, outcome: Outcome) -> None:
        if outcome.state == DONE and isinstance(outcome.payload, dict):
            self._show(outcome.payload)
        else:
            self._show(error=outcome.error or "The comparison printed no numbers; see the log.")

    def _show(self, evaluation: dict | None = None, error: str = "") -> None:
        """Put everything into the scene, at once."""
        import slicer

        segmentation, volumeNode = receive(self._exchange, slicer.mrmlScene)
        name = volumeNode.GetName()
        segmentationNode = show_segmentation(
            segmentation,
            volumeNode,
            name=f"{name} segmentation",
            segmentationNode=still_there(self._segmentationNode),
        )
        segmentationNode.SetAttribute(MODEL_ATTRIBUTE, self._modelName)
        tableNode = None
        if evaluation is not None:
            tableNode = metrics_table(evaluation, still_there(self._tableNode), name=f"{name} metrics")
        show_in_views(volumeNode, segmentation)
        self._succeed(segmentationNode=segmentationNode, tableNode=tableNode, error=error, warnings=self._warnings)
