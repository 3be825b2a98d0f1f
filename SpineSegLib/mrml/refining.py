"""Correcting a segmentation of the scene by the worker: adding from a click, splitting by points, accepting.

What only moves names and labels about is done at once, by `Corrections`; the model that sees what a click lies in, and
the measuring of what was accepted, run in the worker process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Segmentation
from SpineSegLib.mrml.correcting import ACCEPTED_ATTRIBUTE, EDITED_ATTRIBUTE, Corrections, chosen, points_of
from SpineSegLib.mrml.edited import edited_in_editor, stamp
from SpineSegLib.mrml.exchange import sending
from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.pairs import grid_of, segmentation_of, sending_pair
from SpineSegLib.mrml.tables import result_table
from SpineSegLib.mrml.worker import DONE, Outcome, Worker


@dataclass(frozen=True)
class Refined:
    """How a correction in the worker ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    segmentationNode : what was corrected
    tableNode : sizes of what was accepted, and metrics where there is a truth
    notes : what the user should know, in sentences
    error : one line for the user, when it failed
    seconds : from start to end
    """

    state: str
    segmentationNode: object = None
    tableNode: object = None
    notes: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


def _nobody(*_) -> None:
    """Listen to nothing."""


class Refiner(Jobs, Corrections):
    """Corrects segmentation nodes; one run of the worker at a time.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        Jobs.__init__(self, Refined, worker, now)
        Corrections.__init__(self)

    def add(
        self,
        segmentationNode,
        volumeNode,
        pointNode,
        modelName: str,
        *,
        modality: str | None = None,
        device: str = "auto",
        weightsFile: str = "",
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Refined], None] = _nobody,
    ) -> None:
        """Add the vertebra that a vtkMRMLMarkupsFiducialNode's last point lies in, as a model sees it; return at once.

        Raises
        ------
        InputError : a node cannot be used; nothing was started
        RuntimeError : a run is in progress already
        """
        point = points_of(pointNode, 1, "a point in the vertebra", "Place a point in it")[-1]

        def prepare(folder: Path) -> None:
            exchange, write_volume = sending(volumeNode, folder, modality=modality)
            x, y = volume_geometry(volumeNode).to_index(point)[:0:-1]
            arguments = [f"--add={x:.3f},{y:.3f}", "--image", str(exchange.image), "--model", modelName]
            arguments += ["--device", device]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--weights", weightsFile] if weightsFile else []
            self._edit(segmentationNode, arguments, self._put_back, write_volume, exchange.voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def splitAtPoints(
        self,
        segmentationNode,
        which: str,
        pointsNode,
        *,
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Refined], None] = _nobody,
    ) -> None:
        """Part a vertebra from the points of a vtkMRMLMarkupsFiducialNode, one in each part; return at once.

        Parameters
        ----------
        which : as `relabel` takes it

        Raises
        ------
        InputError : a node cannot be used, or a point lies elsewhere; nothing was started
        RuntimeError : a run is in progress already
        """
        points = points_of(pointsNode, 2, "a point in each part", "Place a point in each part of the vertebra")

        def prepare(folder: Path) -> None:
            grid = grid_of(chosen(segmentationNode))
            places = np.rint(grid.to_index(points)).astype(int)
            if not ((places >= 0) & (places < grid.shape)).all():
                found = "a point lies outside of the segmentation"
                raise problem(pointsNode.GetName(), found, "a point in each part", "Move the point")
            arguments = ["--split-seeds", which, *(",".join(map(str, place[::-1])) for place in places)]
            self._edit(segmentationNode, arguments, self._put_back)

        self._begin(prepare, onProgress, onLog, onDone)

    def _edit(
        self,
        segmentationNode,
        arguments: list[str],
        then: Callable[[Segmentation, dict], None],
        also: Callable[[], object] = _nobody,
        voxels: int = 0,
    ) -> None:
        """Send a node's segments to ``edit``, and go on with what comes back and what was said.

        Parameters
        ----------
        also : writes the other files of the run, beside the event loop
        voxels : how many these have
        """
        from SpineSegLib.io import write_segmentation

        self._before = edited_in_editor(chosen(segmentationNode), segmentation_of(segmentationNode))
        self._node, self._stamp, self._then = segmentationNode, stamp(segmentationNode), then
        sent, self._result = self._folder / "sent.seg.nrrd", self._folder / "edited.seg.nrrd"
        arguments = ["edit", str(sent), *arguments, "--out", str(self._result), "--json"]

        def write() -> None:
            also()
            write_segmentation(self._before, sent)

        voxels += math.prod(self._before.geometry.shape)
        self._aside(write, lambda _: self._work(arguments, self._edited), voxels=voxels)

    def _edited(self, outcome: Outcome) -> None:
        """Read what the worker wrote, beside the event loop."""
        from SpineSegLib.io import read_segmentation

        if outcome.state != DONE or not isinstance(outcome.payload, dict):
            self._fail(outcome.error or "The worker said nothing; see the log.")
            return
        voxels = math.prod(self._before.geometry.shape)
        self._aside(
            lambda: read_segmentation(self._result),
            lambda found: self._then(self._in_place(found), outcome.payload),
            voxels=voxels,
        )

    def _in_place(self, found: Segmentation) -> Segmentation:
        """Return what came back in the node's place of now; it may have been moved by its transform meanwhile."""
        node = still_there(self._node)
        if node is None or stamp(node) != self._stamp:
            wrong = "it was deleted during the run" if node is None else "it was changed during the run"
            raise problem("segmentation", wrong, "the segmentation that was sent", "Run again")
        self._before = replace(self._before, geometry=grid_of(node))
        return replace(found, geometry=self._before.geometry)

    def _put_back(self, after: Segmentation, payload: dict) -> None:
        self._put(self._node, self._before, after)
        self._succeed(segmentationNode=self._node, notes=tuple(payload.get("warnings", ())))

    def accept(
        self,
        segmentationNode,
        *,
        truthNode=None,
        tableNode=None,
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Refined], None] = _nobody,
    ) -> None:
        """Mark a segmentation as looked at and found right, and measure it anew; return at once.

        Parameters
        ----------
        truthNode : vtkMRMLSegmentationNode to compare with
        tableNode : vtkMRMLTableNode to fill; a new one unless given

        Raises
        ------
        InputError : a node cannot be used; nothing was started
        RuntimeError : a run is in progress already
        """

        def prepare(folder: Path) -> None:
            self._tableNode, self._pair = tableNode, None
            write_pair, voxels = _nobody, 0
            if truthNode is not None:
                self._pair, write_pair = sending_pair(chosen(segmentationNode), truthNode, folder)
                voxels = self._pair.voxels
            self._edit(segmentationNode, ["--accept"], self._accepted, write_pair, voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def _accepted(self, after: Segmentation, payload: dict) -> None:
        if self._pair is None:
            self._show_accepted(after, payload)
            return
        arguments = ["evaluate", str(self._pair.prediction), str(self._pair.truth), "--json"]

        def compared(outcome: Outcome) -> None:
            measured = outcome.payload if outcome.state == DONE and isinstance(outcome.payload, dict) else None
            self._show_accepted(after, payload, measured, "" if measured else outcome.error)

        self._work(arguments, compared, "comparing: ")

    def _show_accepted(
        self, after: Segmentation, payload: dict, evaluation: dict | None = None, error: str = ""
    ) -> None:
        node = still_there(self._node)
        if node is None:
            raise problem("segmentation", "it was deleted during the run", "the one that was sent", "Run again")
        was = node.GetAttribute(EDITED_ATTRIBUTE) == "1"
        self._put(node, self._before, after)
        if not was and not any(segment.edited for segment in after.segments):
            node.RemoveAttribute(EDITED_ATTRIBUTE)
        node.SetAttribute(ACCEPTED_ATTRIBUTE, "1")
        name = f"{node.GetName()} results"
        tableNode = result_table(payload["structures"], evaluation, still_there(self._tableNode), name=name)
        measured = (*self._pair.notes, *evaluation.get("warnings", ())) if evaluation else ()
        notes = (*payload.get("warnings", ()), *measured)
        self._succeed(segmentationNode=node, tableNode=tableNode, notes=notes, error=error)


def models_for_a_click(volumeNode, *, modality: str | None = None) -> list:
    """Return the models (`Choice`) that fit a volume and can be shown a vertebra with a point."""
    from SpineSegLib.models import registry
    from SpineSegLib.mrml.choices import models_for
    from SpineSegLib.pipelines.editing.adding import takes_a_click

    return [choice for choice in models_for(volumeNode, modality=modality) if takes_a_click(registry()[choice.name])]
