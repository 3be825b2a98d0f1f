"""The host's `qt` behaves as PythonQt in Slicer was seen to behave; a panel written against anything else breaks."""

import pytest


@pytest.fixture
def qt(scene):
    """Slicer's module `qt`."""
    import qt

    return qt


def test_properties_are_attributes(qt):
    combo, table, progress = qt.QComboBox(), qt.QTableWidget(2, 3), qt.QProgressBar()
    combo.addItems(["cpu", "cuda"])
    combo.currentIndex = 1
    progress.maximum, progress.value = 8, 4
    assert (combo.count, combo.currentIndex, combo.currentText) == (2, 1, "cuda")
    assert (table.rowCount, table.columnCount) == (2, 3)
    assert (progress.maximum, progress.text) == (8, "50%")
    button, box, line = qt.QPushButton("Apply"), qt.QCheckBox(), qt.QLineEdit("a")
    button.text, box.checked, line.text = "Cancel", True, "b"
    assert (button.text, box.checked, line.text, button.enabled) == ("Cancel", True, "b", True)
    button.resize(90, 30)
    assert (button.width, button.height) == (90, 30)
    assert button.sizeHint.width() > 0  # a QSize: its own members are methods


def test_calling_a_property_fails_as_in_slicer(qt):
    with pytest.raises(TypeError, match="'str' object is not callable"):
        qt.QPushButton("Apply").text()


def test_methods_stay_methods(qt):
    combo, box, parent = qt.QComboBox(), qt.QCheckBox(), qt.QWidget()
    combo.addItem("cpu")
    layout = qt.QVBoxLayout(parent)
    layout.addWidget(combo)
    layout.addWidget(box)
    combo.name = "device"
    assert combo.itemText(0) == "cpu"
    assert qt.QTableWidgetItem("C5").text() == "C5"
    assert box.checkState() == qt.Qt.Unchecked
    assert layout.count() == 2
    assert parent.layout() is layout
    assert isinstance(parent.children(), tuple)
    assert combo in parent.children()
    assert parent.findChild(qt.QComboBox, "device") is combo
    assert combo.parent() is parent


def test_widgets_that_qt_makes_itself_behave_too(qt):
    table = qt.QTableWidget(1, 1)
    header = table.horizontalHeader()
    header.stretchLastSection = True
    assert header.stretchLastSection is True


def test_unknown_attribute_is_refused(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="textt"):
        button.textt = "Apply"
    with pytest.raises(AttributeError):
        button.textt  # noqa: B018
    with pytest.raises(AttributeError, match="click"):
        button.click = 3  # a method is no place for a value


def test_python_subclass_may_have_its_own_attributes(qt):
    class Panel(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.logic = "mine"

    assert Panel().logic == "mine"


def test_read_only_property_is_refused(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


@pytest.mark.parametrize(("name", "value"), [("enabled", None), ("text", 3), ("text", None), ("enabled", 1)])
def test_wrong_type_is_refused(qt, name, value):
    """Stricter than PythonQt, which swallows these."""
    with pytest.raises(TypeError, match=name):
        setattr(qt.QPushButton("Apply"), name, value)


def test_connect_passes_what_the_signature_says(qt):
    button, got = qt.QPushButton(), []
    button.checkable = True
    assert button.connect("clicked(bool)", lambda checked: got.append(checked)) is True
    assert button.connect("clicked()", lambda: got.append("no argument")) is True
    assert button.connect("clicked(bool)", lambda: got.append("argument left out")) is True
    button.clicked.connect(lambda checked: got.append(("signal", checked)))
    button.click()
    assert got == [True, "no argument", "argument left out", ("signal", True)]


def test_slot_with_too_few_values_is_an_error_in_the_slot(qt, slot_errors):
    button = qt.QPushButton()
    button.connect("clicked()", lambda checked: None)
    button.click()
    assert isinstance(slot_errors.pop(), TypeError)


def test_unknown_signal_returns_false_and_prints(qt, capfd):
    button = qt.QPushButton()
    assert button.connect("clickd(bool)", print) is False
    assert button.connect("clicked(int)", print) is False
    assert "clickd(bool)" in capfd.readouterr().err


def test_disconnect_undoes_connect(qt):
    button, got = qt.QPushButton(), []

    def slot():
        got.append(1)

    button.connect("clicked()", slot)
    button.click()
    assert button.disconnect("clicked()", slot) is True
    assert button.disconnect("clicked()", slot) is False
    button.click()
    assert got == [1]


def test_class_is_asked_by_name(qt):
    button = qt.QPushButton()
    assert button.className() == "QPushButton"
    assert button.inherits("QAbstractButton")
    assert not button.inherits("QLabel")


def test_name_is_the_object_name(qt):
    button = qt.QPushButton()
    button.name = "applyButton"
    assert (button.objectName, button.name) == ("applyButton", "applyButton")


def test_dynamic_properties(qt):
    button = qt.QPushButton()
    button.setProperty("SlicerParameterName", "device")
    assert button.property("SlicerParameterName") == "device"
    assert button.property("nothing") is None


def test_enums_compare_with_ints(qt):
    box = qt.QCheckBox()
    box.checked = True
    assert box.checkState() == 2
    assert qt.QMessageBox.Ok == 1024
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight
    assert label.alignment & qt.Qt.AlignRight


def test_timer_fires_once(qt, slicer_host):
    timer, got = qt.QTimer(), []
    timer.singleShot, timer.interval = True, 1
    timer.connect("timeout()", lambda: got.append("own"))
    timer.start()
    qt.QTimer.singleShot(0, lambda: got.append("static"))
    slicer_host.wait_until(lambda: len(got) == 2, timeout=5)
    assert timer.singleShot is True
    assert sorted(got) == ["own", "static"]


@pytest.mark.parametrize(
    "open_dialog",
    [
        lambda qt: qt.QMessageBox.warning(None, "title", "text"),
        lambda qt: qt.QMessageBox().exec_(),
        lambda qt: qt.QDialog().exec_(),
        lambda qt: qt.QFileDialog.getOpenFileName(None, "Weights"),
        lambda qt: qt.QInputDialog.getText(None, "Name", "Name"),
    ],
)
def test_dialog_raises_instead_of_waiting(qt, open_dialog):
    from host.pythonqt import DialogOpened

    with pytest.raises(DialogOpened, match="would wait for a person"):
        open_dialog(qt)


def test_error_in_a_slot_is_collected(qt, slot_errors):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.clicked.connect(lambda: [].pop())
    button.click()
    qt.QTimer.singleShot(0, lambda: {}["key"])
    import host

    host.wait_until(lambda: len(slot_errors) == 3, timeout=5)
    assert {type(error) for error in slot_errors} == {ZeroDivisionError, IndexError, KeyError}
    slot_errors.clear()


def test_error_in_a_vtk_observer_is_collected(qt, scene, slot_errors):
    import host

    tag = scene.AddObserver(scene.NodeAddedEvent, lambda *_: 1 / 0)
    scene.AddNewNodeByClass("vtkMRMLTextNode")
    scene.RemoveObserver(tag)
    host.process_events()
    assert [type(error) for error in slot_errors] == [ZeroDivisionError]
    slot_errors.clear()
