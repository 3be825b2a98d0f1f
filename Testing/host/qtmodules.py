"""The modules `qt` and `ctk` of Slicer's Python, and the loader of .ui files that `slicer.util.loadUI` uses."""

import sys
import types
import xml.etree.ElementTree as ET

import slicer
from PySide6 import QtCore, QtUiTools, QtWidgets

from host import pythonqt
from host.widgets import WIDGETS

_PARSE = {"bool": lambda text: text == "true", "number": int, "double": float, "string": lambda text: text or ""}


class QUiLoader:
    """Loads a .ui file with the stand-ins; a widget class, property, signal or slot that does not exist raises."""

    def load(self, device, parent=None):
        root = ET.fromstring(bytes(device.readAll().data()))
        settings = [item for element in root.iter("widget") for item in self._take_properties(element)]
        connections = [
            [c.findtext(k) for k in ("sender", "signal", "receiver", "slot")] for c in root.iter("connection")
        ]
        for element in root.iter("connections"):
            element.clear()
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        loader = _PySideLoader()
        pythonqt.loading_ui = True
        try:
            widget = loader.load(buffer, parent)
        finally:
            pythonqt.loading_ui = False
        if widget is None:
            raise RuntimeError(f"QUiLoader: {loader.errorString()}")
        pythonqt.raw_setattr(widget, "_children_from_ui", loader.made)  # keeps the Python halves alive
        named = {w.objectName: w for w in (widget, *widget.findChildren(QtCore.QObject))}
        for name, attribute, value in settings:
            setattr(named[name], attribute, value(named[name]) if callable(value) else value)
        for sender, signal, receiver, slot in connections:
            if sender not in named or receiver not in named:
                raise RuntimeError(f".ui connection between unknown widgets: {sender} -> {receiver}")
            if not named[sender].connect(signal, getattr(named[receiver], slot.partition("(")[0])):
                raise RuntimeError(f".ui connection: {sender} has no signal {signal}")
        return widget

    def _take_properties(self, element):
        """Check an element's properties; take out and yield those that only the stand-in knows."""
        name = element.get("class")
        cls = WIDGETS.get(name) or getattr(QtWidgets, {"Line": "QFrame"}.get(name, name), None)
        if cls is None:
            raise RuntimeError(f".ui file: the host has no widget class {name}")
        for item in element.findall("property"):
            attribute = item.get("name")
            of_qt = isinstance(pythonqt.lookup(cls, attribute), pythonqt.PropertyAttribute)
            # The buddy of a label is no property; Qt's loader sets it all the same.
            if item.get("stdset") == "0" or of_qt or (attribute == "buddy" and cls is QtWidgets.QLabel):
                continue
            element.remove(item)
            yield element.get("name"), attribute, _parse(item[0])


class _PySideLoader(QtUiTools.QUiLoader):
    def __init__(self):
        super().__init__()
        self.made = []

    def createWidget(self, class_name, parent=None, name=""):
        if class_name not in WIDGETS:
            return super().createWidget(class_name, parent, name)
        widget = WIDGETS[class_name](parent)
        widget.setObjectName(name)
        self.made.append(widget)
        return widget


def _parse(element):
    if element.tag == "stringlist":
        return [item.text or "" for item in element]
    if element.tag in ("enum", "set"):
        names = [item.rpartition("::")[2] for item in element.text.split("|")]
        return lambda widget: sum(getattr(widget, n) for n in names)
    return _PARSE[element.tag](element.text)


def install() -> QtWidgets.QApplication:
    """Make the application (without a screen), and `qt`, `ctk` and slicer's widget classes importable."""
    pythonqt.install()
    QtCore.qInstallMessageHandler(_message)
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    application.setQuitOnLastWindowClosed(False)
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in pythonqt.QT_MODULES:
        qt.__dict__.update((n, getattr(module, n)) for n in dir(module) if not n.startswith("_"))
    qt.QUiLoader = QUiLoader
    for name, cls in WIDGETS.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)
    sys.modules.update(qt=qt, ctk=ctk)
    return application


def _message(kind, context, text):
    if "propagateSizeHints" not in text:
        print(text, file=sys.stderr)
