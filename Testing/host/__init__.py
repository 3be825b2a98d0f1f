"""A Slicer without its application: the real scene of slicer-core, and the missing Python parts on PySide6.

``host.start()`` makes `slicer`, `qt` and `ctk` behave as inside Slicer; `host.fixtures` has the pytest fixtures.

What is not as in Slicer: there is no main window and no layout manager; `slicer.app` is always in testing mode, where a
question is answered with OK (or from `host.answers`); Qt is version 6; `isinstance` works with Qt's base classes;
wrong types, misspelt names and errors in slots fail instead of being swallowed; a dialog that waits raises; packages
are not installed. How CMake packages the module, and what the true qMRML widgets draw, is not tested here.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

sys.pyside6_option_python_enum = 2  # enums compare with ints as PythonQt's do; read when PySide6 is first imported
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


class Displayed(NamedTuple):
    """One message to the user; `kind` is error, warning, info, question, message or delay."""

    kind: str
    text: str
    title: str = ""


class PipCall(NamedTuple):
    """One wish to install packages, by the name of the function of `slicer.packaging`."""

    function: str
    requirements: object
    requester: str | None


displayed: list[Displayed] = []  # what the user would have seen, in order
answers: list[bool] = []  # what the user answers to the next questions; OK or Yes when empty
pip_calls: list[PipCall] = []  # what was to be installed; nothing is
slot_errors: list[Exception] = []  # exceptions in Qt slots and VTK observers, which Slicer only prints
_started: list = []


def start() -> None:
    """Start the host, once; afterwards `slicer.mrmlScene`, `slicer.app`, `qt` and `ctk` are there."""
    if _started:
        return
    import slicer

    if not hasattr(slicer, "vtkMRMLScene"):
        raise RuntimeError(f"{slicer.__file__} is not slicer-core; PyPI's unrelated 'slicer' has overwritten it")
    from host import application, qtmodules, sample_data, scene, scripted

    folder = tempfile.TemporaryDirectory(prefix="slicer-host-", ignore_cleanup_errors=True)  # removed at the end
    _started.append(folder)
    application.install(qtmodules.install(), *scene.bootstrap(folder.name), Path(folder.name))
    scripted.install()
    sample_data.install()
    sys.excepthook = _excepthook


def _excepthook(kind, error, trace):
    if issubclass(kind, Exception):
        slot_errors.append(error)
    traceback.print_exception(kind, error, trace)


def reset() -> None:
    """Delete all widgets, empty the scene, parameter nodes too; forget what was shown, answered, installed, awaited."""
    import slicer

    for name in [name for name in vars(slicer.modules) if name.endswith("Widget")]:
        close_widget(getattr(slicer.modules, name))
    for widget in slicer.app.topLevelWidgets():
        widget.deleteLater()
    slicer.mrmlScene.Clear(0)
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(node)
    for record in (displayed, answers, pip_calls):
        record.clear()
    with warnings.catch_warnings():
        # What waits for the start of the application is gone with its module; Qt warns when nothing waits.
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.suppress(RuntimeError):
            slicer.app.startupCompleted.disconnect()
    process_events()


def process_events() -> None:
    """Let Qt do what is due."""
    import slicer

    slicer.app.processEvents()


def wait_until(condition, timeout: float = 30.0) -> None:
    """Process Qt events until a condition holds; TimeoutError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout} s: {getattr(condition, '__name__', condition)}")
        process_events()
        time.sleep(0.005)


def load_module(path):
    """Load a scripted module from its .py file, as Slicer does at start-up; return its ScriptedLoadableModule."""
    start()
    import slicer

    from host.scripted import ModuleDescription

    path = Path(path).resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    python = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(python)
    description = ModuleDescription(path)
    setattr(slicer.modules, path.stem.lower(), description)
    module = getattr(python, path.stem)(description)
    setattr(slicer.modules, f"{path.stem}Instance", module)
    missing = [name for name in description.dependencies if not hasattr(slicer.modules, name.lower())]
    if missing:
        raise RuntimeError(f"module {path.stem} depends on modules that the host does not have: {missing}")
    return module


def open_widget(module):
    """Open a module's panel as the module selector does: make it, `setup()`, `enter()`; return the panel."""
    import slicer

    widget = module.parent.widgetRepresentation()
    widget.show()
    widget.enter()
    process_events()
    return getattr(slicer.modules, f"{module.moduleName}Widget")


def close_widget(panel) -> None:
    """Leave and unload a panel: `exit()`, `cleanup()`, and the widget is deleted."""
    import slicer

    panel.parent.exit()
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(panel.moduleName)
    delattr(slicer.modules, f"{panel.moduleName}Widget")
    getattr(slicer.modules, panel.moduleName.lower())._widget = None
    panel.parent.deleteLater()
    process_events()


def run_self_test(module) -> None:
    """Run a module's ScriptedLoadableModuleTest as 'Reload and Test' does; what fails raises."""
    module.runTest(msec=0)


def screenshot(widget, path, size=None) -> None:
    """Write a picture of a Qt widget or of a panel as PNG; `size` is (width, height) in pixels."""
    widget = widget if hasattr(widget, "grab") else widget.parent
    if size is not None:
        widget.resize(*size)
    widget.show()
    process_events()
    if not widget.grab().save(str(path), "PNG"):
        raise OSError(f"{path}: the picture could not be written")
