"""The Python modules of Slicer that slicer-core lacks: ScriptedLoadableModule, i18n and packaging."""

import sys
import types
import unittest
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtWidgets

from host import PipCall, parameters, pip_calls
from host.mrml_widgets import qMRMLWidget


class ModuleDescription:
    """The `parent` of a ScriptedLoadableModule (qSlicerScriptedLoadableModule): only its members, each of its type."""

    _TYPES = (
        dict.fromkeys(("title", "helpText", "acknowledgementText", "path", "name"), str)
        | dict.fromkeys(("categories", "contributors", "dependencies", "associatedNodeTypes"), list)
        | {"icon": object, "hidden": bool, "index": int, "extensions": dict}
    )

    def __init__(self, path: Path):
        self.path, self.name, self.hidden, self.index, self._widget = path.as_posix(), path.stem, False, -1, None

    def __setattr__(self, name, value):
        if name != "_widget" and name not in self._TYPES:
            raise AttributeError(f"a module has no property '{name}'; it has {', '.join(sorted(self._TYPES))}")
        if not isinstance(value, self._TYPES.get(name, object)):
            raise TypeError(f"module.{name} needs {self._TYPES[name].__name__}, got {value!r}")
        object.__setattr__(self, name, value)

    def logic(self):
        return None  # Slicer gives a C++ logic without members of the module's own

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self.name)
            self._widget.reload()
        return self._widget


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The Qt widget that holds a module's panel, which is Python's `slicer.modules.<Name>Widget`."""

    MEMBERS, MISSING = "isEntered enter exit reload", "self setup setEditedNode"
    _entered = False
    isEntered = property(lambda self: self._entered)

    def __init__(self, name):
        super().__init__()
        self._name = name
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def _panel(self):
        return getattr(slicer.modules, f"{self._name}Widget")

    def enter(self):
        self._entered = True
        getattr(self._panel(), "enter", lambda: None)()

    def exit(self):
        self._entered = False
        getattr(self._panel(), "exit", lambda: None)()

    def reload(self):
        panel = getattr(sys.modules[self._name], f"{self._name}Widget")(self)
        setattr(slicer.modules, f"{self._name}Widget", panel)
        panel.setup()


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent, self.moduleName = parent, type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText = parent.acknowledgementText = ""
        for suffix in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{suffix}"))
            if icon.is_file():
                parent.icon = sys.modules["qt"].QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        return '<p>For more information see the <a href="https://slicer.readthedocs.io">online documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent or qMRMLWidget()
        if parent is None:
            QtWidgets.QVBoxLayout(self.parent)
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self):
        """Slicer adds its 'Reload && Test' buttons here in developer mode; the host has none."""

    def cleanup(self):
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                node.SetAttribute("ModuleName", self.moduleName)  # lost when the scene is closed
                return node
        elif nodes := self.getAllParameterNodes():
            return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.enableScreenshots, self.screenshotScaleFactor = False, 1.0

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.util.delayDisplay(message, getattr(self, "messageDelay", msec or requestedDelay or 100))

    def takeScreenshot(self, name, description, type=-1):
        self.delayDisplay(description)

    def runTest(self):
        raise NotImplementedError(f"{type(self).__name__} has no runTest: Slicer would only warn, and test nothing")


def load_requirements(path):
    from packaging.requirements import Requirement

    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_ensure(
    requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True, requester=None,
    skip_in_testing=True, show_progress=True,
):  # fmt: skip
    """Record the call. A test makes the user decline with ``host.answers.append(False)``."""
    pip_calls.append(PipCall("pip_ensure", requirements, requester))
    question = "Python packages need to be installed."
    if not skip_in_testing and prompt_install and not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError("User declined package installation")


def pip_install(
    requirements, constraints=None, no_deps_requirements=None, skip_packages=None, blocking=True, show_progress=True,
    requester=None, parent=None, logCallback=None, completedCallback=None,
):  # fmt: skip
    pip_calls.append(PipCall("pip_install", requirements, requester))
    if completedCallback:
        sys.modules["qt"].QTimer.singleShot(0, lambda: completedCallback(0))


def _module(name, **members):
    module = types.ModuleType(f"slicer.{name}")
    module.__dict__.update(members)
    setattr(slicer, name, module)
    sys.modules[f"slicer.{name}"] = module


def install() -> None:
    """Make `slicer.ScriptedLoadableModule`, `slicer.i18n`, `slicer.packaging`, `slicer.parameterNodeWrapper`."""
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    names = {cls.__name__: cls for cls in classes}
    _module("ScriptedLoadableModule", **names, __all__=list(names))
    _module("i18n", tr=lambda text: text, translate=lambda context, text: text)
    functions = (load_requirements, pip_ensure, pip_install)
    _module("packaging", **{function.__name__: function for function in functions})
    names = "Choice Default Maximum Minimum SlicerParameterNamePropertyName Validator WithinRange"
    names = f"{names} isParameterNodeWrapper parameterNodeWrapper".split()
    _module("parameterNodeWrapper", **{name: getattr(parameters, name) for name in names})
