"""A parameterNodeWrapper: typed attributes kept in a vtkMRMLScriptedModuleNode, and bound to widgets by name.

Names, defaults, validators and the pairs of type and widget are Slicer's. Lists, dictionaries and parameter packs are
not here. Stricter than Slicer: an attribute that is no parameter raises.
"""

import enum
import types
import typing
from dataclasses import dataclass
from pathlib import Path, PurePath

import slicer
import slicer.util
import vtk
from PySide6.QtWidgets import QWidget

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Default:
    """A default in the annotation, where ``name: type = value`` is not used."""

    value: object


class Validator:
    """A condition on a value, checked at every write."""

    def validate(self, value):
        if not self.accepts(value):
            raise ValueError(f"{value!r} is not allowed by {self!r}")


@dataclass(frozen=True)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def accepts(self, value):
        return self.minimum <= value <= self.maximum


@dataclass(frozen=True)
class Minimum(Validator):
    minimum: float

    def accepts(self, value):
        return value >= self.minimum


@dataclass(frozen=True)
class Maximum(Validator):
    maximum: float

    def accepts(self, value):
        return value <= self.maximum


@dataclass(frozen=True)
class Choice(Validator):
    choices: list

    def accepts(self, value):
        return value in self.choices


class _Parameter:
    """One typed attribute: how it is written to and read from the node."""

    def __init__(self, name, hint, default):
        annotated = typing.get_origin(hint) is typing.Annotated
        plain, *self.annotations = typing.get_args(hint) if annotated else (hint,)
        union = typing.get_origin(plain) in (typing.Union, types.UnionType)
        self.types = [t for t in (typing.get_args(plain) if union else (plain,)) if t is not type(None)]
        self.name, self.type = name, self.types[0]
        self.is_node = all(isinstance(t, type) and issubclass(t, slicer.vtkMRMLNode) for t in self.types)
        simple = isinstance(plain, type) and issubclass(plain, bool | int | float | str | enum.Enum | PurePath)
        if not (self.is_node or simple):
            raise NotImplementedError(f"parameter {name}: the host's parameterNodeWrapper has no type {hint}")
        self.is_enum = simple and issubclass(plain, enum.Enum)
        defaults = [default, *(a.value for a in self.annotations if isinstance(a, Default))]
        self.default = next((value for value in defaults if value is not None), None)
        if self.default is None and simple:
            self.default = next(iter(plain)) if self.is_enum else plain()

    def annotation(self, *kinds):
        return next((a for a in self.annotations if isinstance(a, kinds)), None)

    def write(self, node, value):
        kinds = (int, float) if self.type is float else tuple(self.types)
        if not (isinstance(value, kinds) or (value is None and self.is_node)):
            raise TypeError(f"parameter {self.name} needs {self.type.__name__}, got {value!r}")
        for validator in (a for a in self.annotations if isinstance(a, Validator)):
            validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node):
        if not node.HasParameter(self.name):  # the scene was closed
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type[text] if self.is_enum else self.type(text)


_WIDGETS = {  # Slicer binds these classes only: type of the parameter, property, signal
    "QCheckBox": (bool, "checked", "toggled(bool)"),
    "QPushButton": (bool, "checked", "toggled(bool)"),
    "QSlider": (int, "value", "valueChanged(int)"),
    "QSpinBox": (int, "value", "valueChanged(int)"),
    "QDoubleSpinBox": (float, "value", "valueChanged(double)"),
    "ctkSliderWidget": (float, "value", "valueChanged(double)"),
    "QLineEdit": (str, "text", "textChanged(QString)"),
    "ctkPathLineEdit": (PurePath, "currentPath", "currentPathChanged(QString)"),
    "QComboBox": (object, "currentIndex", "currentIndexChanged(int)"),
    "qMRMLNodeComboBox": (slicer.vtkMRMLNode, "currentNodeID", "currentNodeChanged(vtkMRMLNode*)"),
}


