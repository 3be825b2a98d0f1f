"""Train narrow variants of the X-ray networks of papers 1 and 5 alike, and time the full networks.

    python3 Testing/run.py python -m SpineSegLib phantom --kind lateral-cervical --count 560 --seed 4001 --out NECKS
    python3 Testing/run.py python -m SpineSegLib phantom --kind lateral-cervical --count 20 --seed 9001 --out HELD_OUT
    python3 Testing/run.py python Testing/train_alike.py --data NECKS --held-out HELD_OUT --work FOLDER
    python3 Testing/run.py python Testing/train_alike.py --times

What is trained stands in ``Testing/alike.yaml``; same pictures in the same order, same steps, optimiser and
target. The held-out necks are then segmented and evaluated at their own size by `segment` and `evaluate`. Results are
added to ``Testing/alike.json`` network by network: a call that is repeated goes on with what is missing.
``--times`` adds the milliseconds of one forward of each network at the size of its card.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "Testing"))

from alike import RESULTS, Run, read_plan, read_results, write_results  # noqa: E402
from held_out import PHANTOM_SEED, PHANTOMS, Held  # noqa: E402

from SpineSegLib.benchmarks import seconds_of  # noqa: E402
from SpineSegLib.datasets import Case, read_cases  # noqa: E402
from SpineSegLib.errors import problem  # noqa: E402
from SpineSegLib.evaluation import evaluate  # noqa: E402
from SpineSegLib.models import card as find_card  # noqa: E402
from SpineSegLib.models.weights import save_weights  # noqa: E402
from SpineSegLib.networks import build  # noqa: E402
from SpineSegLib.networks.sam import centroids  # noqa: E402
from SpineSegLib.pipelines import segment  # noqa: E402
from SpineSegLib.progress import silent  # noqa: E402
from SpineSegLib.training.fit import fit  # noqa: E402
from SpineSegLib.training.sources import PictureSource, targets_of  # noqa: E402
from SpineSegLib.training.sources.volumes import masks_of  # noqa: E402

VALIDATION = 16
"""Last pictures of the data, which the training only reports on."""
THREADS = 2
"""Of the timing: what a small machine has."""


class Pictures:
    """Training and validation pictures, read once for all networks of one size."""

    def __init__(self, data: Path):
        self.cases = read_cases("phantom-folder", data)
        self.kept: dict[tuple[str, int], dict] = {}

    def sources(self, run: Run, seed: int) -> tuple[PictureSource, PictureSource]:
        """Return the sources of a run."""
        parts = {"training": self.cases[:-VALIDATION], "validation": self.cases[-VALIDATION:]}
        samples = {"training": run.recipe.samples}
        return tuple(self._source(run, seed, part, cases, samples.get(part)) for part, cases in parts.items())

    def _source(self, run: Run, seed: int, part: str, cases: list[Case], samples: int | None) -> PictureSource:
        targets = targets_of(run.card.structures)
        training = part == "training"
        source = PictureSource(cases, targets, run.card.input, seed=seed, samples=samples, shuffle=training)
        source.kept = self.kept.setdefault((part, source.size), source.kept)
        return source


def trained(run: Run, pictures: Pictures, seed: int, folder: Path) -> tuple[Path, float]:
    """Train one network; return its weights and the seconds of processor time that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.process_time()
    training, validation = pictures.sources(run, seed)
    torch.manual_seed(seed)
    network = build(run.card.network["name"], run.card.network["arguments"]).train()
    fit(network, run.with_seed(seed), training, validation, folder, resume=False, report=silent)
    save_weights(network, folder / "weights.safetensors")
    (folder / "last.ckpt").unlink()
    return folder / "weights.safetensors", time.process_time() - start


def held_out(folder: Path) -> list[Held]:
    """Return the necks that no network was trained on."""
    cases = read_cases("phantom-folder", folder)
    if len(cases) != PHANTOMS:
        raise problem(folder, f"{len(cases)} cases", f"{PHANTOMS} necks of seed {PHANTOM_SEED}", "Make them anew")
    return [Held(case.name, "", *case.load(), "") for case in cases]


