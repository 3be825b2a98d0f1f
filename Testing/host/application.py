"""Stand-ins for `slicer.app` and `slicer.modules`; messages to the user are recorded, never shown."""

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from host.scene import CoreIOManager


class Displayed(NamedTuple):
    """One message to the user: kind is error, warning, info, question, message or delay."""

    kind: str
    text: str
    title: str = ""


displayed: list[Displayed] = []  # what the user would have seen, in order
answers: list = []  # what the user will answer to the next questions; OK or Yes when empty


class CoreModule:
    """A module of slicer-core, as in `slicer.modules.volumes`."""

    def __init__(self, name, logic):
        self.name, self.path, self._logic = name, "", logic

    def logic(self):
        return self._logic


class Modules:
    """`slicer.modules`: a module under its name in lower case; a module that is not there is an AttributeError."""


class ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNALS = "moduleAboutToBeUnloaded(QString)"

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return tuple(m.name for m in vars(slicer.modules).values() if hasattr(m, "logic"))


class Application(QtCore.QObject):
    """`slicer.app`, as far as modules need it without a main window."""

    startupCompleted, aboutToQuit = QtCore.Signal(), QtCore.Signal()
    applicationName, revision, majorVersion, minorVersion = "Slicer", "31053", 5, 13

    def __init__(self, qt_application, logic):
        super().__init__()
        self._qt, self._logic, self._io, self._manager = qt_application, logic, CoreIOManager(), ModuleManager()
        self._testing, self._home = True, tempfile.mkdtemp(prefix="slicer-host-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._home)
        self._settings = QtCore.QSettings("NA-MIC", "Slicer")
        qt_application.setOrganizationName("NA-MIC")
        _make_python_slicer(Path(self._home))

    temporaryPath = slicerHome = property(lambda self: self._home)

    def applicationLogic(self):
        return self._logic

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._manager

    def mrmlScene(self):
        return slicer.mrmlScene

    def layoutManager(self):
        return None

    def testingEnabled(self):
        return self._testing

    def processEvents(self):
        self._qt.processEvents()
        self._qt.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)

    def settings(self):
        return self._settings

    userSettings = settings

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def topLevelWidgets(self):
        return QtWidgets.QApplication.topLevelWidgets()

    def translate(self, context, text):
        return text

    def setOverrideCursor(self, cursor):
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self):
        return None

    resumeRender = pauseRender


def _make_python_slicer(folder: Path) -> None:
    """Put a PythonSlicer on the path; like the real one it is a launcher, so killing it does not kill the Python."""
    windows = os.name == "nt"
    script = folder / ("PythonSlicer.bat" if windows else "PythonSlicer")
    script.write_text(f'@"{sys.executable}" %*\n' if windows else f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    if not shutil.which("PythonSlicer"):
        raise RuntimeError(f"{script} cannot be run from the path")


def install(qt_application, logic, logics) -> None:
    """Set `slicer.app` and `slicer.modules`, and record what slicer.util would show."""
    slicer.app = Application(qt_application, logic)
    slicer.modules = Modules()
    for name, module_logic in logics.items():
        setattr(slicer.modules, name.lower(), CoreModule(name, module_logic))
    box = QtWidgets.QMessageBox

    def message_display(level, text, testing_value, *args, windowTitle="", standardButtons=box.Ok, **kwargs):
        logging.log(level, text)
        if testing_value is None:
            displayed.append(Displayed(logging.getLevelName(level).lower(), text, windowTitle or ""))
            return None
        displayed.append(Displayed("question", text, windowTitle or ""))
        agreed = next(button for button in (box.Ok, box.Yes, box.Retry) if button & standardButtons)
        return agreed if not answers or answers.pop(0) else box.Cancel

    def message_box(text, parent=None, **kwargs):
        displayed.append(Displayed("message", text, kwargs.get("windowTitle") or ""))
        return answers.pop(0) if answers else QtWidgets.QMessageBox.Ok

    def delay_display(text, autoCloseMsec=1000, parent=None, **kwargs):
        displayed.append(Displayed("delay", text))
        slicer.app.processEvents()

    slicer.util._messageDisplay = message_display
    slicer.util.messageBox, slicer.util.delayDisplay = message_box, delay_display
