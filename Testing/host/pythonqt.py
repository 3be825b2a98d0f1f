"""PySide6 made to behave as Slicer's PythonQt does: properties are attributes, and unknown names are refused.

The classes of PySide6 themselves are changed, so that what Qt makes on its own (the header of a table) behaves too.
Seen on PythonQt 3.2; stricter than it where it swallows a wrong type.
"""

import contextlib
import sys
import types

from PySide6 import QtCore, QtGui, QtWidgets

QT_MODULES = (QtCore, QtGui, QtWidgets)
_BLOCKING = {
    QtWidgets.QDialog: "exec exec_",
    QtWidgets.QMenu: "exec exec_",
    QtWidgets.QMessageBox: "about critical information question warning",
    QtWidgets.QFileDialog: "getExistingDirectory getOpenFileName getOpenFileNames getSaveFileName",
    QtWidgets.QInputDialog: "getDouble getInt getItem getText getMultiLineText",
}
_CHECKED_TYPES = {"bool": bool, "int": int, "double": (int, float), "float": (int, float), "QString": str}
_WITH_ARGUMENTS = (  # PySide counts a slot's arguments to choose between the overloads of a signal
    lambda slot: lambda: slot(),
    lambda slot: lambda a: slot(a),
    lambda slot: lambda a, b: slot(a, b),
    lambda slot: lambda a, b, c: slot(a, b, c),
    lambda slot: lambda a, b, c, d: slot(a, b, c, d),
)
_links: dict[tuple, list] = {}
loading_ui = False  # PySide's loader sets each child as an attribute of the top widget; PythonQt's does not
_property = QtCore.QObject.property
_children = QtCore.QObject.children
raw_setattr = QtCore.QObject.__mro__[1].__setattr__  # Shiboken's own, without the checks below


class DialogOpened(RuntimeError):
    """A dialog that would wait for a person was opened in a test."""


class PropertyAttribute:
    """A Qt property as an attribute of the object; on the class it is still the method (or static function)."""

    def __init__(self, name, function=None):
        self.name, self.function = name, function

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.function if self.function is not None else self
        if isinstance(self.function, types.MethodDescriptorType):
            return self.function(instance)  # not through the property: a virtual getter would call itself
        return _property(instance, self.name)

    def __set__(self, instance, value):
        meta = instance.metaObject()
        found = meta.property(meta.indexOfProperty(self.name))
        label = f"Property '{self.name}' of type '{meta.className()}' object"
        if not found.isWritable():
            raise AttributeError(f"{label} is not writable")
        if not isinstance(value, _CHECKED_TYPES.get(found.typeName(), object)) or not found.write(instance, value):
            raise TypeError(f"{label} needs {found.typeName()}, got {type(value).__name__} {value!r}")


def lookup(cls: type, name: str):
    """Return what a class holds under a name, without calling descriptors; None if nothing."""
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def find_signal(sender, signature: str):
    """Return (bound signal, number of its arguments) of an object, or None if it has no such signal."""
    wanted = QtCore.QMetaObject.normalizedSignature(signature.strip()).toStdString()
    count = wanted.count(",") + 1 if not wanted.endswith("()") else 0
    name, _, arguments = wanted.rstrip(")").partition("(")
    declared = getattr(type(sender), "SIGNALS", "").split()  # true signatures that a stand-in cannot tell Qt
    if wanted not in declared and (
        any(d.startswith(f"{name}(") for d in declared) or sender.metaObject().indexOfSignal(wanted) < 0
    ):
        return None
    return getattr(sender, f"_{name}_{arguments}", None) or getattr(sender, name), count


def connect(self, *args) -> bool:
    """``connect("clicked(bool)", f)`` or ``connect(sender, "clicked()", f)``; False if there is no such."""
    sender, signature, slot, *method = (self, *args) if len(args) == 2 else args
    signature = signature.lstrip("2")  # Qt's own mark of a signal, as QTimer.singleShot gives it
    if method:
        slot = getattr(slot, method[0].lstrip("12").partition("(")[0])
    found = find_signal(sender, signature)
    if found is None:
        print(f"QObject.connect: {sender.className()} has no signal {signature}", file=sys.stderr)
        return False
    if not callable(slot):
        raise TypeError(f"connect needs a callable, got {slot!r}")
    signal, count = found
    function = getattr(slot, "__func__", slot)
    if isinstance(function, types.FunctionType) and not function.__code__.co_flags & 4:  # 4: takes *args
        count = min(count, function.__code__.co_argcount - (function is not slot))

    call = _WITH_ARGUMENTS[count](slot)
    signal.connect(call)
    _links.setdefault((id(sender), signature, slot), []).append(call)
    return True


