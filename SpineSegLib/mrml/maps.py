"""Errors and scalar maps -> nodes over the image: segments, colours with a legend, foreground of slice views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.mrml.geometry import array_to_matrix, parent_to_world
from SpineSegLib.mrml.scenes import fill_volume
from SpineSegLib.mrml.segmentations import fill_node_beside
from SpineSegLib.mrml.segments import vtk_segments
from SpineSegLib.mrml.views import show_as_foreground

Stops = Sequence[tuple[int, int, int]]

DIVERGING: Stops = ((10, 70, 190), (56, 148, 255), (240, 240, 240), (255, 122, 26), (180, 40, 10))
"""Blue within the truth, light grey at its boundary, orange outside: the colours of missed and of too much."""
HOT: Stops = ((10, 5, 40), (90, 20, 110), (190, 55, 85), (245, 125, 25), (252, 250, 165))
"""From dark violet to light yellow, each lighter than the one before: more is lighter."""


@dataclass(frozen=True)
class Look:
    """How a scalar map is coloured.

    Parameters
    ----------
    low, high : values of the first and the last colour
    label : what the legend says, with the unit
    colours : `DIVERGING` or `HOT`
    hidden_below : values below this, and NaN, are transparent
    opacity : of the foreground
    """

    low: float
    high: float
    label: str
    colours: Stops = HOT
    hidden_below: float = -np.inf
    opacity: float = 0.75


def show_errors(errors: Segmentation, besideNode, *, name: str, segmentationNode=None):
    """Put kinds of error into a segmentation node under the transform of the truth.

    Parameters
    ----------
    errors : a segment for each kind, where it lies in the world
    besideNode : node whose transform and place in the subject hierarchy it gets
    name : name of a new node
    segmentationNode : vtkMRMLSegmentationNode to fill; a new one unless given
    """
    matrix = np.linalg.inv(parent_to_world(besideNode)) @ errors.geometry.ijk_to_ras
    ready = vtk_segments(errors, matrix)
    if segmentationNode is None:
        scene = besideNode.GetScene()
        segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    fill_node_beside(segmentationNode, ready, besideNode, errors.geometry.shape, matrix)
    segmentationNode.GetDisplayNode().SetOpacity2DFill(0.6)
    return segmentationNode


def show_map(image: Image, besideNode, look: Look, *, name: str, volumeNode=None):
    """Put a scalar map into a volume node with colours and a legend, and over the images in the slice views.

    Parameters
    ----------
    image : numbers where they lie in the world; NaN is transparent
    besideNode : node whose transform it gets
    look : colours, range, legend
    name : name of a new node
    volumeNode : vtkMRMLScalarVolumeNode to fill; a new one unless given

    Returns
    -------
    vtkMRMLScalarVolumeNode
    """
    scene = besideNode.GetScene()
    matrix = np.linalg.inv(parent_to_world(besideNode)) @ image.geometry.ijk_to_ras
    if volumeNode is None:
        volumeNode = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    fill_volume(volumeNode, image)
    volumeNode.SetIJKToRASMatrix(array_to_matrix(matrix))
    volumeNode.SetAndObserveTransformNodeID(besideNode.GetTransformNodeID())
    colour_map(volumeNode, look)
    return volumeNode


def colour_map(volumeNode, look: Look) -> None:
    """Give a volume node the colours, the range and the legend of a map, and lay it over the slice views."""
    import slicer

    if volumeNode.GetDisplayNode() is None:
        displayNode = volumeNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        volumeNode.SetAndObserveDisplayNodeID(displayNode.GetID())
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(_colour_table(volumeNode.GetScene(), look.colours).GetID())
    displayNode.SetAutoWindowLevel(False)
    displayNode.SetWindowLevelMinMax(look.low, look.high)
    # Between voxels that have no value and such that have one nothing may be interpolated.
    displayNode.SetInterpolate(False)
    # NaN lies between no two numbers, so a threshold hides it whatever its bounds.
    displayNode.SetThreshold(max(look.hidden_below, -3e38), 3e38)
    displayNode.SetApplyThreshold(True)
    # Before the legend, which views draw when it changes and its volume is seen in them.
    show_as_foreground(volumeNode, look.opacity)
    legendNode = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volumeNode)
    if legendNode is None:
        legendNode = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volumeNode)
    legendNode.SetTitleText(look.label)
    legendNode.GetTitleTextProperty().SetFontSize(15)
    legendNode.GetLabelTextProperty().SetFontSize(15)
    legendNode.SetLabelFormat("%.3g")
    legendNode.SetNumberOfLabels(5)
    legendNode.SetVisibility(True)


def _colour_table(scene, stops: Stops):
    """Return the scene's table of these colours, which is made once."""
    name = "SpineSeg diverging" if stops is DIVERGING else "SpineSeg hot"
    found = scene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    tableNode = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    tableNode.SetTypeToUser()
    tableNode.SetNumberOfColors(256)
    tableNode.SetHideFromEditors(False)
    places, colours = np.linspace(0, 255, len(stops)), np.array(stops) / 255
    for number in range(256):
        red, green, blue = (float(np.interp(number, places, colours[:, channel])) for channel in range(3))
        tableNode.SetColor(number, str(number), red, green, blue, 1.0)
    tableNode.GetLookupTable().SetRange(0, 255)
    return tableNode
