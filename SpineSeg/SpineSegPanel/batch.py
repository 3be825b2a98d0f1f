"""The panel's section 'Batch': many images one after the other, in a separate process; nothing of them is loaded."""

import html
import logging

import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.cells import show_numbers
from SpineSegPanel.choices import BatchSource, Split
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.section import Section
from SpineSegPanel.status import style_of

PATHS = {
    "batchFolder": "batchFolderPathLineEdit",
    "batchTable": "batchTablePathLineEdit",
    "batchOut": "batchOutPathLineEdit",
    "batchTruths": "batchTruthsPathLineEdit",
}
"""Parameter -> widget; a ctkPathLineEdit is bound to paths only, and an empty path would show as '.'."""

SUFFIXES = {"batchPictures": ".png", "batchReports": ".pdf", "batchDicom": ".dcm"}
"""Parameter -> what is written of each case beside the segmentation."""

FIELDS = (
    *PATHS.values(),
    *(f"{parameter}CheckBox" for parameter in SUFFIXES),
    "batchSourceComboBox",
    "batchModelComboBox",
    "selectionButton",
)
"""Widgets that are locked during a run."""


class BatchSection(Section):
    """The section's behaviour."""

    NAME = "Batch"

    @classmethod
    def title(cls) -> str:
        return _("Batch")

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        self.batcher = logic.batcher
        self._models, self._series = [], []
        ui = self.ui
        self._cells = show_numbers(ui.batchTableView)
        ui.batchButton.connect("clicked(bool)", self.onStart)
        ui.selectionButton.connect("clicked(bool)", self.onSelection)
        ui.batchModelComboBox.connect("currentIndexChanged(int)", self.onModelChanged)
        for parameter, widget in PATHS.items():
            getattr(ui, widget).connect(
                "currentPathChanged(QString)", lambda path, parameter=parameter: self._pathChanged(parameter, path)
            )
        parent.connect("contentsCollapsed(bool)", self.onCollapsed)
        self._showTable(None)
        self._showIdle("")

    @property
    def busy(self) -> bool:
        """True while a batch runs."""
        return self.batcher.busy

    def setParameterNode(self, parameterNode) -> None:
        """Follow a parameter node, or none."""
        self.parameterNode = None
        if parameterNode:
            for parameter, widget in PATHS.items():
                getattr(self.ui, widget).currentPath = getattr(parameterNode, parameter)
            self._showTable(parameterNode.batchResults)
        self.parameterNode = parameterNode
        self._offerModels()
        self.update()

    def close(self) -> None:
        """Stop and forget a run: the scene is closed. What is finished stays on the disk."""
        stopped = self.batcher.abort()
        self._showTable(None)
        self._showIdle(_("Cancelled: the scene was closed. Start again to go on.") if stopped else "")

    def onCollapsed(self, collapsed: bool) -> None:
        """Look anew when the section is opened: weights may have come meanwhile."""
        if not collapsed and not self.busy:
            self._offerModels()
            self.update()
        self._showParts()

    def _offerModels(self) -> None:
        """List the models that have weights, and keep the chosen one if it is among them."""
        if self.parameterNode is None:
            return
        try:
            self._models = mrml.batch_models()
        except mrml.InputError as error:
            self._models = []
            self._say(str(error), failed=True)
        names, chosen = [model.name for model in self._models], self.parameterNode.batchModel
        box = self.ui.batchModelComboBox
        blocked = box.blockSignals(True)
        box.clear()
        for model in self._models:
            box.addItem(model.title)
        box.currentIndex = names.index(chosen) if chosen in names else min(0, len(names) - 1)
        box.blockSignals(blocked)
        self.onModelChanged(box.currentIndex)

    def onModelChanged(self, index: int) -> None:
        if self.parameterNode and 0 <= index < len(self._models):
            self.parameterNode.batchModel = self._models[index].name

    def _pathChanged(self, parameter: str, path: str) -> None:
        if self.parameterNode:
            setattr(self.parameterNode, parameter, path)

    def onSelection(self, checked: bool) -> None:
        """Take what is selected in the DICOM module."""
        self._series = mrml.selected_series()
        self.update()

    def update(self) -> None:
        """Make the section fit the choices; cheap, for it runs at every change."""
        if self.parameterNode is None or self.busy:
            return
        count = len(self._series)
        self.ui.selectionLabel.text = _("{count} series taken").format(count=count) if count else _("Nothing taken")
        reason = self._whyNot()
        self.ui.batchButton.enabled = not reason
        self.ui.batchButton.toolTip = reason or _("Segment all in a separate process; finished cases are skipped")
        self._showParts()

    def _source(self):
        """Return the images of the batch, or nothing."""
        parameters = self.parameterNode
        return {
            BatchSource.FOLDER: parameters.batchFolder,
            BatchSource.TABLE: parameters.batchTable,
            BatchSource.DATABASE: self._series,
        }[parameters.batchSource]

    def _whyNot(self) -> str:
        """Say why the batch cannot start, or return nothing."""
        if not self._source():
            return {
                BatchSource.FOLDER: _("Choose the folder of the images"),
                BatchSource.TABLE: _("Choose the table of the cases"),
                BatchSource.DATABASE: _("Select studies in the DICOM module, then take the selection"),
            }[self.parameterNode.batchSource]
        if not self._models:
            return _("No model has weights here: install some under Weights")
        return "" if self.parameterNode.batchOut else _("Choose the folder of the results")

    def onStart(self, checked: bool = False) -> None:
        """Start a batch, or cancel the one that runs."""
        if self.busy:
            self.ui.batchButton.enabled = False
            self.ui.batchStatusLabel.text = _("Stopping …")
            self.batcher.cancel()
            return
        parameters = self.parameterNode
        self._showBusy()
        try:
            ensure_dependencies(self.resourcePath("requirements.txt"))
            self.batcher.start(
                self._source(),
                parameters.batchModel,
                parameters.batchOut,
                truths=parameters.batchTruths,
                options=self._options(),
                tableNode=parameters.batchResults,
                onProgress=self.onProgress,
                onLog=self.log,
                onDone=self.onDone,
            )
            self.ui.batchButton.enabled = True
            self.ui.batchButton.setFocus()
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the batch could not be started")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def _options(self) -> list[str]:
        """Return what is chosen under Advanced, as far as it applies to the model."""
        parameters = self.parameterNode
        model = next(model for model in self._models if model.name == parameters.batchModel)
        suffixes = [".seg.nrrd", *(suffix for name, suffix in SUFFIXES.items() if getattr(parameters, name))]
        options = [part for suffix in suffixes for part in ("--suffix", suffix)]
        options += ["--device", parameters.device.value, "--precision", parameters.precision.value]
        if parameters.modality.value:
            options += ["--modality", parameters.modality.value]
        split, level = parameters.vertebrae, parameters.topLevel.value
        if model.divisible and level and split is not Split.NO:
            split = Split.YES
        if model.divisible and split.value:
            options.append(split.value)
        if level and (model.counts or (model.divisible and split is Split.YES)):
            options += ["--top-level", level]
        return options

    def onProgress(self, step: int, of: int, what: str) -> None:
        self.ui.batchProgressBar.maximum = max(of, 1)
        self.ui.batchProgressBar.value = step
        self.ui.batchStatusLabel.text = html.escape(what[:1].upper() + what[1:])

    def onDone(self, result: mrml.Batched) -> None:
        """Show how a batch ended."""
        lines = []
        if result.tableNode:
            # A new node becomes the chosen one, so that the next run replaces it.
            (self.parameterNode or self.logic.getParameterNode()).batchResults = result.tableNode
            self._showTable(result.tableNode)
            text = _("Cases done: {done}, failed: {failed}, not reached: {waiting}.")
            lines.append(text.format(done=result.done, failed=result.failed, waiting=result.waiting))
        if result.state == mrml.CANCELLED:
            lines.append(_("Cancelled. What is finished is kept; start again to go on."))
        lines += [result.error] if result.error else []
        self._showIdle("\n".join(lines), failed=bool(result.error))

    def _showTable(self, tableNode) -> None:
        self.ui.batchTableView.setMRMLTableNode(tableNode)
        self.ui.batchTableView.resizeColumnsToContents()

    def _showBusy(self) -> None:
        for name in FIELDS:
            getattr(self.ui, name).enabled = False
        # Not until the process runs: a second click now would start a second run.
        self.ui.batchButton.enabled = False
        self.ui.batchButton.text = _("Cancel")
        self.ui.batchButton.toolTip = _("Stop; finished cases are kept")
        self.ui.batchProgressBar.maximum = 0
        self._say(_("Preparing …"))
        self.ui.batchProgressBar.visible = True
        slicer.app.processEvents()

    def _showIdle(self, text: str, failed: bool = False) -> None:
        for name in FIELDS:
            getattr(self.ui, name).enabled = True
        self.ui.batchButton.text = _("&Start")
        self._say(text, failed)
        self.update()

    def _say(self, text: str, failed: bool = False) -> None:
        self.ui.batchStatusLabel.styleSheet = style_of(self.ui.batchStatusLabel, failed)
        self.ui.batchStatusLabel.text = html.escape(text).replace("\n", "<br>")
        self._showParts()

    def _showParts(self) -> None:
        """Show what belongs to the source and the state; opening the section shows everything in it."""
        ui = self.ui
        source = self.parameterNode.batchSource if self.parameterNode else BatchSource.FOLDER
        for wanted, names in (
            (BatchSource.FOLDER, ("batchFolderLabel", "batchFolderPathLineEdit")),
            (BatchSource.TABLE, ("batchTableLabel", "batchTablePathLineEdit")),
            (BatchSource.DATABASE, ("selectionLabel", "selectionButton")),
        ):
            for name in names:
                getattr(ui, name).visible = source is wanted
        ui.batchProgressBar.visible = self.busy
        ui.batchStatusLabel.visible = bool(ui.batchStatusLabel.text)
        ui.batchTableView.visible = ui.batchTableView.mrmlTableNode() is not None
