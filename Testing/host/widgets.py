"""Stand-ins for the ctk widgets, and what they share with the qMRML ones.

Each derives from the Qt class that the real one derives from, so it has no member too many. ``MEMBERS`` are the real
members that work here, ``MISSING`` the real ones that raise NotImplementedError; anything else is an AttributeError.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QToolButton,
    QWidget,
)

WIDGETS: dict[str, type] = {}  # every stand-in by its name, those of host.mrml_widgets too


class StandIn:
    """What all stand-ins share: a strict list of members."""

    MEMBERS: frozenset = frozenset()
    MISSING: frozenset = frozenset()
    SIGNALS = ""  # the true signatures of signals that carry a MRML object

    def __init_subclass__(cls):
        cls.MEMBERS, cls.MISSING = frozenset(cls.MEMBERS.split()), frozenset(cls.MISSING.split())
        WIDGETS[cls.__name__] = cls

    def __getattr__(self, name):
        cls = type(self)
        if name in cls.MISSING:
            raise NotImplementedError(f"{cls.__name__}.{name} exists in Slicer; the host does not implement it")
        raise AttributeError(f"{cls.__name__} has no attribute '{name}'")


def stored(name: str, kind: type, default, changed: str | None = None) -> property:
    """Return a property that keeps a value of one type, then calls the method `changed`."""

    def get(self):
        return self.__dict__.get(f"_{name}", default)

    def set_value(self, value):
        if not isinstance(value, kind):
            raise TypeError(f"{type(self).__name__}.{name} needs {kind.__name__}, got {value!r}")
        self.__dict__[f"_{name}"] = value
        if changed:
            getattr(self, changed)()

    return property(get, set_value)


def forwarded(inner: str, name: str) -> property:
    """Return a property that is that of an inner widget."""

    def set_value(self, value):
        setattr(getattr(self, inner), name, value)

    return property(lambda self: getattr(getattr(self, inner), name), set_value)


def row(widget, *children):
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)


class ctkCollapsibleButton(StandIn, QAbstractButton):
    MEMBERS = "collapsed contentsCollapsed"
    MISSING = """collapsedHeight contentsFrameShape contentsFrameShadow contentsLineWidth contentsMidLineWidth
        buttonTextAlignment indicatorAlignment"""
    contentsCollapsed = Signal(bool)

    def __init__(self, text="", parent=None):
        super().__init__(parent if isinstance(text, str) else text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text if isinstance(text, str) else "")
        self.setContentsMargins(0, self.fontMetrics().height() + 8, 0, 0)
        self.toggled.connect(self._show)

    def _show(self, expanded):
        for child in self.children():
            if child.isWidgetType():
                child.setVisible(expanded)
        self.setMaximumHeight(16777215 if expanded else self.contentsMargins().top())
        self.contentsCollapsed.emit(not expanded)

    collapsed = property(lambda self: not self.checked, lambda self, value: setattr(self, "checked", not value))

    def paintEvent(self, event):
        option, painter = QStyleOptionButton(), QStylePainter(self)
        option.initFrom(self)
        option.rect.setHeight(self.contentsMargins().top() - 4)
        painter.drawControl(QStyle.CE_PushButtonBevel, option)
        text = ("▾  " if self.checked else "▸  ") + self.text
        painter.drawItemText(option.rect.adjusted(8, 0, 0, 0), Qt.AlignVCenter, self.palette, self.enabled, text)


class ctkComboBox(StandIn, QComboBox):
    MEMBERS = "defaultText currentUserDataAsString setCurrentUserDataAsString"
    MISSING = """defaultIcon forceDefault elideMode scrollWheelEffect returnRelease defaultTextChanged
        defaultIconChanged forceDefaultChanged elideModeChanged scrollWheelEffectChanged
        currentUserDataAsStringChanged"""
    defaultText = property(lambda self: self.placeholderText, lambda self, v: setattr(self, "placeholderText", v))

    def setCurrentUserDataAsString(self, text):
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = property(lambda self: str(self.currentData or ""), setCurrentUserDataAsString)


class ctkPathLineEdit(StandIn, QWidget):
    MEMBERS = """currentPath label filters nameFilters settingKey showBrowseButton currentPathChanged setCurrentPath
        addCurrentPathToHistory"""
    MISSING = """options showHistoryButton sizeAdjustPolicy minimumContentsLength validInputChanged browse
        retrieveHistory comboBox"""
    Dirs, Files, Drives, Readable, Writable, Executable, Hidden = 1, 2, 4, 0x10, 0x20, 0x40, 0x100
    NoSymLinks, NoDot, NoDotDot, NoDotAndDotDot, NoFilter = 8, 0x2000, 0x4000, 0x1000, -1
    currentPathChanged = Signal(str)
    label = stored("label", str, "")
    filters = stored("filters", int, 7)
    nameFilters = stored("nameFilters", list | tuple, [])
    settingKey = stored("settingKey", str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._edit, self._button = QComboBox(self), QToolButton(self)
        self._edit.setEditable(True)
        self._button.setText("…")
        row(self, self._edit, self._button)
        self.layout().setStretch(0, 1)
        self._edit.editTextChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path):
        self._edit.setEditText(path)

    def addCurrentPathToHistory(self):
        if self.currentPath and self._edit.findText(self.currentPath) < 0:
            self._edit.addItem(self.currentPath)

    currentPath = property(lambda self: self._edit.currentText, setCurrentPath)
    showBrowseButton = property(lambda s: not s._button.isHidden(), lambda s, v: s._button.setVisible(v))


class ctkSliderWidget(StandIn, QWidget):
    MEMBERS = "decimals singleStep minimum maximum value prefix suffix valueChanged setValue reset spinBoxVisible"
    MISSING = """pageStep tickInterval tickPosition autoSpinBoxWidth spinBoxAlignment tracking popupSlider
        valueIsChanging setSpinBoxVisible"""
    valueChanged = Signal(float)
    SIGNALS = "valueChanged(double)"
    decimals, singleStep = forwarded("_spin", "decimals"), forwarded("_spin", "singleStep")
    minimum, maximum = forwarded("_spin", "minimum"), forwarded("_spin", "maximum")
    prefix, suffix = forwarded("_spin", "prefix"), forwarded("_spin", "suffix")
    value = forwarded("_spin", "value")
    spinBoxVisible = property(lambda s: not s._spin.isHidden(), lambda s, v: s._spin.setVisible(v))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Horizontal, self), QDoubleSpinBox(self)
        row(self, self._slider, self._spin)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._slid)
        self._spin.valueChanged.connect(self._spun)

    def _slid(self, position):
        self._spin.setValue(self.minimum + position / 1000 * (self.maximum - self.minimum))

    def _spun(self, value):
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self.minimum) / ((self.maximum - self.minimum) or 1)))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._spin.setValue(value)

    def reset(self):
        self._spin.setValue(0)
