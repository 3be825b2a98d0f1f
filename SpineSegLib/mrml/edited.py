"""Putting an edited segmentation back into its node, and noticing what was drawn in the Segment Editor."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.mrml.geometry import parent_to_world, volume_geometry
from SpineSegLib.mrml.pairs import reference_volume, segmentation_of
from SpineSegLib.mrml.segments import LABELMAP, tag_of, vtk_segments

SEEN_TAG = "SpineSeg.Seen"
"""Tag of a segment: a digest of its voxels when it was handed to the Segment Editor."""


def put(segmentationNode, before: Segmentation, after: Segmentation) -> None:
    """Replace a node's segments by edited ones; grid, transform, surfaces and display stay.

    Parameters
    ----------
    before : what `segmentation_of` said of the node
    after : the same after corrections; a segment in the same place as before keeps its ID, visibility and other tags
    """
    vtkSegmentation, displayNode = segmentationNode.GetSegmentation(), segmentationNode.GetDisplayNode()
    ids = dict(zip(_places(before), vtkSegmentation.GetSegmentIDs(), strict=True))
    matrix = np.linalg.inv(parent_to_world(segmentationNode)) @ after.geometry.ijk_to_ras
    ready, taken = [], set(ids.values())
    for segment, (made, vtkSegment) in zip(after.segments, vtk_segments(after, matrix), strict=True):
        segmentId = ids.get((segment.layer, segment.label))
        if segmentId is None:
            segmentId = vtkSegmentation.GenerateUniqueSegmentID(made)
            while segmentId in taken:
                segmentId += "_"
        else:
            _keep_tags(vtkSegmentation.GetSegment(segmentId), vtkSegment, segment)
        taken.add(segmentId)
        visible = displayNode is None or segmentId not in ids.values() or displayNode.GetSegmentVisibility(segmentId)
        ready.append((segmentId, vtkSegment, visible))
    surfaces = vtkSegmentation.ContainsRepresentation("Closed surface")
    seen = any(_seen(segmentationNode))
    wasModified = segmentationNode.StartModify()
    try:
        vtkSegmentation.RemoveAllSegments()
        vtkSegmentation.SetSourceRepresentationName(LABELMAP)
        for segmentId, vtkSegment, visible in ready:
            vtkSegmentation.AddSegment(vtkSegment, segmentId)
            if displayNode is not None:
                displayNode.SetSegmentVisibility(segmentId, visible)
    finally:
        segmentationNode.EndModify(wasModified)
    if surfaces:
        segmentationNode.CreateClosedSurfaceRepresentation()
    if seen:
        notice_in_editor(segmentationNode)


def filled_part(segmentation: Segmentation) -> Segmentation:
    """Return the rows and columns of a volume's segmentation that hold segments: corrections need no others.

    A spine takes a small part of a CT, and what is left out would cost seconds on the main thread. Every slice stays,
    so that a volume remains one.
    """
    geometry = segmentation.geometry
    # Labels of no segment count as well: looking for those of segments alone takes ten times as long.
    shadow = np.logical_or.reduce([layer.any(axis=0) for layer in segmentation.layers])
    if geometry.is_2d or not shadow.any():
        return segmentation
    rows, columns = (np.flatnonzero(shadow.any(axis=axis)) for axis in (1, 0))
    start, stop = (0, rows[0], columns[0]), (geometry.shape[0], rows[-1] + 1, columns[-1] + 1)
    part = tuple(slice(first, end) for first, end in zip(start, stop, strict=True))
    return Segmentation(
        tuple(layer[part] for layer in segmentation.layers),
        tuple(replace(segment, probability=None) for segment in segmentation.segments),
        geometry.cropped(start, stop),
    )


def _places(segmentation: Segmentation) -> list[tuple[int, int]]:
    return [(segment.layer, segment.label) for segment in segmentation.segments]


def _keep_tags(old, new, segment: Segment) -> None:
    """Give a vtkSegment the tags of the one that it was, beside those that are ours."""
    from SpineSegLib.io.seg_nrrd import OWN_TAGS, segment_tags

    # Slicer's Python lists no tags, but copies them, with all else that is no voxel.
    name, colour, label = new.GetName(), new.GetColor(), new.GetLabelValue()
    new.DeepCopyMetadata(old)
    new.SetName(name)
    new.SetColor(*colour)
    new.SetLabelValue(label)
    for tag in (*OWN_TAGS, SEEN_TAG):
        new.RemoveTag(tag)
    for tag, value in segment_tags(segment).items():
        new.SetTag(tag, value)


def stamp(segmentationNode) -> int:
    """Return a number that grows whenever a node's segments, their names or their voxels change."""
    vtkSegmentation = segmentationNode.GetSegmentation()
    times = [vtkSegmentation.GetMTime()]
    for number in range(vtkSegmentation.GetNumberOfSegments()):
        segment = vtkSegmentation.GetNthSegment(number)
        image = segment.GetRepresentation(LABELMAP)
        times += [segment.GetMTime(), *([image.GetMTime()] if image else [])]
    return max(times)


