"""Corrections in the scene, under a transform that shears: levels, shapes, undo, the Segment Editor, and the worker."""

from pathlib import Path

import numpy as np
import pytest

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry
from SpineSegLib.mrml import DONE, FAILED, Worker, jobs
from SpineSegLib.mrml.correcting import ACCEPTED_ATTRIBUTE, EDITED_ATTRIBUTE
from SpineSegLib.mrml.edited import filled_part
from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.mrml.pairs import segmentation_of
from SpineSegLib.mrml.refining import Refiner
from SpineSegLib.pipelines.levels import vertebrae_segmentation


@pytest.fixture
def volume(scene, oblique):
    import slicer

    values = np.random.default_rng(0).integers(-1000, 1500, (34, 14, 17)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="CT")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent = np.array([[1.1, 0.2, 0, 5], [-0.1, 0.9, 0.05, -3], [0, 0.1, 1.3, 7], [0, 0, 0, 1]])
    slicer.util.updateTransformMatrixFromArray(transform, parent)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def stack(geometry: Geometry, levels):
    masks = []
    for number in range(len(levels)):
        mask = np.zeros(geometry.shape, bool)
        top = geometry.shape[0] - 1 - 6 * number
        mask[top - 4 : top + 1, 3:9, 4 + number : 12] = True
        masks.append(mask)
    return vertebrae_segmentation(masks, levels, geometry)


@pytest.fixture
def node(volume):
    from SpineSegLib.mrml import show_segmentation

    return show_segmentation(stack(volume_geometry(volume), [None] * 4), volume, name="Spine", surface=False)


@pytest.fixture
def refiner(scene):
    return Refiner(Worker(start=lambda *_: None, end=lambda pid: None))


def names(node) -> list[str]:
    found = node.GetSegmentation()
    return [found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())]


def masks(node, volume) -> list[np.ndarray]:
    """What Slicer itself finds, on the volume's grid."""
    import slicer

    found = node.GetSegmentation().GetSegmentIDs()
    return [slicer.util.arrayFromSegmentBinaryLabelmap(node, one, volume).astype(bool) for one in found]


def same(a, b) -> bool:
    return len(a) == len(b) and all((x == y).all() for x, y in zip(a, b, strict=True))


def test_one_level_names_all_and_moves_no_voxel(node, volume, refiner):
    before, ids = masks(node, volume), node.GetSegmentation().GetSegmentIDs()
    node.GetDisplayNode().SetSegmentVisibility(ids[2], False)
    node.GetSegmentation().GetSegment(ids[0]).SetTag("Mine", "kept")
    refiner.relabel(node, "#2", "C5")
    assert names(node) == ["C4", "C5", "C6", "C7"]
    assert same(masks(node, volume), before)
    found = node.GetSegmentation()
    assert found.GetSegmentIDs() == ids
    assert not node.GetDisplayNode().GetSegmentVisibility(ids[2])
    assert node.GetDisplayNode().GetSegmentVisibility(ids[1])
    segment = segmentation_of(node).segments[1]
    assert segment.edited == "named C5, was unlabelled"
    assert tuple(round(255 * v) for v in found.GetSegment(ids[1]).GetColor()) == segment.structure.colour
    import vtk

    tag = vtk.reference("")
    assert found.GetSegment(ids[1]).GetTag("TerminologyEntry", tag)
    assert "SCT^36978003^" in str(tag)
    assert found.GetSegment(ids[0]).GetTag("Mine", tag)
    assert str(tag) == "kept"
    assert node.GetAttribute(EDITED_ATTRIBUTE) == "1"
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()


