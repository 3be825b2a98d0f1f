"""The files of ``explain errors`` for the scene, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineSegLib.mrml.maps import DIVERGING, Look, show_errors, show_map
from SpineSegLib.mrml.pairs import reference_volume
from SpineSegLib.mrml.views import show_in_views

ROLE_ATTRIBUTE = "SpineSeg.ErrorsOf"
"""Attribute of nodes that show errors: the ID of the truth, by which the next run finds and replaces them."""


@dataclass(frozen=True)
class ErrorFiles:
    """What the worker writes about errors.

    Parameters
    ----------
    folder : the run's temporary folder
    """

    folder: Path

    @property
    def segmentation(self) -> Path:
        """Kinds of error as segments."""
        return self.folder / "errors.seg.nrrd"

    @property
    def distance(self) -> Path:
        """Signed distance to the true boundary, missing when the truth is empty."""
        return self.folder / "distance.nrrd"

    def arguments(self, prediction: Path, truth: Path) -> list[str]:
        """Return the worker's arguments that write them."""
        outputs = [part for path in (self.segmentation, self.distance) for part in ("--out", str(path))]
        return ["explain", "errors", str(prediction), str(truth), *outputs, "--json"]


def show_error_files(files: ErrorFiles, predictionNode, truthNode, *, title: str):
    """Show the errors of a prediction: kinds of error as segments, and their distance to the true boundary as colours.

    Of the two segmentations, outlines stay: filled, they would hide the errors. Nodes of the same truth are used again.

    Parameters
    ----------
    files : what the worker wrote
    predictionNode : vtkMRMLSegmentationNode, or None when it was deleted
    truthNode : vtkMRMLSegmentationNode
    title : of the pair

    Returns
    -------
    (vtkMRMLSegmentationNode, vtkMRMLScalarVolumeNode or None)
    """
    from SpineSegLib.io import read_image, read_segmentation

    errors = read_segmentation(files.segmentation)
    distance = read_image(files.distance) if files.distance.is_file() else None
    errorNode = show_errors(
        errors,
        truthNode,
        name=f"Errors: {title}",
        segmentationNode=_made_before("vtkMRMLSegmentationNode", truthNode),
    )
    errorNode.SetAttribute(ROLE_ATTRIBUTE, truthNode.GetID())
    volumeNode = next((volume for volume in map(_volume_of, (truthNode, predictionNode)) if volume), None)
    if volumeNode is not None:
        show_in_views(volumeNode, errors)
    mapNode = _show_distance(distance, errors.foreground, truthNode, title) if distance is not None else None
    errorNode.GetDisplayNode().SetVisibility2DFill(mapNode is None)
    for node in (predictionNode, truthNode):
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility2DFill(False)
    return errorNode, mapNode


def _show_distance(distance, wrong: np.ndarray, truthNode, title: str):
    # The file holds 0 where there is no error, and a voxel of the boundary itself errs by 0 as well.
    away = np.where(wrong, distance.array, np.nan).astype(np.float32)
    largest = float(np.nanmax(np.abs(away))) if wrong.any() else 0.0
    unit = "mm" if distance.geometry.has_spacing else "px"
    look = Look(-max(largest, 1.0), max(largest, 1.0), f"from true\nboundary ({unit})", DIVERGING)
    mapNode = show_map(
        replace(distance, array=away),
        truthNode,
        look,
        name=f"Distance: {title}",
        volumeNode=_made_before("vtkMRMLScalarVolumeNode", truthNode),
    )
    mapNode.SetAttribute(ROLE_ATTRIBUTE, truthNode.GetID())
    return mapNode


def _volume_of(segmentationNode):
    return reference_volume(segmentationNode) if segmentationNode is not None else None


def _made_before(className: str, truthNode):
    import slicer

    nodes = slicer.util.getNodesByClass(className, truthNode.GetScene())
    return next((node for node in nodes if node.GetAttribute(ROLE_ATTRIBUTE) == truthNode.GetID()), None)
