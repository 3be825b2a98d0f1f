"""Write the pictures of the sample data's buttons: ``python3 Testing/run.py python Testing/sample_pictures.py``.

Each sample is made by the real worker and loaded in the headless host; its picture is the image with its truth.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "Testing"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import host  # noqa: E402

ICONS = ROOT / "SpineSeg" / "Resources" / "Icons"
SIZE = (260, 280)
"""Width and height in pixels, as Slicer's own template says."""
COLOURS = 48
"""A palette of so many keeps each file below 40 kB."""


def main() -> int:
    """Make all samples and write their pictures."""
    host.start()
    from SpineSegLib.mrml import SAMPLES, load_sample

    for sample in SAMPLES:
        path = ICONS / sample.picture
        picture_of(*load_sample(sample)).save(path, optimize=True)
        print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def picture_of(volume_node, truth_node):
    """Return a PIL picture of a volume with the outlines of its truth."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    from SpineSegLib.mrml import image_from_node, segmentation_from_node
    from SpineSegLib.phantom.sheet import overlay, slices

    image = image_from_node(volume_node)
    truth = segmentation_from_node(truth_node, volume_node)
    if image.modality == "XR":
        image = replace(image, array=image.array / image.array.max())
    bones = [segment for segment in truth.segments if segment.structure.kind not in ("spinal cord", "spinal canal")]
    picture = overlay(slices(image), slices(replace(truth, segments=bones)))
    if image.modality == "CT":
        picture = picture[:, -image.array.shape[2] :]  # the axial slice; there is no room for the sagittal one
    whole = ImageOps.pad(Pillow.fromarray(picture), SIZE, Pillow.Resampling.LANCZOS)
    return whole.quantize(COLOURS, dither=Pillow.Dither.NONE)


if __name__ == "__main__":
    sys.exit(main())
