"""The panel's first part: a volume, the models that fit it, Apply or Cancel, the result, the log."""

import html
import logging
import time

import qt
import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.cells import show_numbers
from SpineSegPanel.choices import Split
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.keyboard import let_labels_reach
from SpineSegPanel.status import style_of, time_left


class SegmentPart:
    """The part's behaviour.

    :param ui: the panel's widgets
    :param logic: SpineSegLogic
    :param resourcePath: ``resourcePath(name)`` is the path of a file in the module's folder Resources
    """

    def __init__(self, ui, logic, resourcePath) -> None:
        self.ui, self.logic, self.resourcePath = ui, logic, resourcePath
        self.choices = []
        self._parameterNode = self._choicesFor = None
        self._started, self._byHand = 0.0, False
        ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChanged)
        ui.weightsPathLineEdit.connect("currentPathChanged(QString)", self.onWeightsChanged)
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.copyLogButton.connect("clicked(bool)", self.onCopyLog)
        ui.metricsCollapsibleButton.visible = False
        self._cells = show_numbers(ui.metricsTableView)
        let_labels_reach(ui)
        self._showIdle("")

    def setParameterNode(self, parameterNode) -> None:
        """Follow a parameter node, or none."""
        self._parameterNode = None
        self._choicesFor = None
        if parameterNode:
            self._byHand = bool(parameterNode.modelName)
            self.ui.weightsPathLineEdit.currentPath = parameterNode.weightsFile
            self._showTable(parameterNode.metricsTable)
        self._parameterNode = parameterNode
        self.update()

    def close(self) -> None:
        """Stop and forget a run: the scene is closed."""
        if self.logic.abort():
            self._showIdle(_("Cancelled: the scene was closed."))
        self._showTable(None)

    def offer(self) -> None:
        """Look anew at which models and weights there are."""
        self._choicesFor = None
        self.update()

    def onModelChanged(self, index: int) -> None:
        self._byHand = True
        self._setModel(index)

    def _setModel(self, index: int) -> None:
        if self._parameterNode and 0 <= index < len(self.choices):
            self._parameterNode.modelName = self.choices[index].name

    def onWeightsChanged(self, path: str) -> None:
        if self._parameterNode:
            self._parameterNode.weightsFile = path

    def update(self) -> None:
        """Make the panel fit the choices; cheap, for it runs at every change."""
        if self._parameterNode is None or self.logic.busy:
            return
        volumeNode, modality = self._parameterNode.inputVolume, self._parameterNode.modality
        wanted = (volumeNode.GetID() if volumeNode else None, modality)
        if wanted != self._choicesFor:
            if self._choicesFor and self._choicesFor[0] != wanted[0]:
                self._leaveResultAlone(volumeNode)
            self._choicesFor = wanted
            self._offerModels(volumeNode, modality.value or None)
        choice = self._choice()
        self.ui.modelLabel.text = choice.details if choice else ""
        self.ui.modelLabel.visible = choice is not None
        self.ui.vertebraeComboBox.enabled = choice is not None and choice.divisible
        self.ui.topLevelComboBox.enabled = self._namesLevels(choice)
        reason = self._whyNot(volumeNode, choice)
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Segment the volume in a separate process")

    def _leaveResultAlone(self, volumeNode) -> None:
        """Choose new nodes for the result when another volume is chosen: that of the last one stays as it is."""
        outputNode = self._parameterNode.outputSegmentation
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        if outputNode and outputNode.GetNodeReference(role) not in (None, volumeNode):
            self._parameterNode.outputSegmentation = self._parameterNode.metricsTable = None
            self._showTable(None)

    def _offerModels(self, volumeNode, modality: str | None) -> None:
        """Fill the list of models with those that fit, and keep the chosen one if it does."""
        try:
            self.choices = mrml.models_for(volumeNode, modality=modality)
            self.ui.volumeLabel.text = mrml.describe_volume(volumeNode, modality=modality) if volumeNode else ""
        except mrml.InputError as error:
            self.choices = []
            self.ui.volumeLabel.text = str(error)
        names = [choice.name for choice in self.choices]
        chosen = self._parameterNode.modelName
        blocked = self.ui.modelComboBox.blockSignals(True)
        self.ui.modelComboBox.clear()
        for choice in self.choices:
            absent = choice.weights == "absent"
            self.ui.modelComboBox.addItem(
                _("(no weights) {title}").format(title=choice.title) if absent else choice.title
            )
        keep = chosen in names and self._byHand
        self._byHand = keep
        self.ui.modelComboBox.currentIndex = names.index(chosen) if keep else min(0, len(names) - 1)
        self.ui.modelComboBox.blockSignals(blocked)
        self._setModel(self.ui.modelComboBox.currentIndex)

    def _choice(self):
        return next((choice for choice in self.choices if choice.name == self._parameterNode.modelName), None)

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
        self.ui.logPlainTextEdit.clear()
        self._showBusy()
        try:
            ensure_dependencies(self.resourcePath("requirements.txt"))
            self._start()
            # A run may be over already, and Apply has then been set as it must be.
            self.ui.applyButton.enabled = self.ui.applyButton.enabled or self.logic.busy
            self.ui.applyButton.setFocus()
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the run could not be started")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def _start(self) -> None:
        parameters = self._parameterNode
        self._started = time.monotonic()
        self.logic.process(
            parameters.inputVolume,
            parameters.modelName,
            parameters.outputSegmentation,
            modality=parameters.modality.value or None,
            device=parameters.device.value,
            precision=parameters.precision.value,
            threshold=parameters.threshold or None,
            **self._counting(),
            keepProbability=parameters.keepProbability,
            confidence=parameters.confidence,
            weightsFile=parameters.weightsFile,
            truthNode=parameters.truthSegmentation,
            tableNode=parameters.metricsTable,
            waitForCompletion=False,
            onProgress=self.onProgress,
            onLog=self.onLog,
            onDone=self.onDone,
        )

    def _counting(self) -> dict:
        """Return what is asked about vertebrae, as far as it applies to the model."""
        choice, split = self._choice(), self._parameterNode.vertebrae
        level = self._parameterNode.topLevel.value if self._namesLevels(choice) else ""
        vertebrae = {Split.YES: True, Split.NO: False}.get(split) if choice and choice.divisible else None
        if level and choice.divisible:
            vertebrae = True
        return {"topLevel": level or None, "vertebrae": vertebrae}

    def _namesLevels(self, choice) -> bool:
        """Tell whether the level of the topmost vertebra means anything to a model."""
        if choice is None:
            return False
        return choice.counts or (choice.divisible and self._parameterNode.vertebrae is not Split.NO)

    def onProgress(self, step: int, of: int, what: str) -> None:
        self.ui.progressBar.maximum = max(of, 1)
        self.ui.progressBar.value = step
        left = time_left(time.monotonic() - self._started, step, of)
        text = what[:1].upper() + what[1:]
        self.ui.statusLabel.text = html.escape(f"{text} ({left})" if left else text)

    def onLog(self, line: str) -> None:
        """Add a line to the log."""
        self.ui.logPlainTextEdit.appendPlainText(line)

    def onCopyLog(self, checked: bool) -> None:
        """Put the log onto the clipboard."""
        qt.QApplication.clipboard().setText(self.ui.logPlainTextEdit.plainText)

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
        parameters.metricsTable = result.tableNode
        self._showTable(result.tableNode)
        lines = [text, *result.warnings, result.error]
        self._showIdle("\n".join(line for line in lines if line), failed=bool(result.error))

    def _showTable(self, tableNode) -> None:
        self.ui.metricsTableView.setMRMLTableNode(tableNode)
        self.ui.metricsTableView.resizeColumnsToContents()
        self.ui.metricsCollapsibleButton.visible = tableNode is not None and tableNode.GetNumberOfRows() > 0

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
        self.ui.applyButton.text = _("&Apply")
        self.ui.progressBar.visible = False
        self.ui.statusLabel.styleSheet = style_of(self.ui.statusLabel, failed)
        self.ui.statusLabel.text = html.escape(text).replace("\n", "<br>")
        self.ui.statusLabel.visible = bool(text)
        self.update()
