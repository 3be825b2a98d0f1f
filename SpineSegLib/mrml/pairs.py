"""Two segmentation nodes go out to be compared, each on the grid that it was made on.

Nothing is resampled here: the command ``evaluate`` puts the prediction onto the truth's grid by nearest neighbour, and
says so, as it does for files that a user saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segmentation, SpacingSource
from SpineSegLib.mrml.geometry import matrix_to_array, parent_to_world, spacing_source
from SpineSegLib.mrml.segmentations import with_labelmaps
from SpineSegLib.mrml.segments import read_layers


@dataclass(frozen=True)
class PairFiles:
    """Where a pair lies for the worker.

    Parameters
    ----------
    prediction, truth : the files
    voxels : how many both have together
    notes : what the user should know about them, in sentences
    """

    prediction: Path
    truth: Path
    voxels: int
    notes: tuple[str, ...] = ()


def sending_pair(predictionNode, truthNode, folder: str | Path) -> tuple[PairFiles, Callable[[], None]]:
    """Take a prediction and a truth out of the scene, their transforms applied, and return what writes their files.

    The kinds of structure that the prediction has none of are left out of the truth: a truth often has more than a
    model was made to find.

    Parameters
    ----------
    predictionNode, truthNode : vtkMRMLSegmentationNode
    folder : an existing, empty folder

    Returns
    -------
    files : for the worker
    write : writes them, without the scene, so that a thread can

    Raises
    ------
    InputError : one is missing or has no segments, both are the same, or a transform is not linear
    """
    from SpineSegLib.evaluation.kinds import of_shared_kinds
    from SpineSegLib.io import write_segmentation

    for node, role in ((predictionNode, "prediction"), (truthNode, "truth")):
        if node is None:
            raise problem(role, "none is chosen", "a segmentation", "Choose one under Evaluate")
    if predictionNode is truthNode:
        found = "it is chosen as prediction and as truth"
        raise problem(truthNode.GetName(), found, "two segmentations", "Choose another one")
    prediction, truth = segmentation_of(predictionNode), segmentation_of(truthNode)
    truth, note = of_shared_kinds(prediction, truth)
    voxels = sum(math.prod(one.geometry.shape) for one in (prediction, truth))
    files = PairFiles(
        Path(folder, "prediction.seg.nrrd"), Path(folder, "truth.seg.nrrd"), voxels, (note,) if note else ()
    )

    def write() -> None:
        write_segmentation(prediction, files.prediction)
        write_segmentation(truth, files.truth)

    return files, write


def segmentation_of(segmentationNode) -> Segmentation:
    """Return a segmentation node's segments on the grid that Slicer saves them on, where they lie in the world.

    Raises
    ------
    InputError : no segments, or a transform that is not linear
    """
    vtkSegmentation = segmentationNode.GetSegmentation()
    if vtkSegmentation is None or vtkSegmentation.GetNumberOfSegments() == 0:
        raise problem(
            segmentationNode.GetName(), "it has no segments", "at least one segment", "Choose another segmentation"
        )
    node_to_world = parent_to_world(segmentationNode)
    vtkSegmentation = with_labelmaps(segmentationNode)
    return read_layers(vtkSegmentation, node_to_world, _own_grid(segmentationNode, vtkSegmentation, node_to_world))


def grid_of(segmentationNode) -> Geometry:
    """Return the grid of `segmentation_of`, without looking at a voxel; arguments and errors as there."""
    return _own_grid(segmentationNode, with_labelmaps(segmentationNode), parent_to_world(segmentationNode))


def reference_volume(segmentationNode):
    """Return the volume that a segmentation was made on, or None."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def _own_grid(segmentationNode, vtkSegmentation, node_to_world: np.ndarray) -> Geometry:
    """Return the grid of a saved .seg.nrrd: the reference geometry, made larger where a segment reaches beyond it."""
    import slicer
    import vtk

    image, segmentIds = slicer.vtkOrientedImageData(), vtk.vtkStringArray()
    for segmentId in vtkSegmentation.GetSegmentIDs():
        segmentIds.InsertNextValue(segmentId)
    text = vtkSegmentation.DetermineCommonLabelmapGeometry(
        slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS_AND_REFERENCE_GEOMETRY,
        segmentIds,
    )
    read = slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False) if text else False
    if not read or min(image.GetDimensions()) < 1:
        raise problem(
            segmentationNode.GetName(),
            "its segments are empty and belong to no volume",
            "segments with voxels, or a segmentation of a volume",
            "Choose its volume as source geometry in the Segment Editor",
        )
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = node_to_world @ matrix_to_array(matrix)
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ np.array(image.GetExtent()[::2], dtype=float)
    volumeNode = reference_volume(segmentationNode)
    known = spacing_source(volumeNode) if volumeNode else SpacingSource.HEADER
    return Geometry(image.GetDimensions()[::-1], ijk_to_ras, known)
