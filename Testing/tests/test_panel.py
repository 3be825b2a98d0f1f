"""The module in the headless host: its self-test, and the panel with the real worker process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standins import random_weights

ROOT = Path(__file__).resolve().parents[2]
MODEL = "linknet34-ct-small"


@pytest.fixture
def module(scene, slicer_host):
    return slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py")


@pytest.fixture
def panel(module, slicer_host):
    return slicer_host.open_widget(module)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> str:
    """Weights of a seeded, untrained network: the worker is real, its result is of no use."""
    return str(random_weights(MODEL, tmp_path_factory.mktemp("weights") / "seeded.safetensors"))


@pytest.fixture
def volume(scene, oblique):
    """A small CT on the oblique grid."""
    import slicer

    values = np.random.default_rng(0).normal(-100, 200, oblique.shape).clip(-1000, 1500).astype(np.int16)
    values[2:7, 4:10, 5:12] = 700
    values[0, 0, 0] = -1000
    return slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="Neck CT")


def truth_of(volume):
    """Add a ground truth of what is bright, made with Slicer's own functions."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Truth")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("spine", "spine")
    mask = (slicer.util.arrayFromVolume(volume) > 500).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    return node


def node_ids() -> list[str]:
    import slicer

    return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]


def run_folders() -> set[Path]:
    import slicer

    return set(Path(slicer.app.temporaryPath).glob("SpineSeg-run-*"))


def choose(panel, volume, weights: str) -> None:
    """What a user does before Apply."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.modelComboBox.currentIndex = [choice.name for choice in panel.segment.choices].index(MODEL)
    panel.ui.weightsPathLineEdit.currentPath = weights


def test_self_test_passes(module, slicer_host):
    slicer_host.run_self_test(module)


def test_panel_opens_without_torch_and_with_an_empty_scene(slicer_host):
    """In a process of its own, in which torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['SimpleITK'] = None; import host;"
        f"panel = host.open_widget(host.load_module({str(ROOT / 'SpineSeg' / 'SpineSeg.py')!r}));"
        "print(panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip, len(host.slot_errors))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "Testing",
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("False Choose a volume 0")


def test_panel_offers_what_fits_and_says_what_is_missing(panel, volume):
    import slicer

    film = slicer.util.addVolumeFromArray(np.arange(48, dtype=np.int16).reshape(1, 6, 8), name="Film")
    panel.ui.inputVolumeSelector.setCurrentNode(film)
    offered = {choice.name for choice in panel.segment.choices}
    assert "unet-xray-small" in offered
    assert MODEL not in offered
    assert panel.ui.volumeLabel.text.startswith("Radiograph (guessed")
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert MODEL in {choice.name for choice in panel.segment.choices}
    assert panel.ui.modelComboBox.count == len(panel.segment.choices)
    assert panel.ui.volumeLabel.text.startswith("CT (guessed")
    assert "0.70 × 0.90 × 2.30 mm" in panel.ui.volumeLabel.text
    absent = [n for n, choice in enumerate(panel.segment.choices) if choice.weights == "absent"]
    if absent:
        # In front, where a narrow panel does not cut it off.
        assert all(panel.ui.modelComboBox.itemText(n).startswith("(no weights) ") for n in absent)
        panel.ui.modelComboBox.currentIndex = absent[0]
        assert not panel.ui.applyButton.enabled
        assert "weights" in panel.ui.applyButton.toolTip
        panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
        assert panel.ui.applyButton.enabled
    panel.ui.modalityComboBox.currentIndex = 3  # MR
    assert panel.ui.volumeLabel.text.startswith("MR (as chosen)")
    assert MODEL not in {choice.name for choice in panel.segment.choices}


def test_nonlinear_transform_is_told_in_the_panel(panel, volume, scene):
    import vtk

    bend = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for corner in np.eye(4)[:, :3]:
        points.InsertNextPoint(*corner)
    bend.SetSourceLandmarks(points)
    bend.SetTargetLandmarks(points)
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Bend")
    transform.SetAndObserveTransformToParent(bend)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert "Harden the transform" in panel.ui.volumeLabel.text
    assert not panel.ui.applyButton.enabled


