"""Volume and segmentation nodes <-> Image and Segmentation, on the real scene of slicer-core."""

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Segmentation, SpacingSource

PARENT = np.array([[1.1, 0.2, 0, 5], [-0.1, 0.9, 0.05, -3], [0, 0.1, 1.3, 7], [0, 0, 0, 1]])
"""Rotates, scales each axis differently, shears and moves."""


@pytest.fixture
def volume(scene, oblique):
    """An oblique CT under a linear transform."""
    import slicer

    values = np.random.default_rng(1).integers(-1000, 1500, oblique.shape).astype(np.int16)
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="CT")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    slicer.util.updateTransformMatrixFromArray(transform, PARENT)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def spine(geometry: Geometry) -> Segmentation:
    """Three structures, two of which overlap."""
    body, process, last = (np.zeros(geometry.shape, bool) for _ in range(3))
    body[2:5, 3:8, 4:9] = process[4:7, 3:8, 4:9] = last[6:, 11:, :3] = True
    masks = {
        Structure("vertebra", "T5"): body,
        Structure("spinous process", "T5"): process,
        Structure("vertebra", "L6"): last,
    }
    return Segmentation.from_masks(masks, geometry)


def same(first: Segmentation, second: Segmentation) -> bool:
    """Compare structure by structure."""
    names = [segment.name for segment in first.segments]
    return names == [segment.name for segment in second.segments] and all(
        (first.mask(name) == second.mask(name)).all()
        and first.find(name).structure == second.find(name).structure
        and first.find(name).colour == second.find(name).colour
        for name in names
    )


def test_image_lies_where_the_transforms_put_the_volume(volume, oblique):
    import slicer

    from SpineSegLib.mrml import image_from_node

    image = image_from_node(volume)
    np.testing.assert_allclose(image.geometry.ijk_to_ras, PARENT @ oblique.ijk_to_ras, atol=1e-12)
    assert (image.array == slicer.util.arrayFromVolume(volume)).all()
    # Hardening the transform, which Slicer does by itself, must not move anything.
    volume.HardenTransform()
    np.testing.assert_allclose(image_from_node(volume).geometry.ijk_to_ras, image.geometry.ijk_to_ras, atol=1e-9)


def test_image_is_a_copy(volume):
    import slicer

    from SpineSegLib.mrml import image_from_node

    image = image_from_node(volume)
    before = image.array.copy()
    slicer.util.arrayFromVolume(volume)[:] = 0
    assert (image.array == before).all()


def test_nonlinear_transform_is_refused_with_what_to_do(volume, scene):
    import slicer
    import vtk

    from SpineSegLib.mrml import image_from_node

    bend = vtk.vtkThinPlateSplineTransform()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Bend")
    points = vtk.vtkPoints()
    for corner in np.eye(4)[:, :3]:
        points.InsertNextPoint(*corner)
    bend.SetSourceLandmarks(points)
    bend.SetTargetLandmarks(points)
    node.SetAndObserveTransformToParent(bend)
    volume.SetAndObserveTransformNodeID(node.GetID())
    with pytest.raises(InputError, match=r"CT: .*nonlinear transform 'Bend'.*Harden"):
        image_from_node(volume)
    assert isinstance(node, slicer.vtkMRMLTransformNode)


def test_empty_volume_and_flat_transform_are_refused(volume, scene):
    import slicer

    from SpineSegLib.mrml import image_from_node

    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with pytest.raises(InputError, match="Nothing: it has no voxels"):
        image_from_node(empty)
    slicer.util.updateTransformMatrixFromArray(volume.GetParentTransformNode(), np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="flattens"):
        image_from_node(volume)


