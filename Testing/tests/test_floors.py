"""The house keeps its floors: what may import what, what stays light, and what the product never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import floors
import pytest

ROOT = Path(floors.__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "monai", "SimpleITK", "pydicom", "scipy", "skimage", "slicer", "vtk")


def test_the_tree_keeps_every_rule():
    assert floors.violations(ROOT) == []


def test_the_root_holds_nothing_but_what_belongs_there():
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else [path.name for path in ROOT.iterdir()]
    left_by_runs = {"build", "results", "runs"}  # made by use, ignored by git
    assert floors.strays([name for name in names if name not in left_by_runs]) == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("SpineSegLib/io/a.py", "from SpineSegLib.models import card", "io (floor 1) must not import models (floor 2)"),
        ("SpineSegLib/io/a.py", "def f():\n    from ..cli import main", "io (floor 1) must not import cli (floor 5)"),
        ("SpineSegLib/io/a.py", "from SpineSegLib import phantom", "io (floor 1) must not import phantom (floor 1)"),
        (
            "SpineSegLib/image.py",
            "from SpineSegLib.io import read_image",
            "image (floor 0) must not import io (floor 1)",
        ),
        ("SpineSegLib/networks/a.py", "from SpineSegLib.image import Image", "networks must not import image"),
        ("SpineSegLib/networks/a.py", "import SimpleITK as sitk", "networks must not import SimpleITK"),
        ("SpineSegLib/mrml/a.py", "import torch.nn", "mrml must not import torch"),
        ("SpineSegLib/pipelines/a.py", "import slicer", "pipelines must not import slicer"),
        ("SpineSegLib/pipelines/a.py", "import urllib.request", "pipelines must not import urllib.request"),
        (
            "SpineSegLib/training/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from SpineSegLib.evaluation import evaluate",
            "training (floor 3) must not import evaluation (floor 4)",
        ),
        ("SpineSegLib/newroom/a.py", "x = 1", "newroom is no room of SpineSegLib"),
        ("SpineSegLib/io/a.py", "import pickle", "io must not import pickle"),
        ("SpineSegLib/models/a.py", "import torch\ntorch.load('w.pth')", "torch.load without weights_only=True"),
        ("SpineSegLib/models/a.py", "x = eval('1')", "eval() runs what a file says"),
        ("SpineSegLib/__init__.py", "import numpy", "SpineSegLib's root imports numpy"),
        ("SpineSeg/SpineSeg.py", "from SpineSegLib.pipelines import segment", "SpineSeg knows only"),
        ("SpineSeg/SpineSeg.py", "import torch", "SpineSeg must not import torch"),
    ],
)
def test_a_broken_rule_is_caught_with_its_place(file, source, expected, tmp_path):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source, encoding="utf-8")
    (found,) = floors.violations(tmp_path)
    assert found.startswith(f"{file}:")
    assert expected in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("SpineSegLib/training/a.py", "from SpineSegLib.evaluation.metrics import dice\nfrom .losses import bce"),
        ("SpineSegLib/image.py", "from SpineSegLib.anatomy import Structure"),
        ("SpineSegLib/mrml/a.py", "import slicer, vtk\nfrom SpineSegLib.image import Image"),
        ("SpineSegLib/models/a.py", "import torch\ntorch.load('w.pth', weights_only=True)\nmodel.eval()"),
        ("SpineSeg/SpineSeg.py", "import slicer, qt\nfrom SpineSegLib.mrml import show_segmentation"),
    ],
)
def test_what_the_rules_allow_passes(file, source, tmp_path):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source, encoding="utf-8")
    assert floors.violations(tmp_path) == []


def test_a_stray_name_in_the_root_is_caught():
    assert floors.strays(["README.md", ".ci", "notes.txt", "Testing"]) == ["notes.txt"]


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("SpineSegLib", ()),
        ("SpineSegLib.anatomy", ()),
        ("SpineSegLib.image", ()),
        ("SpineSegLib.errors", ()),
        ("SpineSegLib.progress", ()),
        ("SpineSegLib.resources", ()),
        ("SpineSegLib.terminology", ()),
        ("SpineSegLib.mrml", ("slicer", "vtk")),
    ],
)
def test_importing_stays_light(module, allowed):
    program = f"import json, sys, {module}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(result.stdout)) <= set(allowed)


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["models", "--help"]])
def test_help_on_the_command_line_loads_nothing_heavy(arguments):
    program = (
        "import contextlib, io, json, runpy, sys\n"
        f"sys.argv = ['SpineSegLib', *{arguments}]\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    runpy.run_module('SpineSegLib', run_name='__main__')\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == []
