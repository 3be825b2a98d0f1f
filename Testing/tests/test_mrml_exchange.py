"""What Slicer hands to the worker and to other Slicers: exchange files and .mrb scenes."""

import zipfile

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Image, Segmentation, SpacingSource

PARENT = np.array([[1.1, 0.2, 0, 5], [-0.1, 0.9, 0.05, -3], [0, 0.1, 1.3, 7], [0, 0, 0, 1]])
"""Rotates, scales each axis differently, shears and moves."""


def scan(geometry, modality="CT") -> Image:
    return Image(np.random.default_rng(3).integers(-1000, 1500, geometry.shape).astype(np.int16), geometry, modality)


def spine(geometry) -> Segmentation:
    body, process = np.zeros(geometry.shape, bool), np.zeros(geometry.shape, bool)
    body[:, 3:8, 4:9] = process[:, 6:12, 7:10] = True
    return Segmentation.from_masks(
        {Structure("body", "C5"): body, Structure("spinous process", "C5"): process}, geometry
    )


def add(image: Image, name: str, parent=None):
    """Add an image to the scene as Slicer's readers would, under a transform."""
    import slicer

    node = slicer.util.addVolumeFromArray(image.array, ijkToRAS=image.geometry.ijk_to_ras, name=name)
    if parent is not None:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        slicer.util.updateTransformMatrixFromArray(transform, parent)
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def test_volume_reaches_the_worker_where_it_lies(scene, oblique, tmp_path):
    from SpineSegLib.io import read_image
    from SpineSegLib.mrml import image_from_node, send

    node = add(scan(oblique), "CT", PARENT)
    exchange = send(node, tmp_path, modality="CT")
    read = read_image(exchange.image, modality=exchange.modality)
    assert (read.array == image_from_node(node).array).all()
    np.testing.assert_allclose(read.geometry.ijk_to_ras, PARENT @ oblique.ijk_to_ras, atol=1e-12)
    assert not exchange.has_truth
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volume.nrrd"]


def test_result_comes_back_onto_the_volume(scene, oblique, tmp_path):
    from SpineSegLib.io import read_image, write_segmentation
    from SpineSegLib.mrml import receive, segmentation_from_node, send, show_segmentation

    node = add(scan(oblique), "CT", PARENT)
    exchange = send(node, tmp_path)
    made = spine(read_image(exchange.image).geometry)
    write_segmentation(made, exchange.result)
    # The user moves the volume while the worker runs: the result moves along.
    node.SetAndObserveTransformNodeID(None)
    segmentation, volume = receive(exchange, scene)
    assert volume is node
    np.testing.assert_allclose(segmentation.geometry.ijk_to_ras, oblique.ijk_to_ras, atol=1e-12)
    shown = segmentation_from_node(show_segmentation(segmentation, volume, name="Spine"), node)
    for segment in made.segments:
        assert (shown.mask(segment.name) == made.mask(segment)).all()


def test_unknown_spacing_stays_unknown_on_the_way(scene, oblique, tmp_path):
    from SpineSegLib.io import read_image
    from SpineSegLib.mrml import send

    node = add(scan(oblique.cropped((0, 0, 0), (1, 14, 17)), "XR"), "Film")
    node.SetAttribute("SpineSeg.SpacingSource", "unknown")
    exchange = send(node, tmp_path)
    assert exchange.modality == "XR"
    assert read_image(exchange.image).geometry.spacing_source is SpacingSource.UNKNOWN


