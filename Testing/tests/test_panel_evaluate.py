"""The panel's section 'Evaluate' with the real worker process: its numbers, its maps, and what goes wrong."""

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standins import random_weights

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Segmentation, SpacingSource
from SpineSegLib.io import write_segmentation

ROOT = Path(__file__).resolve().parents[2]
WAIT = 240


@pytest.fixture
def volume(scene, oblique):
    """A small CT on the oblique grid."""
    import slicer

    values = np.random.default_rng(0).integers(-1000, 1500, oblique.shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="CT")


@pytest.fixture
def moved(scene, volume):
    """The CT under a transform that turns, scales, shears and moves it."""
    import slicer

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent = np.array([[1.1, 0.2, 0, 5], [-0.1, 0.9, 0.05, -3], [0, 0.1, 1.3, 7], [0, 0, 0, 1]])
    slicer.util.updateTransformMatrixFromArray(transform, parent)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


@pytest.fixture
def upright(scene, oblique):
    """A CT whose grid Slicer saves without rounding: no rotation, steps that are sums of powers of two."""
    import slicer

    matrix = np.diag([-0.75, -0.5, 2.5, 1.0])
    matrix[:3, 3] = (30, -41.5, 112)
    return slicer.util.addVolumeFromArray(np.zeros(oblique.shape, np.int16), ijkToRAS=matrix, name="Upright CT")


def two_levels(geometry, shift: int = 0) -> Segmentation:
    masks = {}
    for level, start in (("C5", 2), ("C6", 8)):
        mask = np.zeros(geometry.shape, bool)
        mask[2:7, start : start + 4, 4 + shift : 11 + shift] = True
        masks[Structure("body", level)] = mask
    return Segmentation.from_masks(masks, geometry)


def shown(segmentation, volume, name: str):
    from SpineSegLib.mrml import show_segmentation

    return show_segmentation(segmentation, volume, name=name, surface=False)


@pytest.fixture
def pair(volume):
    return pair_on(volume)


def pair_on(volume):
    """Add a truth, and a prediction that was moved by a voxel, both on the volume's grid."""
    from SpineSegLib.mrml.geometry import volume_geometry

    geometry = volume_geometry(volume)
    return shown(two_levels(geometry, 1), volume, "Prediction"), shown(two_levels(geometry), volume, "Truth")


def section(panel):
    return panel.sections["Evaluate"]


def choose(panel, prediction, truth, errors: bool = False) -> None:
    section(panel).ui.evaluatedSegmentationSelector.setCurrentNode(prediction)
    section(panel).ui.evaluatedTruthSelector.setCurrentNode(truth)
    section(panel).ui.showErrorsCheckBox.checked = errors


def click(host, panel, button) -> str:
    """Click, wait for the end, and return the status."""
    assert button.enabled, button.toolTip
    button.click()
    host.wait_until(lambda: not section(panel).busy, timeout=WAIT)
    return section(panel).ui.evaluateStatusLabel.text


