"""Compare the speed of the metrics with MONAI's, in one run (ratios count, seconds do not).

Run with ``python3 Testing/run.py python Testing/benchmarks/metrics.py [--json]``. Times are medians of interleaved
runs; before timing, the numbers are checked against MONAI's. Each row names the floor that the ratio must reach.
In the volume MONAI, which takes label after label, is timed on a few of the labels and its seconds are multiplied.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

sys.path.insert(0, str(Path(__file__).parents[2]))

from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.metrics import confusion, surface_distances, union_box
from SpineSegLib.image import Geometry, Segmentation


def radiograph_labels(shift: int = 0, *, outlier: bool = False) -> np.ndarray:
    """Return 7 rounded, wavy boxes (uint8, 1 x 3000 x 2500) like vertebrae on a radiograph, moved by `shift` pixels."""
    y, x = np.mgrid[:3000, :2500]
    wobble = (8 * np.sin(x / 37) + 6 * np.cos(y / 53)) * (1 if shift else 0.3)
    labels = np.zeros((1, 3000, 2500), np.uint8)
    for n in range(7):
        top, left = 250 + n * 400 + shift, 1250 + int(80 * np.sin(n)) + shift
        labels[0][(np.abs(y - top + wobble) / 150) ** 4 + (np.abs(x - left + wobble) / 220) ** 4 < 1] = n + 1
    if outlier:
        labels[0, 2900:2904, 2400:2404] = 1
    return labels


def volume_labels(shift: float = 0) -> np.ndarray:
    """Return 25 wavy ellipsoids (uint8, 400 x 512 x 512) like vertebrae in a CT, moved by `shift` voxels."""
    labels = np.zeros((400, 512, 512), np.uint8)
    z, y, x = np.ogrid[:400, :512, :512]
    for n in range(25):
        middle = 10 + n * 15.4 + shift / 2
        part = slice(max(0, int(middle - 10)), int(middle + 11))
        wave = 24 + 2 * np.sin(x / 9) * bool(shift)
        inside = ((z[part] - middle) / 7) ** 2 + ((y - 256 - 30 * np.sin(n / 4) - shift) / wave) ** 2
        labels[part][inside + ((x - 256 - shift) / 35) ** 2 < 1] = n + 1
    return labels


def monai_three_calls(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
    """Return Hausdorff, HD95 and ASSD as MONAI computes them; the masks as torch wants them, made beforehand."""
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    options = {"include_background": True, "spacing": list(spacing)}
    return [
        compute_hausdorff_distance(prediction, truth, **options).item(),
        compute_hausdorff_distance(prediction, truth, percentile=95, **options).item(),
        compute_average_surface_distance(prediction, truth, symmetric=True, **options).item(),
    ]


def monai_dice(prediction: np.ndarray, truth: np.ndarray, n: int) -> np.ndarray:
    """Return the Dice of labels 1…n by MONAI, one label after the other (its one-hot does not fit in memory)."""
    import torch
    from monai.metrics import compute_dice

    values = []
    for label in range(1, n + 1):
        pair = (torch.from_numpy(labels == label)[None, None] for labels in (prediction, truth))
        values.append(compute_dice(*pair, include_background=True).item())
    return np.array(values)


def our_dice(prediction: np.ndarray, truth: np.ndarray, n: int) -> np.ndarray:
    """Return the Dice of labels 1…n from one table of counts."""
    counts = confusion(prediction, truth, (n, n))
    return (2 * np.diag(counts) / (counts.sum(0) + counts.sum(1)))[1:]


def race(ours, reference, repeats: int) -> tuple[float, float]:
    """Return the median seconds of both callables, run in turns after one warm-up of each."""
    times: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for number, function in enumerate((ours, reference)):
            start = time.perf_counter()
            function()
            if turn:
                times[number].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def distances_case(
    name: str, prediction, truth, spacing: tuple[float, float, float], repeats: int, floor: float
) -> dict:
    """Race the three distances of one label against MONAI's, after checking that they agree."""
    import torch

    geometry = Geometry(prediction.shape, np.diag([*spacing[::-1], 1.0]))
    flat = geometry.is_2d
    tensors = [torch.from_numpy(mask[0] if flat else mask)[None, None] for mask in (prediction, truth)]

    def ours():
        found = surface_distances(prediction, truth, geometry, pixels=False)[1]
        return [found.hausdorff, found.hd95, found.assd]

    def reference():
        return monai_three_calls(*tensors, spacing[1:] if flat else spacing)

    np.testing.assert_allclose(ours(), reference(), rtol=1e-4)
    return entry(name, "MONAI 3 calls", *race(ours, reference, repeats), floor)


def entry(name: str, reference: str, seconds: float, reference_seconds: float, floor: float) -> dict:
    """Return one line of ``bench --json``, with the ratio that must be reached."""
    ratio = reference_seconds / seconds
    return {
        "name": name,
        "reference": reference,
        "ratio": ratio,
        "seconds": seconds,
        "reference_seconds": reference_seconds,
        "floor": floor,
    }


