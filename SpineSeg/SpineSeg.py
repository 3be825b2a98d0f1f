"""SpineSeg: module, panel and logic. It computes nothing: a separate process (python -m SpineSegLib) does."""

import html
import importlib.util
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("SpineSegLib") is None:
    # An installed extension's folder is on the path; of a source tree only this file's folder is.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from SpineSegPanel.choices import Device, Explanation, Modality
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.sections import add_sections
from SpineSegPanel.selftest import SelfTestData

from SpineSegLib import mrml


class SpineSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SpineSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Tables", "Terminologies"]
        parent.contributors = ["The SpineSeg authors"]
        parent.helpText = _(
            "Segments the spine in CT volumes and radiographs, and measures the result against a ground truth. "
            "For research only, not for diagnostic use."
        )
        parent.acknowledgementText = _("The networks follow published papers; each model names its own in the panel.")
        slicer.app.connect("startupCompleted()", mrml.register_terminology)
        slicer.app.connect("startupCompleted()", lambda: mrml.register_samples(self.resourcePath("Icons")))


@parameterNodeWrapper
class SpineSegParameterNode:
    """What the user chose; saved with the scene."""

    inputVolume: vtkMRMLScalarVolumeNode
    modality: Modality = Modality.AUTO
    modelName: str = ""
    outputSegmentation: vtkMRMLSegmentationNode
    truthSegmentation: vtkMRMLSegmentationNode
    metricsTable: vtkMRMLTableNode
    device: Device = Device.AUTO
    weightsFile: str = ""
    evaluatedSegmentation: vtkMRMLSegmentationNode
    evaluatedTruth: vtkMRMLSegmentationNode
    evaluationTable: vtkMRMLTableNode
    showErrors: bool = True
    predictionsFolder: str = ""
    truthsFolder: str = ""
    pairsFile: str = ""
    casesTable: vtkMRMLTableNode
    explanation: Explanation = Explanation.GRADCAM
    mapVolume: vtkMRMLScalarVolumeNode


class SpineSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._choices = []
        self._choicesFor = None
        self.sections = {}

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpineSegLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChanged)
        self.ui.weightsPathLineEdit.connect("currentPathChanged(QString)", self.onWeightsChanged)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.metricsCollapsibleButton.visible = False
        self.sections = add_sections(self.ui.sectionsWidget, self.logic, self.resourcePath)
        for section in self.sections.values():
            section.log, section.offer = self.onLog, self._offerAgain
        self._showIdle("")
        self.initializeParameterNode()

    def cleanup(self) -> None:
        for section in self.sections.values():
            section.close()
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
        for section in self.sections.values():
            section.close()
        if self.logic.abort():
            self._showIdle(_("Cancelled: the scene was closed."))
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        self.ui.metricsCollapsibleButton.visible = False
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
        self._choicesFor = None
        if parameterNode:
            # Not connectGui: it gives no tag to disconnect with in some Slicer versions (Slicer issue 7547).
            parts = (self.ui, *(section.ui for section in self.sections.values()))
            named = {widget.property("SlicerParameterName"): widget for ui in parts for widget in vars(ui).values()}
            named.pop(None, None)
            self._parameterNodeGuiTag = parameterNode.connectParametersToGui(named)
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self.ui.weightsPathLineEdit.currentPath = parameterNode.weightsFile
            self._update()
        for section in self.sections.values():
            section.setParameterNode(parameterNode)

    def onModelChanged(self, index: int) -> None:
        if self._parameterNode and 0 <= index < len(self._choices):
            self._parameterNode.modelName = self._choices[index].name

    def onWeightsChanged(self, path: str) -> None:
        if self._parameterNode:
            self._parameterNode.weightsFile = path

    def _update(self, caller=None, event=None) -> None:
        """Make the panel fit the choices; cheap, for it runs at every change."""
        for section in self.sections.values():
            section.update()
        if self._parameterNode is None or self.logic.busy:
            return
        volumeNode, modality = self._parameterNode.inputVolume, self._parameterNode.modality
        wanted = (volumeNode.GetID() if volumeNode else None, modality)
        if wanted != self._choicesFor:
            self._choicesFor = wanted
            self._offerModels(volumeNode, modality.value or None)
        choice = self._choice()
        self.ui.modelLabel.text = choice.details if choice else ""
        self.ui.modelLabel.visible = choice is not None
        reason = self._whyNot(volumeNode, choice)
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Segment the volume in a separate process")

    def _offerAgain(self) -> None:
        """Look anew at which models and weights there are."""
        self._choicesFor = None
        self._update()

    def _offerModels(self, volumeNode, modality: str | None) -> None:
        """Fill the list of models with those that fit, and keep the chosen one if it does."""
        try:
            self._choices = mrml.models_for(volumeNode, modality=modality)
            self.ui.volumeLabel.text = mrml.describe_volume(volumeNode, modality=modality) if volumeNode else ""
        except mrml.InputError as error:
            self._choices = []
            self.ui.volumeLabel.text = str(error)
        names = [choice.name for choice in self._choices]
        chosen = self._parameterNode.modelName
        blocked = self.ui.modelComboBox.blockSignals(True)
        self.ui.modelComboBox.clear()
        for choice in self._choices:
            absent = choice.weights == "absent"
            self.ui.modelComboBox.addItem(
                _("{title} (no weights)").format(title=choice.title) if absent else choice.title
            )
        self.ui.modelComboBox.currentIndex = names.index(chosen) if chosen in names else min(0, len(names) - 1)
        self.ui.modelComboBox.blockSignals(blocked)
        self.onModelChanged(self.ui.modelComboBox.currentIndex)

    def _choice(self):
        return next((choice for choice in self._choices if choice.name == self._parameterNode.modelName), None)

    def _whyNot(self, volumeNode, choice) -> str:
        """Say why Apply cannot be clicked, or return nothing."""
        if volumeNode is None:
            return _("Choose a volume")
        if choice is None:
            return _("No model fits this volume: check what it is under Advanced")
        if choice.weights == "absent" and not self._parameterNode.weightsFile:
            return _("This model has no weights here: choose a file under Advanced, or another model")
        return ""

    def onApply(self) -> None:
        """Start a run, or cancel the one that runs."""
        if self.logic.busy:
            self.ui.applyButton.enabled = False
            self.ui.statusLabel.text = _("Stopping …")
            self.logic.cancel()
            return
        parameters = self._parameterNode
        self.ui.logPlainTextEdit.clear()
        self._showBusy()
        try:
            ensure_dependencies(self.resourcePath("requirements.txt"))
            self.logic.process(
                parameters.inputVolume,
                parameters.modelName,
                parameters.outputSegmentation,
                modality=parameters.modality.value or None,
                device=parameters.device.value,
                weightsFile=parameters.weightsFile,
                truthNode=parameters.truthSegmentation,
                tableNode=parameters.metricsTable,
                waitForCompletion=False,
                onProgress=self.onProgress,
                onLog=self.onLog,
                onDone=self.onDone,
            )
            self.ui.applyButton.enabled = True
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the run could not be started")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def onProgress(self, step: int, of: int, what: str) -> None:
        self.ui.progressBar.maximum = max(of, 1)
        self.ui.progressBar.value = step
        self.ui.statusLabel.text = html.escape(what[:1].upper() + what[1:])

    def onLog(self, line: str) -> None:
        self.ui.logPlainTextEdit.appendPlainText(line)

    def onDone(self, result: mrml.Result) -> None:
        """Show how a run ended."""
        if result.state == mrml.CANCELLED:
            self._showIdle(_("Cancelled. Nothing was changed."))
            return
        if result.segmentationNode is None:
            self._showIdle(result.error, failed=True)
            return
        text = _("Done in {seconds:.0f} s.").format(seconds=result.seconds)
        # A new node becomes the chosen one, so that the next run replaces it.
        parameters = self._parameterNode or self.logic.getParameterNode()
        parameters.outputSegmentation = result.segmentationNode
        if result.tableNode:
            parameters.metricsTable = result.tableNode
        self.ui.metricsTableView.setMRMLTableNode(result.tableNode)
        self.ui.metricsTableView.resizeColumnsToContents()
        self.ui.metricsCollapsibleButton.visible = result.tableNode is not None
        lines = [text, *result.warnings, result.error]
        self._showIdle("\n".join(line for line in lines if line), failed=bool(result.error))

    def _showBusy(self) -> None:
        self.ui.inputsCollapsibleButton.enabled = False
        self.ui.advancedCollapsibleButton.enabled = False
        # Not until the process runs: a second click now would start a second run.
        self.ui.applyButton.enabled = False
        self.ui.applyButton.text = _("Cancel")
        self.ui.applyButton.toolTip = _("Stop; the scene stays as it was")
        self.ui.progressBar.maximum = 0
        self.ui.progressBar.visible = True
        self.ui.statusLabel.styleSheet = ""
        self.ui.statusLabel.text = _("Preparing …")
        self.ui.statusLabel.visible = True
        slicer.app.processEvents()

    def _showIdle(self, text: str, failed: bool = False) -> None:
        self.ui.inputsCollapsibleButton.enabled = True
        self.ui.advancedCollapsibleButton.enabled = True
        self.ui.applyButton.text = _("Apply")
        self.ui.progressBar.visible = False
        self.ui.statusLabel.styleSheet = "color: #c62828" if failed else ""
        self.ui.statusLabel.text = html.escape(text).replace("\n", "<br>")
        self.ui.statusLabel.visible = bool(text)
        self._update()


