"""The panel's section 'Correct': every button, with the real worker process."""

import numpy as np
import pytest

from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.pipelines.levels import vertebrae_segmentation

WAIT = 240


@pytest.fixture
def film(film_under_transform):
    return film_under_transform


@pytest.fixture
def bodies(film):
    from SpineSegLib.mrml import show_segmentation

    boxes = np.zeros((4, 1, 80, 40), bool)
    for number in range(4):
        boxes[number, 0, 2 + 10 * number : 10 + 10 * number, 10:22] = True
    found = vertebrae_segmentation(boxes, [None] * 4, volume_geometry(film), kind="body")
    return show_segmentation(found, film, name="Bodies")


@pytest.fixture
def section(panel, film, bodies):
    """The section, open, with the film and its bodies as result."""
    panel.ui.inputVolumeSelector.setCurrentNode(film)
    panel.logic.getParameterNode().outputSegmentation = bodies
    section = panel.sections["Refine"]
    section.parent.collapsed = False
    return section


def names(node) -> list[str]:
    found = node.GetSegmentation()
    return [found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())]


def listed(section) -> list[str]:
    return [section.ui.vertebraComboBox.itemText(n) for n in range(section.ui.vertebraComboBox.count)]


def choose(section, number: int, level: str | None = None) -> None:
    section.ui.vertebraComboBox.currentIndex = number
    if level:
        section.ui.levelComboBox.currentIndex = section.ui.levelComboBox.findText(level)


def click(button) -> None:
    assert button.enabled, button.toolTip
    button.click()


def test_the_result_is_offered_and_buttons_say_what_they_wait_for(section, bodies):
    ui = section.ui
    assert section.parameterNode.refinedSegmentation is bodies
    assert listed(section)[1] == "unlabelled, 2nd from the top"
    for button, reason in (
        (ui.splitButton, "Draw a line"),
        (ui.addButton, "Click in the vertebra"),
        (ui.undoButton, "Nothing was corrected"),
        (ui.redoButton, "Nothing was undone"),
    ):
        assert not button.enabled
        assert reason in button.toolTip
    choose(section, 3)
    assert not ui.mergeButton.enabled
    assert "lowest" in ui.mergeButton.toolTip
    ui.refinedSegmentationSelector.setCurrentNode(None)
    section.parameterNode.outputSegmentation = None
    assert not any(button.enabled for button in (ui.relabelButton, ui.removeButton, ui.acceptButton, ui.editorButton))


def test_naming_merging_splitting_removing_and_undoing(section, bodies, film):
    import slicer

    ui, geometry = section.ui, volume_geometry(film)
    choose(section, 1, "C5")
    click(ui.relabelButton)
    assert listed(section) == ["C4", "C5", "C6", "C7"]
    assert ui.levelComboBox.currentText == "C5"
    choose(section, 2)
    click(ui.mergeButton)
    assert listed(section) == ["C4", "C5", "C6"]
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    for place in ([0, 31.2, 5], [0, 31.2, 30]):
        line.AddControlPointWorld(*geometry.to_world(np.array(place)))
    ui.splitMarkupsSelector.setCurrentNode(line)
    choose(section, 2)
    click(ui.splitButton)
    assert listed(section) == ["C4", "C5", "C6", "C7"]
    rows = np.nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(bodies, names_to_id(bodies, "C7 body"), film)[0])[0]
    assert (rows.min(), rows.max()) == (32, 39)
    choose(section, 0)
    click(ui.removeButton)
    assert listed(section) == ["C5", "C6", "C7"]
    click(ui.undoButton)
    assert listed(section) == ["C4", "C5", "C6", "C7"]
    click(ui.redoButton)
    assert listed(section) == ["C5", "C6", "C7"]
    choose(section, 2, "C1")
    click(ui.relabelButton)
    assert "at most" in ui.refineStatusLabel.text
    assert ui.refineStatusLabel.styleSheet
    assert listed(section) == ["C5", "C6", "C7"]


def names_to_id(node, name: str) -> str:
    return node.GetSegmentation().GetSegmentIdBySegmentName(name)


