"""pytest fixtures: the host once a session, an empty scene for each test, and no error in a slot goes unseen."""

from pathlib import Path

import numpy as np
import pytest

import host

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def slicer_host():
    """The started host."""
    host.start()
    return host


@pytest.fixture
def slot_errors(slicer_host):
    """Exceptions in Qt slots and VTK observers; the test fails if any is left in this list at its end."""
    host.slot_errors.clear()
    yield host.slot_errors
    slicer_host.process_events()
    left = [f"{type(error).__name__}: {error}" for error in host.slot_errors]
    host.slot_errors.clear()
    assert not left, f"exceptions in slots: {left}"


@pytest.fixture
def scene(slicer_host, slot_errors):
    """An empty `slicer.mrmlScene`; nothing displayed, nothing installed yet."""
    import slicer

    slicer_host.reset()
    yield slicer.mrmlScene
    slicer_host.reset()


@pytest.fixture
def film_under_transform(scene):
    """A film of 80 x 40 pixels that a transform turns, stretches and moves."""
    import slicer

    node = slicer.util.addVolumeFromArray(np.arange(80 * 40, dtype=np.int16).reshape(1, 80, 40), name="Film")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent = np.array([[0.9, 0.3, 0, 12], [-0.3, 1.1, 0, -7], [0, 0, 1, 0], [0, 0, 0, 1]])
    slicer.util.updateTransformMatrixFromArray(transform, parent)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


@pytest.fixture
def panel(scene, slicer_host):
    """SpineSeg's panel, open over an empty scene."""
    return slicer_host.open_widget(slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py"))
