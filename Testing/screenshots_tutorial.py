"""Write the pictures of the tutorial and of the panel's states: ``Resources/Screenshots/tutorial-*.png, states-*.png``.

    python3 Testing/run.py python Testing/screenshots_tutorial.py [--out FOLDER]

The headless host goes through the tutorial's steps with the real worker process and the bundled weights, and then
through what can go wrong. What the pictures show is what came out. They are small: few colours, nothing twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "Testing"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from small_pictures import (  # noqa: E402
    beside,
    dressed,
    few_colours,
    framed,
    picture_of,
    stacked,
    trimmed,
    without_torch,
)
from tutorial import MODEL, WAIT, Tutorial  # noqa: E402

import host  # noqa: E402

WIDTH, HEIGHT = 460, 1200
"""Of the panel in pixels; what is empty is cut off."""
LARGE, SMALL = 470, 400
"""Sides of the views in pixels; a film's noise is what makes the files large."""
ZOOM = 0.72
"""Part of the film that a view of the result shows, so that levels can be told apart."""
PLOT = (820, 440)
"""Drawn large and shown smaller, as in a window beside the views."""
PAGE_SCALE = 1.1
"""Pixels a point of the report's page."""


def main() -> int:
    """Go through the tutorial and the states, and write every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "Resources" / "Screenshots", metavar="FOLDER")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    host.start()
    with tempfile.TemporaryDirectory(prefix="SpineSeg-") as work:
        camera = Camera(options.out, Path(work))
        tutorial = camera.tutorial = Tutorial(Path(work), camera.look)
        camera.state("volume", tutorial.panel)
        tutorial.run()
        camera.page(tutorial.written[-1])
        make_states(tutorial, camera)
        camera.states()
    if host.slot_errors:
        print(f"errors in slots: {host.slot_errors}", file=sys.stderr)
        return 1
    sizes = {path.name: path.stat().st_size // 1024 for path in camera.written}
    print(f"{sum(sizes.values())} KiB: {sizes}")
    return 0


class Camera:
    """Takes the pictures.

    Parameters
    ----------
    out : where they go
    work : folder for what lies between
    """

    def __init__(self, out: Path, work: Path):
        self.out, self.work, self.tutorial = out, work, None
        self.written: list[Path] = []
        self._views, self._states = {}, {}

    def look(self, name: str) -> None:
        """Take the picture of a step."""
        getattr(self, f"_{name}")()
        print(name, flush=True)

    def _film(self) -> None:
        with_truth = self._film_view(SMALL, 1.0)
        self.tutorial.truth.SetDisplayVisibility(False)
        self._write("tutorial-1-film", with_truth, self._film_view(SMALL, 1.0))
        self.tutorial.truth.SetDisplayVisibility(True)

    def _choose(self) -> None:
        self._write("tutorial-2-choose", self._panel())

    def _running(self) -> None:
        self._fold()
        self.state("running", self.tutorial.panel)
        self._fold(False)

    def _result(self) -> None:
        self._write("tutorial-3-result", self._panel(), self._film_view(LARGE))

    def _correct(self) -> None:
        self._fold()
        self._write("tutorial-4-correct", self._panel(), self._film_view(SMALL))

    def _accept(self) -> None:
        self._fold()
        self._write("tutorial-5-accept", self._panel())

    def _evaluate(self) -> None:
        from host.rendering import PlotView
        from SpineSegLib.mrml import chart_of

        self._fold()
        chart = chart_of(self.tutorial.panel.sections["Evaluate"].ui.evaluateTableView.mrmlTableNode())
        plot = picture_of(PlotView(size=PLOT).show(chart).snapshot())
        right = stacked(self._film_view(SMALL), plot.resize((SMALL, PLOT[1] * SMALL // PLOT[0])))
        self._write("tutorial-6-evaluate", self._panel(), right)

    def _export(self) -> None:
        self._fold()
        label = self.tutorial.panel.sections["Export"].ui.exportStatusLabel
        # The temporary folder's name tells a reader nothing.
        label.text = label.text.replace(str(self.work), "results")
        self._write("tutorial-7-export", self._panel())

    def page(self, pdf: Path) -> None:
        """Write the picture of the report's first page."""
        import pypdfium2

        document = pypdfium2.PdfDocument(pdf)
        picture = document[0].render(scale=PAGE_SCALE).to_pil().convert("RGB")
        document.close()
        self._write("tutorial-8-report", framed(picture))

    def state(self, name: str, panel) -> None:
        """Keep a picture of the panel's upper part in a state, light and dark."""
        for theme in ("light", "dark"):
            with dressed(theme, panel.ui.statusLabel, panel.ui.modelLabel):
                self._states[name, theme] = self._panel(panel)

    def states(self) -> None:
        """Write the states, the light ones by themselves and a sheet of dark ones."""
        for (name, theme), picture in self._states.items():
            if theme == "light" and name != "done":
                self._write(f"states-{name}", picture)
        dark = [self._states[name, "dark"] for name in ("done", "failed")]
        self._write("states-dark", *dark)

    def _fold(self, folded: bool = True) -> None:
        """Fold what a step does not need, or unfold it."""
        ui = self.tutorial.ui
        ui.inputsCollapsibleButton.collapsed = folded
        ui.metricsCollapsibleButton.collapsed = folded

    def _panel(self, panel=None):
        """Return a picture of the panel as high as it needs."""
        from PIL import Image

        panel = panel or self.tutorial.panel
        if panel.ui.statusLabel.text.startswith("Done in "):
            panel.ui.statusLabel.visible = False  # how long it took here says nothing about the reader's machine
        file = self.work / "panel.png"
        for _ in range(3):  # until every layout has settled
            host.screenshot(panel, file, (WIDTH, HEIGHT))
        with Image.open(file) as picture:
            return trimmed(picture.convert("RGB"))

    def _film_view(self, side: int, zoom: float = ZOOM):
        """Return a picture of the film, or of its middle."""
        from host.rendering import SliceView

        view = self._views.get(side) or SliceView(size=(side, side))
        self._views[side] = view.show(self.tutorial.film, to_volume_plane=True)
        field = view.node.GetFieldOfView()
        view.node.SetFieldOfView(field[0] * zoom, field[1] * zoom, field[2])
        if zoom < 1:
            view.node.JumpSliceByCentering(*centre_of(self.tutorial.result))
        return picture_of(view.snapshot())

    def _write(self, name: str, *pictures) -> None:
        path = self.out / f"{name}.png"
        few_colours(beside(*pictures)).save(path, optimize=True)
        self.written.append(path)