def test_the_part_that_is_looked_at_holds_every_voxel_where_it_lies(node):
    whole = segmentation_of(node)
    part = filled_part(whole)
    assert part.geometry.shape == (34, 6, 8), "all slices, and of each the rows and columns with vertebrae"
    for one, other in zip(whole.segments, part.segments, strict=True):
        expected, found = (
            seen.geometry.to_world(np.argwhere(seen.mask(segment))) for seen, segment in ((whole, one), (part, other))
        )
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_every_step_is_undone_and_done_again(node, volume, refiner):
    states = [(names(node), masks(node, volume))]
    assert not refiner.canUndo(node)
    line = line_through(node, volume, 2)
    for step in (
        lambda: refiner.relabel(node, "#1", "C3"),
        lambda: refiner.remove(node, "C3"),
        lambda: refiner.split(node, "C5", line),
        lambda: refiner.merge(node, "C4"),
    ):
        step()
        states.append((names(node), masks(node, volume)))
    assert [state[0] for state in states[1:]] == [
        ["C3", "C4", "C5", "C6"],
        ["C4", "C5", "C6"],
        ["C4", "C5", "unlabelled, 3rd from the top", "C6"],
        ["C4", "unlabelled, 2nd from the top", "C6"],
    ]
    for expected in states[-2::-1]:
        assert refiner.undo(node)
        assert names(node) == expected[0]
        assert same(masks(node, volume), expected[1])
    assert not refiner.canUndo(node)
    assert node.GetAttribute(EDITED_ATTRIBUTE) is None
    for expected in states[1:]:
        assert refiner.redo(node)
        assert names(node) == expected[0]
        assert same(masks(node, volume), expected[1])
    assert not refiner.canRedo(node)
    assert node.GetAttribute(EDITED_ATTRIBUTE) == "1"


def line_through(node, volume, number: int):
    import slicer

    geometry = volume_geometry(volume)
    middle = np.argwhere(masks(node, volume)[number]).mean(axis=0)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    for shift in (-4, 4):
        line.AddControlPointWorld(*geometry.to_world(middle + np.array([0.1, 0, shift])))
    return line


def test_a_line_parts_one_and_leaves_all_others(node, volume, refiner):
    before = masks(node, volume)
    refiner.split(node, "#2", line_through(node, volume, 1))
    after = masks(node, volume)
    assert len(after) == 5
    assert (after[1] ^ after[2] == before[1]).all()
    assert after[1].any()
    assert after[2].any()
    assert same([after[0], *after[3:]], [before[0], *before[2:]])
    with pytest.raises(InputError, match="none is chosen"):
        refiner.split(node, "#2", None)


def test_what_cannot_be_done_leaves_the_node_as_it_was(node, volume, refiner):
    before = masks(node, volume)
    for wrong in (
        lambda: refiner.relabel(node, "#2", "C1"),
        lambda: refiner.merge(node, "#4"),
        lambda: refiner.remove(node, "C9"),
        lambda: refiner.relabel(None, "#1", "C3"),
    ):
        with pytest.raises(InputError):
            wrong()
    assert same(masks(node, volume), before)
    assert node.GetAttribute(EDITED_ATTRIBUTE) is None
    assert not refiner.canUndo(node)


def test_surfaces_follow(node, volume, refiner):
    assert node.CreateClosedSurfaceRepresentation()
    refiner.merge(node, "#1")
    found = node.GetSegmentation()
    assert found.ContainsRepresentation("Closed surface")
    bounds = np.zeros(6)
    found.GetNthSegment(0).GetRepresentation("Closed surface").GetBounds(bounds)
    assert np.ptp(bounds.reshape(3, 2), axis=1).max() > 10
    refiner.undo(node)
    assert found.ContainsRepresentation("Closed surface")


def test_the_segment_editor_opens_with_the_nodes_and_its_changes_are_noticed(
    node, volume, refiner, scene, monkeypatch, slicer_host
):
    import slicer

    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    refiner.openInEditor(node, volume)
    assert opened == ["SegmentEditor"]
    editor = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor.GetSegmentationNode() is node
    assert editor.GetSourceVolumeNode() is volume
    ids = node.GetSegmentation().GetSegmentIDs()
    painted = masks(node, volume)[1]
    painted[:, 9:11, 6:12] |= painted[:, 8:9, 6:12]
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted.astype(np.uint8), node, ids[1], volume)
    real = Refiner()
    real.accept(node)
    slicer_host.wait_until(lambda: not real.busy, timeout=240)
    assert real.result.state == DONE, real.result.error
    edited = [segment.edited for segment in segmentation_of(node).segments]
    assert edited == ["", "changed in the Segment Editor", "", ""]
    assert all(segment.accepted for segment in segmentation_of(node).segments)
    assert node.GetAttribute(EDITED_ATTRIBUTE) == node.GetAttribute(ACCEPTED_ATTRIBUTE) == "1"
    assert (masks(node, volume)[1] == painted).all()
    table = real.result.tableNode.GetTable()
    sizes = [table.GetValueByName(row, "volume_ml").ToDouble() for row in range(table.GetNumberOfRows())]
    geometry = volume_geometry(volume)
    expected = [mask.sum() * geometry.voxel_volume / 1000 for mask in masks(node, volume)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)
    assert list(Path(jobs.temporary_folder()).glob(f"{jobs.FOLDER_PREFIX}*")) == []
    # A correction after it has to be accepted again.
    real.relabel(node, "#1", "C3")
    assert node.GetAttribute(ACCEPTED_ATTRIBUTE) is None


