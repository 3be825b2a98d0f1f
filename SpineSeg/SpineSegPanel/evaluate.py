"""The panel's section 'Evaluate': measures, shows errors and a model's reasons; a separate process computes."""

from collections.abc import Callable

from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.cells import show_numbers
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.runs import RunSection

PATHS = {
    "predictionsFolder": "predictionsPathLineEdit",
    "truthsFolder": "truthsPathLineEdit",
    "pairsFile": "pairsPathLineEdit",
}
"""Parameter -> widget; a ctkPathLineEdit is bound to paths only, and an empty path would show as '.'."""


class EvaluateSection(RunSection):
    """The section's behaviour; the logic's measurer and explainer are used."""

    NAME = "Evaluate"
    FIELDS = (
        *PATHS.values(),
        "evaluatedSegmentationSelector",
        "evaluatedTruthSelector",
        "showErrorsCheckBox",
        "explanationComboBox",
        "mapVolumeSelector",
    )

    @classmethod
    def title(cls) -> str:
        return _("Evaluate")

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        ui = self.ui
        buttons = {
            ui.measureButton: (_("Meas&ure"), self._measure),
            ui.measureFoldersButton: (_("Measure fo&lders"), self._measureFolders),
            ui.explainButton: (_("Explai&n"), self._explain),
        }
        self.setButtons(buttons)
        ui.overlayButton.connect("clicked(bool)", self.onOverlay)
        ui.plotButton.connect("clicked(bool)", self.onPlot)
        for parameter, widget in PATHS.items():
            getattr(ui, widget).connect(
                "currentPathChanged(QString)", lambda path, parameter=parameter: self._pathChanged(parameter, path)
            )
        parent.connect("contentsCollapsed(bool)", lambda collapsed: self._showParts())
        self._cells = show_numbers(ui.evaluateTableView)
        self._showTable(None)
        self._showIdle("")

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self.logic.measurer.busy or self.logic.explainer.busy

    def setParameterNode(self, parameterNode) -> None:
        """Follow a parameter node, or none."""
        self.parameterNode = None
        if parameterNode:
            for parameter, widget in PATHS.items():
                getattr(self.ui, widget).currentPath = getattr(parameterNode, parameter)
        super().setParameterNode(parameterNode)

    def close(self) -> None:
        """Stop and forget a run: the scene is closed."""
        stopped = [job.abort() for job in (self.logic.measurer, self.logic.explainer)]
        self._showTable(None)
        self._showIdle(_("Cancelled: the scene was closed.") if any(stopped) else "")

    def update(self) -> None:
        """Make the buttons fit the choices; cheap, for it runs at every change."""
        if self.parameterNode is None or self.busy:
            return
        for button, reason, tip in (
            (self.ui.measureButton, self._whyNoPair(), _("Compare the two in a separate process")),
            (self.ui.measureFoldersButton, self._whyNoFolders(), _("Compare all cases in a separate process")),
            (self.ui.explainButton, self._whyNoModel(), _("Run the model chosen above on the volume chosen above")),
            (self.ui.overlayButton, self._whyNoMap(), _("Colour the map, and lay it over the volume chosen above")),
        ):
            button.enabled = not reason
            button.toolTip = reason or tip

    def _whyNoPair(self) -> str:
        prediction, truth = self.parameterNode.evaluatedSegmentation, self.parameterNode.evaluatedTruth
        if prediction is None or truth is None:
            return _("Choose a prediction and a truth")
        return _("Prediction and truth are the same") if prediction is truth else ""

    def _whyNoFolders(self) -> str:
        both = self.parameterNode.predictionsFolder and self.parameterNode.truthsFolder
        return "" if both else _("Choose the folders of the predictions and of the truths")

    def _whyNoModel(self) -> str:
        both = self.parameterNode.inputVolume and self.parameterNode.modelName
        return "" if both else _("Choose a volume and a model above")

    def _whyNoMap(self) -> str:
        return "" if self.parameterNode.mapVolume else _("Choose a volume that holds a map")

    def _pathChanged(self, parameter: str, path: str) -> None:
        if self.parameterNode:
            setattr(self.parameterNode, parameter, path)

    def begin(self, button) -> None:
        """Start what the button is for."""
        self.ui.overlayButton.enabled = False
        self._showBusy(button, _("Stop; the scene stays as it was"))
        self._buttons[button][1]()
        button.enabled = True
        button.setFocus()

    def cancel(self) -> None:
        """Ask the run to stop."""
        self.logic.measurer.cancel()
        self.logic.explainer.cancel()

    def _callbacks(self, onDone: Callable) -> dict[str, Callable]:
        return {"onProgress": self.onProgress, "onLog": self.log, "onDone": onDone}

    def _measure(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"), torch=False)
        parameters = self.parameterNode
        self.logic.measurer.measure_pair(
            parameters.evaluatedSegmentation,
            parameters.evaluatedTruth,
            tableNode=parameters.evaluationTable,
            errors=parameters.showErrors,
            **self._callbacks(self.onMeasured),
        )

    def _measureFolders(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"), torch=False)
        parameters = self.parameterNode
        self.logic.measurer.measure_folders(
            parameters.predictionsFolder,
            parameters.truthsFolder,
            pairs=parameters.pairsFile,
            tableNode=parameters.casesTable,
            **self._callbacks(self.onMeasured),
        )

    def _explain(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"))
        parameters = self.parameterNode
        self.logic.explainer.explain(
            parameters.inputVolume,
            parameters.modelName,
            parameters.explanation.value,
            modality=parameters.modality.value or None,
            weightsFile=parameters.weightsFile,
            **self._callbacks(self.onExplained),
        )

    def onOverlay(self, checked: bool) -> None:
        """Show a map of the scene over the volume."""
        try:
            mrml.show_volume_as_map(self.parameterNode.mapVolume, self.parameterNode.inputVolume)
            self._showIdle("")
        except mrml.InputError as error:
            self._showIdle(str(error), failed=True)

    def onPlot(self, checked: bool) -> None:
        """Show the chart of the table that is shown."""
        chartNode = mrml.chart_of(self.ui.evaluateTableView.mrmlTableNode())
        if chartNode:
            mrml.show_chart(chartNode)

    def onMeasured(self, result: mrml.Measured) -> None:
        """Show how a measurement ended."""
        if result.tableNode is None:
            self._ended(result)
            return
        parameters = self.parameterNode or self.logic.getParameterNode()
        many = bool(result.cases or result.failed)
        # A new node becomes the chosen one, so that the next run replaces it.
        if many:
            parameters.casesTable = result.tableNode
            text = _("{cases} cases measured, {failed} failed.").format(cases=result.cases, failed=result.failed)
        else:
            parameters.evaluationTable = result.tableNode
            dice = result.tableNode.GetTable().GetValueByName(0, "dice").ToDouble()
            text = _("Overall Dice {dice:.4f}.").format(dice=dice)
        self._showTable(result.tableNode)
        self._ended(result, text, *result.warnings)

    def onExplained(self, result: mrml.Explained) -> None:
        """Show how an explanation ended."""
        self._ended(result, *result.notes)

    def _ended(self, result, *lines: str) -> None:
        if result.state == mrml.CANCELLED:
            self._showIdle(_("Cancelled. Nothing was changed."))
        else:
            self._showIdle("\n".join([*lines, *([result.error] if result.error else [])]), failed=bool(result.error))

    def _showTable(self, tableNode) -> None:
        self.ui.evaluateTableView.setMRMLTableNode(tableNode)
        self.ui.evaluateTableView.resizeColumnsToContents()

    def _showParts(self) -> None:
        super()._showParts()
        tableNode = self.ui.evaluateTableView.mrmlTableNode()
        self.ui.evaluateTableView.visible = tableNode is not None
        self.ui.plotButton.visible = mrml.chart_of(tableNode) is not None
