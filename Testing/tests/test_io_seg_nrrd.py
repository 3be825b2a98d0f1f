"""A .seg.nrrd written here is read by 3D Slicer's own code (slicer-core), and the other way round, voxel for voxel."""

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk
from slicer import util

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Segmentation, SpacingSource
from SpineSegLib.io import read_segmentation, write_segmentation
from SpineSegLib.io.nrrd import write_nrrd


@pytest.fixture
def scene(monkeypatch):
    """A scene with the two module logics that slicer.util needs, put back afterwards."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    logics = {"segmentations": slicer.vtkSlicerSegmentationsModuleLogic(), "volumes": slicer.vtkSlicerVolumesLogic()}
    for logic in logics.values():
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    modules = {name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**modules), raising=False)
    yield scene
    # Until here the logics need the application logic alive.
    del application


@pytest.fixture
def overlapping(oblique):
    """Five structures that all overlap in one voxel, on an oblique grid, away from its border."""
    masks = {}
    for n, name in enumerate(("C4", "C5", "C6", "T13", "L6")):
        mask = np.zeros(oblique.shape, bool)
        mask[3:6, 4 : 8 + n, 5 - n : 9] = True
        masks[Structure("vertebra" if n % 2 else "body", name)] = mask
    return Segmentation.from_masks(masks, oblique)


def reference_volume(scene, geometry):
    """A Slicer volume on this grid."""
    image = vtk.vtkImageData()
    image.SetDimensions(*geometry.shape[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    image.GetPointData().GetScalars().Fill(0)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    volume.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(geometry.ijk_to_ras.ravel().tolist())
    volume.SetIJKToRASMatrix(matrix)
    return volume


def slicer_reads(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


def slicer_writes(scene, segmentation, volume, path, crop=False):
    """Save with Slicer's storage node what Slicer was given voxel by voxel."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment in segmentation.segments:
        colour = [part / 255 for part in segment.colour]
        name = node.GetSegmentation().AddEmptySegment("", segment.name, colour)
        tag = slicer.vtkSegment.GetTerminologyEntryTagName()
        node.GetSegmentation().GetSegment(name).SetTag(tag, segment.structure.terminology)
        util.updateSegmentBinaryLabelmapFromArray(segmentation.mask(segment).astype(np.uint8), node, name, volume)
    if crop:
        for number in range(node.GetSegmentation().GetNumberOfSegments()):
            shrink(node.GetSegmentation().GetNthSegment(number))
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetCropToMinimumExtent(crop)
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1
    return node


def shrink(segment):
    """Crop a segment's labelmap to its content, as Slicer's effects leave it."""
    labelmap = segment.GetRepresentation("Binary labelmap")
    extent = [0] * 6
    if slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(labelmap, extent):
        cropped = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.CopyImage(labelmap, cropped, extent)
        labelmap.DeepCopy(cropped)


def in_slicer(node, volume, name):
    segment = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return util.arrayFromSegmentBinaryLabelmap(node, segment, volume).astype(bool)


def largest_relative_difference(one, other):
    return np.abs(one - other).max() / np.abs(other).max()


def test_slicer_reads_five_overlapping_segments_of_an_oblique_grid_without_a_voxel_of_difference(
    scene, overlapping, tmp_path
):
    assert len(overlapping.layers) == 5
    assert write_segmentation(overlapping, tmp_path / "spine.seg.nrrd") == ()
    node = slicer_reads(scene, tmp_path / "spine.seg.nrrd")
    volume = reference_volume(scene, overlapping.geometry)
    assert node.GetSegmentation().GetNumberOfSegments() == 5
    for number, segment in enumerate(overlapping.segments):
        seen = node.GetSegmentation().GetNthSegment(number)
        assert np.array_equal(in_slicer(node, volume, segment.name), overlapping.mask(segment))
        assert seen.GetName() == segment.name
        assert seen.GetTerminology() == segment.structure.terminology
        assert np.allclose(np.multiply(seen.GetColor(), 255), segment.colour, atol=1e-3)
    labelmap = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    assert largest_relative_difference(util.arrayFromVTKMatrix(matrix), overlapping.geometry.ijk_to_ras) < 1e-9