def command_line(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "SpineSegLib", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def evaluated(folder: Path, prediction, truth) -> dict:
    """What ``evaluate --json`` prints for two nodes as Slicer saves them, their transforms hardened."""
    import slicer

    files = []
    for node in (prediction, truth):
        copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        copy.GetSegmentation().DeepCopy(node.GetSegmentation())
        copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        slicer.vtkSlicerTransformLogic().hardenTransform(copy)
        files.append(folder / f"{node.GetName()}.seg.nrrd")
        assert slicer.util.saveNode(copy, str(files[-1]))
        slicer.mrmlScene.RemoveNode(copy)
    done = command_line("evaluate", *files, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_same_numbers(tableNode, expected: dict, *, tolerance: float = 0.0) -> None:
    """To the last digit, the very same doubles, unless a relative tolerance is given."""
    table = tableNode.GetTable()
    rows = {"Overall": expected["overall"], **expected["structures"]}
    names = [table.GetValueByName(row, "Structure").ToString() for row in range(table.GetNumberOfRows())]
    assert names == list(rows)
    compared = 0
    for row, values in enumerate(rows.values()):
        for key, value in values.items():
            if isinstance(value, int | float):
                assert table.GetValueByName(row, key).ToDouble() == pytest.approx(value, rel=tolerance, abs=0), key
                compared += 1
            elif value is None and table.GetColumnByName(key):
                assert math.isnan(table.GetValueByName(row, key).ToDouble()), key
    assert compared > 20


def run_folders() -> set[Path]:
    import slicer

    return set(Path(slicer.app.temporaryPath).glob("SpineSeg-run-*"))


def test_buttons_wait_for_their_choices(panel, pair):
    prediction, truth = pair
    ui = section(panel).ui
    assert section(panel).parent.collapsed
    section(panel).parent.collapsed = False
    hidden = (ui.evaluateProgressBar, ui.evaluateStatusLabel, ui.evaluateTableView, ui.plotButton)
    assert not any(widget.visible for widget in hidden)
    choose(panel, prediction, prediction)
    assert not ui.measureButton.enabled
    assert "same" in ui.measureButton.toolTip
    choose(panel, prediction, truth)
    assert ui.measureButton.enabled
    assert not ui.measureFoldersButton.enabled
    ui.predictionsPathLineEdit.currentPath = "a"
    assert not ui.measureFoldersButton.enabled
    ui.truthsPathLineEdit.currentPath = "b"
    assert ui.measureFoldersButton.enabled
    assert not ui.overlayButton.enabled
    panel.exit()
    panel.enter()
    assert ui.predictionsPathLineEdit.currentPath == "a"
    assert ui.evaluatedTruthSelector.currentNode() is truth


def test_numbers_are_the_command_lines_to_the_last_digit_and_the_chart_shows_them(
    panel, upright, slicer_host, tmp_path
):
    prediction, truth = pair_on(upright)
    folders = run_folders()
    choose(panel, prediction, truth)
    section(panel).parent.collapsed = False
    status = click(slicer_host, panel, section(panel).ui.measureButton)
    expected = evaluated(tmp_path, prediction, truth)
    tableNode = section(panel).ui.evaluateTableView.mrmlTableNode()
    assert_same_numbers(tableNode, expected)
    assert status == f"Overall Dice {expected['overall']['dice']:.4f}."
    assert expected["warnings"] == []
    assert run_folders() == folders
    from SpineSegLib.mrml import chart_of

    chart = chart_of(tableNode)
    assert chart.GetXAxisTitle() == "0 Overall · 1 C5 body · 2 C6 body"
    assert chart.GetNthPlotSeriesNode(0).GetYColumnName() == "dice"
    assert section(panel).ui.plotButton.visible
    section(panel).ui.plotButton.click()
    # A second run fills the same table and the same chart.
    click(slicer_host, panel, section(panel).ui.measureButton)
    assert section(panel).ui.evaluateTableView.mrmlTableNode() is tableNode
    assert chart_of(tableNode) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 1


def test_another_grid_is_resampled_onto_the_truths_and_said_so(panel, moved, pair, volume, slicer_host, tmp_path):
    """The prediction lies on a finer grid, both under a transform, which Slicer multiplies in another order."""
    from SpineSegLib.mrml.geometry import volume_geometry

    fine = volume_geometry(volume).with_step(0.6)
    prediction = shown(two_levels(volume_geometry(volume)).resampled(fine), volume, "Fine")
    choose(panel, prediction, pair[1])
    assert "nearest neighbour" in click(slicer_host, panel, section(panel).ui.measureButton)
    expected = evaluated(tmp_path, prediction, pair[1])
    assert any("nearest neighbour" in line for line in expected["warnings"])
    assert_same_numbers(section(panel).ui.evaluateTableView.mrmlTableNode(), expected, tolerance=1e-12)


def test_pairs_that_cannot_be_compared_give_one_line_and_leave_the_scene(panel, pair, volume, slicer_host, oblique):
    import slicer

    _, truth = pair
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing")
    matrix = oblique.ijk_to_ras.copy()
    matrix[:3, 3] += 5000
    far = slicer.util.addVolumeFromArray(np.zeros(oblique.shape, np.int16), ijkToRAS=matrix, name="Far")
    elsewhere = shown(two_levels(Geometry(oblique.shape, matrix)), far, "Elsewhere")
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    for wrong, expected in ((empty, "Nothing: it has no segments"), (elsewhere, "does not overlap")):
        choose(panel, wrong, truth, errors=True)
        status = click(slicer_host, panel, section(panel).ui.measureButton)
        assert expected in status
        assert "<br>" not in status
        assert section(panel).ui.evaluateStatusLabel.styleSheet
        assert section(panel).ui.measureButton.text == "Meas&ure"
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")} == before
    assert slicer_host.displayed == []


def test_errors_of_a_mask_shifted_by_three_lie_three_from_the_boundary(panel, scene, slicer_host):
    """On a film without spacing: the error segments, the distance in pixels, colours, legend, and what is seen."""
    import slicer

    from host.rendering import SliceView

    film = slicer.util.addVolumeFromArray(np.full((1, 40, 60), 100, np.int16), name="Film")
    film.CreateDefaultDisplayNodes()
    film.SetAttribute("SpineSeg.SpacingSource", str(SpacingSource.UNKNOWN))
    view = SliceView(size=(600, 400)).show(film, to_volume_plane=True)
    masks = np.zeros((2, 1, 40, 60), bool)
    masks[0, :, 10:30, 20:40] = masks[1, :, 10:30, 23:43] = True
    from SpineSegLib.mrml.geometry import volume_geometry

    nodes = [
        shown(Segmentation.from_masks({Structure("spine"): mask}, volume_geometry(film)), film, name)
        for mask, name in zip(masks, ("Truth", "Moved"), strict=True)
    ]
    choose(panel, nodes[1], nodes[0], errors=True)
    click(slicer_host, panel, section(panel).ui.measureButton)
    assert section(panel).ui.evaluateStatusLabel.styleSheet == "", section(panel).ui.evaluateStatusLabel.text
    result = panel.logic.measurer.result
    table = result.tableNode.GetTable()
    assert table.GetValueByName(0, "hausdorff_px").ToDouble() == 3
    assert table.GetColumnByName("hausdorff_mm") is None
    segments = result.errorNode.GetSegmentation()
    found = {
        segments.GetNthSegment(n).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            result.errorNode, segments.GetNthSegmentID(n), film
        ).astype(bool)
        for n in range(segments.GetNumberOfSegments())
    }
    assert (found["false positive"] == (masks[1] & ~masks[0])).all()
    assert (found["false negative"] == (masks[0] & ~masks[1])).all()
    distance = slicer.util.arrayFromVolume(result.mapNode)
    assert (np.isnan(distance) == ~(masks[0] ^ masks[1])).all()
    assert np.unique(distance[masks[1] & ~masks[0]]).tolist() == [1, 2, 3]
    assert np.unique(distance[masks[0] & ~masks[1]]).tolist() == [-2, -1, 0]
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(result.mapNode)
    assert "(px)" in legend.GetTitleText()
    composite = view.logic.GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == result.mapNode.GetID()
    legend.SetVisibility(False)
    for node in (*nodes, result.errorNode):
        node.SetDisplayVisibility(False)
    picture = view.snapshot().astype(int)
    grey = np.ptp(picture, axis=-1) < 8
    # Ten pixels of the picture a pixel of the film, whose columns run from right to left: colours where it errs, the
    # film alone between and beside.
    assert not grey[200, [175, 185]].any()
    assert picture[200, 185, 0] > picture[200, 185, 2] + 50
    assert picture[200, 375, 2] > picture[200, 375, 0] + 50
    assert grey[200, [100, 300, 500]].all()
    # The next run replaces both nodes.
    click(slicer_host, panel, section(panel).ui.measureButton)
    assert panel.logic.measurer.result.errorNode is result.errorNode
    assert panel.logic.measurer.result.mapNode is result.mapNode


@pytest.fixture
def cases(tmp_path, oblique):
    """Three pairs, the last of which cannot be read, in folders."""
    for name in ("predictions", "truths"):
        (tmp_path / name).mkdir()
    for number in range(2):
        write_segmentation(two_levels(oblique, number), tmp_path / "predictions" / f"case{number}.seg.nrrd")
        write_segmentation(two_levels(oblique), tmp_path / "truths" / f"case{number}.seg.nrrd")
    for name in ("predictions", "truths"):
        (tmp_path / name / "case2.seg.nrrd").write_bytes(b"NRRD no more")
    return tmp_path


def choose_folders(panel, cases: Path, pairs: str = "") -> None:
    section(panel).ui.predictionsPathLineEdit.currentPath = str(cases / "predictions")
    section(panel).ui.truthsPathLineEdit.currentPath = str(cases / "truths")
    section(panel).ui.pairsPathLineEdit.currentPath = pairs


def test_folders_give_the_command_lines_table_and_a_failed_case_is_told(panel, cases, slicer_host, tmp_path):
    choose_folders(panel, cases)
    status = click(slicer_host, panel, section(panel).ui.measureFoldersButton)
    assert status.startswith("2 cases measured, 1 failed.<br>")
    assert "case2" in status
    done = command_line("evaluate", cases / "predictions", cases / "truths", "--csv", tmp_path / "cases.csv")
    assert done.returncode == 1
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = section(panel).ui.evaluateTableView.mrmlTableNode().GetTable()
    assert table.GetNumberOfRows() == len(rows) > 8
    for number, row in enumerate(rows):
        for key, text in row.items():
            value = table.GetValueByName(number, key)
            if key in ("case", "scope", "structure", "in", "union of", "error"):
                assert value.ToString() == text
            else:
                assert value.ToDouble() == float(text) if text else math.isnan(value.ToDouble()), key
    from SpineSegLib.mrml import chart_of

    chart = chart_of(section(panel).ui.evaluateTableView.mrmlTableNode())
    assert chart.GetXAxisTitle() == "0 Overall · 1 C5 body · 2 C6 body"


def test_table_of_pairs_names_the_cases(panel, cases, slicer_host):
    pairs = cases / "pairs.csv"
    pairs.write_text("case,prediction,truth\nmine,case1.seg.nrrd,case0.seg.nrrd\n", encoding="utf-8")
    choose_folders(panel, cases, str(pairs))
    assert click(slicer_host, panel, section(panel).ui.measureFoldersButton) == "1 cases measured, 0 failed."
    assert section(panel).ui.evaluateTableView.mrmlTableNode().GetTable().GetValueByName(0, "case").ToString() == "mine"


def test_folders_that_are_missing_or_belong_to_nothing_give_one_line(panel, cases, slicer_host):
    choose_folders(panel, cases / "nowhere")
    assert "there is no such folder" in click(slicer_host, panel, section(panel).ui.measureFoldersButton)
    for file in (cases / "truths").iterdir():
        file.unlink()
    write_segmentation(two_levels(Geometry((9, 14, 17), np.eye(4))), cases / "truths" / "other.seg.nrrd")
    choose_folders(panel, cases)
    status = click(slicer_host, panel, section(panel).ui.measureFoldersButton)
    assert "no file has the name" in status
    assert "<br>" not in status
    assert section(panel).ui.evaluateTableView.mrmlTableNode() is None


def start_many(panel, cases: Path, host) -> list[int]:
    """Start on fifty cases and return the list of steps when the first is done."""
    for number in range(3, 50):
        for name in ("predictions", "truths"):
            shutil.copy(cases / name / "case0.seg.nrrd", cases / name / f"case{number}.seg.nrrd")
    choose_folders(panel, cases)
    steps = []
    section(panel).ui.evaluateProgressBar.connect("valueChanged(int)", steps.append)
    section(panel).ui.measureFoldersButton.click()
    assert section(panel).ui.measureFoldersButton.text == "Cancel"
    assert not section(panel).ui.measureButton.enabled
    assert not section(panel).ui.predictionsPathLineEdit.enabled
    host.wait_until(lambda: any(step >= 1 for step in steps), timeout=WAIT)
    return steps


def test_cancel_between_two_cases_leaves_scene_and_disk_as_they_were(panel, cases, slicer_host, scene):
    folders, tables = run_folders(), scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    start_many(panel, cases, slicer_host)
    assert section(panel).ui.evaluateProgressBar.maximum == 50
    section(panel).ui.measureFoldersButton.click()
    slicer_host.wait_until(lambda: not section(panel).busy, timeout=WAIT)
    assert section(panel).ui.evaluateStatusLabel.text == "Cancelled. Nothing was changed."
    assert section(panel).ui.measureFoldersButton.text == "Measure fo&lders"
    assert section(panel).ui.predictionsPathLineEdit.enabled
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == tables
    assert run_folders() == folders


def test_closing_the_scene_ends_the_measurement(panel, cases, slicer_host, scene):
    folders = run_folders()
    start_many(panel, cases, slicer_host)
    process = panel.logic.measurer._worker._job.process
    scene.Clear(0)
    assert not section(panel).busy
    assert run_folders() == folders
    process.wait(timeout=WAIT)
    slicer_host.process_events()
    assert section(panel).ui.evaluateStatusLabel.text == "Cancelled: the scene was closed."
    assert section(panel).ui.measureFoldersButton.text == "Measure fo&lders"
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0


def test_model_explains_itself_and_a_map_of_the_scene_is_laid_over_the_film(panel, scene, slicer_host, tmp_path):
    import slicer

    from host.rendering import SliceView

    values = np.random.default_rng(1).integers(0, 4000, (1, 96, 80)).astype(np.int16)
    film = slicer.util.addVolumeFromArray(values, name="Film")
    view = SliceView(size=(200, 200)).show(film, to_volume_plane=True)
    panel.ui.inputVolumeSelector.setCurrentNode(film)
    panel.ui.modelComboBox.currentIndex = [choice.name for choice in panel.segment.choices].index("unet-xray-small")
    weights = random_weights("unet-xray-small", tmp_path / "seeded.safetensors")
    panel.ui.weightsPathLineEdit.currentPath = str(weights)
    status = click(slicer_host, panel, section(panel).ui.explainButton)
    assert section(panel).ui.evaluateStatusLabel.styleSheet == "", status
    mapNode = panel.logic.explainer.result.mapNode
    assert mapNode.GetImageData().GetDimensions() == film.GetImageData().GetDimensions()
    composite = view.logic.GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == mapNode.GetID()
    assert composite.GetBackgroundVolumeID() == film.GetID()
    entropy = slicer.util.addVolumeFromArray(np.full((1, 96, 80), 0.5, np.float32), name="Entropy")
    section(panel).ui.mapVolumeSelector.setCurrentNode(entropy)
    assert section(panel).ui.overlayButton.enabled
    section(panel).ui.overlayButton.click()
    assert composite.GetForegroundVolumeID() == entropy.GetID()
    assert entropy.GetDisplayNode().GetColorNode().GetName() == "SpineSeg hot"
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(entropy).GetTitleText() == "Entropy"
