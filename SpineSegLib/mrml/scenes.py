"""An image and its segmentation as a .mrb scene that Slicer opens, written without Slicer by slicer-core."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.mrml.dicom import MODALITY_ATTRIBUTE
from SpineSegLib.mrml.geometry import SPACING_SOURCE_ATTRIBUTE, array_to_matrix
from SpineSegLib.mrml.segmentations import fill_node
from SpineSegLib.mrml.segments import vtk_segments

CT_BONE = (1000.0, 400.0)
"""Window and level of Slicer's own CT-Bone preset."""


def write_scene(image: Image, segmentation: Segmentation | None, path: str | Path, *, name: str | None = None) -> None:
    """Write a scene with the volume and its segmentation: names, colours, terminology, window and level.

    The scene is one of its own; a running Slicer's scene is not touched. The file appears whole or not at all.

    Parameters
    ----------
    image, segmentation : the segmentation may lie on another grid; without segments it is left out
    path : ``.mrb`` file
    name : name of the volume in the scene; the file's stem unless given

    Raises
    ------
    InputError : slicer-core is not installed, or the file cannot be written
    """
    from SpineSegLib.io import written_whole

    path = Path(path)
    slicer = _slicer_core(path)
    with written_whole(path) as temporary, tempfile.TemporaryDirectory(prefix="SpineSeg-") as folder:
        scene = _empty_scene(slicer, folder)
        volumeNode = add_volume(scene, image, name or path.stem)
        # slicer-core ends the process when it writes a segmentation without segments.
        if segmentation is not None and segmentation.segments:
            segmentationNode = scene.AddNewNodeByClass(
                "vtkMRMLSegmentationNode", f"{volumeNode.GetName()} segmentation"
            )
            fill_node(segmentationNode, vtk_segments(segmentation, segmentation.geometry.ijk_to_ras), volumeNode)
        # Inside the bundle everything lies in a folder of the file's name: write it under its final one.
        bundle = Path(folder, f"{path.stem}.mrb")
        if not scene.WriteToMRB(str(bundle)) or not bundle.is_file():
            raise problem(
                path,
                f"the scene could not be packed in the temporary folder {tempfile.gettempdir()}",
                f"about {2 * image.array.nbytes // 2**20 + 1} MiB of room there",
                "Make room, or set the environment variable TMPDIR to another folder",
            )
        scene.Clear(1)
        with bundle.open("rb") as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _slicer_core(path: Path):
    try:
        import slicer
    except ImportError:
        slicer = None
    if not hasattr(slicer, "vtkMRMLScene"):
        raise problem(
            path,
            "a .mrb scene needs the package slicer-core, which is not here",
            "slicer-core",
            "Install it (pip install slicer-core), or choose a .seg.nrrd output",
        )
    return slicer


def _empty_scene(slicer, folder: str):
    """Return a scene of its own whose temporary files go to `folder`."""
    scene = slicer.vtkMRMLScene()
    cacheManager = slicer.vtkCacheManager()
    cacheManager.SetRemoteCacheDirectory(folder)
    dataIOManager = slicer.vtkDataIOManager()
    dataIOManager.SetCacheManager(cacheManager)
    scene.SetCacheManager(cacheManager)
    scene.SetDataIOManager(dataIOManager)
    return scene


def add_volume(scene, image: Image, name: str):
    """Add an image to a scene as a vtkMRMLScalarVolumeNode that says what it is, in a window that shows bone."""
    import slicer

    volumeNode = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    fill_volume(volumeNode, image)
    if image.modality:
        volumeNode.SetAttribute(MODALITY_ATTRIBUTE, image.modality)
    if image.modality == "CT":
        units = slicer.vtkCodedEntry()
        units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
        volumeNode.SetVoxelValueUnits(units)
    displayNode = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    displayNode.SetAutoWindowLevel(False)
    displayNode.SetWindowLevel(*window_level(image))
    # Slicer's grey scale lies in every scene under this ID, which is saved as a reference and not as a node.
    displayNode.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    volumeNode.SetAndObserveDisplayNodeID(displayNode.GetID())
    return volumeNode


def fill_volume(volumeNode, image: Image) -> None:
    """Give a volume node an image's voxels, its place in the world, and where its spacing came from."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    voxels = np.ascontiguousarray(image.array)
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize == 2:
        voxels = voxels.astype(np.float32)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    imageData = vtk.vtkImageData()
    imageData.SetDimensions(*image.array.shape[::-1])
    imageData.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    volumeNode.SetAndObserveImageData(imageData)
    volumeNode.SetIJKToRASMatrix(array_to_matrix(image.geometry.ijk_to_ras))
    volumeNode.SetAttribute(SPACING_SOURCE_ATTRIBUTE, str(image.geometry.spacing_source))


def window_level(image: Image) -> tuple[float, float]:
    """Return a window and level that show bone: Slicer's CT-Bone preset, else the middle 98 % of the values."""
    if image.modality == "CT":
        return CT_BONE
    values = image.array[:: max(1, image.array.shape[0] // 32), ::4, ::4]
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if values.size == 0:
        return 1.0, 0.5
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        low, high = float(values.min()), float(values.min()) + 1.0
    return float(high - low), float(low + high) / 2
