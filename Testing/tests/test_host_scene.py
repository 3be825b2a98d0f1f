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


def test_segmentation_keeps_its_segments_through_a_file(scene, volume, tmp_path):
    import slicer

    node, mask = volume
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Spine")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    code = "SCT^36978003^C5 vertebra"
    terminology = f"Segmentation category and type~SCT^123037004^Anatomical Structure~{code}~^^~Anatomic codes~^^~^^"
    identifier = segmentation.GetSegmentation().AddEmptySegment("C5", "Vertebra C5", (0.25, 0.5, 0.75))
    segmentation.GetSegmentation().GetSegment(identifier).SetTerminology(terminology)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, identifier, node)
    assert slicer.util.saveNode(segmentation, str(tmp_path / "spine.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "spine.seg.nrrd"))
    segment = loaded.GetSegmentation().GetSegment("C5")
    assert (slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "C5", node) == mask).all()
    assert segment.GetName() == "Vertebra C5"
    assert np.allclose(segment.GetColor(), (0.25, 0.5, 0.75), atol=1e-3)
    assert code in segment.GetTerminology()


def test_many_labels_become_segments(scene, volume):
    import slicer

    node, mask = volume
    label = slicer.modules.volumes.logic().CreateAndAddLabelVolume(scene, node, "labels")
    slicer.util.updateVolumeFromArray(label, mask.astype(np.uint8) * 2)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label, segmentation)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_volume_and_table_survive_their_files(scene, volume, tmp_path):
    import slicer

    node, _ = volume
    before = world_points(node)
    assert slicer.util.saveNode(node, str(tmp_path / "ct.nrrd"))
    assert np.abs(world_points(slicer.util.loadVolume(str(tmp_path / "ct.nrrd"))) - before).max() < 1e-9
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Metrics")
    slicer.util.updateTableFromArray(table, [np.array([0.5, 0.75])], ["Dice"])
    assert slicer.util.saveNode(table, str(tmp_path / "metrics.tsv"))
    loaded = slicer.util.loadTable(str(tmp_path / "metrics.tsv"))
    assert slicer.util.arrayFromTableColumn(loaded, "Dice").tolist() == [0.5, 0.75]


def test_file_that_cannot_be_loaded_raises_and_leaves_the_scene_alone(scene, tmp_path):
    import slicer

    (tmp_path / "no.nrrd").write_text("not an image", encoding="utf-8")
    before = scene.GetNumberOfNodes()
    for name in ("no.nrrd", "absent.nrrd", "absent.mrb"):
        with pytest.raises(RuntimeError, match=name):
            (slicer.util.loadScene if name.endswith("mrb") else slicer.util.loadVolume)(str(tmp_path / name))
    assert scene.GetNumberOfNodes() == before


def test_host_starts_once_and_resets(slicer_host, scene):
    import slicer

    slicer_host.start()
    assert slicer.mrmlScene is scene
    scene.AddNewNodeByClass("vtkMRMLTextNode", "left over")
    scene.AddNode(slicer.vtkMRMLScriptedModuleNode())
    slicer.util.infoDisplay("left over")
    slicer_host.reset()
    assert scene.GetFirstNodeByName("left over") is None
    assert not slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
    assert slicer_host.displayed == []
    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
