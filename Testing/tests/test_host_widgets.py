"""The stand-ins for ctk and qMRML widgets follow the real scene, and refuse what the real classes do not have."""

import numpy as np
import pytest

CTK = ["ctkCollapsibleButton", "ctkComboBox", "ctkPathLineEdit", "ctkSliderWidget"]
MRML = ["qMRMLNodeComboBox", "qMRMLTableView", "qMRMLWidget"]


def add_volume(name):
    import slicer

    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name=name)


@pytest.fixture
def selector(scene):
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(scene)
    yield combo
    combo.delete()


@pytest.mark.parametrize("name", CTK + MRML)
def test_stand_in_has_its_real_members_and_no_other(scene, name):
    from host.widgets import WIDGETS

    cls = WIDGETS[name]
    own = {member for member in vars(cls) if not member.startswith("_") and member[0].islower()}
    overridden = {"paintEvent", "staticMetaObject"}
    assert own - overridden == set(cls.MEMBERS)
    assert not set(cls.MEMBERS) & set(cls.MISSING)
    widget = cls()
    for member in cls.MEMBERS:
        getattr(widget, member)
    for member in cls.MISSING:
        with pytest.raises(NotImplementedError, match=f"{name}.{member}"):
            getattr(widget, member)
        with pytest.raises(NotImplementedError, match=f"{name}.{member}"):
            setattr(widget, member, 1)
    with pytest.raises(AttributeError, match="currentNodde"):
        widget.currentNodde  # noqa: B018
    with pytest.raises(AttributeError, match="currentNodde"):
        widget.currentNodde = 1
    widget.delete()


def test_selector_follows_the_scene(scene, selector):
    got = []
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    assert selector.connect("currentNodeChanged(bool)", got.append)
    assert selector.enabled
    assert selector.currentNode() is None
    first, second = add_volume("first"), add_volume("second")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert selector.nodeCount() == 2
    assert selector.currentNode() is first
    selector.setCurrentNode(second)
    assert selector.currentNodeID == second.GetID()
    scene.RemoveNode(second)
    assert selector.currentNode() is first
    scene.Clear(0)
    assert selector.currentNode() is None
    assert got == [first, True, second, True, first, True, None, False]


def test_selector_shows_none_where_it_may(scene, selector):
    selector.noneEnabled = True
    node = add_volume("CT")
    assert selector.currentNode() is None
    selector.setCurrentNode(node)
    selector.setCurrentNode(None)
    assert selector.currentNode() is None


def test_selector_filters_by_attribute_and_kind(scene, selector):
    radiograph = add_volume("radiograph")
    add_volume("other")
    hidden = add_volume("hidden")
    hidden.SetHideFromEditors(True)
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert selector.nodeCount() == 3
    selector.showChildNodeTypes = False
    assert label not in [selector.nodeFromIndex(i) for i in range(selector.nodeCount())]
    radiograph.SetAttribute("Modality", "XR")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "Modality", "XR")
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [radiograph]


def test_selector_makes_a_node(scene, selector):
    selector.baseName = "Result"
    node = selector.addNode()
    assert (node.GetName(), selector.currentNode()) == ("Result", node)
    selector.removeCurrentNode()
    assert selector.nodeCount() == 0


def test_deleted_selector_leaves_the_scene_alone(scene, slicer_host):
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(scene)
    combo.delete()
    slicer_host.process_events()
    add_volume("CT")  # an observer left behind would fail in the fixture slot_errors


def test_setter_methods_that_python_does_not_see_are_refused(selector):
    with pytest.raises(AttributeError):
        selector.setNodeTypes(["vtkMRMLScalarVolumeNode"])
    with pytest.raises(TypeError):
        selector.noneEnabled = 1


def test_table_view_follows_its_node(scene):
    import slicer

    view, node = slicer.qMRMLTableView(), scene.AddNewNodeByClass("vtkMRMLTableNode")
    view.setMRMLScene(scene)
    view.setMRMLTableNode(node)
    slicer.util.updateTableFromArray(node, [np.array([0.5, 0.25])], ["Dice"])
    model = view.model()
    assert (model.rowCount(), model.horizontalHeaderItem(0).text(), model.item(1, 0).text()) == (2, "Dice", "0.25")
    with pytest.raises(TypeError, match="vtkMRMLTableNode"):
        view.setMRMLTableNode(add_volume("CT"))


def test_collapsible_button_hides_its_contents(scene):
    import ctk
    import qt

    button, got = ctk.ctkCollapsibleButton(), []
    layout = qt.QFormLayout(button)
    child = qt.QLabel("inside")
    layout.addRow(child)
    button.connect("contentsCollapsed(bool)", got.append)
    button.show()
    assert child.visible
    button.collapsed = True
    assert not child.visible
    button.click()
    assert child.visible
    assert (got, button.collapsed) == ([True, False], False)


def test_slider_and_spin_box_are_one_value(scene):
    import ctk

    slider, got = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = -10, 30, 1
    slider.connect("valueChanged(double)", got.append)
    slider.value = 12.5
    assert slider.value == 12.5
    slider.value = 99
    assert got == [12.5, 30.0]


def test_path_line_edit_tells_its_path(scene):
    import ctk

    line, got = ctk.ctkPathLineEdit(), []
    line.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
    line.connect("currentPathChanged(QString)", got.append)
    line.currentPath = "weights.safetensors"
    assert got == ["weights.safetensors"] == [line.currentPath]
