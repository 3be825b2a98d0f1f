"""The tutorial's way through the panel, step by step, in the headless host: `Resources/Docs/tutorial.md` as a program.

The test drives it to see that every step works; `screenshots_tutorial.py` drives it and takes a picture at each step.
The clicks are those of a user: buttons of the real panel, with the real worker process and the bundled weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import host

ROOT = Path(__file__).resolve().parent.parent
CATEGORY, SAMPLE = "SpineSeg", "Neck radiograph, lateral"
MODEL = "yolo-unet-cervical-small"
STEPS = ("open_film", "choose", "apply", "correct", "accept", "evaluate", "export")
FILES = {
    "segmentationButton": "neck.seg.nrrd",
    "overlayButton": "neck.png",
    "csvButton": "neck.csv",
    "reportButton": "neck.pdf",
}
"""Button of the section 'Export' -> what the user calls the file."""
WAIT = 1800.0


class Tutorial:
    """A user who follows the tutorial.

    Parameters
    ----------
    folder : where the files go
    look : ``look(name)`` is called where the tutorial has a picture, and while something is worth one
    """

    def __init__(self, folder: Path, look: Callable[[str], None] = lambda name: None):
        self.folder, self.look = folder, look
        self.panel = host.open_widget(host.load_module(ROOT / "SpineSeg" / "SpineSeg.py"))
        self.ui = self.panel.ui
        self.clicked: list[str] = []
        """Texts of the buttons that were clicked, in order."""
        self.written: list[Path] = []
        self.film = self.truth = self.result = None

    def click(self, button, busy: Callable[[], bool] = lambda: False, running: str = "") -> None:
        """Click, take a picture of the run when it tells its progress if `running` names one, and wait for its end."""
        if not button.enabled:
            msg = f"'{button.text}' cannot be clicked: {button.toolTip}"
            raise RuntimeError(msg)
        self.clicked.append(button.text.replace("&", ""))
        button.click()
        if running:
            host.wait_until(lambda: self.ui.progressBar.value > 0 or not busy(), timeout=WAIT)
            self.look(running)
        host.wait_until(lambda: not busy(), timeout=WAIT)

    def section(self, name: str):
        """Open one section, or none, and fold all others."""
        for other, section in self.panel.sections.items():
            section.parent.collapsed = other != name
        return self.panel.sections.get(name)

    def open_film(self) -> None:
        """Module Sample Data, category SpineSeg: the neck."""
        import slicer

        slicer.app.startupCompleted.emit()  # Slicer has started: the module has registered its samples
        from SampleData import SampleDataLogic

        (source,) = [s for s in SampleDataLogic.sampleDataSourcesByCategory(CATEGORY) if s.sampleName == SAMPLE]
        source.customDownloader(source)
        if host.displayed and host.displayed[-1].kind == "error":
            raise RuntimeError(host.displayed[-1].text)
        self.film, self.truth = slicer.util.getNode(SAMPLE), slicer.util.getNode(f"{SAMPLE} truth")
        self.look("film")
        self.truth.SetDisplayVisibility(False)  # the eye in the module Data

    def choose(self) -> None:
        """Choose the volume and the model."""
        self.ui.inputVolumeSelector.setCurrentNode(self.film)
        host.process_events()
        self.choose_model(MODEL)
        self.look("choose")

    def choose_model(self, name: str) -> None:
        """Choose a model of the list."""
        self.ui.modelComboBox.currentIndex = [choice.name for choice in self.panel.segment.choices].index(name)
        host.process_events()

    def apply(self) -> None:
        """Segment, and read the table."""
        self.click(self.ui.applyButton, lambda: self.panel.logic.busy, running="running")
        self.result = self.ui.outputSegmentationSelector.currentNode()
        if self.result is None:
            raise RuntimeError(self.ui.statusLabel.text)
        self.look("result")

    def correct(self) -> None:
        """Say that the topmost vertebra is C3, see the rest follow, and take it back."""
        section = self.section("Refine")
        ui = section.ui
        ui.vertebraComboBox.currentIndex = 0
        ui.levelComboBox.currentIndex = ui.levelComboBox.findText("C3")
        self.click(ui.relabelButton, lambda: section.busy)
        self.look("correct")
        self.click(ui.undoButton, lambda: section.busy)

    def accept(self) -> None:
        """Mark the result as looked at."""
        section = self.section("Refine")
        self.click(section.ui.acceptButton, lambda: section.busy)
        self.look("accept")

    def evaluate(self) -> None:
        """Measure the result against the truth."""
        section = self.section("Evaluate")
        ui = section.ui
        ui.evaluatedSegmentationSelector.setCurrentNode(self.result)
        ui.evaluatedTruthSelector.setCurrentNode(self.truth)
        self.click(ui.measureButton, lambda: section.busy)
        self.click(ui.plotButton)
        self.look("evaluate")

    def export(self) -> None:
        """Write the files, the report last."""
        import qt

        section = self.section("Export")
        section.ui.caseLineEdit.text = "Neck 1"
        ask = qt.QFileDialog.getSaveFileName
        try:
            for name, file in FILES.items():
                path = self.folder / file
                qt.QFileDialog.getSaveFileName = staticmethod(lambda *_, path=path: str(path))
                self.click(getattr(section.ui, name), lambda: section.busy)
                self.written.append(path)
                if not path.is_file():
                    raise RuntimeError(section.ui.exportStatusLabel.text)
        finally:
            qt.QFileDialog.getSaveFileName = ask
        self.look("export")

    def run(self) -> None:
        """Go all steps."""
        for step in STEPS:
            getattr(self, step)()
