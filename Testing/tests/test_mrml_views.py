"""What the user sees: slice views with the overlay exactly on the bone, radiographs in their own plane."""

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Segmentation


def bright_and_overlay(view, segmentationNode) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of a view are bright bone, and which the overlay covers."""
    segmentationNode.SetDisplayVisibility(False)
    base = view.snapshot().astype(int)
    segmentationNode.SetDisplayVisibility(True)
    shown = view.snapshot().astype(int)
    return base[..., 0] > 128, np.abs(shown - base).max(axis=-1) > 60


def add_bone(geometry: Geometry, mask: np.ndarray):
    """Add a volume that is bright where the mask is."""
    import slicer

    volume = slicer.util.addVolumeFromArray(
        np.where(mask, 1000, 0).astype(np.int16), ijkToRAS=geometry.ijk_to_ras, name="CT"
    )
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1000, 500)
    display.SetInterpolate(False)
    return volume


def show(volume, mask: np.ndarray):
    """Show a mask as a filled, saturated segment."""
    from SpineSegLib.mrml import image_from_node, show_in_views, show_segmentation

    segmentation = Segmentation.from_masks({Structure("vertebra", "C4"): mask}, image_from_node(volume).geometry)
    node = show_segmentation(segmentation, volume, name="Spine", surface=False)
    node.GetSegmentation().GetNthSegment(0).SetColor(1, 0, 0)
    display = node.GetDisplayNode()
    display.SetVisibility2DOutline(False)
    display.SetOpacity2DFill(1.0)
    show_in_views(volume, segmentation)
    return node


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
@pytest.mark.parametrize("under_transform", [False, True])
def test_overlay_lies_on_the_bone_in_every_view(scene, slicer_host, oblique, orientation, under_transform):
    import slicer

    from host.rendering import SliceView

    geometry = Geometry((40, 60, 64), oblique.ijk_to_ras @ np.diag([1.0, 1.0, 0.5, 1.0]))
    k, j, i = np.indices(geometry.shape)
    mask = ((i - 30) / 11) ** 2 + ((j - 33) / 8) ** 2 + ((k - 21) / 7) ** 2 < 1
    volume = add_bone(geometry, mask)
    if under_transform:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.array([[1.1, 0.3, 0, 5], [-0.2, 0.9, 0.1, -3], [0, 0.1, 1.2, 7], [0, 0, 0, 1]])
        slicer.util.updateTransformMatrixFromArray(transform, matrix)
        volume.SetAndObserveTransformNodeID(transform.GetID())
    view = SliceView(orientation, size=(300, 300)).show(volume)
    bright, covered = bright_and_overlay(view, show(volume, mask))
    assert bright.sum() > 300  # the view goes through the middle of what was segmented
    assert dice(bright, covered) > 0.97


def test_bone_is_seen_through_the_overlay(scene, slicer_host, oblique):
    from host.rendering import SliceView

    mask = np.zeros((40, 60, 64), bool)
    mask[10:30, 20:40, 20:44] = True
    geometry = Geometry(mask.shape, oblique.ijk_to_ras)
    volume = add_bone(geometry, mask)
    view = SliceView("Axial", size=(200, 200)).show(volume)
    node = show(volume, mask)
    node.GetDisplayNode().SetOpacity2DFill(0.4)
    red, green, _ = view.snapshot()[100, 100].astype(int)
    assert red > 250
    assert abs(green - 0.6 * 255) < 10


def test_radiograph_is_shown_in_its_own_plane(scene, slicer_host, oblique):
    """A lateral film: its plane is that of no standard view."""
    from host.rendering import SliceView

    geometry = Geometry((1, 80, 60), oblique.ijk_to_ras)
    mask = np.zeros(geometry.shape, bool)
    mask[:, 20:60, 22:38] = True
    volume = add_bone(geometry, mask)
    view = SliceView("Axial", size=(300, 300)).show(volume)
    node = show(volume, mask)
    normal = np.array([view.node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
    film = geometry.ijk_to_ras[:3, 2] / np.linalg.norm(geometry.ijk_to_ras[:3, 2])
    bright, covered = bright_and_overlay(view, node)
    assert abs(normal @ film) > 0.999
    assert bright.sum() > 3000
    assert dice(bright, covered) > 0.97


def test_nothing_segmented_and_no_view_are_no_error(scene, oblique):
    from SpineSegLib.mrml import show_in_views
    from SpineSegLib.mrml.views import middle_of

    empty = Segmentation.from_masks({Structure("vertebra", "C4"): np.zeros(oblique.shape, bool)}, oblique)
    assert middle_of(empty) is None
    show_in_views(add_bone(oblique, np.ones(oblique.shape, bool)), empty)


def test_middle_lies_inside_even_of_a_curved_spine(oblique):
    from SpineSegLib.mrml.views import middle_of

    ring = np.zeros(oblique.shape, bool)
    ring[4, 2:12, 2:14] = True
    ring[4, 4:10, 4:12] = False
    segmentation = Segmentation.from_masks({Structure("vertebra", "C4"): ring}, oblique)
    assert ring[tuple(np.rint(oblique.to_index(np.array(middle_of(segmentation)))).astype(int))]