def measured(run: Run, weights: Path, cases: Iterable[Held]) -> dict:
    """Return Dice of each case in order, and the means of Dice and of the 95th percentile of the distances in mm.

    Where nothing was found there is no distance: such cases are counted, and missing in that mean.
    """
    (structure,) = run.card.structures
    dice, distances = [], []
    for case in cases:
        options = {}
        if run.card.pipeline["name"] == "prompted":
            # As in training, and in the paper: a point in each true process.
            (mask,) = masks_of(case.truth, targets_of(run.card.structures))
            options["points"] = [tuple(point) for point in centroids(torch.from_numpy(mask[0]).float()).tolist()]
        found = segment(
            case.image, run.card, weights=weights, where=case.name, device="cpu", precision="float32", **options
        )
        result = evaluate(found.segmentation, case.truth_for(run.card))
        scores = result.structures.get(structure.name, result.overall)
        dice.append(round(scores["dice"], 4))
        distances.append(scores.get("hd95_mm"))
    there = [each for each in distances if each is not None]
    return {
        "dice": round(mean(dice), 4),
        "hd95_mm": round(mean(there), 2) if there else None,
        "nothing_found": len(distances) - len(there),
        "cases": dice,
    }


def train_all(names: Sequence[str], seeds: Sequence[int], data: Path, held: Path, work: Path, file: Path) -> None:
    """Train and measure what has no results yet."""
    plan = read_plan()
    pictures, cases = Pictures(data), None
    for seed in seeds:
        for name in names or plan.runs:
            run = plan.runs[name]
            if read_results(plan, file).finished(run, seed):
                continue
            weights, seconds = trained(run, pictures, seed, work / f"{name}-{seed}")
            cases = cases or held_out(held)
            scores = measured(run, weights, cases)
            # Read again: another process may have written meanwhile.
            results = read_results(plan, file)
            results.add(run, seed, {**scores, "minutes": round(seconds / 60, 1)})
            write_results(results, file)
            print(
                f"{time.strftime('%H:%M')} {name} seed {seed}: Dice {scores['dice']}, {seconds / 60:.1f} min",
                flush=True,
            )


def time_all(rounds: int, file: Path) -> None:
    """Time one forward of each network at its card's size in float32: the least of all calls, in turns."""
    torch.set_num_threads(THREADS)
    plan = read_plan()
    best: dict[str, float] = {}
    for turn in range(rounds):
        for name in plan.networks:
            card = find_card(name)
            network = build(card.network["name"], card.network["arguments"]).eval()
            picture = torch.rand(1, int(card.input["channels"]), *card.input["size"])
            forward = partial(
                network.to(memory_format=torch.channels_last), picture.contiguous(memory_format=torch.channels_last)
            )
            with torch.inference_mode():
                taken = min(seconds_of(forward) for _ in range(2))
            best[name] = min(taken, best.get(name, taken))
            print(f"round {turn + 1}: {name} {taken * 1000:.0f} ms", flush=True)
        results = read_results(plan, file)
        results.times = {
            "threads": THREADS,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "milliseconds": {name: round(value * 1000) for name, value in best.items()},
        }
        write_results(results, file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of alike.yaml; all unless given")
    parser.add_argument("--data", type=Path, metavar="DIR", help="560 digital necks of seed 4001")
    parser.add_argument("--held-out", type=Path, metavar="DIR", help="20 digital necks of seed 9001")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for weights and logs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="one training each (default 0)")
    parser.add_argument("--times", action="store_true", help="time the full networks instead")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help=f"(default {RESULTS.name})")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="of --times (default 2)")
    options = parser.parse_args(arguments)
    if options.times:
        time_all(options.rounds, options.results)
        return 0
    if None in (options.data, options.held_out, options.work):
        parser.error("training needs --data, --held-out and --work")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    train_all(options.names, options.seeds, options.data, options.held_out, options.work, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