def test_apply_segments_with_the_real_worker_and_compares_with_the_truth(panel, volume, weights, slicer_host, tmp_path):
    """The table holds exactly what `evaluate --json` prints for the same two segmentations."""
    import qt
    import slicer

    truth = truth_of(volume)
    choose(panel, volume, weights)
    panel.ui.truthSegmentationSelector.setCurrentNode(truth)
    folders, steps = run_folders(), []
    panel.ui.progressBar.connect("valueChanged(int)", steps.append)
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.inputsCollapsibleButton.enabled
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=120)
    assert panel.ui.applyButton.text == "&Apply"
    assert panel.ui.statusLabel.text.startswith("Done in "), panel.ui.statusLabel.text
    assert len(steps) > 3
    assert run_folders() == folders
    result = panel.ui.outputSegmentationSelector.currentNode()
    assert result is not None
    assert result.GetAttribute("SpineSeg.Model") == MODEL
    assert slicer.util.saveNode(result, str(tmp_path / "result.seg.nrrd"))
    assert slicer.util.saveNode(truth, str(tmp_path / "truth.seg.nrrd"))
    files = [str(tmp_path / "result.seg.nrrd"), str(tmp_path / "truth.seg.nrrd")]
    done = subprocess.run(
        [sys.executable, "-m", "SpineSegLib", "evaluate", *files, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(done.stdout)
    table = panel.ui.metricsTableView.mrmlTableNode().GetTable()
    assert panel.ui.metricsCollapsibleButton.visible
    header = panel.ui.metricsTableView.model()
    assert [header.headerData(n, qt.Qt.Horizontal) for n in range(3)] == ["Structure", "Volume (ml)", "Dice"]
    slicer_host.screenshot(panel, tmp_path / "panel.png", (500, 760))
    assert (tmp_path / "panel.png").stat().st_size > 10_000
    assert table.GetValueByName(0, "Structure").ToString() == "Overall"
    for row, values in enumerate([expected["overall"], *expected["structures"].values()]):
        for key, value in values.items():
            if isinstance(value, int | float):
                assert table.GetValueByName(row, key).ToDouble() == pytest.approx(value, rel=1e-12), key


def test_cancel_half_way_leaves_scene_and_disk_as_they_were(panel, volume, weights, slicer_host):
    import slicer

    truth, output = truth_of(volume), truth_of(volume)
    choose(panel, volume, weights)
    panel.ui.outputSegmentationSelector.setCurrentNode(output)
    panel.ui.truthSegmentationSelector.setCurrentNode(truth)
    (segment,) = output.GetSegmentation().GetSegmentIDs()
    before_mask = slicer.util.arrayFromSegmentBinaryLabelmap(output, segment, volume)
    before, folders = node_ids(), run_folders()
    steps = []
    panel.ui.progressBar.connect("valueChanged(int)", steps.append)
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: any(step >= 8 for step in steps), timeout=120)
    panel.ui.applyButton.click()
    assert panel.ui.statusLabel.text == "Stopping …"
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=120)
    assert panel.ui.statusLabel.text == "Cancelled. Nothing was changed."
    assert panel.ui.applyButton.text == "&Apply"
    assert node_ids() == before
    assert run_folders() == folders
    assert (slicer.util.arrayFromSegmentBinaryLabelmap(output, segment, volume) == before_mask).all()


def test_ground_truth_is_never_overwritten(panel, volume, weights, slicer_host):
    truth = truth_of(volume)
    choose(panel, volume, weights)
    panel.ui.outputSegmentationSelector.setCurrentNode(truth)
    panel.ui.truthSegmentationSelector.setCurrentNode(truth)
    panel.ui.applyButton.click()
    assert "would be overwritten" in panel.ui.statusLabel.text
    assert not panel.logic.busy


def test_label_map_is_no_volume_to_segment(panel, scene):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert labels.IsA("vtkMRMLScalarVolumeNode")


OURS = ("SpineSegLib", "SpineSegPanel")
"""Packages that a reload of the module loads anew; tests that follow must see one library."""