class SpineSegLogic(ScriptedLoadableModuleLogic):
    """Segments volumes in a separate process, with or without a panel.

    :param worker: mrml.Worker, with a process starter and a timer of its own in tests
    """

    def __init__(self, worker=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = mrml.Runner(worker)
        self.measurer = mrml.Measurer(worker)
        self.explainer = mrml.Explainer(worker)

    def getParameterNode(self) -> SpineSegParameterNode:
        return SpineSegParameterNode(super().getParameterNode())

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self._runner.busy

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelName: str,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
        *,
        modality: str | None = None,
        device: str = "auto",
        weightsFile: str = "",
        truthNode: vtkMRMLSegmentationNode | None = None,
        tableNode: vtkMRMLTableNode | None = None,
        waitForCompletion: bool = True,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = logging.info,
        onDone: Callable[[mrml.Result], None] = lambda *_: None,
    ) -> mrml.Result | None:
        """Segment a volume in a separate process; the scene changes only when all is done.

        :param volumeNode: CT volume or single-slice radiograph
        :param modelName: as ``python -m SpineSegLib models`` lists it
        :param segmentationNode: node to fill; a new one unless given
        :param modality: "CT", "XR" or "MR", where Slicer does not know it
        :param device: "auto", "cpu", "cuda" or "mps"
        :param weightsFile: safetensors file instead of the model's own
        :param truthNode: segmentation to compare the result with
        :param tableNode: table for the comparison; a new one unless given
        :param waitForCompletion: return when all is done; else at once, and ``onDone`` gets the result
        :return: the result (segmentationNode, tableNode, warnings, seconds) when waiting, else None
        :raises mrml.InputError: the input cannot be used, told in one line; nothing was started
        :raises RuntimeError: a run is in progress already, or (when waiting) the run failed
        """
        self._runner.start(
            volumeNode,
            modelName,
            segmentationNode,
            modality=modality,
            device=device,
            weightsFile=weightsFile,
            truthNode=truthNode,
            tableNode=tableNode,
            onProgress=onProgress,
            onLog=onLog,
            onDone=onDone,
        )
        return self._finished(self._runner) if waitForCompletion else None

    def evaluate(
        self,
        predictionNode: vtkMRMLSegmentationNode,
        truthNode: vtkMRMLSegmentationNode,
        tableNode: vtkMRMLTableNode | None = None,
        errors: bool = False,
    ) -> mrml.Measured:
        """Measure a segmentation against another one in a separate process, and wait.

        :param tableNode: table to fill; a new one unless given
        :param errors: also show where it errs, and how far from the true boundary
        :return: tableNode, chartNode, errorNode, mapNode, warnings, seconds
        :raises mrml.InputError: the two cannot be compared
        :raises RuntimeError: a run is in progress already, or it failed
        """
        self.measurer.measure_pair(predictionNode, truthNode, tableNode=tableNode, errors=errors)
        return self._finished(self.measurer)

    def evaluateFolders(self, predictions: str, truths: str, pairs: str = "", tableNode=None) -> mrml.Measured:
        """Measure a folder of cases against another one, as ``python -m SpineSegLib evaluate`` does, and wait.

        :param pairs: CSV table of pairs, where names differ
        :return: tableNode, chartNode, cases, failed, error; a case that fails has a row that says why
        :raises mrml.InputError: a folder is missing
        :raises RuntimeError: a run is in progress already, or no case could be measured
        """
        self.measurer.measure_folders(predictions, truths, pairs=pairs, tableNode=tableNode)
        return self._finished(self.measurer)

    def _finished(self, job):
        """Wait for the end of a run; Slicer goes on drawing and answering."""
        while job.busy:
            slicer.app.processEvents()
            time.sleep(0.02)
        if job.result.state == mrml.FAILED:
            raise RuntimeError(job.result.error)
        return job.result

    def cancel(self) -> None:
        """Stop the run; ``onDone`` follows when the process has ended, and the scene stays as it was."""
        self._runner.cancel()

    def abort(self) -> bool:
        """Stop every run at once and forget it; return whether one of a model was among them."""
        self.measurer.abort()
        self.explainer.abort()
        return self._runner.abort()


