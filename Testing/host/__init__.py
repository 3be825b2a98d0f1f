"""A Slicer without its application: the real scene of slicer-core, and the missing Python parts on PySide6.

``host.start()`` makes `slicer`, `qt`, `ctk` behave as inside Slicer; see the functions below and `host.fixtures`.
"""

import importlib.util
import os
import sys
import time
import traceback
from pathlib import Path

if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

sys.pyside6_option_python_enum = 2  # enums compare with ints as PythonQt's do; read when PySide6 is first imported

slot_errors: list[BaseException] = []  # exceptions in Qt slots and VTK observers, which Slicer only prints
_state: dict = {}


def start() -> None:
    """Start the host, once; afterwards `slicer.mrmlScene`, `slicer.app`, `qt` and `ctk` are there."""
    if _state:
        return
    import slicer

    if not hasattr(slicer, "vtkMRMLScene"):
        raise RuntimeError(f"{slicer.__file__} is not slicer-core; PyPI's unrelated 'slicer' has overwritten it")
    from host import application, qtmodules, scene, scripted

    _state["qt"] = qtmodules.install()
    logic, logics = scene.bootstrap()
    application.install(_state["qt"], logic, logics)
    scripted.install()
    sys.excepthook = _excepthook


def _excepthook(kind, error, trace):
    if issubclass(kind, Exception):
        slot_errors.append(error)
    traceback.print_exception(kind, error, trace)


def reset() -> None:
    """Empty the scene, parameter nodes too, and forget what was displayed, answered and installed."""
    import slicer

    for name in [name for name in vars(slicer.modules) if name.endswith("Widget")]:
        close_widget(getattr(slicer.modules, name))
    slicer.mrmlScene.Clear(0)
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(node)
    for record in (displayed(), answers(), pip_calls()):
        record.clear()
    process_events()


def displayed() -> list:
    """Return the messages shown to the user: (kind, text, title)."""
    from host import application

    return application.displayed


def answers() -> list:
    """Return the list of the user's next answers to questions (True: OK or Yes); OK when it is empty."""
    from host import application

    return application.answers


def pip_calls() -> list:
    """Return what was to be installed: (function, requirements, requester)."""
    from host import scripted

    return scripted.pip_calls


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
    import slicer

    from host.scripted import ModuleDescription

    start()
    path = Path(path).resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = ModuleDescription(path)
    setattr(slicer.modules, path.stem.lower(), description)
    instance = getattr(module, path.stem)(description)
    setattr(slicer.modules, f"{path.stem}Instance", instance)
    missing = [d for d in description.dependencies if not hasattr(slicer.modules, d.lower())]
    if missing:
        raise RuntimeError(f"module {path.stem} depends on modules that the host does not have: {missing}")
    return instance


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
    getattr(slicer.modules, panel.moduleName.lower()).forget_widget()
    panel.parent.deleteLater()
    process_events()


def run_self_test(module) -> None:
    """Run a module's ScriptedLoadableModuleTest as 'Reload and Test' does; what fails raises."""
    module.runTest(msec=0)


def screenshot(widget, path, size=None) -> None:
    """Write a picture of a Qt widget or of a panel as PNG; `size` is (width, height) in pixels."""
    widget = getattr(widget, "parent", widget) if not hasattr(widget, "grab") else widget
    if size is not None:
        widget.resize(*size)
    widget.show()
    process_events()
    if not widget.grab().save(str(path), "PNG"):
        raise OSError(f"{path}: the picture could not be written")