def disconnect(self, signature: str, slot) -> bool:
    """Undo one `connect` with the same signature and slot."""
    found, calls = find_signal(self, signature), _links.get((id(self), signature, slot))
    if found is None or not calls:
        print(f"QObject.disconnect: {self.className()} {signature} was not connected", file=sys.stderr)
        return False
    with contextlib.suppress(RuntimeError):  # the sender was deleted in between
        found[0].disconnect(calls.pop())
    return True


_ANSWERED_BY_PYSIDE = {"connect": connect, "disconnect": disconnect}  # by itself, whatever the class holds


def _getter(original):
    def get(self, name):
        if name in _ANSWERED_BY_PYSIDE:
            return types.MethodType(_ANSWERED_BY_PYSIDE[name], self)
        return original(self, name)

    return get


def _set(self, name, value):
    cls = type(self)
    member = lookup(cls, name)
    own_class = not cls.__module__.startswith(("PySide6", "host."))
    private = name.startswith("_") and cls.__module__.startswith("host.")
    signal = isinstance(value, QtCore.SignalInstance)  # PySide keeps a signal on the object when it is first used
    if own_class or private or signal or isinstance(member, property | PropertyAttribute):
        raw_setattr(self, name, value)
    elif name in getattr(cls, "MISSING", ()):
        raise NotImplementedError(f"{cls.__name__}.{name} exists in Slicer; the host does not implement it")
    elif not loading_ui:
        raise AttributeError(f"{cls.__name__} has no writable attribute '{name}' (C++ objects take no new attributes)")


def _object_name(self):
    return _property(self, "objectName")


def _refuse(cls, name):
    def blocked(*args, **kwargs):
        raise DialogOpened(f"{cls.__name__}.{name} would wait for a person: {args[1:]}")

    return staticmethod(blocked) if not name.startswith("exec") else blocked


def install() -> list[type]:
    """Change the classes of PySide6, once; return them."""
    if not issubclass(QtCore.Qt.CheckState, int):
        raise RuntimeError("PySide6 was imported before host: its enums do not compare with ints as PythonQt's do")
    probe, references = QtCore.QObject(), sys.getrefcount(None)
    for _ in range(200):
        probe.parent()
    if references - sys.getrefcount(None) > 150:
        raise RuntimeError(
            "this PySide6 loses a None in every call, which ends in a crash (6.12.0 on Python 3.11 does)"
        )
    named = {id(c): c for module in QT_MODULES for c in (getattr(module, n) for n in dir(module))}
    classes = [c for c in named.values() if isinstance(c, type) and issubclass(c, QtCore.QObject)]
    attributes = []
    for cls in classes:
        meta = cls.staticMetaObject
        for i in range(meta.propertyCount()):
            name = meta.property(i).name()
            if i >= meta.propertyOffset() or name in cls.__dict__:
                attributes.append((cls, name, getattr(cls, name, None)))
    for cls, name, function in attributes:
        setattr(cls, name, PropertyAttribute(name, function))
    for cls, names in _BLOCKING.items():
        for name in names.split():
            setattr(cls, name, _refuse(cls, name))
    getters = [_getter(cls.__getattribute__) for cls in classes]  # some classes have one of their own
    for cls, getter in zip(classes, getters, strict=True):
        cls.__getattribute__, cls.__setattr__ = getter, _set
        cls.children = lambda self: tuple(_children(self))
        cls.className = lambda self: self.metaObject().className()
        cls.delete = lambda self: self.deleteLater()
        if lookup(cls, "name") is None:
            cls.name = property(_object_name, lambda self, value: self.setObjectName(value))
    return classes