def all_labels_case(name: str, prediction, truth, n: int, spacing, *, timed: int, repeats: int, floor: float) -> dict:
    """Race the three distances of all labels against MONAI's three calls on `timed` of them, times n / timed."""
    import torch

    geometry = Geometry(prediction.shape, np.diag([*spacing[::-1], 1.0]))
    flat = geometry.is_2d
    chosen = np.linspace(1, n, timed).round().astype(int)

    def ours():
        boxes = [find_objects(labels, n) for labels in (prediction, truth)]
        found = []
        for label in range(1, n + 1):
            box = union_box(*(of[label - 1] for of in boxes))
            crops = prediction[box] == label, truth[box] == label
            found.append(surface_distances(*crops, geometry, pixels=False)[1])
        return [[found[label - 1].hausdorff, found[label - 1].hd95, found[label - 1].assd] for label in chosen]

    def reference():
        values = []
        for label in chosen:
            masks = [labels == label for labels in (prediction, truth)]
            tensors = [torch.from_numpy(mask[0] if flat else mask)[None, None] for mask in masks]
            values.append(monai_three_calls(*tensors, spacing[1:] if flat else spacing))
        return values

    np.testing.assert_allclose(ours(), reference(), rtol=1e-4)
    seconds, theirs = race(ours, reference, repeats)
    whose = "MONAI 3 calls" + (f", {timed} of {n} labels timed" if timed < n else "")
    return entry(name, whose, seconds, theirs * n / timed, floor)


def everything_case(name: str, prediction, truth, n: int, spacing, *, timed: int, repeats: int) -> dict:
    """Race every metric of every structure, `evaluate`, against MONAI's three distances alone."""
    import torch

    geometry = Geometry(prediction.shape, np.diag([*spacing[::-1], 1.0]))
    structures = {label: Structure("vertebra", LEVELS[label - 1]) for label in range(1, n + 1)}
    pair = [Segmentation.from_labels(labels, structures, geometry) for labels in (prediction, truth)]
    flat, chosen = geometry.is_2d, np.linspace(1, n, timed).round().astype(int)

    def reference():
        for label in chosen:
            masks = [labels == label for labels in (prediction, truth)]
            tensors = [torch.from_numpy(mask[0] if flat else mask)[None, None] for mask in masks]
            monai_three_calls(*tensors, spacing[1:] if flat else spacing)

    seconds, theirs = race(lambda: evaluate(*pair), reference, repeats)
    return entry(name, "MONAI 3 calls", seconds, theirs * n / timed, 1)


def one_hot_case(name: str, prediction, truth, n: int, repeats: int) -> dict:
    """Race the Dice of all labels of two label arrays against MONAI's, which needs them one-hot."""
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    def reference():
        pair = (one_hot(torch.from_numpy(labels)[None], n + 1) for labels in (prediction, truth))
        return compute_dice(*pair, include_background=False)[0].numpy()

    np.testing.assert_allclose(our_dice(prediction, truth, n), reference(), rtol=1e-5)
    times = race(lambda: our_dice(prediction, truth, n), reference, repeats)
    return entry(name, "MONAI one-hot", *times, 100)


def main() -> None:
    """Run every case and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds this, such as 2D or Dice")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    done = []
    for name, run in cases(options.repeats, max(1, options.repeats // 3)).items():
        if options.only not in name:
            continue
        case = run(name)
        done.append(case)
        if not options.json:
            seconds = f"{case['seconds']:.4f} s against {case['reference_seconds']:.3f} s of {case['reference']}"
            print(f"{case['name']:26s} {case['ratio']:7.1f}x (floor {case['floor']:g}x)  {seconds}", flush=True)
    if options.json:
        print(json.dumps(done))


def cases(repeats: int, few: int) -> dict[str, Callable[[str], dict]]:
    """Return the rows by name, each to be run with its name; `few` repeats for volumes."""
    film, ct = (1.0, 0.143, 0.143), (1.0, 0.6, 0.6)

    @cache
    def films():
        return radiograph_labels(9), radiograph_labels()

    @cache
    def volumes():
        return volume_labels(2), volume_labels()

    def one_label(name):
        return distances_case(name, *(labels == 3 for labels in films()), (1, 0.143, 0.2), repeats, 15)

    def outlier(name):
        far = radiograph_labels(9, outlier=True)
        return distances_case(name, far == 1, films()[1] == 1, film, repeats, 15)

    def one_label_3d(name):
        return distances_case(name, *(labels == 13 for labels in volumes()), ct, few, 50)

    def dice_3d(name):
        pair = volumes()
        np.testing.assert_allclose(our_dice(*pair, 25)[:2], monai_dice(*pair, 2), rtol=1e-5)
        ours, theirs = race(lambda: our_dice(*pair, 25), lambda: monai_dice(*pair, 2), few)
        return entry(name, "MONAI, 2 of 25 labels timed", ours, theirs * 12.5, 100)

    near, in_space = {"timed": 7, "repeats": repeats}, {"timed": 2, "repeats": few}
    return {
        "distances 2D, 1 label": one_label,
        "distances 2D, far outlier": outlier,
        "distances 2D, 7 labels": lambda name: all_labels_case(name, *films(), 7, film, **near, floor=15),
        "evaluate 2D, 7 labels": lambda name: everything_case(name, *films(), 7, film, **near),
        "Dice 2D, 7 labels": lambda name: one_hot_case(name, *films(), 7, repeats),
        "distances 3D, 1 label": one_label_3d,
        "distances 3D, 25 labels": lambda name: all_labels_case(name, *volumes(), 25, ct, **in_space, floor=50),
        "evaluate 3D, 25 labels": lambda name: everything_case(name, *volumes(), 25, ct, **in_space),
        "Dice 3D, 25 labels": dice_3d,
    }


if __name__ == "__main__":
    main()