def is_edited(segmentationNode) -> tuple[bool, bool]:
    """Tell whether any segment was edited by a person, and whether all were accepted."""
    from SpineSegLib.io.seg_nrrd import notes_in

    vtkSegmentation = segmentationNode.GetSegmentation()
    segments = [vtkSegmentation.GetNthSegment(n) for n in range(vtkSegmentation.GetNumberOfSegments())]
    notes = [notes_in(lambda tag, segment=segment: tag_of(segment, tag) or "") for segment in segments]
    return any(note["edited"] for note in notes), bool(notes) and all(note["accepted"] for note in notes)


def notice_in_editor(segmentationNode) -> None:
    """Remember every segment's voxels, in tags that are saved with the scene."""
    vtkSegmentation = segmentationNode.GetSegmentation()
    if vtkSegmentation.GetNumberOfSegments() == 0:
        return
    found = segmentation_of(segmentationNode)
    for segmentId, digest in zip(vtkSegmentation.GetSegmentIDs(), _digests(segmentationNode, found), strict=True):
        vtkSegmentation.GetSegment(segmentId).SetTag(SEEN_TAG, digest)


def edited_in_editor(segmentationNode, found: Segmentation) -> Segmentation:
    """Return a node's segmentation in which what was drawn in the Segment Editor since `notice_in_editor` says so."""
    seen = _seen(segmentationNode)
    if not any(seen):
        return found
    segments = []
    for segment, was, now in zip(found.segments, seen, _digests(segmentationNode, found), strict=True):
        if was != now:
            what = "drawn in the Segment Editor" if was is None else "changed in the Segment Editor"
            edited = f"{segment.edited}; {what}" if segment.edited else what
            segment = replace(segment, edited=edited, accepted=False, confidence=None)
        segments.append(segment)
    return replace(found, segments=tuple(segments))


def _seen(segmentationNode) -> list[str | None]:
    vtkSegmentation = segmentationNode.GetSegmentation()
    return [tag_of(vtkSegmentation.GetSegment(one), SEEN_TAG) for one in vtkSegmentation.GetSegmentIDs()]


def _digests(segmentationNode, found: Segmentation) -> list[str]:
    """Return a digest of each segment's voxels, by their indices in the volume where there is one."""
    volumeNode = reference_volume(segmentationNode)
    grid = volume_geometry(volumeNode) if volumeNode is not None and volumeNode.GetImageData() else found.geometry
    digests = []
    for segment in found.segments:
        voxels = grid.to_index(found.geometry.to_world(np.argwhere(found.mask(segment))))
        digests.append(hashlib.blake2b(np.rint(voxels).astype(np.int32).tobytes(), digest_size=8).hexdigest())
    return digests
