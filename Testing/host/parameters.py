"""A parameterNodeWrapper: typed attributes kept in a vtkMRMLScriptedModuleNode, and bound to widgets by name.

The names, defaults, validators and the pairs of type and widget are those of Slicer. Not here: lists, dictionaries,
parameter packs. Stricter: an attribute that is no parameter raises.
"""

import enum
import pathlib
import types
import typing

import slicer
import slicer.util
import vtk
from PySide6.QtWidgets import QWidget

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Annotation:
    """An annotation with named values."""

    FIELDS: tuple[str, ...] = ("value",)

    def __init__(self, *values, **named):
        values = {**dict(zip(self.FIELDS, values, strict=False)), **named}
        if set(values) != set(self.FIELDS):
            raise TypeError(f"{type(self).__name__} takes {self.FIELDS}")
        self.__dict__.update(values)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(repr, self.__dict__.values()))})"


class Default(_Annotation):
    """The default of a parameter, where ``name: type = value`` is not used."""


class Decimals(_Annotation):
    """Decimals of the spin box or slider."""


class SingleStep(_Annotation):
    """Step of the spin box or slider."""


class Validator(_Annotation):
    """A condition on a value, checked at every write."""

    def accepts(self, value) -> bool:
        raise NotImplementedError

    def validate(self, value):
        if not self.accepts(value):
            raise ValueError(f"{value!r} is not allowed by {self!r}")


class WithinRange(Validator):
    FIELDS = ("minimum", "maximum")

    def accepts(self, value):
        return self.minimum <= value <= self.maximum


class Minimum(Validator):
    FIELDS = ("minimum",)

    def accepts(self, value):
        return value >= self.minimum


class Maximum(Validator):
    FIELDS = ("maximum",)

    def accepts(self, value):
        return value <= self.maximum


class Choice(Validator):
    FIELDS = ("choices",)

    def accepts(self, value):
        return value in self.choices


class Exclude(Validator):
    FIELDS = ("excludedValues",)

    def accepts(self, value):
        return value not in self.excludedValues


class _Parameter:
    """One typed attribute: how it is written to and read from the node."""

    def __init__(self, name, hint, default):
        self.name, self.annotations = (
            name,
            typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else (),
        )
        plain = typing.get_args(hint)[0] if self.annotations else hint
        choices = typing.get_args(plain) if typing.get_origin(plain) in (typing.Union, types.UnionType) else (plain,)
        self.types = tuple(t for t in choices if t is not type(None))
        self.type, self.optional = self.types[0], type(None) in choices
        self.is_node = all(isinstance(t, type) and issubclass(t, slicer.vtkMRMLNode) for t in self.types)
        simple = isinstance(self.type, type) and issubclass(
            self.type, bool | int | float | str | enum.Enum | pathlib.PurePath
        )
        if not self.is_node and (not simple or len(self.types) > 1 or self.optional):
            raise NotImplementedError(f"parameter {name}: the host's parameterNodeWrapper has no type {hint}")
        given = [a.value for a in self.annotations if isinstance(a, Default)]
        first = next(iter(self.type)) if not self.is_node and issubclass(self.type, enum.Enum) else None
        self.default = default if default is not None else given[0] if given else first
        if self.default is None and not self.is_node:
            self.default = self.type()

    def write(self, node, value):
        kinds = (int, float) if self.type is float else self.types
        if not (isinstance(value, kinds) or (value is None and self.is_node)):
            raise TypeError(f"parameter {self.name} needs {self.type.__name__}, got {value!r}")
        for validator in self.annotations:
            if isinstance(validator, Validator):
                validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node):
        if not node.HasParameter(self.name):  # the scene was closed
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if issubclass(self.type, enum.Enum) else self.type(text)


