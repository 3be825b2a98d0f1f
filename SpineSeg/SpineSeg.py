"""SpineSeg: the module and its panel. It computes nothing: a separate process (python -m SpineSegLib) does."""

import importlib.util
import sys
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("SpineSegLib") is None:
    # An installed extension's folder is on the path; of a source tree only this file's folder is.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from SpineSegPanel.logic import SpineSegLogic
from SpineSegPanel.parameters import SpineSegParameterNode
from SpineSegPanel.sections import add_sections
from SpineSegPanel.segment import SegmentPart
from SpineSegPanel.selftest import SpineSegTest

from SpineSegLib import mrml

__all__ = ["SpineSeg", "SpineSegLogic", "SpineSegParameterNode", "SpineSegTest", "SpineSegWidget"]

DOCUMENTS = "https://github.com/SpineSeg/SlicerSpineSeg/blob/main/Resources/Docs/tutorial.md"


class SpineSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SpineSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Tables", "Terminologies"]
        parent.contributors = ["The SpineSeg authors"]
        parent.helpText = (
            _(
                "Segments the spine in CT volumes and radiographs, and measures the result against a ground truth. "
                "For research only, not for diagnostic use."
            )
            + f'<p><a href="{DOCUMENTS}">{_("Tutorial: from a neck film to a report")}</a></p>'
        )
        parent.acknowledgementText = _("The networks follow published papers; each model names its own in the panel.")
        slicer.app.connect("startupCompleted()", mrml.register_terminology)
        slicer.app.connect("startupCompleted()", lambda: mrml.register_samples(self.resourcePath("Icons")))


class SpineSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: a part that segments, and sections that are folded away."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.segment = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.sections = {}

    @property
    def parts(self) -> list:
        """Everything in the panel that follows the parameter node."""
        return [*([self.segment] if self.segment else []), *self.sections.values()]

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpineSegLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.segment = SegmentPart(self.ui, self.logic, self.resourcePath)
        self.sections = add_sections(self.ui.sectionsWidget, self.logic, self.resourcePath)
        for section in self.sections.values():
            section.log, section.offer = self.segment.onLog, self.segment.offer
        self.initializeParameterNode()

    def cleanup(self) -> None:
        for part in reversed(self.parts):
            part.close()
        if self.logic:
            self.logic.abort()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        # A run goes on while another module is open; only the choices stop following the parameter node.
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Reload the library with the module."""
        self.logic.abort()
        for name in [name for name in sys.modules if name.partition(".")[0] in ("SpineSegLib", "SpineSegPanel")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        for part in reversed(self.parts):
            part.close()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Follow the scene's own parameter node: after it was closed, and after another one was loaded."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = self.ui.inputVolumeSelector.nodeFromIndex(0)

    def setParameterNode(self, parameterNode: SpineSegParameterNode | None) -> None:
        """Show and follow a parameter node, or none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if parameterNode:
            # Not connectGui: it gives no tag to disconnect with in some Slicer versions (Slicer issue 7547).
            uis = (self.ui, *(section.ui for section in self.sections.values()))
            named = {widget.property("SlicerParameterName"): widget for ui in uis for widget in vars(ui).values()}
            named.pop(None, None)
            self._parameterNodeGuiTag = parameterNode.connectParametersToGui(named)
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        for part in self.parts:
            part.setParameterNode(parameterNode)

    def _update(self, caller=None, event=None) -> None:
        for part in self.parts:
            part.update()
