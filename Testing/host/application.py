"""Stand-ins for `slicer.app` and `slicer.modules`; what the user would see is recorded in `host.displayed`."""

import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import slicer
import slicer.util
from PySide6.QtCore import QEvent, QObject, QProcessEnvironment, QSettings, Signal
from PySide6.QtWidgets import QApplication, QMessageBox

from host import Displayed, answers, displayed
from host.scene import CoreIOManager


class CoreModule:
    """A module of slicer-core, as in `slicer.modules.volumes`."""

    def __init__(self, name, logic):
        self.name, self.path, self._logic = name, "", logic

    def logic(self):
        return self._logic


class ModuleManager(QObject):
    """`slicer.app.moduleManager()`."""

    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return tuple(m.name for m in vars(slicer.modules).values() if hasattr(m, "logic"))


class Application(QObject):
    """`slicer.app`, as far as modules need it without a main window."""

    startupCompleted, aboutToQuit = Signal(), Signal()
    applicationName, majorVersion, minorVersion = "Slicer", 5, 13
    temporaryPath = slicerHome = property(lambda self: self._home)

    def __init__(self, qt_application, logic, home):
        super().__init__()
        self._qt, self._logic, self._io, self._manager = qt_application, logic, CoreIOManager(), ModuleManager()
        self._home = str(home)
        QSettings.setDefaultFormat(QSettings.IniFormat)
        QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, self._home)
        qt_application.setOrganizationName("NA-MIC")
        self._settings = QSettings("NA-MIC", "Slicer")

    def applicationLogic(self):
        return self._logic

    def coreIOManager(self):
        return self._io

    def moduleManager(self):
        return self._manager

    def mrmlScene(self):
        return slicer.mrmlScene

    def layoutManager(self):
        return None  # as in a Slicer without main window

    def testingEnabled(self):
        return True

    def processEvents(self):
        self._qt.processEvents()
        self._qt.sendPostedEvents(None, QEvent.DeferredDelete)

    def settings(self):
        return self._settings

    def startupEnvironment(self):
        return QProcessEnvironment.systemEnvironment()

    def topLevelWidgets(self):
        return QApplication.topLevelWidgets()

    def setOverrideCursor(self, cursor):
        QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        QApplication.restoreOverrideCursor()

    def pauseRender(self):
        pass

    ioManager, userSettings, resumeRender = coreIOManager, settings, pauseRender


def _put_python_slicer_on_the_path(folder: Path) -> None:
    """Make a PythonSlicer; like the real one it is a launcher, so killing it does not kill the Python it started."""
    windows = os.name == "nt"
    script = folder / ("PythonSlicer.bat" if windows else "PythonSlicer")
    text = f'@"{sys.executable}" %*\n' if windows else f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n'
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def install(qt_application, logic, logics, home: Path) -> None:
    """Set `slicer.app` and `slicer.modules`, and record what slicer.util would show."""
    slicer.app = Application(qt_application, logic, home)
    slicer.modules = SimpleNamespace(**{name.lower(): CoreModule(name, logics[name]) for name in logics})
    _put_python_slicer_on_the_path(home)

    def message_display(level, text, testing_value, *args, windowTitle="", standardButtons=QMessageBox.Ok, **kwargs):
        logging.log(level, text)
        kind = logging.getLevelName(level).lower() if testing_value is None else "question"
        displayed.append(Displayed(kind, text, windowTitle or ""))
        if testing_value is None:
            return None
        agreed = next(b for b in (QMessageBox.Ok, QMessageBox.Yes, QMessageBox.Retry) if b & standardButtons)
        return agreed if not answers or answers.pop(0) else QMessageBox.Cancel

    def message_box(text, parent=None, **kwargs):
        displayed.append(Displayed("message", text, kwargs.get("windowTitle") or ""))
        return QMessageBox.Ok

    def delay_display(text, autoCloseMsec=1000, parent=None, **kwargs):
        displayed.append(Displayed("delay", text))
        slicer.app.processEvents()

    slicer.util._messageDisplay = message_display
    slicer.util.messageBox, slicer.util.delayDisplay = message_box, delay_display