def test_slicer_takes_over_the_reference_geometry(scene, overlapping, tmp_path):
    write_segmentation(overlapping, tmp_path / "spine.seg.nrrd")
    node = slicer_reads(scene, tmp_path / "spine.seg.nrrd")
    text = node.GetSegmentation().GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )
    image = slicer.vtkOrientedImageData()
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image)
    assert image.GetDimensions() == overlapping.geometry.shape[::-1]
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    assert largest_relative_difference(util.arrayFromVTKMatrix(matrix), overlapping.geometry.ijk_to_ras) < 1e-9


@pytest.mark.parametrize("crop", [False, True])
def test_what_slicer_saves_is_read_without_a_voxel_of_difference(scene, overlapping, tmp_path, crop):
    volume = reference_volume(scene, overlapping.geometry)
    slicer_writes(scene, overlapping, volume, tmp_path / "slicer.seg.nrrd", crop)
    if crop:
        header = (tmp_path / "slicer.seg.nrrd").read_bytes().partition(b"\n\n")[0].decode()
        assert "Segmentation_ReferenceImageExtentOffset:=1 4 3" in header
    found = read_segmentation(tmp_path / "slicer.seg.nrrd")
    assert found.geometry.shape == overlapping.geometry.shape
    assert largest_relative_difference(found.geometry.ijk_to_ras, overlapping.geometry.ijk_to_ras) < 1e-9
    assert [segment.name for segment in found.segments] == [segment.name for segment in overlapping.segments]
    for segment, truth in zip(found.segments, overlapping.segments, strict=True):
        assert segment.structure == truth.structure
        assert segment.colour == truth.colour
        assert np.array_equal(found.mask(segment), overlapping.mask(truth))


def test_a_radiograph_keeps_its_slice_its_pixels_and_its_unknown_spacing(scene, tmp_path):
    geometry = Geometry((1, 40, 30), np.diag([-1.0, -1, 1, 1]), SpacingSource.UNKNOWN)
    body, process = np.zeros((2, 1, 40, 30), bool)
    body[0, 10:20, 5:15] = True
    process[0, 12:18, 12:25] = True
    truth = Segmentation.from_masks(
        {Structure("body", "C5"): body, Structure("spinous process", "C5"): process}, geometry
    )
    write_segmentation(truth, tmp_path / "film.seg.nrrd")
    node, volume = slicer_reads(scene, tmp_path / "film.seg.nrrd"), reference_volume(scene, geometry)
    assert np.array_equal(in_slicer(node, volume, "C5 body"), body)
    assert np.array_equal(in_slicer(node, volume, "C5 spinous process"), process)
    found = read_segmentation(tmp_path / "film.seg.nrrd")
    assert found.geometry.spacing is None
    assert found.geometry.same_as(geometry, 1e-12)
    assert np.array_equal(found.mask("C5 body"), body)
    slicer_writes(scene, truth, volume, tmp_path / "again.seg.nrrd", crop=True)
    again = read_segmentation(tmp_path / "again.seg.nrrd")
    assert np.array_equal(again.mask(Structure("spinous process", "C5")), process)


