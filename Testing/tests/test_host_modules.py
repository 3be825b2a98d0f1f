"""A scripted module lives in the host as in Slicer: it is loaded, opened, run, reloaded and tested."""

import sys
import textwrap

import pytest

MODULE = """
import sys
import qt, slicer, vtk
from slicer.i18n import tr as _, translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

class HostExample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Example")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations"]
        self.started = []
        slicer.app.connect("startupCompleted()", lambda: self.started.append(True))

class HostExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/HostExample.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.closing)
        self.ui.applyButton.connect("clicked(bool)", self.apply)
    def closing(self, caller, event):
        self.calls.append(("scene closing", self.parent.isEntered))
    def apply(self):
        self.lines, self.status = [], None
        run = slicer.util.launchConsoleProcess
        arguments = ["PythonSlicer", "-c", "print(1, flush=True); raise SystemExit(3)"]
        run(arguments, blocking=False, logCallback=self.lines.append, completedCallback=self.done)
    def done(self, status):
        self.status = status
        slicer.util.errorDisplay(f"failed with {status}", windowTitle="Example")
    def enter(self):
        self.calls.append("enter")
    def exit(self):
        self.calls.append("exit")
    def cleanup(self):
        self.removeObservers()
        self.calls.append("cleanup")

class HostExampleLogic(ScriptedLoadableModuleLogic):
    pass

class HostExampleTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear(0)
    def runTest(self):
        self.setUp()
        self.delayDisplay("testing")
        self.assertEqual(HostExampleLogic().getParameterNode().GetName(), "HostExample")
"""

UI = """<ui version="4.0"><class>HostExample</class><widget class="qMRMLWidget" name="HostExample">
<layout class="QVBoxLayout" name="layout">
<item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
<layout class="QFormLayout" name="form"><item row="0" column="1"><widget class="qMRMLNodeComboBox" name="selector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item row="1" column="1"><widget class="ctkPathLineEdit" name="weights">
<property name="filters"><set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set></property></widget></item>
</layout></widget></item>
<item><widget class="QPushButton" name="applyButton"><property name="enabled"><bool>true</bool></property>
<property name="text"><string>Apply</string></property></widget></item></layout></widget>
<customwidgets>
<customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
<customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
<customwidget><class>ctkPathLineEdit</class><extends>QWidget</extends></customwidget>
<customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
</customwidgets><connections>
<connection><sender>HostExample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
</connections></ui>"""


@pytest.fixture
def files(scene, tmp_path):
    """A module with its .ui file, and a function that changes the two."""
    path = tmp_path / "HostExample.py"
    ui = tmp_path / "Resources" / "UI" / "HostExample.ui"
    ui.parent.mkdir(parents=True)

    def write(module=MODULE, text=UI):
        path.write_text(textwrap.dedent(module), encoding="utf-8")
        ui.write_text(text, encoding="utf-8")
        return path

    yield write
    sys.modules.pop("HostExample", None)


@pytest.fixture
def module(slicer_host, files):
    return slicer_host.load_module(files())


def test_module_describes_itself(module):
    import slicer

    assert module.parent.title == "Example"
    assert slicer.modules.hostexample is module.parent
    assert slicer.modules.HostExampleInstance is module
    assert slicer.util.modulePath("HostExample").endswith("HostExample.py")
    slicer.app.startupCompleted.emit()
    assert module.started == [True]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('self.parent.titel = "Example"', AttributeError),
        ('self.parent.categories = "Segmentation"', TypeError),
        ('self.parent.dependencies = ["NoSuchModule"]', RuntimeError),
        ('slicer.app.connct("startupCompleted()", print)', AttributeError),
        ("slicer.modules.nosuchmodule", AttributeError),
    ],
)
def test_module_that_slicer_would_not_take_is_refused(slicer_host, files, line, error):
    with pytest.raises(error):
        slicer_host.load_module(files(MODULE.replace("self.started = []", line)))


def test_panel_is_opened_and_closed(slicer_host, module, tmp_path):
    import slicer

    panel = slicer_host.open_widget(module)
    assert slicer.modules.HostExampleWidget is panel
    assert panel.ui.selector.mrmlScene() is slicer.mrmlScene
    assert panel.ui.selector.property("SlicerParameterName") == "inputVolume"
    assert panel.ui.weights.filters == 0x12
    slicer_host.screenshot(panel, tmp_path / "panel.png", (300, 160))
    assert (tmp_path / "panel.png").read_bytes().startswith(b"\x89PNG")
    slicer.mrmlScene.Clear(0)
    slicer_host.close_widget(panel)
    slicer.mrmlScene.Clear(0)
    assert panel.calls == ["enter", ("scene closing", True), "exit", "cleanup"]
    assert slicer_host.open_widget(module) is not panel