def test_colour_picture_is_refused_but_grey_in_three_channels_is_not(scene):
    import slicer

    from SpineSegLib.mrml import image_from_node

    grey = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7)
    node = slicer.util.addVolumeFromArray(
        np.stack([grey] * 3, axis=-1), name="Film", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    assert (image_from_node(node).array == grey).all()
    slicer.util.arrayFromVolume(node)[0, 0, 0, 1] += 1
    with pytest.raises(InputError, match="Film: it is a colour picture"):
        image_from_node(node)


@pytest.mark.parametrize("shared_transform", [True, False])
def test_segmentation_survives_the_scene(volume, shared_transform):
    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    if not shared_transform:
        volume.SetAndObserveTransformNodeID(None)
    segmentation = spine(image_from_node(volume).geometry)
    node = show_segmentation(segmentation, volume, name="Spine")
    assert same(segmentation_from_node(node, volume), segmentation)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert node.GetSegmentation().GetNumberOfLayers() == 2


def test_slicer_itself_finds_every_voxel_where_the_volume_is(volume):
    """Slicer's own export and its own placing in the world agree with ours, under a shearing transform."""
    import slicer

    from SpineSegLib.mrml import image_from_node, show_segmentation

    segmentation = spine(image_from_node(volume).geometry)
    node = show_segmentation(segmentation, volume, name="Spine")
    for segment in segmentation.segments:
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(segment.name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        assert (found.astype(bool) == segmentation.mask(segment)).all()
        centre = segmentation.geometry.to_world(np.argwhere(segmentation.mask(segment)).mean(axis=0))
        np.testing.assert_allclose(node.GetSegmentCenterRAS(segment_id), centre, atol=1e-6)


def test_segments_carry_name_colour_and_terminology(volume):
    import vtk

    from SpineSegLib.mrml import image_from_node, register_terminology, show_segmentation

    node = show_segmentation(spine(image_from_node(volume).geometry), volume, name="Spine")
    segment = node.GetSegmentation().GetSegment("T5_spinous_process")
    assert segment.GetName() == "T5 spinous process"
    assert tuple(round(255 * part) for part in segment.GetColor()) == Structure("spinous process", "T5").colour
    tag = vtk.reference("")
    assert segment.GetTag("TerminologyEntry", tag)
    assert "SCT^55678000^" in str(tag)
    assert "SCT^56401006^" in str(tag).split("~")[5]
    assert register_terminology()
    import slicer

    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(str(tag), entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Spinous process of vertebra"
    assert logic.IsTerminologyContextLoaded("Segmentation category and type - SpineSeg")


def test_existing_node_is_replaced_as_a_whole(volume, scene):
    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    geometry = image_from_node(volume).geometry
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    node.GetSegmentation().AddEmptySegment("old", "old")
    nodes = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    assert show_segmentation(spine(geometry), volume, name="Spine", segmentationNode=node) is node
    assert same(segmentation_from_node(node, volume), spine(geometry))
    assert node.GetName() == "Mine"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == nodes


def test_failure_leaves_the_scene_and_the_old_node_alone(volume, scene, monkeypatch):
    from SpineSegLib.mrml import image_from_node, segmentation_from_node, segments, show_segmentation

    segmentation = spine(image_from_node(volume).geometry)
    node = show_segmentation(segmentation, volume, name="Spine")
    ids = [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(segments, "_bounds", no_memory)
    for target in (node, None):
        with pytest.raises(MemoryError):
            show_segmentation(segmentation, volume, name="Other", segmentationNode=target)
    assert [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())] == ids
    assert same(segmentation_from_node(node, volume), segmentation)


def test_result_lies_in_the_study_of_the_volume(volume, scene):
    import slicer

    from SpineSegLib.mrml import image_from_node, show_segmentation

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.CreateItem(study, volume)
    node = show_segmentation(spine(image_from_node(volume).geometry), volume, name="Spine")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_truth_on_another_grid_comes_onto_the_volumes_grid(volume, scene, oblique):
    """A coarser node under no transform and with an offset extent, against Slicer's own resampling."""
    import slicer

    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    world = image_from_node(volume).geometry
    finer = Geometry((18, 28, 34), world.ijk_to_ras @ np.diag([0.5, 0.5, 0.5, 1]))
    mask = np.zeros(finer.shape, bool)
    mask[5:11, 8:19, 10:22] = True
    other = slicer.util.addVolumeFromArray(mask.astype(np.uint8), ijkToRAS=finer.ijk_to_ras, name="Other grid")
    node = show_segmentation(
        Segmentation.from_masks({Structure("vertebra", "T7"): mask}, finer), other, name="Truth", surface=False
    )
    found = segmentation_from_node(node, volume).mask("T7")
    expected = Segmentation.from_masks({Structure("vertebra", "T7"): mask}, finer).resampled(world).mask("T7")
    assert found.sum() > 100
    assert (found == expected).all()
    slicers = slicer.util.arrayFromSegmentBinaryLabelmap(node, "T7", volume).astype(bool)
    assert 2 * (found & slicers).sum() / (found.sum() + slicers.sum()) > 0.85


def test_truth_as_closed_surface_only_is_turned_into_voxels(volume):
    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    segmentation = spine(image_from_node(volume).geometry)
    node = show_segmentation(segmentation, volume, name="Surface", surface=True)
    node.SetSourceRepresentationToClosedSurface()
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    found = segmentation_from_node(node, volume)
    both = (found.mask("T5") & segmentation.mask("T5")).sum()
    assert 2 * both / (found.mask("T5").sum() + segmentation.mask("T5").sum()) > 0.6
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_truth_of_another_place_is_refused(volume, scene):
    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    geometry = image_from_node(volume).geometry
    far = geometry.transformed(np.array([[1, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    node = show_segmentation(spine(far), volume, name="Elsewhere")
    with pytest.raises(InputError, match="Elsewhere: none of its segments"):
        segmentation_from_node(node, volume)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    with pytest.raises(InputError, match="Empty: it has no segments"):
        segmentation_from_node(empty, volume)


def test_radiograph_is_a_single_slice_and_gets_no_surface(scene, oblique):
    import slicer

    from SpineSegLib.mrml import image_from_node, segmentation_from_node, show_segmentation

    values = np.random.default_rng(2).integers(0, 4000, (1, 40, 30)).astype(np.uint16)
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="Film")
    image = image_from_node(node)
    assert (image.modality, image.geometry.is_2d) == ("XR", True)
    masks = {Structure("body", "C5"): values > 1000, Structure("spinous process", "C5"): values > 3000}
    segmentation = Segmentation.from_masks(masks, image.geometry)
    shown = show_segmentation(segmentation, node, name="Spine")
    assert same(segmentation_from_node(shown, node), segmentation)
    assert not shown.GetSegmentation().ContainsRepresentation("Closed surface")


@pytest.mark.parametrize(
    ("attribute", "file", "expected"),
    [
        (None, None, SpacingSource.HEADER),
        (None, "film.PNG", SpacingSource.UNKNOWN),
        (None, "film.nrrd", SpacingSource.HEADER),
        ("unknown", "film.nrrd", SpacingSource.UNKNOWN),
        ("ImagerPixelSpacing", "film.png", SpacingSource.IMAGER_PIXEL_SPACING),
    ],
)
def test_spacing_is_known_or_not(scene, attribute, file, expected):
    import slicer

    from SpineSegLib.mrml import image_from_node

    node = slicer.util.addVolumeFromArray(np.arange(12, dtype=np.int16).reshape(1, 3, 4), name="Film")
    node.SetAttribute("SpineSeg.SpacingSource", attribute)
    if file:
        node.AddDefaultStorageNode(file)
    assert image_from_node(node).geometry.spacing_source is expected


def test_modality_comes_from_the_best_source_there_is(scene):
    import slicer

    from SpineSegLib.mrml import image_from_node, modality_of

    soft = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    node = slicer.util.addVolumeFromArray(soft, name="Something")
    assert modality_of(node) == (None, "not known")
    slicer.util.updateVolumeFromArray(node, np.array([[[-1000, 1200]], [[0, 50]]], np.int16))
    assert modality_of(node)[0] == "CT"
    assert modality_of(node)[1].startswith("guessed")
    quantity = slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("110852", "DCM", "MR signal intensity")
    node.SetVoxelValueQuantity(quantity)
    assert modality_of(node)[0] == "MR"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "DX")
    assert modality_of(node) == ("XR", "from the subject hierarchy")
    node.SetAttribute("SpineSeg.Modality", "CT")
    assert modality_of(node) == ("CT", "set on the volume")
    assert image_from_node(node, modality="MR").modality == "MR"


def test_dicom_says_modality_and_where_the_spacing_is_from(scene, monkeypatch):
    import slicer

    from SpineSegLib.mrml import image_from_node

    class Database:
        """The one function of ctkDICOMDatabase that is asked."""

        values: dict = {}  # noqa: RUF012

        def instanceValue(self, uid, tag):
            assert uid == "1.2.3"
            return self.values.get(tag, "")

    database = Database()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = slicer.util.addVolumeFromArray(np.arange(12, dtype=np.int16).reshape(1, 3, 4), name="Film")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 4.5.6")
    database.values = {"0008,0060": "DX", "0018,1164": "0.143\\0.143", "0018,5101": "LL", "0010,0010": "Doe^Jane"}
    image = image_from_node(node)
    assert image.modality == "XR"
    assert image.geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING
    assert image.metadata == {"ViewPosition": "LL"}
    database.values = {"0008,0060": "CT", "0028,0030": "0.7\\0.7"}
    assert image_from_node(node).modality == "CT"
    assert image_from_node(node).geometry.spacing_source is SpacingSource.PIXEL_SPACING


def test_only_fitting_models_are_offered(scene):
    import slicer

    from SpineSegLib.models import registry
    from SpineSegLib.mrml import image_from_node, models_for

    film = slicer.util.addVolumeFromArray(np.arange(12, dtype=np.int16).reshape(1, 3, 4), name="Film")
    scan = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), name="Scan")
    for node, modality in ((film, "XR"), (scan, "CT"), (scan, "MR")):
        image = image_from_node(node, modality=modality)
        expected = {card.name for card in registry().values() if card.misfit(image) is None}
        assert {choice.name for choice in models_for(node, modality=modality)} == expected
    assert "unet-xray-small" in {choice.name for choice in models_for(film)}
    assert models_for(None) == []
    assert models_for(scan) == []
    film.SetName("Cervical spine, lateral")
    order = [choice.name for choice in models_for(film)]
    better, other = "yolo-unet-cervical-small", "spinefm-cervical-small"  # by the Dice that their cards tell
    assert order.index(better) < order.index(other)
    assert {"absent"} != {choice.weights for choice in models_for(film)[:3]}
    assert any("Identified 100 %" in choice.details for choice in models_for(film) if choice.name == better)


def test_metrics_become_a_table_with_the_same_numbers(scene):
    from SpineSegLib.mrml import metrics_table

    evaluation = {
        "overall": {"dice": 0.1234567890123, "hausdorff_px": 3, "note": "text"},
        "structures": {"T5": {"dice": 0.5, "hausdorff_px": None}, "T6": {"dice": 1.0}},
    }
    node = metrics_table(evaluation, name="Metrics")
    table = node.GetTable()
    assert [table.GetColumnName(n) for n in range(3)] == ["Structure", "dice", "hausdorff_px"]
    assert table.GetNumberOfColumns() == 3
    assert [table.GetValue(row, 0).ToString() for row in range(3)] == ["Overall", "T5", "T6"]
    assert table.GetValue(0, 1).ToDouble() == 0.1234567890123
    assert np.isnan(table.GetValue(1, 2).ToDouble())
    again = metrics_table({"overall": {"iou": 1.0}, "structures": {}}, node)
    assert again is node
    assert (table.GetNumberOfColumns(), table.GetNumberOfRows()) == (2, 1)


def test_importing_the_package_loads_no_slicer_and_no_torch():
    import subprocess
    import sys

    heavy = {"slicer", "vtk", "qt", "torch", "SimpleITK"}
    code = f"import sys, SpineSegLib.mrml; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