def centre_of(segmentationNode) -> tuple[float, float, float]:
    """Return the middle of a segmentation in RAS (mm)."""
    bounds = [0.0] * 6
    segmentationNode.GetRASBounds(bounds)
    return tuple((bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3))


def make_states(tutorial: Tutorial, camera: Camera) -> None:
    """Bring the panel into each state that needs a word, by what brings a user there."""
    panel, ui = tutorial.panel, tutorial.ui
    tutorial.section("")
    ui.metricsCollapsibleButton.collapsed = True
    ui.inputsCollapsibleButton.collapsed = False
    camera.state("done", panel)
    tutorial.choose_model(next(choice.name for choice in panel.segment.choices if choice.weights == "absent"))
    camera.state("weights", panel)
    ui.inputsCollapsibleButton.collapsed = True
    tutorial.choose_model(MODEL)
    with without_torch():
        ui.applyButton.click()
    camera.state("torch", panel)
    other = camera.work / "unet-xray-small.safetensors"
    shutil.copy(ROOT / "Resources" / "Models" / other.name, other)
    ui.weightsPathLineEdit.currentPath = str(other)
    tutorial.click(ui.applyButton, lambda: panel.logic.busy)
    ui.statusLabel.text = ui.statusLabel.text.replace(f"{camera.work}{os.sep}", "")
    camera.state("failed", panel)
    ui.weightsPathLineEdit.currentPath = ""
    ui.applyButton.click()
    host.wait_until(lambda: ui.progressBar.value > 0, timeout=WAIT)
    ui.applyButton.click()
    host.wait_until(lambda: not panel.logic.busy, timeout=WAIT)
    camera.state("cancelled", panel)


if __name__ == "__main__":
    sys.exit(main())