@pytest.fixture
def library_kept():
    """The library's modules are put back after a reload has dropped them: other tests hold their classes."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}
    yield kept
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_reload_brings_the_panel_back_with_the_library_loaded_anew(panel, volume, slicer_host, library_kept):
    import slicer

    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.onReload()
    slicer_host.process_events()
    fresh = slicer.modules.SpineSegWidget
    assert fresh is not panel
    assert fresh._parameterNode.inputVolume is volume
    assert fresh.segment.choices
    assert sys.modules["SpineSegLib.mrml"] is not library_kept["SpineSegLib.mrml"]


def test_closing_the_scene_ends_the_run(panel, volume, weights, slicer_host, scene):
    folders = run_folders()
    choose(panel, volume, weights)
    panel.ui.applyButton.click()
    process = panel.logic._runner._worker._job.process
    scene.Clear(0)
    assert not panel.logic.busy
    assert run_folders() == folders
    process.wait(timeout=30)
    slicer_host.process_events()
    assert panel.ui.applyButton.text == "&Apply"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_error_of_the_worker_is_one_line_in_the_panel_and_no_dialog(panel, volume, slicer_host, tmp_path):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no weights")
    choose(panel, volume, str(wrong))
    before = node_ids()
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=120)
    assert "wrong.safetensors" in panel.ui.statusLabel.text
    assert "<br>" not in panel.ui.statusLabel.text
    assert "wrong.safetensors" in panel.ui.logPlainTextEdit.plainText
    assert panel.ui.statusLabel.styleSheet != ""
    assert slicer_host.displayed == []
    assert node_ids() == before


def test_bad_volume_is_told_by_its_name_before_anything_starts(panel, volume, weights, slicer_host):
    import slicer

    choose(panel, volume, weights)
    slicer.util.arrayFromVolume(volume)[:] = 7
    slicer.util.arrayFromVolumeModified(volume)
    folders = run_folders()
    panel.ui.applyButton.click()
    assert panel.ui.statusLabel.text.startswith("Neck CT: every voxel has the value 7")
    assert not panel.logic.busy
    assert run_folders() == folders


def test_packages_are_offered_at_apply_and_not_before(panel, volume, weights, slicer_host):
    assert slicer_host.pip_calls == []
    choose(panel, volume, weights)
    assert slicer_host.pip_calls == []
    panel.ui.applyButton.click()
    ((function, requirements, requester),) = slicer_host.pip_calls
    assert (function, requester) == ("pip_ensure", "SpineSeg")
    assert {"SimpleITK", "safetensors"} <= {requirement.name for requirement in requirements}
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=120)


@pytest.mark.parametrize(
    ("extension", "expected"),
    [(False, "install the extension 'PyTorch'"), (True, "PyTorch was not installed")],
)
def test_missing_torch_is_offered_through_its_extension(
    panel, volume, weights, slicer_host, monkeypatch, extension, expected
):
    import importlib.util
    import types

    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, torchVersionRequirement=None):
            asked.append(askConfirmation)  # the user says no

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name))
    if extension:
        utilities = types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    choose(panel, volume, weights)
    panel.ui.applyButton.click()
    assert expected in panel.ui.statusLabel.text.replace("&#x27;", "'")
    assert asked == [True] * extension
    assert not panel.logic.busy


def test_choices_survive_a_visit_to_another_module(panel, volume, weights, slicer_host):
    choose(panel, volume, weights)
    panel.exit()
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is volume
    assert panel.ui.weightsPathLineEdit.currentPath == weights
    assert panel._parameterNode.modelName == MODEL


def test_notice_and_the_models_paper_are_shown(panel, volume):
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert "Not for diagnostic use" in panel.ui.noticeLabel.text
    panel.ui.modelComboBox.currentIndex = [choice.name for choice in panel.segment.choices].index(MODEL)
    assert "10.1038/s41598-025-95243-z" in panel.ui.modelLabel.text
    assert "Segments: spine" in panel.ui.modelLabel.text
    card = json.loads((ROOT / "Resources" / "Models" / f"{MODEL}.json").read_text(encoding="utf-8"))
    for score in card["weights"].get("scores", ()):
        assert f"{score['value']:.3g}" in panel.ui.modelLabel.text
