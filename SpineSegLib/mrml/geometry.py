"""Where a node lies in the world: 4x4 matrices as NumPy arrays, parent transforms, and what cannot be used."""

from __future__ import annotations

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, SpacingSource

SPACING_SOURCE_ATTRIBUTE = "SpineSeg.SpacingSource"
"""Attribute of a volume node: where its spacing came from, one of `SpacingSource`'s values."""

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Files without a spacing that can be relied on: Slicer shows 1 mm, or a printer's dots per inch, for these."""


def matrix_to_array(matrix) -> np.ndarray:
    """Return a vtkMatrix4x4 as a 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: np.ndarray):
    """Return a 4x4 array as a vtkMatrix4x4."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row][column]))
    return matrix


def parent_to_world(node) -> np.ndarray:
    """Return the 4x4 matrix of the transforms above a node.

    Raises
    ------
    InputError : one of them is not linear
    """
    import vtk

    transformNode = node.GetParentTransformNode()
    if transformNode is None:
        return np.eye(4)
    if not transformNode.IsTransformToWorldLinear():
        raise problem(
            node.GetName(),
            f"it lies under the nonlinear transform '{transformNode.GetName()}'",
            "no transform or a linear one",
            "Harden the transform on it (module Transforms, button 'Harden transform') and try again",
        )
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return matrix_to_array(matrix)


def volume_matrix(volumeNode) -> np.ndarray:
    """Return the volume's own ijk_to_ras, without the transforms above it."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return matrix_to_array(matrix)


def volume_geometry(volumeNode) -> Geometry:
    """Return the grid of a volume node in the world, the linear transforms above it included.

    Raises
    ------
    InputError : no voxels, or a transform that is not linear or flattens space
    """
    imageData = volumeNode.GetImageData()
    if imageData is None or imageData.GetNumberOfPoints() == 0:
        raise problem(volumeNode.GetName(), "it has no voxels", "a volume with an image", "Choose another volume")
    matrix = parent_to_world(volumeNode) @ volume_matrix(volumeNode)
    try:
        return Geometry(imageData.GetDimensions()[::-1], matrix, spacing_source(volumeNode))
    except ValueError:
        raise problem(
            volumeNode.GetName(),
            "its spacing, or a transform above it, flattens it to nothing",
            "three independent axes",
            "Correct its spacing in the module Volumes, or take it out of the transform",
        ) from None


def spacing_source(volumeNode) -> SpacingSource:
    """Say where a volume's spacing came from: the node's attribute, DICOM, its file's kind, else a header."""
    said = volumeNode.GetAttribute(SPACING_SOURCE_ATTRIBUTE)
    if said in list(SpacingSource):
        return SpacingSource(said)
    from SpineSegLib.mrml.dicom import dicom_values

    spacing, imager = dicom_values(volumeNode, "0028,0030", "0018,1164")
    if spacing:
        return SpacingSource.PIXEL_SPACING
    if imager:
        return SpacingSource.IMAGER_PIXEL_SPACING
    storageNode = volumeNode.GetStorageNode()
    fileName = (storageNode.GetFileName() or "") if storageNode else ""
    return SpacingSource.UNKNOWN if fileName.lower().endswith(_PICTURES) else SpacingSource.HEADER
