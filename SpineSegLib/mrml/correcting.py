"""Corrections that are made at once: levels, merge, split along a line, remove; and undo, by Slicer's own history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Segmentation
from SpineSegLib.mrml.edited import edited_in_editor, filled_part, is_edited, notice_in_editor, put
from SpineSegLib.mrml.pairs import reference_volume, segmentation_of

EDITED_ATTRIBUTE, ACCEPTED_ATTRIBUTE = "SpineSeg.Edited", "SpineSeg.Accepted"
"""Attributes of a segmentation node that a person edited, and has looked at and found right."""

STATES = 30
"""Corrections that can be undone."""


class Corrections:
    """Corrects segmentation nodes, and takes corrections back.

    Attributes
    ----------
    busy : whether something is in progress during which nothing may be corrected
    """

    busy = False

    def __init__(self) -> None:
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