class _Connection:
    """A widget and a parameter that follow each other."""

    def __init__(self, wrapper, widget, parameter):
        self.wrapper, self.widget, self.parameter, self.values = wrapper, widget, parameter, None
        name = widget.className()
        kind, self.property, self.signal = _WIDGETS.get(name, (None, "", ""))
        if kind is None or not issubclass(parameter.type, kind) or (kind is int and parameter.type is bool):
            raise RuntimeError(f"a {name} cannot show parameter {parameter.name} of {parameter.type.__name__}")
        if name == "QComboBox":
            self._fill()
        elif name == "QPushButton":
            widget.checkable = True
        elif parameter.is_node:
            widget.nodeTypes = [t.__name__ for t in parameter.types]
        elif kind in (int, float):
            self._limit(needed=name in ("QSlider", "ctkSliderWidget"))
        self.show()
        widget.connect(self.signal, self.follow)

    def _fill(self):
        choice = self.parameter.annotation(Choice)
        if choice is None and not self.parameter.is_enum:
            raise RuntimeError(f"parameter {self.parameter.name} needs the annotation Choice for a QComboBox")
        self.values = list(choice.choices if choice else self.parameter.type)
        self.widget.clear()
        label = str if choice else getattr(self.parameter.type, "label", lambda value: value.name)
        self.widget.addItems([label(value) for value in self.values])

    def _limit(self, needed):
        limits = [self.parameter.annotation(WithinRange, kind) for kind in (Minimum, Maximum)]
        if needed and None in limits:
            raise RuntimeError(f"parameter {self.parameter.name} needs both limits for a {self.widget.className()}")
        far = 2**31 - 1 if self.parameter.type is int else float("inf")
        self.widget.minimum = limits[0].minimum if limits[0] else -far
        self.widget.maximum = limits[1].maximum if limits[1] else far

    def show(self):
        value = self.wrapper.getValue(self.parameter.name)
        if self.parameter.is_node:
            self.widget.setCurrentNode(value)
            return
        value = self.values.index(value) if self.values else str(value) if isinstance(value, Path) else value
        setattr(self.widget, self.property, value)

    def follow(self, value):
        if not self.wrapper._showing:
            node_or_path = value if self.parameter.is_node else self.parameter.type(value) if not self.values else None
            self.wrapper.setValue(self.parameter.name, self.values[value] if self.values else node_or_path)


class _Wrapper:
    """What every wrapped class can do."""

    allParameters: typing.ClassVar[dict[str, _Parameter]] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode):
        self.__dict__.update(parameterNode=parameterNode, _showing=False, _connections={})
        for parameter in self.allParameters.values():
            if not parameterNode.HasParameter(parameter.name):
                parameter.write(parameterNode, parameter.default)

    def __setattr__(self, name, value):
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        with slicer.util.NodeModify(self.parameterNode):
            self.allParameters[name].write(self.parameterNode, value)

    def _parameter(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; found {sorted(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name):
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name, value):
        setattr(self, self._parameter(name).name, value)

    def default(self, name):
        return Default(self._parameter(name).default)

    def connectGui(self, gui) -> None:
        """Connect the widgets that name a parameter. Like Slicer's (issue 7547) it gives no tag to disconnect with."""
        found = gui.findChildren(QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = [(widget.property(SlicerParameterNamePropertyName), widget) for widget in found]
        self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping):
        parameters = {name: self._parameter(name) for name in mapping}
        connections = [_Connection(self, widget, parameters[name]) for name, widget in mapping.items()]
        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
        self._connections[tag] = connections
        return tag

    def disconnectGui(self, tag):
        for connection in self._connections.pop(tag, ()):
            connection.widget.disconnect(connection.signal, connection.follow)
            self.parameterNode.RemoveObserver(tag)

    def _show(self, *_):
        if self._showing:
            return
        self.__dict__["_showing"] = True
        try:
            for connection in [c for group in self._connections.values() for c in group]:
                connection.show()
        finally:
            self.__dict__["_showing"] = False

    AddObserver = property(lambda self: self.parameterNode.AddObserver)
    RemoveObserver = property(lambda self: self.parameterNode.RemoveObserver)
    Modified = property(lambda self: self.parameterNode.Modified)
    StartModify = property(lambda self: self.parameterNode.StartModify)
    EndModify = property(lambda self: self.parameterNode.EndModify)


def parameterNodeWrapper(cls=None):
    """Class decorator: its annotated names become parameters."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    members = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__", *parameters)}
    for name in (n for n in (*members, *parameters) if n in vars(_Wrapper) and not n.startswith("__")):
        raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    attributes = {name: property(lambda self, name=name: self.getValue(name)) for name in parameters}
    return type(cls.__name__, (_Wrapper,), {**members, **attributes, "allParameters": parameters})


def isParameterNodeWrapper(class_or_object) -> bool:
    return getattr(class_or_object, "_is_parameter_node_wrapper", False)
