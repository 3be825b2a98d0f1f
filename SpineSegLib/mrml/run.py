"""A run from volume to result: files out, worker, comparison with a ground truth, and all into the scene at its end."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import InputError, problem
from SpineSegLib.mrml.exchange import receive, send
from SpineSegLib.mrml.segmentations import show_segmentation
from SpineSegLib.mrml.tables import metrics_table
from SpineSegLib.mrml.views import show_in_views
from SpineSegLib.mrml.worker import CANCELLED, DONE, FAILED, Outcome, Worker

MODEL_ATTRIBUTE = "SpineSeg.Model"
"""Attribute of a segmentation node: the model that made it."""


FOLDER_PREFIX = "SpineSeg-run-"
"""How the names of the runs' temporary folders begin."""


def temporary_folder() -> str:
    """Return the folder that temporary files go to: the one in Slicer's settings."""
    import slicer

    return getattr(getattr(slicer, "app", None), "temporaryPath", None) or tempfile.gettempdir()


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


class Runner:
    """Runs one segmentation at a time; the scene changes only when all of it is done.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic):
        self._worker = worker or Worker()
        self._now = now
        self._exchange = None
        self.result: Result | None = None

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self._exchange is not None

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
        if self.busy:
            msg = "SpineSeg is running already: wait for it, or cancel it."
            raise RuntimeError(msg)
        if truthNode is not None and truthNode is segmentationNode:
            raise problem(
                truthNode.GetName(),
                "it is chosen as ground truth and as output, and would be overwritten",
                "two segmentations",
                "Choose another output, or let a new one be made",
            )
        self._started, self.result = self._now(), None
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=temporary_folder()))
        try:
            exchange = send(volumeNode, folder, modality=modality, truthNode=truthNode)
            arguments = ["segment", str(exchange.image), "--model", modelName, "--output", str(exchange.result)]
            arguments += ["--device", device]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--weights", weightsFile] if weightsFile else []
            self._exchange, self._modelName, self._warnings = exchange, modelName, exchange.notes
            self._segmentationNode, self._tableNode = segmentationNode, tableNode
            self._onProgress, self._onLog, self._onDone = onProgress, onLog, onDone
            for note in exchange.notes:
                onLog(note)
            self._work(arguments, onProgress, self._segmented)
        except BaseException:
            self._exchange = None
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def cancel(self) -> None:
        """Stop the run; ``onDone`` follows when its process has ended, and the scene stays as it was."""
        self._worker.cancel()

    def abort(self) -> bool:
        """Stop the run at once, without ``onDone``; return whether there was one."""
        if not self.busy:
            return False
        self._worker.kill()
        self._onDone = lambda *_: None
        self._finish(Result(CANCELLED))
        return True

    def _work(self, arguments: list[str], onProgress: Callable, onDone: Callable[[Outcome], None]) -> None:
        cancel_file = self._exchange.cancel_file
        arguments = [*arguments, "--json", "--progress", "json", "--cancel-file", str(cancel_file)]
        self._worker.run(arguments, cancelFile=cancel_file, onProgress=onProgress, onLog=self._onLog, onDone=onDone)

    def _segmented(self, outcome: Outcome) -> None:
        """Compare the finished segmentation with the ground truth, if there is one, else show it."""
        if outcome.state != DONE:
            self._finish(Result(outcome.state, error=outcome.error))
            return
        if isinstance(outcome.payload, dict):
            self._warnings = (*self._warnings, *outcome.payload.get("warnings", ()))
        if not self._exchange.has_truth:
            self._show()
            return
        arguments = ["evaluate", str(self._exchange.result), str(self._exchange.truth)]
        self._work(arguments, lambda step, of, what: self._onProgress(step, of, f"comparing: {what}"), self._evaluated)

    def _evaluated(self, outcome: Outcome) -> None:
        if outcome.state == CANCELLED:
            self._finish(Result(CANCELLED))
        elif outcome.state == DONE and isinstance(outcome.payload, dict):
            self._show(outcome.payload)
        else:
            self._show(error=outcome.error or "The comparison printed no numbers; see the log.")

    def _show(self, evaluation: dict | None = None, error: str = "") -> None:
        """Put everything into the scene, at once."""
        import slicer

        try:
            segmentation, volumeNode = receive(self._exchange, slicer.mrmlScene)
            name = volumeNode.GetName()
            segmentationNode = show_segmentation(
                segmentation,
                volumeNode,
                name=f"{name} segmentation",
                segmentationNode=_still_there(self._segmentationNode),
            )
            segmentationNode.SetAttribute(MODEL_ATTRIBUTE, self._modelName)
            tableNode = None
            if evaluation is not None:
                tableNode = metrics_table(evaluation, _still_there(self._tableNode), name=f"{name} metrics")
            show_in_views(volumeNode, segmentation)
            seconds = self._now() - self._started
            self._finish(Result(DONE, segmentationNode, tableNode, error, self._warnings, seconds))
        except InputError as failure:
            self._finish(Result(FAILED, error=str(failure)))
        except MemoryError:
            self._finish(Result(FAILED, error="There is not enough memory for the result. Close other data first."))
        except Exception as failure:
            # Whatever it is, the run has ended: the panel must not wait for it for ever.
            logging.exception("SpineSeg: the result could not be shown")
            self._finish(Result(FAILED, error=f"The result could not be shown ({failure}). Please report it."))

    def _finish(self, result: Result) -> None:
        shutil.rmtree(self._exchange.folder, ignore_errors=True)
        self._exchange, self.result = None, result
        self._onDone(result)


def _still_there(node):
    """Return a node, or None when it was deleted during the run."""
    return node if node is not None and node.GetScene() is not None else None
