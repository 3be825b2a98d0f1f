"""Bundle the weights of a training run with SpineSeg, and put what they measurably reach on their card.

    python3 Testing/run.py python Testing/bundle.py RUN_FOLDER [--model NAME] [--folds FOLDER… --data DIR] [--note TEXT]

Copies ``weights.safetensors`` to ``Resources/Models`` and rewrites the ``weights`` entry of the model's card from the
run's ``card.json``. The scores are measured by `segment` and `evaluate` on cases that were never trained on
(`Testing/held_out.py`); none is typed in. With --folds, each run is measured on the patients that it left out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "Testing"))

from held_out import Held, demo_cases, folds, phantom_films, phantom_scans, without_cut_off  # noqa: E402

from SpineSegLib.evaluation import evaluate  # noqa: E402
from SpineSegLib.evaluation.explain.calibration import LEAST, Reliability  # noqa: E402
from SpineSegLib.evaluation.metrics.vertebrae import together  # noqa: E402
from SpineSegLib.models import Card  # noqa: E402
from SpineSegLib.models import card as find_card  # noqa: E402
from SpineSegLib.pipelines import segment  # noqa: E402
from SpineSegLib.training.sources.volumes import masks_of, targets_of  # noqa: E402

METRICS = {"dice": None, "iou": None, "volumetric_similarity": None, "hd95_mm": "mm", "hd95_px": "px"}
POOLED = "dice_of_all_pixels_together"
CALIBRATION = "expected_calibration_error"  # over pixels with a probability of at least LEAST
HELD_OUT = {
    "linknet34-ct-small": (demo_cases, phantom_scans),
    "unet-xray-small": (demo_cases, phantom_films),
    "unet-neck-small": (phantom_films,),
    "cervspinenet-small": (phantom_films,),
    "cvm-unet-small": (demo_cases, phantom_films),
    "spinefm-cervical-small": (phantom_films,),
    "triview-linknet152-small": (demo_cases, phantom_scans),
    "yolo-unet-cervical-small": (phantom_films,),
}
"""Model -> what it is measured on, beside its folds."""
ONE_BY_ONE = ("spinefm", "yolo-unet")
"""Pipelines that find vertebra by vertebra: measured are how many, how well, and whether the levels are right."""


def main() -> int:
    """Copy, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER", help="what `train` or `prune` wrote")
    parser.add_argument("--folds", type=Path, nargs="+", default=[], metavar="FOLDER", help="runs with --fold 0, 1, …")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data of the folds")
    parser.add_argument("--model", metavar="NAME", help="card to put it on, such as that of a pruned network")
    parser.add_argument("--least", type=int, metavar="PIXELS", help="score vertebrae cut through so large apart, too")
    parser.add_argument("--note", help="what else the card should say of the training")
    parser.add_argument("--dry", action="store_true", help="measure and print, change nothing")
    options = parser.parse_args()
    facts = json.loads((options.run / "card.json").read_text(encoding="utf-8"))
    entry, name = facts["weights"], options.model or facts["recipe"]["model"]
    entry["file"] = f"{name}.safetensors"
    if options.note:
        entry["training"]["note"] = options.note
    weights = options.run / "weights.safetensors"
    sets = HELD_OUT.get(name.removesuffix("-pruned"), ())
    scores = [score for held_out in sets for score in measured(name, held_out(name), weights, options.least)]
    scores += measured(name, folds(options.folds, options.data), None, options.least)
    for score in scores:
        print(f"{score['case']}: {score['structure']} {score['metric']} {score['value']}")
    if options.dry:
        return 0
    models = ROOT / "Resources" / "Models"
    shutil.copyfile(weights, models / entry["file"])
    path = models / f"{name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["weights"] = {"bundled": True, **entry, "scores": scores}
    card["network"] = facts.get("network", card["network"])  # smaller than it was, when it was pruned
    path.write_text(card_text(card), encoding="utf-8")
    print(f"wrote {path}")
    return 0