def test_reload_makes_a_new_panel_from_the_new_source(slicer_host, module, files):
    import slicer

    panel = slicer_host.open_widget(module)
    files(MODULE.replace("self.calls = []", 'self.calls = ["new source"]'))
    panel.onReload()
    assert "cleanup" in panel.calls
    assert slicer.modules.HostExampleWidget.calls == ["new source"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ctkPathLineEdit", "ctkPathLinEdit", "ctkPathLinEdit"),
        ("noneEnabled", "noneEnabld", "noneEnabld"),
        ('<property name="enabled">', '<property name="enabld">', "enabld"),
        ("<receiver>selector", "<receiver>selectr", "selectr"),
        ("<slot>setMRMLScene", "<slot>setMrmlScene", "setMrmlScene"),
        ("<signal>mrmlSceneChanged(vtkMRMLScene*)", "<signal>sceneChanged(vtkMRMLScene*)", "sceneChanged"),
    ],
)
def test_mistake_in_the_ui_file_is_an_error(slicer_host, files, old, new, message):
    module = slicer_host.load_module(files(text=UI.replace(old, new)))
    with pytest.raises((AttributeError, RuntimeError), match=message):
        slicer_host.open_widget(module)


def test_process_talks_to_the_main_thread(slicer_host, module, slot_errors):
    panel = slicer_host.open_widget(module)
    panel.ui.applyButton.click()
    assert panel.lines == []  # nothing comes before the event loop runs
    slicer_host.wait_until(lambda: panel.status is not None, timeout=30)
    assert (panel.lines, panel.status) == (["1"], 3)
    assert slicer_host.displayed == [("error", "failed with 3", "Example")]


def test_wait_until_gives_up(slicer_host):
    with pytest.raises(TimeoutError):
        slicer_host.wait_until(lambda: False, timeout=0.05)


def test_self_test_runs_and_its_failure_is_a_failure(slicer_host, module, files):
    slicer_host.run_self_test(module)
    assert ("delay", "testing", "") in slicer_host.displayed
    failing = slicer_host.load_module(files(MODULE.replace('"HostExample")\n', '"Wrong")\n')))
    with pytest.raises(AssertionError):
        slicer_host.run_self_test(failing)
    without = slicer_host.load_module(files(MODULE.replace("def runTest", "def testRun")))
    with pytest.raises(NotImplementedError, match="runTest"):
        slicer_host.run_self_test(without)


def test_messages_are_recorded_and_questions_answered(slicer_host, scene):
    import slicer

    slicer.util.infoDisplay("done")
    slicer.util.warningDisplay("slow")
    assert slicer.util.confirmOkCancelDisplay("install?")
    slicer_host.answers.extend([False, True])
    assert not slicer.util.confirmYesNoDisplay("delete?")
    assert slicer.util.confirmRetryCloseDisplay("again?")
    kinds = [message.kind for message in slicer_host.displayed]
    assert kinds == ["info", "warning", "question", "question", "question"]


def test_packages_are_recorded_and_not_installed(slicer_host, scene, tmp_path):
    import slicer.packaging

    (tmp_path / "requirements.txt").write_text("# heavy\n--no-index\nno-such-package>=3\n\n", encoding="utf-8")
    requirements = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
    assert [str(r) for r in requirements] == ["no-such-package>=3"]
    slicer.packaging.pip_ensure(requirements, requester="SpineSeg")
    slicer.util.pip_install("no-such-package")
    assert [(call[0], call[2]) for call in slicer_host.pip_calls] == [
        ("pip_ensure", "SpineSeg"),
        ("pip_install", None),
    ]
    slicer_host.answers.append(False)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(requirements, skip_in_testing=False)


def test_python_slicer_is_a_launcher_on_the_path(scene):
    import slicer

    lines = []
    slicer.util.executePythonModule("this", [], logCallback=lines.append)
    assert "The Zen of Python, by Tim Peters" in "".join(lines)


def test_temporary_directory_and_wait_cursor_work(scene):
    import qt
    import slicer

    folder = qt.QDir(slicer.util.tempDirectory())
    assert folder.exists()
    with slicer.util.WaitCursor():
        assert qt.QApplication.overrideCursor() is not None
    assert qt.QApplication.overrideCursor() is None
    with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("failed", waitCursor=True):
        1 / 0  # noqa: B018
