"""The panel's section 'Export': files of a segmentation, each with a button; a separate process writes them."""

import html
import logging
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.section import Section
from SpineSegPanel.status import style_of


class ExportSection(Section):
    """The section's behaviour: the volume, the result and the truth chosen above become files."""

    NAME = "Export"

    @classmethod
    def title(cls) -> str:
        return _("Export")

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        ui, self.exporter, self._running, self._folder = self.ui, logic.exporter, None, ""
        # Text, end of the file's name, filter of the dialog, and what it is good for.
        self._buttons = {
            ui.segmentationButton: (
                _("&Segmentation"),
                ".seg.nrrd",
                _("Segmentation (*.seg.nrrd)"),
                _("Everything that Slicer knows of it: names, colours, codes, overlaps, confidence"),
            ),
            ui.dicomButton: (
                _("&DICOM SEG"),
                ".dcm",
                _("DICOM segmentation (*.dcm)"),
                _("For CT and MR from Slicer's DICOM database: refers to the series, for a PACS"),
            ),
            ui.labelsButton: (
                _("&Label picture"),
                ".labels.png",
                _("Label picture (*.labels.png)"),
                _("For a radiograph: the labels alone, pixel for pixel"),
            ),
            ui.overlayButton: (
                _("&Overlay picture"),
                ".png",
                _("Overlay picture (*.png)"),
                _("The labels on the image; of a volume its three fullest planes"),
            ),
            ui.csvButton: (_("&Table"), ".csv", _("Table (*.csv)"), _("Level, size and confidence of each structure")),
            ui.reportButton: (
                _("&Report"),
                ".pdf",
                _("Report (*.pdf *.html)"),
                _("One page with picture, table, model and weights; no patient's name is on it"),
            ),
        }
        for button in self._buttons:
            button.connect("clicked(bool)", lambda checked, button=button: self._clicked(button))
        parent.connect("contentsCollapsed(bool)", lambda collapsed: self._showParts())
        self._showIdle("")

    @property
    def busy(self) -> bool:
        """True while a file is written."""
        return self.exporter.busy

    def close(self) -> None:
        """Stop and forget a run: the scene is closed."""
        self._showIdle(_("Cancelled: the scene was closed.") if self.exporter.abort() else "")

    def update(self) -> None:
        """Make the buttons fit the choices; cheap, for it runs at every change."""
        if self.busy:
            return
        for button, (_text, _suffix, _filter, tip) in self._buttons.items():
            reason = self._whyNot(button)
            button.enabled = not reason
            button.toolTip = reason or tip

    def _whyNot(self, button) -> str:
        """Say why a button cannot be clicked, or return nothing."""
        parameters = self.parameterNode
        if parameters is None or parameters.inputVolume is None or parameters.outputSegmentation is None:
            return _("Choose a volume, and segment it, above")
        imageData = parameters.inputVolume.GetImageData()
        flat = imageData is not None and imageData.GetDimensions()[2] == 1
        if button is self.ui.labelsButton and not flat:
            return _("A volume has no label picture: export the segmentation")
        if button is self.ui.dicomButton and not parameters.inputVolume.GetAttribute("DICOM.instanceUIDs"):
            return _("The volume was not loaded from the DICOM database")
        if button is self.ui.dicomButton and mrml.modality_of(parameters.inputVolume)[0] == "XR":
            return _("DICOM segmentations are of CT and MR: export a radiograph's label picture")
        return ""

    def _clicked(self, button) -> None:
        """Ask for a file and write it, or cancel the one that is written."""
        if self.busy:
            button.enabled = False
            self._say(_("Stopping …"))
            self.exporter.cancel()
            return
        path = self._asked(button)
        if not path:
            return
        parameters = self.parameterNode
        self._showBusy(button)
        try:
            ensure_dependencies(self.resourcePath("requirements.txt"), torch=False)
            self.exporter.export(
                parameters.inputVolume,
                parameters.outputSegmentation,
                path,
                modality=parameters.modality.value or None,
                truthNode=parameters.truthSegmentation,
                case=self.ui.caseLineEdit.text.strip(),
                onProgress=self.onProgress,
                onLog=self.log,
                onDone=self.onDone,
            )
            button.enabled = True
            button.setFocus()
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the export could not be started")
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def _asked(self, button) -> str:
        """Return the file that the user names, with a suffix that fits, or nothing."""
        text, suffix, files, _tip = self._buttons[button]
        title = text.replace("&", "")
        # Not the volume's name: that of a DICOM series may tell who the patient is.
        first = str(Path(self._folder or qt.QDir.homePath(), f"spine{suffix}"))
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, first, files)
        if not path:
            return ""
        self._folder = str(Path(path).parent)
        fits = (suffix, ".html") if suffix == ".pdf" else (suffix,)
        if path.lower().endswith(fits):
            return path
        longer = f"{path}{suffix}"
        if Path(longer).exists():
            # The dialog has asked about another name only.
            question = _("{path} exists already. Replace it?").format(path=longer)
            return longer if slicer.util.confirmYesNoDisplay(question, windowTitle=title) else ""
        return longer

    def onProgress(self, step: int, of: int, what: str) -> None:
        self.ui.exportProgressBar.maximum = max(of, 1)
        self.ui.exportProgressBar.value = step
        self._say(what[:1].upper() + what[1:])

    def onDone(self, result: mrml.Exported) -> None:
        """Show how it ended."""
        if result.state == mrml.CANCELLED:
            self._showIdle(_("Cancelled. Nothing was written."))
        elif result.path is None:
            self._showIdle(result.error, failed=True)
        else:
            self._showIdle("\n".join([_("Wrote {path}").format(path=result.path), *result.warnings]))

    def _showBusy(self, running) -> None:
        self._running = running
        self.ui.caseLineEdit.enabled = False
        for button in self._buttons:
            button.enabled = False
        running.text = _("Cancel")
        running.toolTip = _("Stop; no file is changed")
        self.ui.exportProgressBar.maximum = 0
        self._say(_("Preparing …"))
        slicer.app.processEvents()

    def _showIdle(self, text: str, failed: bool = False) -> None:
        self._running = None
        self.ui.caseLineEdit.enabled = True
        for button, (label, *_rest) in self._buttons.items():
            button.text = label
        self._say(text, failed)
        self.update()

    def _say(self, text: str, failed: bool = False) -> None:
        self.ui.exportStatusLabel.styleSheet = style_of(self.ui.exportStatusLabel, failed)
        self.ui.exportStatusLabel.text = html.escape(text).replace("\n", "<br>")
        self._showParts()

    def _showParts(self) -> None:
        """Show what belongs to the state; opening the section shows everything in it."""
        self.ui.exportProgressBar.visible = self._running is not None
        self.ui.exportStatusLabel.visible = bool(self.ui.exportStatusLabel.text)