def test_points_say_what_lies_apart(section, bodies, film, slicer_host):
    """Three vertebrae that were taken for one come apart by a point in each, placed in any order."""
    import slicer

    ui, geometry = section.ui, volume_geometry(film)
    choose(section, 0, "C4")
    click(ui.relabelButton)
    before = [
        slicer.util.arrayFromSegmentBinaryLabelmap(bodies, names_to_id(bodies, f"C{n} body"), film) for n in (4, 5, 6)
    ]
    before = [mask.copy() for mask in before]
    for _ in range(2):
        choose(section, 0)
        click(ui.mergeButton)
    assert listed(section) == ["C4", "C7"]
    choose(section, 0)
    click(ui.placeSeedsButton)
    points = section.parameterNode.splitMarkups
    assert points.GetClassName() == "vtkMRMLMarkupsFiducialNode"
    assert slicer.modules.markups.logic().GetActiveListID() == points.GetID()
    click(ui.splitButton)
    assert "0 points" in ui.refineStatusLabel.text and listed(section) == ["C4", "C7"]
    for row in (25.6, 5.2, 16.0):
        points.AddControlPointWorld(*geometry.to_world(np.array([0, row, 15.0])))
    click(ui.splitButton)
    assert ui.splitButton.text == "Cancel" and not ui.mergeButton.enabled
    slicer_host.wait_until(lambda: not section.busy, timeout=WAIT)
    assert ui.refineStatusLabel.styleSheet == "", ui.refineStatusLabel.text
    assert ui.splitButton.text == "Spl&it"
    assert listed(section) == ["C4", "C5", "C6", "C7"]
    for number, mask in zip((4, 5, 6), before, strict=True):
        now = slicer.util.arrayFromSegmentBinaryLabelmap(bodies, names_to_id(bodies, f"C{number} body"), film)
        assert (now == mask).all(), number
    click(ui.undoButton)
    assert listed(section) == ["C4", "C7"]
    points.SetNthControlPointPositionWorld(0, 500.0, 500.0, 0.0)
    click(ui.splitButton)
    assert "outside" in ui.refineStatusLabel.text and ui.refineStatusLabel.styleSheet
    assert not section.busy and listed(section) == ["C4", "C7"]


def test_accepting_renews_the_results_table(section, panel, bodies, slicer_host):
    choose(section, 0, "C3")
    click(section.ui.relabelButton)
    click(section.ui.acceptButton)
    assert section.ui.acceptButton.text == "Cancel"
    assert not section.ui.relabelButton.enabled
    slicer_host.wait_until(lambda: not section.busy, timeout=WAIT)
    assert section.ui.refineStatusLabel.styleSheet == "", section.ui.refineStatusLabel.text
    assert section.ui.acceptButton.text == "A&ccept"
    assert "Accepted" in section.ui.refineStatusLabel.text
    table = section.parameterNode.metricsTable.GetTable()
    assert [table.GetValueByName(row, "Structure").ToString() for row in range(4)] == [
        f"C{n} body" for n in (3, 4, 5, 6)
    ]
    assert bodies.GetAttribute("SpineSeg.Accepted") == bodies.GetAttribute("SpineSeg.Edited") == "1"


def test_a_line_and_a_point_are_placed_and_the_editor_needs_a_window(section, bodies, monkeypatch):
    import slicer

    click(section.ui.drawLineButton)
    assert section.parameterNode.splitMarkups.GetClassName() == "vtkMRMLMarkupsLineNode"
    assert section.ui.splitButton.enabled
    click(section.ui.splitButton)
    assert "0 points" in section.ui.refineStatusLabel.text
    click(section.ui.placePointButton)
    assert slicer.modules.markups.logic().GetActiveListID() == section.parameterNode.addPoint.GetID()
    click(section.ui.editorButton)
    assert "main window" in section.ui.refineStatusLabel.text
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    click(section.ui.editorButton)
    assert opened == ["SegmentEditor"]


def test_closing_the_scene_during_a_run_forgets_it(section, slicer_host):
    import slicer

    click(section.ui.acceptButton)
    assert section.busy
    slicer.mrmlScene.Clear(0)
    assert not section.busy
    assert "scene was closed" in section.ui.refineStatusLabel.text
    slicer_host.process_events()
    assert listed(section) == []
