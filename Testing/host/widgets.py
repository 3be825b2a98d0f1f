"""Stand-ins for Slicer's ctk and qMRML widgets, on the real scene.

Each derives from the Qt class that the real one derives from, so it has no member too many. ``MEMBERS`` are the real
members that work here, ``MISSING`` the real ones that raise NotImplementedError; anything else is an AttributeError.
"""

import slicer
import vtk
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QMessageBox,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QTableView,
    QToolButton,
    QWidget,
)

WIDGETS: dict[str, type] = {}


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


def _row(widget, *children):
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)


class Observations(list):
    """Observers of VTK objects that are removed when their widget is deleted."""

    def __init__(self, widget):
        super().__init__()
        widget.destroyed.connect(lambda: self.forget())

    def add(self, subject, event, callback):
        self.append((subject, subject.AddObserver(event, callback)))

    def forget(self):
        while self:
            subject, tag = self.pop()
            subject.RemoveObserver(tag)


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
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self.contentsMargins().top() - 4)
        option.text = ("▾ " if self.checked else "▸ ") + self.text
        QStylePainter(self).drawControl(QStyle.CE_PushButton, option)


class ctkComboBox(StandIn, QComboBox):
    MEMBERS = "defaultText currentUserDataAsString setCurrentUserDataAsString"
    MISSING = """defaultIcon forceDefault elideMode scrollWheelEffect returnRelease defaultTextChanged
        defaultIconChanged forceDefaultChanged elideModeChanged scrollWheelEffectChanged
        currentUserDataAsStringChanged"""
    defaultText = property(lambda self: self.placeholderText, lambda self, v: setattr(self, "placeholderText", v))

    def setCurrentUserDataAsString(self, text):
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = property(lambda self: str(self.currentData or ""), setCurrentUserDataAsString)


