"""Write the picture of the panel's section 'Evaluate': the panel, the errors over the film, and the two plots.

    python3 Testing/run.py python Testing/screenshots_evaluate.py [--out FOLDER]

A digital neck with exact truth is measured against a copy of it that was moved, grown and lost a vertebra, by clicks in
the headless host and with the real worker process. What the picture shows is what came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "Testing"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import host  # noqa: E402

PANEL = (520, 860)
VIEW = (640, 860)
PLOT = (580, 428)
GAP = 4


def main() -> int:
    """Click through the section and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "Resources" / "Screenshots", metavar="FOLDER")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    host.start()
    panel = host.open_widget(host.load_module(ROOT / "SpineSeg" / "SpineSeg.py"))
    section = panel.sections["Evaluate"]
    ui = section.ui
    with tempfile.TemporaryDirectory(prefix="SpineSeg-") as folder:
        film, truth, prediction = make_case(Path(folder))
        view = film_view(film)
        panel.ui.inputsCollapsibleButton.collapsed = True
        section.parent.collapsed = False
        ui.predictionsPathLineEdit.currentPath = str(Path(folder, "predictions"))
        ui.truthsPathLineEdit.currentPath = str(Path(folder, "truths"))
        click(panel, ui.measureFoldersButton)
        boxes = plot_of(ui)
        ui.evaluatedSegmentationSelector.setCurrentNode(prediction)
        ui.evaluatedTruthSelector.setCurrentNode(truth)
        click(panel, ui.measureButton)
        ui.predictionsPathLineEdit.currentPath = ui.truthsPathLineEdit.currentPath = ""
    host.screenshot(panel, options.out / "evaluate.png", PANEL)
    write_sheet(options.out / "evaluate.png", view.snapshot(), plot_of(ui), boxes)
    print(f"wrote {options.out / 'evaluate.png'}: {ui.evaluateStatusLabel.text}")
    return 0


def click(panel, button) -> None:
    """Click, and wait for the end of the run."""
    button.click()
    host.wait_until(lambda: not panel.sections["Evaluate"].busy, timeout=600)


def make_case(folder: Path):
    """Put a neck, its truth and a wrong segmentation into the scene, and eight pairs of files into two folders."""
    import numpy as np
    import slicer

    from SpineSegLib.io import write_segmentation
    from SpineSegLib.mrml import SAMPLES, load_sample, segmentation_from_node, show_segmentation

    film, exact = load_sample(SAMPLES[0])
    bodies = segmentation_from_node(exact, film)
    bodies = type(bodies).from_masks(
        {s.structure: bodies.mask(s) for s in bodies.segments if s.structure.kind == "body"}, bodies.geometry
    )
    slicer.mrmlScene.RemoveNode(exact)
    rng = np.random.default_rng(0)
    for name in ("predictions", "truths"):
        Path(folder, name).mkdir()
    for number in range(8):
        write_segmentation(bodies, folder / "truths" / f"neck{number}.seg.nrrd")
        write_segmentation(moved(bodies, rng), folder / "predictions" / f"neck{number}.seg.nrrd")
    truth = show_segmentation(bodies, film, name="Truth")
    wrong = moved(bodies, rng)
    layers = tuple(layer.copy() for layer in wrong.layers)
    lost = next(s for s in wrong.segments if s.structure.level == "C6")
    layers[lost.layer][layers[lost.layer] == lost.label] = 0
    return film, truth, show_segmentation(replace(wrong, layers=layers), film, name="Prediction")


def moved(segmentation, rng):
    """Return a segmentation moved by a few pixels."""
    import numpy as np

    step = tuple(int(n) for n in rng.integers(-14, 15, 2))
    return replace(segmentation, layers=tuple(np.roll(layer, step, (1, 2)) for layer in segmentation.layers))


def film_view(film):
    """Return the film in a slice view."""
    from host.rendering import SliceView

    return SliceView(size=VIEW).show(film, to_volume_plane=True)


def plot_of(ui):
    """Return a picture of the chart of the table that the panel shows."""
    from host.rendering import PlotView
    from SpineSegLib.mrml import chart_of

    return PlotView(size=PLOT).show(chart_of(ui.evaluateTableView.mrmlTableNode())).snapshot()


def write_sheet(path: Path, film, *plots) -> None:
    """Put the film and the plots beside the panel's picture."""
    from PIL import Image

    with Image.open(path) as file:
        panel = file.convert("RGB")
    sheet = Image.new("RGB", (PANEL[0] + VIEW[0] + PLOT[0] + 2 * GAP, PANEL[1]), "black")
    sheet.paste(panel, (0, 0))
    sheet.paste(Image.fromarray(film), (PANEL[0] + GAP, 0))
    for number, plot in enumerate(plots):
        sheet.paste(Image.fromarray(plot), (PANEL[0] + VIEW[0] + 2 * GAP, number * (PLOT[1] + GAP)))
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
