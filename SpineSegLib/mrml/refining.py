"""Correcting a segmentation of the scene: levels, merge, split, remove, add from a click, accept; and undo.

What only moves names and labels about is done at once; the model that sees what a click lies in, and the measuring of
what was accepted, run in the worker process. Slicer's own history of a segmentation gives undo and redo.
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
from SpineSegLib.mrml.edited import edited_in_editor, filled_part, is_edited, notice_in_editor, put, stamp
from SpineSegLib.mrml.exchange import sending
from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.pairs import grid_of, reference_volume, segmentation_of, sending_pair
from SpineSegLib.mrml.tables import result_table
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

EDITED_ATTRIBUTE, ACCEPTED_ATTRIBUTE = "SpineSeg.Edited", "SpineSeg.Accepted"
"""Attributes of a segmentation node that a person edited, and has looked at and found right."""

STATES = 30
"""Corrections that can be undone."""


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


class Refiner(Jobs):
    """Corrects segmentation nodes; one run of the worker at a time.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(Refined, worker, now)
        self._histories: dict[str, object] = {}

    def vertebrae(self, segmentationNode) -> list:
        """Return the node's vertebrae from the head down, as `SpineSegLib.pipelines.editing.Vertebra`."""
        from SpineSegLib.pipelines.editing import vertebrae_of

        if segmentationNode is None or segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
            return []
        return vertebrae_of(filled_part(segmentation_of(segmentationNode)))

    def relabel(self, segmentationNode, which: str, level: str) -> tuple[str, ...]:
        """Name one vertebra, the rest follow; return what the user should know.

        Parameters
        ----------
        which : a level or a name, or ``#3`` for the third from the top

        Raises
        ------
        InputError : it cannot be done; the node stays as it was
        """
        from SpineSegLib.pipelines.editing import relabel

        return self._correct(segmentationNode, lambda found: relabel(found, which, level))

    def merge(self, segmentationNode, which: str) -> tuple[str, ...]:
        """Make one of a vertebra and the next below; arguments and errors as `relabel`."""
        from SpineSegLib.pipelines.editing import find, merge, vertebrae_of

        def merged(found: Segmentation) -> Segmentation:
            vertebrae = vertebrae_of(found)
            at = find(vertebrae, which)
            if at + 1 == len(vertebrae):
                raise problem(vertebrae[at].name, "it is the lowest", "one with another below it", "Choose another one")
            return merge(found, f"#{at + 1}", f"#{at + 2}")

        return self._correct(segmentationNode, merged)

    def split(self, segmentationNode, which: str, lineNode) -> tuple[str, ...]:
        """Cut a vertebra in two along a vtkMRMLMarkupsLineNode; arguments and errors as `relabel`."""
        from SpineSegLib.pipelines.editing import split_at_line

        points = points_of(lineNode, 2, "a line with two points", "Draw a line through the vertebra")
        return self._correct(segmentationNode, lambda found: split_at_line(found, which, points))

    def remove(self, segmentationNode, which: str) -> tuple[str, ...]:
        """Take a vertebra away; arguments and errors as `relabel`."""
        from SpineSegLib.pipelines.editing import remove

        return self._correct(segmentationNode, lambda found: remove(found, which))

    def _correct(self, segmentationNode, how: Callable[[Segmentation], Segmentation]) -> tuple[str, ...]:
        from SpineSegLib.pipelines.editing import level_notes

        if self.busy:
            msg = "SpineSeg is running already: wait for it, or cancel it."
            raise RuntimeError(msg)
        before = filled_part(edited_in_editor(chosen(segmentationNode), segmentation_of(segmentationNode)))
        after = how(before)
        self._put(segmentationNode, before, after)
        return tuple(level_notes(after))

    def _put(self, segmentationNode, before: Segmentation, after: Segmentation) -> None:
        self._history(segmentationNode).SaveState()
        put(segmentationNode, before, filled_part(after))
        segmentationNode.SetAttribute(EDITED_ATTRIBUTE, "1")
        segmentationNode.RemoveAttribute(ACCEPTED_ATTRIBUTE)

    def canUndo(self, segmentationNode) -> bool:
        """Tell whether there is a correction to undo."""
        return segmentationNode is not None and bool(self._history(segmentationNode).IsRestorePreviousStateAvailable())

    def canRedo(self, segmentationNode) -> bool:
        """Tell whether a correction was undone."""
        return segmentationNode is not None and bool(self._history(segmentationNode).IsRestoreNextStateAvailable())

    def undo(self, segmentationNode) -> bool:
        """Take the last correction back; return whether there was one. What was drawn since comes back with `redo`."""
        return self._restore(segmentationNode, "RestorePreviousState")

    def redo(self, segmentationNode) -> bool:
        """Make the correction again that was undone; return whether there was one."""
        return self._restore(segmentationNode, "RestoreNextState")

    def _restore(self, segmentationNode, step: str) -> bool:
        vtkSegmentation = segmentationNode.GetSegmentation()
        surfaces = vtkSegmentation.ContainsRepresentation("Closed surface")
        if not getattr(self._history(segmentationNode), step)():
            return False
        if surfaces:
            segmentationNode.CreateClosedSurfaceRepresentation()
        edited, accepted = is_edited(segmentationNode)
        for name, value in ((EDITED_ATTRIBUTE, edited), (ACCEPTED_ATTRIBUTE, accepted)):
            segmentationNode.SetAttribute(name, "1") if value else segmentationNode.RemoveAttribute(name)
        return True

    def _history(self, segmentationNode):
        """Return Slicer's history of a node's segmentation; those of nodes that are gone are forgotten."""
        import slicer

        scene, identifier = segmentationNode.GetScene(), segmentationNode.GetID()
        self._histories = {known: kept for known, kept in self._histories.items() if scene.GetNodeByID(known)}
        vtkSegmentation = segmentationNode.GetSegmentation()
        kept = self._histories.get(identifier)
        if kept is None or kept[0] is not vtkSegmentation:
            history = slicer.vtkSegmentationHistory()
            history.SetMaximumNumberOfStates(STATES)
            history.SetSegmentation(vtkSegmentation)
            kept = self._histories[identifier] = (vtkSegmentation, history)
        return kept[1]

    def forget(self) -> None:
        """Forget all that could be undone: the scene is closed."""
        self._histories = {}

    def openInEditor(self, segmentationNode, volumeNode=None) -> None:
        """Open a segmentation in the Segment Editor; what is drawn there is noticed when it is accepted.

        Raises
        ------
        InputError : no segmentation is chosen
        RuntimeError : there is no window
        """
        import slicer

        volumeNode = volumeNode or reference_volume(chosen(segmentationNode))
        notice_in_editor(segmentationNode)
        # The module's own choice of nodes, which it shows when it is entered.
        editorNode = segmentationNode.GetScene().GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if editorNode is None:
            editorNode = slicer.vtkMRMLSegmentEditorNode()
            editorNode.SetSingletonTag("SegmentEditor")
            editorNode = segmentationNode.GetScene().AddNode(editorNode)
        editorNode.SetAndObserveSegmentationNode(segmentationNode)
        if volumeNode is not None:
            editorNode.SetAndObserveSourceVolumeNode(volumeNode)
        slicer.util.selectModule("SegmentEditor")

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


