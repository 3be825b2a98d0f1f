"""The panel's section 'Correct': levels, merge, split, add from a click, remove, Segment Editor, accept; and undo."""

import html
import logging
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.section import Section
from SpineSegPanel.status import style_of


class RefineSection(Section):
    """The section's behaviour. A model that is shown a vertebra, and measuring, run in the worker process."""

    NAME = "Refine"

    @classmethod
    def title(cls) -> str:
        return _("Correct")

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        self.refiner = mrml.Refiner(logic.worker)
        self._running = None
        self._tips, self._result = {}, None
        self._listed, self._vertebrae, self._choices, self._choicesFor = (), [], [], ()
        ui = self.ui
        ui.levelComboBox.addItems(mrml.LEVELS)
        # Text, and what a click starts in the worker; the one that runs says Cancel.
        self._runs = {
            ui.splitButton: (_("Spl&it"), self._splitAtPoints),
            ui.addButton: (_("A&dd"), self._add),
            ui.acceptButton: (_("A&ccept"), self._accept),
        }
        for button in (ui.addButton, ui.acceptButton):
            button.connect("clicked(bool)", lambda checked, button=button: self._clicked(button))
        ui.splitButton.connect("clicked(bool)", self.onSplit)
        self._steps = {
            ui.relabelButton: self._relabel,
            ui.mergeButton: lambda node, which: self.refiner.merge(node, which),
            ui.removeButton: lambda node, which: self.refiner.remove(node, which),
        }
        for button, step in self._steps.items():
            button.connect("clicked(bool)", lambda checked, step=step: self._correct(step))
        ui.undoButton.connect("clicked(bool)", lambda checked: self._correct(lambda node, which: self._undone(node)))
        ui.redoButton.connect("clicked(bool)", lambda checked: self._correct(lambda node, which: self._redone(node)))
        ui.editorButton.connect("clicked(bool)", self.onEditor)
        ui.drawLineButton.connect("clicked(bool)", self.onDrawLine)
        ui.placeSeedsButton.connect("clicked(bool)", self.onPlaceSeeds)
        ui.placePointButton.connect("clicked(bool)", self.onPlacePoint)
        ui.vertebraComboBox.connect("currentIndexChanged(int)", self.onVertebraChanged)
        ui.pointModelComboBox.connect("currentIndexChanged(int)", self.onModelChanged)
        parent.connect("contentsCollapsed(bool)", self.onCollapsed)
        self._showIdle("")

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self.refiner.busy

    def setParameterNode(self, parameterNode) -> None:
        """Follow a parameter node, or none."""
        # Nothing is listed yet, not even that there is nothing.
        self._listed, self._choicesFor = (), ()
        kept = parameterNode is not None and parameterNode.refinedSegmentation is not None
        self._result = parameterNode.outputSegmentation if kept else None
        super().setParameterNode(parameterNode)

    def close(self) -> None:
        """Stop and forget a run and what could be undone: the scene is closed."""
        stopped = self.refiner.abort()
        self.refiner.forget()
        self._showIdle(_("Cancelled: the scene was closed.") if stopped else "")

    def onCollapsed(self, collapsed: bool) -> None:
        """Look anew when the section is opened: somebody may have painted meanwhile."""
        self._showParts()
        if not collapsed:
            self.update()

    def update(self) -> None:
        """Make the section fit the choices; the vertebrae are looked for only where it is open and they changed."""
        if self.parameterNode is None or self.busy or self.parent.collapsed:
            return
        parameters = self.parameterNode
        if parameters.outputSegmentation is not self._result:
            self._result = parameters.outputSegmentation
            if self._result is not None:
                parameters.refinedSegmentation = self._result  # which brings us here again
                return
        node = parameters.refinedSegmentation
        wanted = (node.GetID(), mrml.stamp(node)) if node else None
        if wanted != self._listed:
            self._listed = wanted
            self._listVertebrae(node)
        self._offerModels()
        self._enable(node)

    def _listVertebrae(self, node) -> None:
        kept = self.ui.vertebraComboBox.currentIndex
        try:
            self._vertebrae = self.refiner.vertebrae(node)
        except mrml.InputError as error:
            self._vertebrae = []
            self._say(str(error), failed=True)
        blocked = self.ui.vertebraComboBox.blockSignals(True)
        self.ui.vertebraComboBox.clear()
        for vertebra in self._vertebrae:
            self.ui.vertebraComboBox.addItem(vertebra.name)
        self.ui.vertebraComboBox.currentIndex = min(max(kept, 0), len(self._vertebrae) - 1)
        self.ui.vertebraComboBox.blockSignals(blocked)
        self.onVertebraChanged(self.ui.vertebraComboBox.currentIndex)

    def _offerModels(self) -> None:
        parameters = self.parameterNode
        volumeNode, modality = parameters.inputVolume, parameters.modality
        wanted = (volumeNode.GetID() if volumeNode else None, modality)
        if wanted == self._choicesFor:
            return
        self._choicesFor = wanted
        try:
            self._choices = mrml.models_for_a_click(volumeNode, modality=modality.value or None)
        except mrml.InputError:
            self._choices = []  # the part above says why
        blocked = self.ui.pointModelComboBox.blockSignals(True)
        self.ui.pointModelComboBox.clear()
        for choice in self._choices:
            absent = choice.weights == "absent"
            self.ui.pointModelComboBox.addItem(
                _("(no weights) {title}").format(title=choice.title) if absent else choice.title
            )
        names = [choice.name for choice in self._choices]
        known = parameters.pointModel in names
        self.ui.pointModelComboBox.currentIndex = (
            names.index(parameters.pointModel) if known else min(0, len(names) - 1)
        )
        self.ui.pointModelComboBox.blockSignals(blocked)
        self.onModelChanged(self.ui.pointModelComboBox.currentIndex)

    def _enable(self, node) -> None:
        """Let be clicked what can be done, and say of the rest why it cannot."""
        ui, at = self.ui, self.ui.vertebraComboBox.currentIndex
        none = "" if node else _("Choose a segmentation")
        nothing = none or ("" if self._vertebrae else _("It has no vertebrae that are told apart"))
        last = _("It is the lowest") if at == len(self._vertebrae) - 1 else ""
        line = "" if self.parameterNode.splitMarkups else _("Draw a line, or place a point in each part")
        for button, reason in (
            (ui.relabelButton, nothing),
            (ui.mergeButton, nothing or last),
            (ui.splitButton, nothing or line),
            (ui.removeButton, nothing),
            (ui.addButton, none or self._whyNotAdd()),
            (ui.undoButton, none or ("" if self.refiner.canUndo(node) else _("Nothing was corrected"))),
            (ui.redoButton, none or ("" if self.refiner.canRedo(node) else _("Nothing was undone"))),
            (ui.editorButton, none),
            (ui.acceptButton, none),
        ):
            if button not in self._tips:
                self._tips[button] = button.toolTip
            button.enabled = not reason
            button.toolTip = reason or self._tips[button]

    def _whyNotAdd(self) -> str:
        parameters, choice = self.parameterNode, self._choice()
        if parameters.inputVolume is None:
            return _("Choose a volume above")
        if choice is None:
            return _("No model that takes a point fits the volume chosen above")
        if choice.weights == "absent" and not self._weightsFile():
            return _("This model has no weights here: install them under Weights")
        return "" if parameters.addPoint else _("Click in the vertebra that was missed, or choose a point")

    def _choice(self):
        return next((choice for choice in self._choices if choice.name == self.parameterNode.pointModel), None)

    def _weightsFile(self) -> str:
        """Return the file chosen under Advanced, which belongs to the model chosen above."""
        parameters = self.parameterNode
        return parameters.weightsFile if parameters.pointModel == parameters.modelName else ""

    def onVertebraChanged(self, index: int) -> None:
        """Show what the chosen vertebra is called now."""
        level = self._vertebrae[index].level if 0 <= index < len(self._vertebrae) else None
        if level:
            self.ui.levelComboBox.currentIndex = mrml.LEVELS.index(level)
        if self.parameterNode and not self.busy:
            self._enable(self.parameterNode.refinedSegmentation)

    def onModelChanged(self, index: int) -> None:
        if self.parameterNode and 0 <= index < len(self._choices):
            self.parameterNode.pointModel = self._choices[index].name

    def _correct(self, step: Callable) -> None:
        """Do one correction, and show what there is now."""
        node = self.parameterNode.refinedSegmentation
        try:
            notes = step(node, self._which())
            self._showIdle("\n".join(notes))
        except Exception as error:
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the correction failed")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def _which(self) -> str:
        """Return the chosen vertebra as the library names it: by its number from the top."""
        return f"#{self.ui.vertebraComboBox.currentIndex + 1}"

    def _relabel(self, node, which: str) -> tuple[str, ...]:
        return self.refiner.relabel(node, which, mrml.LEVELS[self.ui.levelComboBox.currentIndex])

    def _undone(self, node) -> tuple[str, ...]:
        self.refiner.undo(node)
        return ()

    def _redone(self, node) -> tuple[str, ...]:
        self.refiner.redo(node)
        return ()

    def onEditor(self, checked: bool) -> None:
        """Open the Segment Editor with this segmentation and the volume."""
        try:
            self.refiner.openInEditor(self.parameterNode.refinedSegmentation, self.parameterNode.inputVolume)
        except (mrml.InputError, RuntimeError) as error:
            self._showIdle(str(error), failed=True)

    def onDrawLine(self, checked: bool) -> None:
        """Let the user click the two ends of a new line."""
        self.parameterNode.splitMarkups = self._place("vtkMRMLMarkupsLineNode", _("Split"))

    def onPlaceSeeds(self, checked: bool) -> None:
        """Let the user click once in each part."""
        self.parameterNode.splitMarkups = self._place("vtkMRMLMarkupsFiducialNode", _("Part"), many=True)

    def onSplit(self, checked: bool) -> None:
        """Cut at a line at once; points go to the worker, which finds what lies around each."""
        markupsNode = self.parameterNode.splitMarkups if self.parameterNode else None
        if not self.busy and markupsNode is not None and markupsNode.IsA("vtkMRMLMarkupsLineNode"):
            self._correct(lambda node, which: self.refiner.split(node, which, markupsNode))
        else:
            self._clicked(self.ui.splitButton)

    def onPlacePoint(self, checked: bool) -> None:
        """Let the user click in the vertebra that was missed."""
        self.parameterNode.addPoint = self._place("vtkMRMLMarkupsFiducialNode", _("Missed"))

    def _place(self, kind: str, name: str, many: bool = False):
        node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(many)
        return node

    def _clicked(self, button) -> None:
        """Start a run, or cancel the one that runs."""
        if self.busy:
            button.enabled = False
            self._say(_("Stopping …"))
            self.refiner.cancel()
            return
        self._showBusy(button)
        try:
            self._runs[button][1]()
            button.enabled = True
            button.setFocus()
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the run could not be started")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def _splitAtPoints(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"), torch=False)
        parameters = self.parameterNode
        reports = {"onProgress": self.onProgress, "onLog": self.log, "onDone": self.onDone}
        self.refiner.splitAtPoints(parameters.refinedSegmentation, self._which(), parameters.splitMarkups, **reports)

    def _add(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"))
        parameters = self.parameterNode
        self.refiner.add(
            parameters.refinedSegmentation,
            parameters.inputVolume,
            parameters.addPoint,
            parameters.pointModel,
            modality=parameters.modality.value or None,
            device=parameters.device.value,
            weightsFile=self._weightsFile(),
            onProgress=self.onProgress,
            onLog=self.log,
            onDone=self.onDone,
        )

    def _accept(self) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"), torch=False)
        parameters = self.parameterNode
        # The result's own table is renewed; another segmentation gets one of its own.
        own = parameters.refinedSegmentation is parameters.outputSegmentation
        truth = parameters.truthSegmentation if own else None
        self.refiner.accept(
            parameters.refinedSegmentation,
            truthNode=None if truth is parameters.refinedSegmentation else truth,
            tableNode=parameters.metricsTable if own else None,
            onProgress=self.onProgress,
            onLog=self.log,
            onDone=self.onDone,
        )

    def onProgress(self, step: int, of: int, what: str) -> None:
        self.ui.refineProgressBar.maximum = max(of, 1)
        self.ui.refineProgressBar.value = step
        self._say(what[:1].upper() + what[1:])

    def onDone(self, result) -> None:
        """Show how a run ended."""
        if result.state == mrml.CANCELLED:
            self._showIdle(_("Cancelled. Nothing was changed."))
            return
        parameters = self.parameterNode or self.logic.getParameterNode()
        if result.tableNode and result.segmentationNode is parameters.outputSegmentation:
            parameters.metricsTable = result.tableNode
        text = _("Accepted, and measured anew.") if result.tableNode else ""
        lines = [text, *result.notes, result.error]
        self._showIdle("\n".join(line for line in lines if line), failed=bool(result.error))

    def _showBusy(self, running) -> None:
        self._running = running
        for button in (*self._runs, *self._steps, self.ui.undoButton, self.ui.redoButton, self.ui.editorButton):
            button.enabled = False
        self.ui.refinedSegmentationSelector.enabled = False
        running.text = _("Cancel")
        running.toolTip = _("Stop; the scene stays as it was")
        self.ui.refineProgressBar.maximum = 0
        self._say(_("Preparing …"))
        slicer.app.processEvents()

    def _showIdle(self, text: str, failed: bool = False) -> None:
        self._running = None
        for button, (label, _start) in self._runs.items():
            button.text = label
        self.ui.refinedSegmentationSelector.enabled = True
        self._say(text, failed)
        self.update()

    def _say(self, text: str, failed: bool = False) -> None:
        self.ui.refineStatusLabel.styleSheet = style_of(self.ui.refineStatusLabel, failed)
        self.ui.refineStatusLabel.text = html.escape(text).replace("\n", "<br>")
        self._showParts()

    def _showParts(self) -> None:
        self.ui.refineProgressBar.visible = self._running is not None
        self.ui.refineStatusLabel.visible = bool(self.ui.refineStatusLabel.text)