class Scripted:
    """A refiner whose worker adds a box to what it was sent."""

    def __init__(self, mask=None, status: int = 0, lines=(), meanwhile=lambda: None):
        self.mask, self.status, self.lines, self.meanwhile = mask, status, lines, meanwhile
        self.asked, self.results = [], []
        self.refiner = Refiner(Worker(start=self.start, end=lambda pid: None))

    def start(self, arguments, variables, onLine, onDone):
        from SpineSegLib.io import read_segmentation, write_segmentation
        from SpineSegLib.pipelines.editing import add_mask

        self.asked = arguments[3:]
        for line in self.lines:
            onLine(line)
        if self.status == 0:
            found = read_segmentation(self.asked[1])
            write_segmentation(add_mask(found, self.mask), self.asked[self.asked.index("--out") + 1])
            self.meanwhile()
            onLine('{"warnings": ["look at it"], "structures": []}')
        onDone(self.status)


@pytest.fixture
def click(scene, film):
    geometry = volume_geometry(film)
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.AddControlPointWorld(*geometry.to_world(np.array([0, 23.25, 15.5])))
    return node


@pytest.fixture
def film(film_under_transform):
    return film_under_transform


@pytest.fixture
def bodies(film):
    from SpineSegLib.mrml import show_segmentation

    boxes = np.zeros((3, 1, 80, 40), bool)
    for number, row in enumerate((2, 12, 32)):
        boxes[number, 0, row : row + 8, 10:22] = True
    found = vertebrae_segmentation(boxes, ["C3", "C4", "C6"], volume_geometry(film), kind="body")
    return show_segmentation(found, film, name="Bodies")


def test_a_click_goes_to_the_worker_in_pixels_and_its_vertebra_comes_back(bodies, film, click):
    mask = np.zeros((1, 80, 40), bool)
    mask[0, 22:30, 10:22] = True
    before = masks(bodies, film)
    scripted = Scripted(mask)
    scripted.refiner.add(bodies, film, click, "sam", device="cpu", onDone=scripted.results.append)
    (result,) = scripted.results
    assert (result.state, result.notes) == (DONE, ("look at it",)), result.error
    assert "--add=15.500,23.250" in scripted.asked
    assert scripted.asked[scripted.asked.index("--modality") + 1] == "XR"
    after = masks(bodies, film)
    assert [name[:2] for name in names(bodies)] == ["C3", "C4", "C5", "C6"]
    assert same([after[0], after[1], after[3]], before)
    assert (after[2] == mask).all()
    assert scripted.refiner.undo(bodies)
    assert same(masks(bodies, film), before)


def test_a_run_that_fails_or_meets_a_changed_node_changes_nothing(bodies, film, click):
    mask = np.zeros((1, 80, 40), bool)
    mask[0, 22:30, 10:22] = True
    scripted = Scripted(status=1, lines=["error: --add: nothing was found there. Click elsewhere."])
    scripted.refiner.add(bodies, film, click, "sam", onDone=scripted.results.append)
    assert (scripted.results[0].state, scripted.results[0].error[:20]) == (FAILED, "--add: nothing was f")

    def rename():
        bodies.GetSegmentation().GetNthSegment(0).SetName("Renamed")

    scripted = Scripted(mask, meanwhile=rename)
    scripted.refiner.add(bodies, film, click, "sam", onDone=scripted.results.append)
    assert "changed during the run" in scripted.results[0].error
    assert len(names(bodies)) == 3
    with pytest.raises(InputError, match="none is chosen"):
        scripted.refiner.add(bodies, film, None, "sam")
    assert not scripted.refiner.busy