def chosen(segmentationNode):
    """Return a segmentation node; InputError when there is none."""
    if segmentationNode is None:
        raise problem("segmentation", "none is chosen", "a segmentation", "Choose one under Correct")
    return segmentationNode


def points_of(markupsNode, least: int, expected: str, step: str) -> np.ndarray:
    """Return the points (n, 3) of a markups node in the world (RAS).

    Raises
    ------
    InputError : there are fewer than `least`
    """
    count = markupsNode.GetNumberOfDefinedControlPoints() if markupsNode is not None else 0
    if count < least:
        where = markupsNode.GetName() if markupsNode is not None else "markups"
        raise problem(where, f"it has {count} points" if markupsNode is not None else "none is chosen", expected, step)
    points = [np.zeros(3) for _ in range(markupsNode.GetNumberOfControlPoints())]
    for number, point in enumerate(points):
        markupsNode.GetNthControlPointPositionWorld(number, point)
    status = [markupsNode.GetNthControlPointPositionStatus(number) for number in range(len(points))]
    return np.array(
        [point for point, known in zip(points, status, strict=True) if known == markupsNode.PositionDefined]
    )


def models_for_a_click(volumeNode, *, modality: str | None = None) -> list:
    """Return the models (`Choice`) that fit a volume and can be shown a vertebra with a point."""
    from SpineSegLib.models import registry
    from SpineSegLib.mrml.choices import models_for
    from SpineSegLib.pipelines.editing.adding import takes_a_click

    return [choice for choice in models_for(volumeNode, modality=modality) if takes_a_click(registry()[choice.name])]