class SpineSegTest(SelfTestData, ScriptedLoadableModuleTest):
    """Runs in Slicer ('Reload and Test') and in the headless host; no download, all data from arrays."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        for name in ("ObliqueVolume", "Process", "Truth", "Evaluate", "Cancel", "BadInput", "RealModel"):
            self.setUp()
            self.delayDisplay(f"Test: {name}")
            getattr(self, f"test_{name}")()
        self.delayDisplay("All tests passed")

    def logicWith(self, start: Callable) -> SpineSegLogic:
        """Return a logic whose worker process is a function of the test."""
        return SpineSegLogic(mrml.Worker(start=start, end=lambda pid: None))

    def test_ObliqueVolume(self) -> None:
        """A segmentation goes out of the scene and in again without a voxel moving."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        segmentation = mrml.segmentation_from_node(truthNode, volumeNode)
        shown = mrml.show_segmentation(segmentation, volumeNode, name="Copy")
        (before,), (after,) = self.masks(truthNode, volumeNode), self.masks(shown, volumeNode)
        self.assertGreater(before.sum(), 0)
        self.assertTrue((before == after).all())
        self.assertEqual(shown.GetTransformNodeID(), volumeNode.GetTransformNodeID())

    def test_Process(self) -> None:
        """What the worker writes appears on the volume; the same node is filled by the next run."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        folder = Path(slicer.util.tempDirectory())
        slicer.util.saveNode(truthNode, str(folder / "made.seg.nrrd"))
        lines = []

        def start(arguments, variables, onLine, onDone):
            self.assertIn("segment", arguments)
            self.assertEqual(arguments[arguments.index("--modality") + 1], "CT")
            shutil.copy(folder / "made.seg.nrrd", arguments[arguments.index("--output") + 1])
            onLine('{"step": 1, "of": 2, "what": "testing"}')
            onLine('{"warnings": ["a warning"]}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        logic = self.logicWith(start)
        before = self.leftovers()
        result = logic.process(volumeNode, "any-model", onProgress=lambda *progress: lines.append(progress))
        self.assertEqual(lines, [(1, 2, "testing")])
        self.assertEqual(result.warnings, ("a warning",))
        self.assertTrue(
            (self.masks(result.segmentationNode, volumeNode)[0] == self.masks(truthNode, volumeNode)[0]).all()
        )
        again = logic.process(volumeNode, "any-model", result.segmentationNode)
        self.assertIs(again.segmentationNode, result.segmentationNode)
        self.assertEqual(self.leftovers(), before)
        shutil.rmtree(folder)

    def test_Truth(self) -> None:
        """A chosen ground truth is sent along, and the numbers that come back appear in a table."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        folder = Path(slicer.util.tempDirectory())
        slicer.util.saveNode(truthNode, str(folder / "made.seg.nrrd"))

        def start(arguments, variables, onLine, onDone):
            if "segment" in arguments:
                shutil.copy(folder / "made.seg.nrrd", arguments[arguments.index("--output") + 1])
            else:
                self.assertTrue(Path(arguments[arguments.index("evaluate") + 2]).is_file())
                onLine('{"overall": {"dice": 0.875}, "structures": {"spine": {"dice": 0.5}}}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        result = self.logicWith(start).process(volumeNode, "any-model", truthNode=truthNode)
        table = result.tableNode.GetTable()
        self.assertEqual([table.GetValueByName(row, "dice").ToDouble() for row in range(2)], [0.875, 0.5])
        shutil.rmtree(folder)

    def test_Evaluate(self) -> None:
        """Two segmentations go to the worker, and its numbers come back as a table with a chart."""
        volumeNode = self.makeVolume()
        truthNode, predictionNode = self.makeSegmentation(volumeNode), self.makeSegmentation(volumeNode, threshold=0)

        def start(arguments, variables, onLine, onDone):
            self.assertTrue(all(Path(name).is_file() for name in arguments[4:6]))
            onLine('{"overall": {"dice": 0.875}, "structures": {"spine": {"dice": 0.5}}, "warnings": ["a warning"]}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        result = self.logicWith(start).evaluate(predictionNode, truthNode)
        table = result.tableNode.GetTable()
        self.assertEqual([table.GetValueByName(row, "dice").ToDouble() for row in range(2)], [0.875, 0.5])
        self.assertEqual(result.warnings, ("a warning",))
        self.assertEqual(mrml.chart_of(result.tableNode).GetID(), result.chartNode.GetID())

    def test_Cancel(self) -> None:
        """A run that is cancelled half-way leaves scene and disk as they were."""
        volumeNode = self.makeVolume()
        outputNode = self.makeSegmentation(volumeNode)
        (mask,), before, files = self.masks(outputNode, volumeNode), self.nodeIds(), self.leftovers()
        ended = []

        def start(arguments, variables, onLine, onDone):
            cancelFile = Path(arguments[arguments.index("--cancel-file") + 1])

            def work(step=0):
                if cancelFile.exists():
                    onDone(3)
                    return
                onLine(f'{{"step": {step}, "of": 100, "what": "working"}}')
                qt.QTimer.singleShot(10, lambda: work(step + 1))

            qt.QTimer.singleShot(0, work)

        logic = self.logicWith(start)
        logic.process(
            volumeNode,
            "any-model",
            outputNode,
            waitForCompletion=False,
            onProgress=lambda step, of, what: logic.cancel() if step == 3 else None,
            onDone=ended.append,
        )
        self.assertRaises(RuntimeError, logic.process, volumeNode, "any-model")
        end = time.monotonic() + 30
        while logic.busy and time.monotonic() < end:
            slicer.app.processEvents()
        self.assertEqual([result.state for result in ended], [mrml.CANCELLED])
        self.assertEqual((self.nodeIds(), self.leftovers()), (before, files))
        self.assertTrue((self.masks(outputNode, volumeNode)[0] == mask).all())

    def test_BadInput(self) -> None:
        """Input that cannot be used is told in one line that names the volume; nothing is started."""
        volumeNode = self.makeVolume()
        slicer.util.arrayFromVolume(volumeNode)[:] = 7
        slicer.util.arrayFromVolumeModified(volumeNode)
        before, files = self.nodeIds(), self.leftovers()
        with self.assertRaises(mrml.InputError) as caught:
            self.logicWith(lambda *_: self.fail("a process was started")).process(volumeNode, "any-model")
        self.assertTrue(str(caught.exception).startswith("Test CT: "))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual((self.nodeIds(), self.leftovers()), (before, files))

    def test_RealModel(self) -> None:
        """The real worker process segments a volume with a model that has weights, where there are model and torch."""
        volumeNode = self.makeVolume()
        names = [choice.name for choice in mrml.models_for(volumeNode) if choice.weights != "absent"]
        if not names or importlib.util.find_spec("torch") is None:
            self.delayDisplay("Skipped: no model with weights, or no PyTorch")
            return
        steps = []
        result = SpineSegLogic().process(
            volumeNode, names[0], device="cpu", onProgress=lambda *line: steps.append(line)
        )
        self.assertGreater(len(steps), 1)
        self.assertEqual(result.segmentationNode.GetTransformNodeID(), volumeNode.GetTransformNodeID())
        for mask in self.masks(result.segmentationNode, volumeNode):
            self.assertEqual(mask.shape, slicer.util.arrayFromVolume(volumeNode).shape)