class _Connection:
    """A widget and a parameter that follow each other."""

    KINDS: typing.ClassVar = {  # widget class: (type, property, signal)
        "QCheckBox": (bool, "checked", "toggled(bool)"),
        "QPushButton": (bool, "checked", "toggled(bool)"),
        "QSlider": (int, "value", "valueChanged(int)"),
        "QSpinBox": (int, "value", "valueChanged(int)"),
        "QDoubleSpinBox": (float, "value", "valueChanged(double)"),
        "ctkSliderWidget": (float, "value", "valueChanged(double)"),
        "QLineEdit": (str, "text", "textChanged(QString)"),
        "ctkPathLineEdit": (pathlib.PurePath, "currentPath", "currentPathChanged(QString)"),
        "QComboBox": (object, "currentIndex", "currentIndexChanged(int)"),
        "qMRMLNodeComboBox": (slicer.vtkMRMLNode, "currentNodeID", "currentNodeChanged(vtkMRMLNode*)"),
    }

    def __init__(self, widget, parameter, changed):
        self.widget, self.parameter, self.changed = widget, parameter, changed
        kind, self.property, self.signal = self.KINDS.get(widget.className(), (None, "", ""))
        if kind is None or not issubclass(parameter.type, kind) or (parameter.type is bool and kind is int):
            raise RuntimeError(
                f"{widget.className()} cannot show parameter {parameter.name} of {parameter.type.__name__}"
            )
        self.limits = [a for a in parameter.annotations if isinstance(a, WithinRange | Minimum | Maximum)]
        self.values = getattr(self, f"_set_up_{widget.className()}", lambda: None)()
        if kind in (int, float):
            self._set_range()
        if not widget.connect(self.signal, changed):
            raise RuntimeError(f"{widget.className()} has no signal {self.signal}")

    def _set_up_QComboBox(self):
        choice = next((a.choices for a in self.parameter.annotations if isinstance(a, Choice)), None)
        is_enum = issubclass(self.parameter.type, enum.Enum)
        if choice is None and not is_enum:
            raise RuntimeError(
                f"parameter {self.parameter.name} needs the annotation Choice to be shown in a QComboBox"
            )
        self.widget.clear()
        label = getattr(self.parameter.type, "label", lambda v: v.name) if is_enum else str
        self.widget.addItems([label(value) for value in (self.parameter.type if is_enum else choice)])
        return list(self.parameter.type) if is_enum else list(choice)

    def _set_up_QPushButton(self):
        self.widget.checkable = True

    def _set_up_qMRMLNodeComboBox(self):
        self.widget.nodeTypes = [t.__name__ for t in self.parameter.types]

    def _set_range(self):
        ends = {end: getattr(a, end) for a in self.limits for end in ("minimum", "maximum") if hasattr(a, end)}
        if len(ends) < 2 and self.widget.className() in ("QSlider", "ctkSliderWidget"):
            raise RuntimeError(f"parameter {self.parameter.name} needs both limits to be shown in a slider")
        far = 2**31 - 1 if self.parameter.type is int else float("inf")
        self.widget.minimum, self.widget.maximum = ends.get("minimum", -far), ends.get("maximum", far)
        for annotation in self.parameter.annotations:
            if isinstance(annotation, Decimals | SingleStep):
                name = "decimals" if isinstance(annotation, Decimals) else "singleStep"
                setattr(self.widget, name, annotation.value)

    def show(self, value):
        if self.parameter.is_node:
            self.widget.setCurrentNode(value)
            return
        value = self.values.index(value) if self.values is not None else value
        setattr(self.widget, self.property, str(value) if isinstance(value, pathlib.PurePath) else value)

    def read(self):
        if self.parameter.is_node:
            return self.widget.currentNode()
        value = getattr(self.widget, self.property)
        return self.values[value] if self.values is not None else self.parameter.type(value)


class _Wrapper:
    """What every wrapped class can do."""

    _is_parameter_node_wrapper = True
    allParameters: typing.ClassVar[dict[str, _Parameter]] = {}

    def __init__(self, parameterNode):
        self.__dict__.update(parameterNode=parameterNode, _connections={}, _showing=False, _tags={})
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
        self._parameter(name)
        setattr(self, name, value)

    def default(self, name):
        return Default(self._parameter(name).default)

    def connectGui(self, gui):
        found = gui.findChildren(QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = ((widget.property(SlicerParameterNamePropertyName), widget) for widget in found)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping):
        tag = len(self._tags)
        self._connections[tag] = []
        for name, widget in mapping.items():
            connection = _Connection(widget, self._parameter(name), lambda name=name: self._follow(tag, name))
            self._connections[tag].append(connection)
        self._tags[tag] = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
        self._show()
        return tag

    def disconnectGui(self, tag):
        for connection in self._connections.pop(tag, ()):
            connection.widget.disconnect(connection.signal, connection.changed)
            self.parameterNode.RemoveObserver(self._tags[tag])

    def _follow(self, tag, name):
        if not self._showing:
            setattr(self, name, next(c for c in self._connections[tag] if c.parameter.name == name).read())

    def _show(self, *_):
        if self._showing:
            return
        self.__dict__["_showing"] = True
        try:
            for connection in (c for group in self._connections.values() for c in group):
                connection.show(self.getValue(connection.parameter.name))
        finally:
            self.__dict__["_showing"] = False

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def HasObserver(self, event):
        return self.parameterNode.HasObserver(event)

    def Modified(self):
        self.parameterNode.Modified()

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was):
        return self.parameterNode.EndModify(was)


def parameterNodeWrapper(cls=None):
    """Class decorator: its annotated names become parameters."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    members = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__", *parameters)}
    for name in (n for n in (*members, *parameters) if n in vars(_Wrapper) and not n.startswith("__")):
        raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    for name in parameters:
        members[name] = property(lambda self, name=name: self.getValue(name))
    return type(cls.__name__, (_Wrapper,), {**members, "allParameters": parameters})


def isParameterNodeWrapper(class_or_object) -> bool:
    return getattr(class_or_object, "_is_parameter_node_wrapper", False)
