"""pytest fixtures: the host once a session, an empty scene for each test, and no error in a slot goes unseen."""

import pytest

import host


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
