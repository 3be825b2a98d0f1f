"""Pictures without a screen: what is drawn lies where the numbers say."""

import numpy as np
import pytest


def rotation(degrees):
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


GRIDS = {
    "upright": np.diag([-1.0, -1.0, 1.0]),
    "anisotropic": np.diag([-0.8, -1.1, 2.7]),
    "rotated": rotation([9, -6, 17]) @ np.diag([-1.2, -1.2, 1.5]),
    "rotated and anisotropic": rotation([-14, 11, -25]) @ np.diag([-0.7, -0.9, 2.5]),
    "left-handed": rotation([5, 8, -12]) @ np.diag([-1.0, 1.0, 1.6]),
}


@pytest.fixture
def bone(scene):
    """A function that makes a bright ellipsoid on a grid: (volume, segmentation, centre in RAS)."""
    import slicer

    def make(directions, translation=None):
        k, j, i = np.indices((40, 64, 60))
        mask = (((i - 33) / 16) ** 2 + ((j - 28) / 11) ** 2 + ((k - 21) / 9) ** 2) < 1
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = directions, (30, 20, -40)
        volume = slicer.util.addVolumeFromArray(np.where(mask, 1000, 0).astype(np.int16), ijkToRAS=matrix, name="CT")
        volume.GetDisplayNode().AutoWindowLevelOff()
        volume.GetDisplayNode().SetWindowLevel(1000, 500)
        volume.GetDisplayNode().SetInterpolate(False)
        segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        segmentation.CreateDefaultDisplayNodes()
        if translation is not None:
            transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
            moved = np.eye(4)
            moved[:3, :3], moved[:3, 3] = rotation([0, 0, 20]), translation
            transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
            volume.SetAndObserveTransformNodeID(transform.GetID())
            segmentation.SetAndObserveTransformNodeID(transform.GetID())
            matrix = moved @ matrix
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation.GetDisplayNode().SetVisibility2DOutline(False)
        segmentation.GetDisplayNode().SetOpacity2DFill(1.0)
        identifier = segmentation.GetSegmentation().AddEmptySegment("bone", "bone", (1, 0, 0))
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, identifier, volume)
        return volume, segmentation, (matrix @ (33, 28, 21, 1))[:3]

    return make


def overlap(view, segmentation, path):
    """Dice of the pixels that are bright without the overlay and those that are red with it."""
    segmentation.SetDisplayVisibility(False)
    bright = view.snapshot()[..., 1] > 100
    segmentation.SetDisplayVisibility(True)
    picture = view.snapshot(path)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 80)
    assert bright.sum() > 1000
    return 2 * (bright & red).sum() / (bright.sum() + red.sum())


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
@pytest.mark.parametrize("grid", GRIDS)
def test_overlay_covers_the_bright_pixels(bone, tmp_path, grid, orientation):
    from host.rendering import SliceView

    volume, segmentation, centre = bone(GRIDS[grid])
    view = SliceView(orientation, (300, 300)).show(volume, at=centre)
    assert overlap(view, segmentation, tmp_path / "overlay.png") > 0.985


def test_overlay_follows_a_transform(bone, tmp_path):
    from host.rendering import SliceView

    volume, segmentation, centre = bone(GRIDS["rotated"], translation=(40, -15, 60))
    view = SliceView("Sagittal", (300, 300)).show(volume, at=centre)
    assert overlap(view, segmentation, tmp_path / "overlay.png") > 0.985


def test_misplaced_overlay_is_seen(bone, tmp_path):
    """The comparison above can fail: the segmentation alone is moved by 8 mm."""
    import slicer

    from host.rendering import SliceView

    volume, segmentation, centre = bone(GRIDS["upright"])
    moved = np.eye(4)
    moved[1, 3] = 8
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    view = SliceView("Axial", (300, 300)).show(volume, at=centre)
    assert overlap(view, segmentation, tmp_path / "overlay.png") < 0.9


@pytest.mark.parametrize(("orientation", "upright"), [("Sagittal", True), ("Axial", False)])
def test_lateral_radiograph_is_upright_in_a_sagittal_view_only(scene, tmp_path, orientation, upright):
    """Slicer's own RotateToVolumePlane keeps the anterior axis of an axial view upwards, so it turns the picture."""
    import slicer

    from host.rendering import SliceView

    array = np.zeros((1, 200, 100), np.int16)
    array[0, 20:120, 25:75] = 1000
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]) * 0.5  # columns run to the back, rows downwards
    volume = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="XR")
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(1000, 500)
    view = SliceView(orientation, (300, 300)).show(volume, to_volume_plane=True)
    bright = np.argwhere(view.snapshot(tmp_path / "xr.png")[..., 0] > 128)
    height, width = np.ptp(bright, axis=0) + 1
    assert (height / width) == pytest.approx(2 if upright else 0.5, rel=0.05)
    assert (bright.mean(axis=0)[0] < 140) == upright  # the bright part lies in the upper half


def test_surface_is_drawn_in_its_colour(bone, tmp_path):
    from host.rendering import ThreeDView

    _, segmentation, _ = bone(GRIDS["rotated"])
    segmentation.CreateClosedSurfaceRepresentation()
    picture = ThreeDView((300, 300)).fit().snapshot(tmp_path / "surface.png").astype(int)
    red = (picture[..., 0] - picture[..., 1:].max(-1)) > 60
    assert red.mean() > 0.05


def test_missing_opengl_names_the_debian_packages(scene, monkeypatch):
    import vtk

    from host.rendering import SliceView

    monkeypatch.setattr(vtk, "vtkRenderWindow", NoOpenGL)
    with pytest.raises(RuntimeError, match="libegl1 libgl1-mesa-dri"):
        SliceView("Axial")


class NoOpenGL:
    """The render window that VTK gives on a machine without EGL and X; used any further, it crashes."""

    def GetClassName(self):
        return "vtkOSOpenGLRenderWindow"

    def __getattr__(self, name):
        assert name.startswith("Set"), f"{name} was called without OpenGL"
        return lambda *args: None
