"""Volume node -> Image."""

from __future__ import annotations

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image
from SpineSegLib.mrml.dicom import dicom_values, modality_of
from SpineSegLib.mrml.geometry import volume_geometry

_FACTS = {"ViewPosition": "0018,5101", "KVP": "0018,0060", "ConvolutionKernel": "0018,1210"}


def image_from_node(volumeNode, *, modality: str | None = None) -> Image:
    """Return a volume node's voxels with their place in the world.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode; a picture with three equal colour channels counts as grey
    modality : ``"XR"``, ``"CT"`` or ``"MR"``; what `modality_of` says unless given

    Returns
    -------
    Image : a copy of the voxels (k, j, i); the geometry includes the linear transforms above the node

    Raises
    ------
    InputError : no voxels, colours, or a transform that is not linear
    """
    if volumeNode is None:
        raise problem("volume", "none is chosen", "a volume", "Load an image and choose it")
    geometry = volume_geometry(volumeNode)
    facts = dict(zip(_FACTS, dicom_values(volumeNode, *_FACTS.values()), strict=True))
    return Image(
        _voxels(volumeNode).reshape(geometry.shape).copy(),
        geometry,
        modality or modality_of(volumeNode)[0],
        {keyword: value for keyword, value in facts.items() if value},
    )


def show_probability(image: Image, volumeNode):
    """Put a probability on the volume's grid into the scene, beside the volume and under its transform.

    Returns
    -------
    vtkMRMLScalarVolumeNode, with 0 to 1 shown from black to white; it is not put into the slice views
    """
    import slicer

    from SpineSegLib.mrml.geometry import volume_matrix
    from SpineSegLib.mrml.segmentations import place_beside

    name = volumeNode.GetScene().GenerateUniqueName(f"{volumeNode.GetName()} probability")
    node = slicer.util.addVolumeFromArray(image.array, ijkToRAS=volume_matrix(volumeNode), name=name)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(1.0, 0.5)
    place_beside(node, volumeNode)
    return node


def check_voxels(image: Image, name: str) -> None:
    """Raise an InputError when nothing can be seen in the image (see `Image.flaw`), naming the volume."""
    flaw = image.flaw()
    if flaw:
        raise problem(name, flaw, "an image of the spine", "Choose another volume, or load this one again")


def _voxels(volumeNode) -> np.ndarray:
    """Return the flat array of voxels; one channel."""
    from vtk.util.numpy_support import vtk_to_numpy

    voxels = vtk_to_numpy(volumeNode.GetImageData().GetPointData().GetScalars())
    if voxels.ndim == 1:
        return voxels
    colours = voxels[:, :3] if voxels.shape[1] in (3, 4) else voxels
    if not (colours == colours[:, :1]).all():
        raise problem(
            volumeNode.GetName(),
            f"it is a colour picture with {voxels.shape[1]} channels",
            "one grey value a voxel",
            "Load the radiograph itself, or convert the picture to grey (module 'Vector to Scalar Volume')",
        )
    return colours[:, 0]
