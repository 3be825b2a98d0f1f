"""Stand-ins for the qMRML widgets, on the real scene."""

import slicer
import vtk
from PySide6.QtCore import Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QTableView, QWidget

from host.widgets import StandIn, row, stored


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
            names = [node.GetColumnName(c) for c in range(columns)]
            titled = node.GetUseColumnTitleAsColumnHeader()
            model.setHorizontalHeaderLabels([node.GetColumnTitle(name) if titled else name for name in names])
            for row in range(node.GetNumberOfRows()):
                model.appendRow([QStandardItem(node.GetCellText(row, c)) for c in range(columns)])
        self.setModel(model)


class qMRMLNodeComboBox(StandIn, QWidget):
    MEMBERS = """currentNodeID nodeTypes showHidden showChildNodeTypes hideChildNodeTypes baseName noneEnabled
        addEnabled removeEnabled editEnabled renameEnabled selectNodeUponCreation noneDisplay mrmlScene setMRMLScene
        addAttribute removeAttribute nodeCount nodeFromIndex currentNode setCurrentNode setCurrentNodeID
        setCurrentNodeIndex addNode removeCurrentNode currentNodeChanged currentNodeIDChanged"""
    MISSING = """currentNodeId interactionNodeSingletonTag sizeAdjustPolicy setNodeTypeLabel nodeTypeLabel
        sortFilterProxyModel addMenuAction editCurrentNode renameCurrentNode nodeActivated nodeAddedByUser
        nodeAddedByUserAction currentNodeRenamed nodeAboutToBeEdited nodeAdded
        nodeAboutToBeRemoved"""
    currentNodeChanged, _currentNodeChanged_bool = Signal(object), Signal(bool)
    currentNodeIDChanged = Signal(str)
    SIGNALS = "currentNodeChanged(vtkMRMLNode*) currentNodeChanged(bool)"
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
        row(self, self._combo)
        self._combo.currentIndexChanged.connect(self._picked)
        self.setEnabled(False)  # until there is a scene

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._observed.forget()
        self._scene = scene
        if scene:
            for event in ("NodeAdded", "NodeRemoved", "EndClose", "EndImport", "EndBatchProcess"):
                self._observed.add(scene, getattr(scene, f"{event}Event"), self._fill)
        self.setEnabled(scene is not None)
        self._fill()

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
        found = [n for t in self.nodeTypes for n in slicer.util.getNodesByClass(t)] if self._scene else []
        return [n for n in dict.fromkeys(found) if self._fits(n)]

    def _fill(self, *_):
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