def test_volume_changed_or_deleted_meanwhile_is_noticed(scene, oblique, tmp_path):
    from SpineSegLib.io import write_segmentation
    from SpineSegLib.mrml import receive, send

    node = add(scan(oblique), "CT")
    exchange = send(node, tmp_path)
    write_segmentation(spine(oblique), exchange.result)
    node.SetSpacing(1, 1, 1)
    with pytest.raises(InputError, match="CT: its grid was changed during the run"):
        receive(exchange, scene)
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="deleted during the run"):
        receive(exchange, scene)


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_useless_voxels_are_refused_by_the_volumes_name(scene, oblique, tmp_path, value):
    from SpineSegLib.mrml import send

    node = add(Image(np.full(oblique.shape, value, np.float32), oblique), "Dark")
    with pytest.raises(InputError, match="Dark: "):
        send(node, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_truth_goes_along_and_a_resampled_one_is_announced(scene, oblique, tmp_path):
    from SpineSegLib.io import read_segmentation
    from SpineSegLib.mrml import image_from_node, send, show_segmentation

    node = add(scan(oblique), "CT", PARENT)
    made = spine(image_from_node(node).geometry)
    exchange = send(node, tmp_path, truthNode=show_segmentation(made, node, name="Truth"))
    assert exchange.notes == ()
    read = read_segmentation(exchange.truth)
    assert read.geometry.same_as(made.geometry)
    for segment in made.segments:
        assert (read.mask(segment.name) == made.mask(segment)).all()
    other = add(scan(oblique.cropped((1, 2, 3), (8, 13, 15))), "Part", PARENT)
    part = show_segmentation(spine(image_from_node(other).geometry), other, name="Partial truth")
    assert "'Partial truth' was made on another grid" in send(node, tmp_path, truthNode=part).notes[0]


@pytest.mark.parametrize("left_handed", [False, True])
def test_scene_of_an_oblique_volume_opens_with_every_voxel_in_its_place(scene, oblique, tmp_path, left_handed):
    import slicer

    from SpineSegLib.mrml import image_from_node, segmentation_from_node, write_scene

    geometry = oblique if left_handed else oblique.transformed(np.diag([-1.0, 1.0, 1.0, 1.0]))
    image, segmentation = scan(geometry), spine(geometry)
    nodes = scene.GetNumberOfNodes()
    write_scene(image, segmentation, tmp_path / "neck scan.mrb", name="Neck")
    assert scene.GetNumberOfNodes() == nodes
    assert [path.name for path in tmp_path.iterdir()] == ["neck scan.mrb"]
    slicer.util.loadScene(str(tmp_path / "neck scan.mrb"))
    volume = slicer.util.getNode("Neck")
    loaded = image_from_node(volume)
    found = segmentation_from_node(slicer.util.getNode("Neck segmentation"), volume)
    if left_handed:
        # Slicer turns the slices of a left-handed volume round when it reads one; the place of each voxel stays.
        assert (loaded.array == image.array[::-1]).all()
        assert loaded.geometry.same_as(geometry) is False
        loaded, found = loaded.resampled(geometry, order=0), found.resampled(geometry)
    assert loaded.geometry.same_as(geometry)
    assert int((loaded.array != image.array).sum()) == 0
    for segment in segmentation.segments:
        match = found.find(segment.name)
        assert int((found.mask(match) != segmentation.mask(segment)).sum()) == 0
        assert (match.structure, match.colour) == (segment.structure, segment.colour)
    display = volume.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1000, 400)
    assert display.GetColorNode().GetName() == "Grey"
    assert loaded.modality == "CT"


def test_seg_nrrd_opens_in_slicer_with_every_voxel_in_its_place(scene, oblique, tmp_path):
    import slicer

    from SpineSegLib.io import write_segmentation
    from SpineSegLib.mrml import segmentation_from_node

    node = add(scan(oblique), "CT")
    made = spine(oblique)
    write_segmentation(made, tmp_path / "neck.seg.nrrd")
    loaded = slicer.util.loadSegmentation(str(tmp_path / "neck.seg.nrrd"))
    found = segmentation_from_node(loaded, node)
    for segment in made.segments:
        assert int((found.mask(segment.name) != made.mask(segment)).sum()) == 0
        assert found.find(segment.name).structure == segment.structure


def test_slicers_own_file_of_our_node_is_read_back(scene, oblique, tmp_path):
    import slicer

    from SpineSegLib.io import read_segmentation
    from SpineSegLib.mrml import show_segmentation

    made = spine(oblique)
    node = show_segmentation(made, add(scan(oblique), "CT"), name="Spine")
    assert slicer.util.saveNode(node, str(tmp_path / "slicer.seg.nrrd"))
    read = read_segmentation(tmp_path / "slicer.seg.nrrd").resampled(oblique)
    for segment in made.segments:
        assert (read.mask(segment.name) == made.mask(segment)).all()
        assert read.find(segment.name).structure == segment.structure


def test_scene_is_written_whole_or_not_at_all(scene, oblique, tmp_path, monkeypatch):
    from SpineSegLib.mrml import scenes, write_scene

    old = tmp_path / "kept.mrb"
    old.write_bytes(b"old scene")
    monkeypatch.setattr(scenes, "add_volume", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scene(scan(oblique), None, old)
    assert old.read_bytes() == b"old scene"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.mrb"]
    with pytest.raises(InputError, match="folder does not exist"):
        write_scene(scan(oblique), None, tmp_path / "missing" / "new.mrb")


def test_scene_of_a_radiograph_needs_no_slicer_scene(oblique, tmp_path):
    """As the command line does it: a process in which nothing has made `slicer.mrmlScene`."""
    import subprocess
    import sys

    from SpineSegLib.io import write_image
    from SpineSegLib.resources import resources

    film = scan(oblique.cropped((0, 0, 0), (1, 14, 17)), "XR")
    write_image(film, tmp_path / "film.nrrd")
    code = (
        "import sys; from SpineSegLib.io import read_image; from SpineSegLib.mrml import write_scene; "
        "write_scene(read_image(sys.argv[1]), None, sys.argv[2]); "
        "import slicer; print(getattr(slicer, 'mrmlScene', None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "film.nrrd"), str(tmp_path / "film.mrb")],
        cwd=resources().parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
    names = zipfile.ZipFile(tmp_path / "film.mrb").namelist()
    assert {"film/film.mrml", "film/Data/film.nrrd"} <= set(names)