def test_a_sheared_grid_survives(scene, tmp_path):
    matrix = np.array([[-0.7, 0, 0, 5], [0, -0.7, 0.9, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    geometry = Geometry((6, 8, 10), matrix)
    mask = np.zeros(geometry.shape, bool)
    mask[1:5, 2:6, 3:9] = True
    truth = Segmentation.from_masks({Structure("sacrum"): mask}, geometry)
    write_segmentation(truth, tmp_path / "tilt.seg.nrrd")
    found = read_segmentation(tmp_path / "tilt.seg.nrrd")
    assert largest_relative_difference(found.geometry.ijk_to_ras, matrix) < 1e-12
    assert np.array_equal(found.mask("sacrum"), mask)
    labelmap = slicer_reads(scene, tmp_path / "tilt.seg.nrrd").GetSegmentation().GetNthSegment(0)
    seen = vtk.vtkMatrix4x4()
    labelmap.GetRepresentation("Binary labelmap").GetImageToWorldMatrix(seen)
    assert largest_relative_difference(util.arrayFromVTKMatrix(seen), matrix) < 1e-9


def test_names_and_colours_that_the_user_changed_survive(overlapping, tmp_path):
    from dataclasses import replace

    segments = list(overlapping.segments)
    segments[0] = replace(segments[0], name="C4 – réécrit ~ 'x' | \\new \n y", colour=(1, 254, 77))
    write_segmentation(replace(overlapping, segments=tuple(segments)), tmp_path / "a.seg.nrrd")
    found = read_segmentation(tmp_path / "a.seg.nrrd")
    assert found.segments[0].name == "C4 – réécrit ~ 'x' | \\new \n y"
    assert found.segments[0].colour == (1, 254, 77)
    assert found.segments[0].structure == Structure("body", "C4")


def test_an_empty_segment_is_kept(scene, oblique, tmp_path):
    empty, full = np.zeros(oblique.shape, bool), np.ones(oblique.shape, bool)
    truth = Segmentation.from_masks({Structure("vertebra", "T1"): empty, Structure("vertebra", "T2"): full}, oblique)
    write_segmentation(truth, tmp_path / "a.seg.nrrd")
    found = read_segmentation(tmp_path / "a.seg.nrrd")
    assert not found.mask("T1").any()
    assert found.mask("T2").all()
    assert slicer_reads(scene, tmp_path / "a.seg.nrrd").GetSegmentation().GetNumberOfSegments() == 2


def test_voxels_of_no_segment_do_not_become_one(oblique, tmp_path):
    labels = np.full(oblique.shape, 5, np.int64)
    labels[0] = 300
    write_segmentation(Segmentation.from_labels(labels, {300: Structure("sacrum")}, oblique), tmp_path / "a.seg.nrrd")
    found = read_segmentation(tmp_path / "a.seg.nrrd")
    assert sorted(np.unique(found.layers[0]).tolist()) == [0, 300]


def test_a_file_from_before_shared_layers_is_read(oblique, tmp_path):
    """Slicer 4.10 wrote one layer a segment and neither layer nor value."""
    layers = np.zeros((*oblique.shape, 2), np.uint8)
    layers[2:4, ..., 0] = layers[3:6, ..., 1] = 1
    keys = {f"Segment{n}_{key}": value for n in range(2) for key, value in (("ID", f"s{n}"), ("Name", f"L{n + 1}"))}
    write_nrrd(tmp_path / "old.seg.nrrd", layers, oblique, keys, layered=True)
    found = read_segmentation(tmp_path / "old.seg.nrrd")
    assert np.array_equal(found.mask("L1"), layers[..., 0] == 1)
    assert np.array_equal(found.mask(Structure("vertebra", "L2")), layers[..., 1] == 1)


def edited(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_segments_beyond_the_reference_grid_keep_their_own(overlapping, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(overlapping, path)
    edited(path, b"0;16;0;13;0;8;", b"0;16;0;13;0;4;")
    found = read_segmentation(path)
    assert found.geometry.shape == overlapping.geometry.shape
    assert np.array_equal(found.mask("C5"), overlapping.mask("C5"))


def test_a_reference_grid_with_an_extent_that_starts_elsewhere_is_understood(overlapping, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(overlapping, path)
    edited(path, b"0;16;0;13;0;8;", b"-3;16;-2;13;-1;9;")
    found = read_segmentation(path)
    assert found.geometry.shape == (11, 16, 20)
    assert found.geometry.cropped((1, 2, 3), (10, 16, 20)).same_as(overlapping.geometry, 1e-9)
    assert np.array_equal(found.mask("C5")[1:10, 2:, 3:], overlapping.mask("C5"))


@pytest.mark.parametrize("text", [b"0;1", b"x;16;0;13;0;8;", b"0;160000;0;130000;0;8;"])
def test_a_damaged_reference_grid_is_left_out(overlapping, tmp_path, text):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(overlapping, path)
    edited(path, b"0;16;0;13;0;8;", text)
    assert read_segmentation(path).geometry.same_as(overlapping.geometry, 1e-9)


def test_damaged_segment_keys_are_one_line(overlapping, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    for old, new in (
        (b"Segment1_LabelValue:=1", b"Segment1_LabelValue:=x"),
        (b"Segment1_Layer:=1", b"Segment1_Layer:=0"),
    ):
        write_segmentation(overlapping, path)
        edited(path, old, new)
        with pytest.raises(InputError, match="segment 1"):
            read_segmentation(path)


def test_a_plain_nrrd_is_refused_as_a_segmentation_with_segments(oblique, tmp_path):
    write_nrrd(tmp_path / "image.seg.nrrd", np.zeros(oblique.shape, np.int16), oblique)
    with pytest.raises(InputError, match="holds no segments"):
        read_segmentation(tmp_path / "image.seg.nrrd")
