"""Closed surfaces of segments, made without holding up the event loop."""

from __future__ import annotations

from collections.abc import Callable

from SpineSegLib.mrml.dicom import modality_of
from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.mrml.segments import LABELMAP

SURFACE = "Closed surface"
"""Slicer's name of the representation that 3D views show."""


def wants_surfaces(volumeNode) -> bool:
    """Tell whether a segmentation of this volume is worth seeing in 3D: that of a CT of several slices."""
    return not volume_geometry(volumeNode).is_2d and modality_of(volumeNode)[0] == "CT"


def grow_surfaces(segmentationNode, later: Callable[[float, Callable[[], None]], None]) -> None:
    """Make the closed surface of one segment in each turn of the event loop: 25 vertebrae at once take seconds.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode with labelmaps; what happens to it meanwhile is respected
    later : ``later(seconds, function)`` calls a function on the main thread
    """
    segmentation = segmentationNode.GetSegmentation()
    made = segmentation.GetMTime()
    waiting = [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]
    finished: list[tuple[object, object]] = []

    def step() -> None:
        if segmentationNode.GetScene() is None or segmentation.GetMTime() != made:
            return  # deleted, filled anew or edited meanwhile: whoever did that decides on its surfaces
        if waiting:
            segment = segmentation.GetSegment(waiting.pop(0))
            finished.append((segment, surface_of(segmentation, segment)))
            later(0, step)
            return
        for segment, surface in finished:
            if surface is not None:
                segment.AddRepresentation(SURFACE, surface)
        segmentationNode.CreateClosedSurfaceRepresentation()

    later(0, step)


def surface_of(segmentation, segment):
    """Return a segment's closed surface as Slicer makes it with the segmentation's settings, or None if it is empty."""
    import slicer

    alone = slicer.vtkSegmentation()
    alone.CopyConversionParameters(segmentation)
    alone.SetSourceRepresentationName(LABELMAP)
    copy = slicer.vtkSegment()
    copy.AddRepresentation(LABELMAP, segment.GetRepresentation(LABELMAP))
    copy.SetLabelValue(segment.GetLabelValue())
    alone.AddSegment(copy, "one")
    return copy.GetRepresentation(SURFACE) if alone.CreateRepresentation(SURFACE) else None
