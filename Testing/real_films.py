"""A sheet of a film model's successes and failures on real AP films, and how often it meets the annotated vertebrae.

    python3 Testing/run.py python Testing/real_films.py --model NAME --out sheet.png [--films] [--weights FILE]

The films are the 77 of Fraiwan et al., doi:10.17632/xkt857dsxk.1, that carry boxes (CC BY 4.0, ``Spine Region v1``),
in ../shared/data/fraiwan-ap-scoliosis or --data. As the licence of the films could not be confirmed, a sheet that is to
be published shows outlines and boxes alone; --films puts the films beneath them for one's own eyes.

Boxes are no outlines, so two numbers tell how a film went: the share of boxes of which the model fills at least half,
and the share of what it found that lies in the corridor of the boxes (each twice as wide, between the first and last).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from SpineSegLib.io import read_image  # noqa: E402
from SpineSegLib.models import card  # noqa: E402
from SpineSegLib.pipelines import segment  # noqa: E402
from SpineSegLib.training.sources.volumes import masks_of, targets_of  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "fraiwan-ap-scoliosis"
SHOWN = 6


def boxes_of(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return boxes (n, 4), x0 y0 x1 y1 in pixels, top to bottom, of a file with lines ``class x y w h`` in shares."""
    rows = np.array(
        [[float(word) for word in line.split()[1:5]] for line in path.read_text("utf-8").splitlines() if line]
    )
    middle, size = rows[:, :2], rows[:, 2:]
    corners = np.hstack([middle - size / 2, middle + size / 2]) * np.tile(shape[::-1], 2)
    return corners[np.argsort(corners[:, 1])]


def agreement(mask: np.ndarray, boxes: np.ndarray) -> tuple[float, float]:
    """Return the share of boxes that are at least half filled, and the share of the mask inside their corridor."""
    filled = []
    corridor = np.zeros(mask.shape, bool)
    height, width = mask.shape
    rows = np.arange(height)
    for x0, y0, x1, y1 in boxes:
        part = mask[max(int(y0), 0) : int(y1) + 1, max(int(x0), 0) : int(x1) + 1]
        filled.append(part.size > 0 and part.mean() >= 0.5)
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    wide = (boxes[:, 2] - boxes[:, 0]) / 2
    left = np.interp(rows, middle, boxes[:, 0] - wide)
    right = np.interp(rows, middle, boxes[:, 2] + wide)
    columns = np.arange(width)
    inside = (columns >= left[:, None]) & (columns <= right[:, None])
    pad = np.median(boxes[:, 3] - boxes[:, 1])
    corridor = inside & ((rows >= boxes[0, 1] - pad) & (rows <= boxes[-1, 3] + pad))[:, None]
    return float(np.mean(filled)), float((mask & corridor).sum() / max(mask.sum(), 1))


def main() -> int:
    """Segment the films, print the numbers, draw the best and the worst."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--films", action="store_true", help="show the films beneath; see the licence above")
    options = parser.parse_args()
    model = card(options.model)
    targets = targets_of(model.structures)
    found = []
    with (options.data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["class"] == "scoliosis"]
    for name in names:
        path = options.data / "images_boxes" / name
        image = read_image(path, modality="XR")
        result = segment(image, model, weights=options.weights, where=path.name).segmentation
        mask = masks_of(result, targets)[:, 0].any(axis=0)
        boxes = boxes_of(options.data / "labels_yolo" / f"{path.stem}.txt", mask.shape)
        found.append((*agreement(mask, boxes), image.array[0], mask, boxes))
    met, inside = (np.array([each[n] for each in found]) for n in (0, 1))
    order = np.argsort(-(met + inside))
    facts = {
        "films": len(found),
        "boxes": int(sum(len(each[4]) for each in found)),
        "boxes_half_filled": round(float(np.average(met, weights=[len(each[4]) for each in found])), 3),
        "found_inside_the_corridor": round(float(inside.mean()), 3),
        "films_with_9_in_10_boxes": int((met >= 0.9).sum()),
        "films_with_fewer_than_half": int((met < 0.5).sum()),
    }
    print(json.dumps(facts, indent=2))
    middle = order[len(order) // 2 - SHOWN // 2 : len(order) // 2 + SHOWN // 2]
    rows = (("best", order[:SHOWN]), ("in the middle", middle), ("worst", order[-SHOWN:]))
    figure, axes = plt.subplots(3, SHOWN, figsize=(2.1 * SHOWN, 13), facecolor="#202020")
    for line, (title, chosen) in zip(axes, rows, strict=True):
        for axis, number in zip(line, chosen, strict=True):
            share, corridor, picture, mask, boxes = found[number]
            draw(axis, picture if options.films else None, mask, boxes)
            axis.set_title(f"{title}\n{share:.0%} met, {corridor:.0%} inside", color="white", fontsize=9)
    figure.tight_layout()
    figure.savefig(options.out, dpi=80, facecolor=figure.get_facecolor())
    print(f"wrote {options.out}")
    return 0


def draw(axis, picture: np.ndarray | None, mask: np.ndarray, boxes: np.ndarray) -> None:
    """Draw what was found in turquoise and the annotated boxes in yellow."""
    if picture is None:
        shade = np.where(mask[..., None], (0.15, 0.45, 0.45), (0.0, 0.0, 0.0))
        axis.imshow(shade)
    else:
        axis.imshow(picture, cmap="gray")
    axis.contour(mask, [0.5], colors="#30d5c8", linewidths=0.9)
    for x0, y0, x1, y1 in boxes:
        axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="#ffd23f", linewidth=0.7)
    axis.axis("off")


if __name__ == "__main__":
    sys.exit(main())