def card_text(card: dict) -> str:
    """Return a card as JSON, a list of numbers or words in one line."""

    def joined(found: re.Match) -> str:
        return "[" + " ".join(line.strip() for line in found[1].splitlines()) + "]"

    text = json.dumps(card, indent=2, ensure_ascii=False)
    return re.sub(r"\[\n((?:[^\[\]{}\n]+\n)+) *\]", joined, text) + "\n"


def measured(name: str, cases: list[Held], weights: Path | None, least: int | None = None) -> list[dict]:
    """Return scores, one for each set of cases, structure and metric: means over the set's cases."""
    model = find_card(name)
    if model.pipeline["name"] in ONE_BY_ONE:
        return measured_one_by_one(model, cases, weights, least)
    values: dict[tuple, list[float]] = {}
    reliability: dict[tuple, Reliability] = {}
    pooled: dict[tuple, np.ndarray] = {}
    targets = targets_of(model.structures)
    for case in cases:
        options = {"weights": case.weights or weights, "where": case.name, "keep_probability": True}
        found = segment(case.image, model, **options).segmentation
        for structure, mask in zip(model.structures, masks_of(case.truth, targets), strict=True):
            chance = found.find(structure).probability
            some = chance >= LEAST
            key = (case.set, structure.name, case.command)
            reliability.setdefault(key, Reliability()).add(chance[some], mask[some])
            ours = found.mask(structure)
            counts = np.array([(ours & mask).sum(), ours.sum(), mask.sum(), 1])
            pooled[key] = pooled.get(key, 0) + counts
        result = evaluate(found, case.truth_for(model))
        for structure in [each.name for each in model.structures]:
            here = result.structures.get(structure, result.overall)
            for metric, unit in METRICS.items():
                # Millimetres where there are some, pixels where not.
                if here.get(metric) is not None and not (metric == "hd95_px" and here.get("hd95_mm") is not None):
                    values.setdefault((case.set, structure, metric, unit, case.command), []).append(here[metric])
        print(f"{case.set}: {case.name} {result.overall['dice']:.3f}", flush=True)
    return (
        [
            {
                **{"case": one, "structure": structure, "metric": metric, "value": round(mean(found), 4)},
                **({"unit": unit} if unit else {}),
                "command": command,
            }
            for (one, structure, metric, unit, command), found in values.items()
        ]
        + [
            {
                "case": one,
                "structure": structure,
                "metric": POOLED,
                "value": round(float(2 * c[0] / (c[1] + c[2])), 4),
                "command": how,
            }
            for (one, structure, how), c in pooled.items()
            if c[3] > 1
        ]
        + [
            {
                "case": one,
                "structure": structure,
                "metric": CALIBRATION,
                "value": round(found.ece, 4),
                "command": command,
            }
            for (one, structure, command), found in reliability.items()
        ]
    )


def measured_one_by_one(
    model: Card, cases: Iterable[Held], weights: Path | None, least: int | None = None
) -> list[dict]:
    """Return scores over all vertebrae of each set of cases, but for those that the film's edge cuts off.

    With `least` there is a second set: without those of fewer pixels, of which a slice beside the bodies meets the
    arches alone.
    """
    found: dict[tuple[str, str, str], list] = {}
    for case in cases:
        result = segment(case.image, model, weights=case.weights or weights, where=case.name)
        truth = without_cut_off(case.truth_for(model))
        sets = {case.set: truth}
        if least is not None:
            large = tuple(each for each in truth.segments if truth.mask(each.structure).sum() >= least)
            sets[f"{case.set}, cuts of {least} pixels or more"] = replace(truth, segments=large)
        for one, part in sets.items():
            for kind, vertebrae in evaluate(result.segmentation, part).vertebrae.items():
                found.setdefault((one, kind, case.command), []).append(vertebrae)
                print(f"{one}: {case.name} {vertebrae.instances}, levels {vertebrae.levels_right_percent}", flush=True)
    scores = []
    for (one, kind, command), some in found.items():
        numbers = together(some).to_dict()
        for metric in ("identified_percent", "located_dice", "overall_dice", "levels_right_percent"):
            if numbers.get(metric) is not None:
                fact = {"case": one, "structure": kind, "metric": metric, "value": round(numbers[metric], 4)}
                scores.append({**fact, "command": command})
    return scores


if __name__ == "__main__":
    sys.exit(main())