class ctkMessageBox(StandIn, QMessageBox):
    MEMBERS = "dontShowAgain dontShowAgainSettingsKey"
    MISSING = "dontShowAgainVisible addDontShowAgainButtonRole"
    dontShowAgain = stored("dontShowAgain", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")


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
        _row(self, self._edit, self._button)
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
        _row(self, self._slider, self._spin)
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


class qMRMLWidget(StandIn, QWidget):
    MEMBERS = "mrmlScene setMRMLScene mrmlSceneChanged"
    MISSING = "pixmapFromIcon preInitializeApplication postInitializeApplication"
    mrmlSceneChanged = Signal(object)
    SIGNALS = "mrmlSceneChanged(vtkMRMLScene*)"
    _scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qMRMLTableView(StandIn, QTableView):
    MEMBERS = "mrmlScene setMRMLScene mrmlTableNode setMRMLTableNode mrmlSceneChanged"
    MISSING = """mrmlTableViewNode setMRMLTableViewNode tableModel sortFilterProxyModel transposed firstRowLocked
        firstColumnLocked setTransposed setFirstRowLocked setFirstColumnLocked copySelection pasteSelection
        plotSelection insertRow insertColumn deleteRow deleteColumn"""
    mrmlSceneChanged = Signal(object)
    SIGNALS = "mrmlSceneChanged(vtkMRMLScene*)"
    _scene = _table = None
    mrmlScene, setMRMLScene = qMRMLWidget.mrmlScene, qMRMLWidget.setMRMLScene

    def __init__(self, parent=None):
        super().__init__(parent)
        self._observed = Observations(self)

    def mrmlTableNode(self):
        return self._table

    def setMRMLTableNode(self, node):
        if node is not None and not node.IsA("vtkMRMLTableNode"):
            raise TypeError(f"setMRMLTableNode needs a vtkMRMLTableNode, got {node.GetClassName()}")
        self._observed.forget()
        self._table = node
        if node:
            self._observed.add(node, vtk.vtkCommand.ModifiedEvent, self._fill)
        self._fill()

    def _fill(self, *_):
        model, node = QStandardItemModel(self), self._table
        columns = node.GetNumberOfColumns() if node else 0
        if node:
            model.setHorizontalHeaderLabels([node.GetColumnName(c) for c in range(columns)])
            for row in range(node.GetNumberOfRows()):
                model.appendRow([QStandardItem(node.GetCellText(row, c)) for c in range(columns)])
        self.setModel(model)


class qMRMLNodeComboBox(StandIn, QWidget):
    MEMBERS = """currentNodeID nodeTypes showHidden showChildNodeTypes hideChildNodeTypes baseName noneEnabled
        addEnabled removeEnabled editEnabled renameEnabled selectNodeUponCreation noneDisplay mrmlScene setMRMLScene
        addAttribute removeAttribute nodeCount nodeFromIndex currentNode setCurrentNode setCurrentNodeID
        setCurrentNodeIndex addNode removeCurrentNode currentNodeChanged currentNodeIDChanged nodeAdded
        nodeAboutToBeRemoved"""
    MISSING = """currentNodeId interactionNodeSingletonTag sizeAdjustPolicy setNodeTypeLabel nodeTypeLabel
        sortFilterProxyModel addMenuAction editCurrentNode renameCurrentNode nodeActivated nodeAddedByUser
        nodeAddedByUserAction currentNodeRenamed nodeAboutToBeEdited"""
    currentNodeChanged, _currentNodeChanged_bool = Signal(object), Signal(bool)
    currentNodeIDChanged, nodeAdded, nodeAboutToBeRemoved = Signal(str), Signal(object), Signal(object)
    SIGNALS = """currentNodeChanged(vtkMRMLNode*) currentNodeChanged(bool) nodeAdded(vtkMRMLNode*)
        nodeAboutToBeRemoved(vtkMRMLNode*)"""
    nodeTypes = stored("nodeTypes", list | tuple, (), "_fill")
    hideChildNodeTypes = stored("hideChildNodeTypes", list | tuple, (), "_fill")
    showHidden = stored("showHidden", bool, False, "_fill")
    showChildNodeTypes = stored("showChildNodeTypes", bool, True, "_fill")
    noneEnabled = stored("noneEnabled", bool, False, "_fill")
    noneDisplay = stored("noneDisplay", str, "None", "_fill")
    addEnabled, removeEnabled = stored("addEnabled", bool, True), stored("removeEnabled", bool, True)
    editEnabled, renameEnabled = stored("editEnabled", bool, False), stored("renameEnabled", bool, False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    baseName = stored("baseName", str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._combo, self._observed, self._attributes = QComboBox(self), Observations(self), {}
        self._scene, self._ids, self._current = None, [], None
        _row(self, self._combo)
        self._combo.currentIndexChanged.connect(self._picked)
        self.setEnabled(False)  # until there is a scene

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._observed.forget()
        self._scene = scene
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeAboutToBeRemovedEvent, scene.NodeRemovedEvent)
            for event in (*events, scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
                self._observed.add(scene, event, self._scene_changed)
        self.setEnabled(scene is not None)
        self._fill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _scene_changed(self, scene, event, node=None):
        fits = node is not None and self._fits(node)
        if event == "NodeAboutToBeRemovedEvent" and fits:
            self.nodeAboutToBeRemoved.emit(node)
        self._fill()
        if event == "NodeAddedEvent" and fits:
            self.nodeAdded.emit(node)

    def _fits(self, node):
        named = any(node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in self.nodeTypes)
        attributes = [(node.GetAttribute(a), v) for (t, a), v in self._attributes.items() if node.IsA(t)]
        return (
            named
            and not any(node.IsA(t) for t in self.hideChildNodeTypes)
            and (self.showHidden or not node.GetHideFromEditors())
            and all(found is not None and value in (None, found) for found, value in attributes)
        )

    def _nodes(self):
        return [n for n in slicer.util.getNodesByClass("vtkMRMLNode") if self._fits(n)] if self._scene else []

    def _fill(self):
        nodes = self._nodes()
        ids = [None] * self.noneEnabled + [n.GetID() for n in nodes]
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems([self.noneDisplay] * self.noneEnabled + [n.GetName() or n.GetID() for n in nodes])
        self._ids = ids
        self._combo.setCurrentIndex(ids.index(self._current) if self._current in ids else 0 if ids else -1)
        self._combo.blockSignals(False)
        self._picked()

    def _picked(self, *_):
        node = self.currentNode()
        identifier = node.GetID() if node else None
        if identifier != self._current:
            self._current = identifier
            self.currentNodeChanged.emit(node)
            self._currentNodeChanged_bool.emit(node is not None)
            self.currentNodeIDChanged.emit(identifier or "")

    def currentNode(self):
        index = self._combo.currentIndex
        identifier = self._ids[index] if 0 <= index < len(self._ids) else None
        return self._scene.GetNodeByID(identifier) if self._scene and identifier else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, identifier):
        self._combo.setCurrentIndex(self._ids.index(identifier or None) if (identifier or None) in self._ids else -1)

    currentNodeID = property(lambda self: self._current or "", setCurrentNodeID)

    def nodeCount(self):
        return len(self._nodes())

    def nodeFromIndex(self, index):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self.nodeFromIndex(index))

    def addAttribute(self, node_type, name, value=None):
        self._attributes[node_type, name] = value
        self._fill()

    def removeAttribute(self, node_type, name):
        self._attributes.pop((node_type, name), None)
        self._fill()

    def addNode(self, node_type=None):
        node = self._scene.AddNewNodeByClass(node_type or self.nodeTypes[0], self.baseName)
        self.setCurrentNode(node)
        return node

    def removeCurrentNode(self):
        self._scene.RemoveNode(self.currentNode())
