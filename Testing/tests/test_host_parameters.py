"""The host's parameterNodeWrapper: typed, validated, saved with the scene, bound to widgets by name."""

import enum
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest


class Precision(enum.Enum):
    AUTO = "auto"
    FULL = "float32"


class Device(enum.Enum):
    CPU = "cpu"

    def label(self):
        return "Processor"


@pytest.fixture
def wrapper(scene):
    """A wrapped class with one parameter of each kind."""
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        truth: slicer.vtkMRMLSegmentationNode | None
        threshold: Annotated[float, WithinRange(-1000, 3000)] = 150.0
        device: Annotated[str, Choice(["auto", "cpu", "cuda"])] = "auto"
        folds: Annotated[int, Minimum(1), Default(5)]
        overlay: bool = True
        precision: Precision
        worker: Device
        weights: Path
        name: str = "Spine"

        def summary(self):
            return f"{self.name} on {self.device}"

    return Parameters


@pytest.fixture
def parameters(wrapper):
    return wrapper(node())


def node():
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class HostTestLogic(ScriptedLoadableModuleLogic):
        pass

    return HostTestLogic().getParameterNode()


def add_volume():
    import slicer

    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")


def test_defaults_are_typed(parameters):
    p = parameters
    assert (p.volume, p.truth, p.threshold, p.device, p.folds) == (None, None, 150.0, "auto", 5)
    assert (p.overlay, p.precision, p.weights, p.name) == (True, Precision.AUTO, Path(), "Spine")
    assert p.summary() == "Spine on auto"
    assert p.default("folds").value == 5


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("threshold", 4000.0, ValueError),
        ("threshold", "150", TypeError),
        ("device", "tpu", ValueError),
        ("folds", 0, ValueError),
        ("folds", 2.5, TypeError),
        ("overlay", None, TypeError),
        ("precision", "AUTO", TypeError),
        ("volume", "vtkMRMLScalarVolumeNode1", TypeError),
        ("treshold", 150.0, AttributeError),
    ],
)
def test_wrong_value_is_refused_and_changes_nothing(parameters, name, value, error):
    before = {key: getattr(parameters, key) for key in parameters.allParameters}
    with pytest.raises(error, match=name if error is not ValueError else None):
        setattr(parameters, name, value)
    assert {key: getattr(parameters, key) for key in parameters.allParameters} == before


def test_node_of_another_class_is_refused(scene, parameters):
    with pytest.raises(TypeError, match="truth"):
        parameters.truth = add_volume()


def test_values_are_saved_with_the_scene(scene, wrapper, parameters, tmp_path):
    import slicer

    parameters.volume = add_volume()
    parameters.threshold, parameters.device, parameters.folds, parameters.overlay = -12.25, "cpu", 3, False
    parameters.precision, parameters.weights, parameters.name = Precision.FULL, tmp_path / "w.safetensors", "Hals – 2"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert wrapper(node()).device == "auto"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    p = wrapper(node())
    assert p.volume.GetName() == "CT"
    assert (p.truth, p.threshold, p.device, p.folds, p.overlay) == (None, -12.25, "cpu", 3, False)
    assert (p.precision, p.weights, p.name) == (Precision.FULL, tmp_path / "w.safetensors", "Hals – 2")


def test_parameter_node_is_a_singleton(scene):
    assert node() is node()
    assert node().GetAttribute("ModuleName") == "HostTest"


def test_reserved_name_is_refused(scene):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(ValueError, match="connectGui"):

        @parameterNodeWrapper
        class Parameters:
            connectGui: int


@pytest.fixture
def panel(scene):
    """Widgets that name their parameters, as a .ui file's dynamic properties do."""
    import types

    import ctk
    import qt
    import slicer

    widgets = {
        "volume": slicer.qMRMLNodeComboBox(),
        "threshold": ctk.ctkSliderWidget(),
        "device": qt.QComboBox(),
        "folds": qt.QSpinBox(),
        "overlay": qt.QCheckBox(),
        "precision": qt.QComboBox(),
        "worker": qt.QComboBox(),
        "weights": ctk.ctkPathLineEdit(),
        "name": qt.QLineEdit(),
    }
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    widgets["volume"].noneEnabled = True
    widgets["volume"].setMRMLScene(scene)
    return types.SimpleNamespace(**widgets, label=qt.QLabel())


def test_widgets_and_parameters_follow_each_other(scene, parameters, panel):
    widgets = {name: widget for name, widget in vars(panel).items() if name != "label"}
    tag = parameters.connectParametersToGui(widgets)
    assert panel.worker.currentText == "Processor"
    assert (panel.threshold.minimum, panel.threshold.maximum, panel.threshold.value) == (-1000, 3000, 150)
    assert [panel.device.itemText(i) for i in range(panel.device.count)] == ["auto", "cpu", "cuda"]
    volume = add_volume()
    panel.volume.setCurrentNode(volume)
    panel.threshold.value, panel.folds.value, panel.overlay.checked = 200, 7, False
    panel.device.currentIndex, panel.precision.currentIndex = 1, 1
    panel.weights.currentPath, panel.name.text = "w.pt", "Lumbar"
    p = parameters
    assert (p.volume, p.threshold, p.folds, p.overlay) == (volume, 200.0, 7, False)
    assert (p.device, p.precision, p.weights, p.name) == ("cpu", Precision.FULL, Path("w.pt"), "Lumbar")
    p.threshold, p.device, p.precision, p.volume = 300, "cuda", Precision.AUTO, None
    assert (panel.threshold.value, panel.device.currentText, panel.precision.currentText) == (300, "cuda", "AUTO")
    assert panel.volume.currentNode() is None
    p.disconnectGui(tag)
    panel.folds.value, p.name = 9, "Cervical"
    assert (p.folds, panel.name.text) == (7, "Lumbar")


def test_widgets_are_found_by_the_parameter_they_name(parameters, panel):
    assert parameters.connectGui(panel) is None  # as in Slicer, whose issue 7547 this is
    panel.folds.value = 7
    assert parameters.folds == 7


def test_unknown_parameter_name_in_the_ui_is_refused(parameters, panel):
    panel.label.setProperty("SlicerParameterName", "thresold")
    with pytest.raises(ValueError, match="thresold"):
        parameters.connectGui(panel)


def test_widget_that_slicer_cannot_bind_is_refused(parameters, panel):
    for widget, name in ((panel.label, "name"), (panel.name, "folds"), (panel.device, "name")):
        with pytest.raises(RuntimeError, match=name):
            parameters.connectParametersToGui({name: widget})
