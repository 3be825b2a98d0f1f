"""How well a whole spine is split into vertebrae: ``python Testing/benchmarks/vertebrae.py [--seed 7301] [--count 4]``.

Digital spines of four regions, whose true masks are made one mask of a whole spine and split again. Printed for each
region: vertebrae in the truth and how many of them were matched one to one (Dice above 0.8), the same without those
that the image's edge cuts off, and the mean Dice of all. ``--as-found`` blurs the mask by 1.5 mm first and fills the
joints, as a model does. ``--model NAME`` lets that model find the spine in the CT and splits what it found, with the
CT's endplates; the chest CT of the demo comes last. The constants of `SpineSegLib.pipelines.vertebrae` were chosen on
seeds 5101 and 5102, those of the endplates on the chest CT and on seed 8101.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from held_out import demo_cases, without_cut_off
from scipy import ndimage

from SpineSegLib.evaluation.metrics import confusion
from SpineSegLib.evaluation.metrics.vertebrae import match_one_to_one
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.cases import Order, case_seeds, make_case
from SpineSegLib.phantom.imaging import settings
from SpineSegLib.phantom.imaging.ct import cut_out, near
from SpineSegLib.pipelines import segment
from SpineSegLib.pipelines.vertebrae import split_into_vertebrae

REGIONS = {"usual": None, "neck": ("C1", "T2"), "chest": ("T3", "T9"), "loins": ("T12", "S1")}
"""Levels that are shown from the middle of the first to that of the last, more or less; the usual ones of a CT."""

WHOLE = ("vertebra", "sacrum")


@dataclass(frozen=True)
class Vertebra:
    """A vertebra of the truth.

    Parameters
    ----------
    case, name : which one it is
    in_view : whether the image's edge cuts nothing off, or little
    size : what is in view, ml
    dice : with its partner, or with whichever shares most with it; 0 where there is none
    matched : whether it has a partner of its own, with a Dice above 0.8
    """

    case: str
    name: str
    in_view: bool
    size: float
    dice: float
    matched: bool


def spine_of(seed: int, number: int, region: tuple[str, str] | None, *, size: int = 160) -> Segmentation:
    """Return vertebrae and sacrum of a digital spine on the grid of its CT, without the CT, which takes long."""
    body_seed, image_seed = case_seeds(seed, number)
    body = build_body("ct", body_seed, region=region)
    grid = settings.ct_grid(body, np.random.default_rng(image_seed), size=size)
    truth = cut_out(near(body, grid).truth, grid)
    return bones_of(Segmentation(truth.layers, truth.segments, grid))


def scan_of(seed: int, number: int, region: tuple[str, str] | None) -> tuple[Image, Segmentation]:
    """Return the CT of a digital spine, and its vertebrae and sacrum."""
    case = make_case(Order("ct", seed, body={"region": region} if region else {}), number)
    return case.image, bones_of(case.masks)


def bones_of(truth: Segmentation) -> Segmentation:
    """Return a truth without what is neither vertebra nor sacrum."""
    kept = tuple(one for one in truth.segments if one.structure.kind in WHOLE)
    return Segmentation(truth.layers, kept, truth.geometry)


def labels_of(segmentation: Segmentation) -> np.ndarray:
    """Return 1… for the segments in their order, and 0."""
    labels = np.zeros(segmentation.geometry.shape, np.uint8)
    for number, one in enumerate(segmentation.segments, start=1):
        labels[segmentation.mask(one)] = number
    return labels


def as_found(mask: np.ndarray, step: np.ndarray, *, mm: float = 1.5) -> np.ndarray:
    """Return a mask as a model finds it: joints narrower than twice `mm` are filled, edges softened by so much."""
    reach = np.ceil(mm / step).astype(int)
    grid = np.indices(2 * reach + 1) - reach.reshape(3, 1, 1, 1)
    ball = ((grid * step.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) <= mm**2
    width = [(int(n), int(n)) for n in reach]
    closed = ndimage.binary_closing(np.pad(mask, width, mode="edge"), ball)
    inner = tuple(slice(a, n + a) for (a, _), n in zip(width, mask.shape, strict=True))
    return ndimage.gaussian_filter(closed.astype(np.float32), mm / step)[inner] > 0.5


def compare(case: str, truth: Segmentation, found: Segmentation) -> list[Vertebra]:
    """Return what became of each vertebra of the truth."""
    ours, theirs = labels_of(found), labels_of(truth)
    shared = confusion(ours, theirs, (len(found.segments), len(truth.segments)))
    dice = 2 * shared[1:, 1:] / (shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[None, 1:])
    partners = {b: a for a, b in match_one_to_one(dice, above=0.8)}
    kept = {one.name for one in without_cut_off(truth).segments}
    best = dice.max(axis=0, initial=0)
    sizes = shared.sum(axis=0)[1:] * truth.geometry.voxel_volume / 1000
    return [
        Vertebra(
            case,
            s.name,
            s.name in kept,
            float(sizes[n]),
            float(dice[partners[n], n] if n in partners else best[n]),
            n in partners,
        )
        for n, s in enumerate(truth.segments)
    ]


def summary(found: Iterable[Vertebra]) -> dict:
    """Return the numbers of some vertebrae by name."""
    every = list(found)
    whole = [one for one in every if one.in_view]
    return {
        "vertebrae": len(every),
        "matched": sum(one.matched for one in every),
        "in_view": len(whole),
        "in_view_matched": sum(one.matched for one in whole),
        "mean_dice": float(np.mean([one.dice for one in every])),
    }


def found_in(image: Image, model: str) -> Segmentation:
    """Return the vertebrae that a model finds."""
    return segment(image, card(model), vertebrae=True).segmentation


def told(case: str, truth: Segmentation, found: Segmentation) -> list[Vertebra]:
    """Return what became of each vertebra of the truth, having said which were missed."""
    every = compare(case, truth, found)
    missed = [
        f"{v.name} {v.dice:.2f} ({v.size:.2f} ml{'' if v.in_view else ', cut off'})" for v in every if not v.matched
    ]
    line = f"{case}: {len(found.segments)} for {len(every)}; missed: "
    print(line + (", ".join(missed) or "none"), file=sys.stderr, flush=True)
    return every


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure how spines are split into vertebrae.")
    parser.add_argument("--seed", type=int, default=7301)
    parser.add_argument("--count", type=int, default=4, help="spines of each region")
    parser.add_argument("--region", nargs="*", default=list(REGIONS), choices=REGIONS)
    parser.add_argument("--as-found", action="store_true", help="masks as a model finds them")
    parser.add_argument("--model", metavar="NAME", help="what this model finds in the CT, in place of true masks")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, every = {}, []
    for region in options.region:
        of_region: list[Vertebra] = []
        for number in range(options.count):
            if options.model:
                image, truth = scan_of(options.seed, number, REGIONS[region])
                found = found_in(image, options.model)
            else:
                truth = spine_of(options.seed, number, REGIONS[region])
                mask = labels_of(truth) > 0
                mask = as_found(mask, truth.geometry.step) if options.as_found else mask
                found = split_into_vertebrae(mask, truth.geometry).segmentation
            of_region += told(f"{region} {number}", truth, found)
        rows[region] = summary(of_region)
        every += of_region
    rows["all"] = summary(every)
    if options.model:
        chest = next(iter(demo_cases(options.model)))
        truth = bones_of(chest.truth)
        rows["chest CT"] = summary(told("chest CT", truth, found_in(chest.image, options.model)))
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'region':8} {'matched':>12} {'wholly in view':>15} {'mean Dice':>10}")
    for region, row in rows.items():
        matched, whole = f"{row['matched']}/{row['vertebrae']}", f"{row['in_view_matched']}/{row['in_view']}"
        print(f"{region:8} {matched:>12} {whole:>15} {row['mean_dice']:10.3f}")


if __name__ == "__main__":
    main()
