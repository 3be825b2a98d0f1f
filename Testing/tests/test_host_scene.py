"""The host's scene is slicer-core's own; reading, writing and rendering go through it."""

import numpy as np
import pytest


def world_points(node):
    """World positions (RAS, mm) of a volume's bright voxels, sorted."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    kji = np.argwhere(slicer.util.arrayFromVolume(node) > 500)
    points = np.c_[kji[:, ::-1], np.ones(len(kji))] @ slicer.util.arrayFromVTKMatrix(matrix)[:3].T
    return points[np.lexsort(points.round(6).T)]


@pytest.fixture
def volume(scene, oblique):
    """A bright ellipsoid in an oblique, anisotropic volume, and its mask."""
    import slicer

    k, j, i = np.indices(oblique.shape)
    mask = (((i - 8) / 4) ** 2 + ((j - 7) / 4) ** 2 + ((k - 4) / 2.2) ** 2) < 1
    array = np.where(mask, 1000, 0).astype(np.int16)
    return slicer.util.addVolumeFromArray(array, ijkToRAS=oblique.ijk_to_ras, name="CT"), mask


def test_oblique_volume_is_where_it_was_after_an_mrb(scene, volume, tmp_path):
    import slicer

    node, mask = volume
    before = world_points(node)
    assert len(before) == mask.sum()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert np.abs(world_points(slicer.util.getNode("CT")) - before).max() < 1e-9
