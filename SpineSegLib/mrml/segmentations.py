"""Segmentation -> vtkMRMLSegmentationNode in the scene, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segmentation
from SpineSegLib.mrml.geometry import array_to_matrix, parent_to_world, volume_geometry, volume_matrix
from SpineSegLib.mrml.segments import LABELMAP, read_layers, vtk_segments
from SpineSegLib.mrml.surfaces import wants_surfaces
from SpineSegLib.mrml.terminology import register_terminology


def show_segmentation(
    segmentation: Segmentation, volumeNode, *, name: str, segmentationNode=None, surface: bool | None = None
):
    """Put a segmentation into the volume's scene: under its transform, on its grid, beside it in the hierarchy.

    Everything that can fail is done before the scene is touched: a node that exists is replaced as a whole or stays
    as it was.

    Parameters
    ----------
    segmentation : structures, on the volume's grid in the world or another one
    volumeNode : vtkMRMLScalarVolumeNode that was segmented
    name : name of a new node
    segmentationNode : vtkMRMLSegmentationNode to fill; a new one unless given
    surface : whether to make closed surfaces for 3D views; for a CT of several slices unless given

    Returns
    -------
    vtkMRMLSegmentationNode

    Raises
    ------
    InputError : the volume has no voxels or lies under a nonlinear transform
    """
    geometry = volume_geometry(volumeNode)
    if segmentation.geometry.same_as(geometry):
        matrix = volume_matrix(volumeNode)
    else:
        matrix = np.linalg.inv(parent_to_world(volumeNode)) @ segmentation.geometry.ijk_to_ras
    ready = vtk_segments(segmentation, matrix)
    if surface is None:
        surface = wants_surfaces(volumeNode)
    register_terminology()
    scene = volumeNode.GetScene()
    if segmentationNode is None:
        uniqueName = scene.GenerateUniqueName(name)
        segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", uniqueName)
    fill_node(segmentationNode, ready, volumeNode)
    if surface:
        segmentationNode.CreateClosedSurfaceRepresentation()
    place_beside(segmentationNode, volumeNode)
    return segmentationNode


def fill_node(segmentationNode, ready: list[tuple[str, object]], volumeNode) -> None:
    """Replace the content of a segmentation node by finished vtkSegments on a volume's grid."""
    _replace(
        segmentationNode,
        ready,
        volumeNode,
        lambda: segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode),
    )


def fill_node_beside(segmentationNode, ready: list[tuple[str, object]], node, shape, matrix: np.ndarray) -> None:
    """Replace the content of a segmentation node by finished vtkSegments on a grid of its own, beside another node.

    Parameters
    ----------
    node : gives the transform and the place in the subject hierarchy
    shape, matrix : k, j, i of the grid, and its ijk_to_ras below that transform
    """
    import slicer

    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    image.SetImageToWorldMatrix(array_to_matrix(matrix))
    converter = slicer.vtkSegmentationConverter
    geometry = converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(image)
    _replace(
        segmentationNode, ready, node, lambda: segmentationNode.GetSegmentation().SetConversionParameter(*geometry)
    )
    place_beside(segmentationNode, node)


def _replace(segmentationNode, ready: list[tuple[str, object]], node, set_geometry: Callable[[], object]) -> None:
    vtkSegmentation = segmentationNode.GetSegmentation()
    wasModified = segmentationNode.StartModify()
    try:
        vtkSegmentation.RemoveAllSegments()
        # The transform comes first: reference geometry set before it would not be in the volume's place.
        segmentationNode.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        set_geometry()
        vtkSegmentation.SetSourceRepresentationName(LABELMAP)
        for segmentId, vtkSegment in ready:
            vtkSegmentation.AddSegment(vtkSegment, segmentId)
        segmentationNode.CreateDefaultDisplayNodes()
        displayNode = segmentationNode.GetDisplayNode()
        displayNode.SetOpacity2DFill(0.35)
        displayNode.SetOpacity2DOutline(1.0)
    finally:
        segmentationNode.EndModify(wasModified)


def place_beside(node, volumeNode) -> None:
    """Put a node into the subject hierarchy beside the volume: in the same study or folder."""
    import slicer

    hierarchyNode = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    if hierarchyNode is None:
        return
    sceneItem = hierarchyNode.GetSceneItemID()
    volumeItem = hierarchyNode.GetItemByDataNode(volumeNode)
    parentItem = hierarchyNode.GetItemParent(volumeItem) if volumeItem else sceneItem
    item = hierarchyNode.GetItemByDataNode(node)
    if item:
        hierarchyNode.SetItemParent(item, parentItem)
    else:
        hierarchyNode.CreateItem(parentItem, node)


def segmentation_from_node(segmentationNode, volumeNode) -> Segmentation:
    """Return a segmentation node's segments on the volume's grid (for instance a ground truth).

    Segments that were made on another grid, or lie under another transform, are sampled by nearest neighbour; those
    that exist as closed surfaces only are turned into voxels, on a copy.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    volumeNode : vtkMRMLScalarVolumeNode that gives the grid

    Raises
    ------
    InputError : no segments, a nonlinear transform, or no common field of view
    """
    vtkSegmentation = segmentationNode.GetSegmentation() if segmentationNode else None
    where = segmentationNode.GetName() if segmentationNode else "segmentation"
    if vtkSegmentation is None or vtkSegmentation.GetNumberOfSegments() == 0:
        raise problem(where, "it has no segments", "at least one segment", "Choose another segmentation")
    geometry = volume_geometry(volumeNode)
    node_to_world = parent_to_world(segmentationNode)
    vtkSegmentation = with_labelmaps(segmentationNode)
    found = read_layers(vtkSegmentation, node_to_world, geometry)
    if not found.foreground.any():
        raise problem(
            where,
            f"none of its segments has a voxel inside the volume '{volumeNode.GetName()}'",
            "a segmentation of the same place",
            "Choose the segmentation that belongs to this volume, or check their transforms",
        )
    return found


def same_grid(segmentationNode, volumeNode) -> bool:
    """Tell whether a segmentation node's reference grid is that of the volume, so that nothing is resampled."""
    import slicer

    text = segmentationNode.GetSegmentation().GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return False
    import vtk

    from SpineSegLib.mrml.geometry import matrix_to_array

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    node_to_world = parent_to_world(segmentationNode)
    reference = Geometry(image.GetDimensions()[::-1], node_to_world @ matrix_to_array(matrix))
    return reference.same_as(volume_geometry(volumeNode))


def with_labelmaps(segmentationNode):
    """Return the vtkSegmentation of a node that has segments, or a copy with voxels where it has surfaces only.

    Raises
    ------
    InputError : its segments cannot be turned into voxels
    """
    import slicer

    if segmentationNode.GetSegmentation().ContainsRepresentation(LABELMAP):
        return segmentationNode.GetSegmentation()
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentationNode.GetSegmentation())
    if not copy.CreateRepresentation(LABELMAP):
        raise problem(
            segmentationNode.GetName(),
            "its segments cannot be turned into voxels",
            "segments with a binary labelmap",
            "Open it in the Segment Editor, and choose its volume as source geometry",
        )
    return copy
