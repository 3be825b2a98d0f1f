"""What every test needs: the paths, the real slicer-core, a screen-less Qt, and a grid that hides no mistake."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "Testing"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from host.fixtures import film_under_transform, panel, scene, slicer_host, slot_errors  # noqa: E402, F401


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once when another package has overwritten slicer-core's `slicer`; every later error would mislead."""
    import slicer

    if not hasattr(slicer, "vtkMRMLScene"):
        pytest.exit(
            f"{slicer.__file__} is not slicer-core: PyPI's unrelated package 'slicer' has overwritten it. "
            "Remove the folder .venv and run Testing/run.py again.",
            returncode=1,
        )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"the reference data is not here ({folder / 'data'})")
    return folder


@pytest.fixture
def oblique():
    """A small grid that is anisotropic, rotated about all axes, off centre, and left-handed in RAS."""
    from SpineSegLib.image import Geometry

    angles = np.radians([17.0, -23.0, 31.0])
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    rotation = (
        np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
        @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
        @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([-0.7, 0.9, 2.3])
    matrix[:3, 3] = (31.5, -42.25, 113.0)
    return Geometry((9, 14, 17), matrix)
