"""Whether a model's probabilities mean what they say: reliability curve and expected calibration error.

Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Guo et al., On calibration of
modern neural networks, ICML 2017, equation 3: ECE = sum over bins of n_b / n · |share of truth in b - mean probability
in b|, bins of equal width. Most pixels of an image are certain background, and counting them makes any model look
well calibrated; so every number is given over all pixels, and over those with a probability of at least 0.01.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from SpineSegLib.datasets import Case
from SpineSegLib.errors import InputError, problem
from SpineSegLib.evaluation.pairing import by_structure, pairs_of
from SpineSegLib.image import Segmentation
from SpineSegLib.models import Card
from SpineSegLib.progress import Progress, silent

BINS, LEAST = 15, 0.01
"""Bins of equal width, as Guo et al.; probability below which a pixel counts as certain background."""
DEFINITION = (
    f"expected calibration error (Guo et al. 2017): {BINS} bins of equal width, mean over pixels of |share of truth in "
    "the bin - mean probability in the bin|"
)


@dataclass(eq=False)
class Reliability:
    """Counts of pixels by probability; what is added is kept as sums alone.

    Parameters
    ----------
    bins : of equal width from 0 to 1
    """

    bins: int = BINS
    count: np.ndarray = field(init=False)
    chance: np.ndarray = field(init=False)
    truth: np.ndarray = field(init=False)
    _squares: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.count, self.chance, self.truth = (np.zeros(self.bins) for _ in range(3))

    def add(self, probability: np.ndarray, truth: np.ndarray) -> None:
        """Add pixels: probabilities 0…1 and booleans of the same shape."""
        probability, truth = probability.ravel(), truth.ravel()
        place = np.minimum((probability * self.bins).astype(np.intp), self.bins - 1)
        self.count += np.bincount(place, minlength=self.bins)
        self.chance += np.bincount(place, probability, self.bins)
        self.truth += np.bincount(place, truth, self.bins)
        self._squares += float(np.square(probability - truth, dtype=np.float64).sum())

    @property
    def ece(self) -> float | None:
        """Expected calibration error; None without pixels."""
        total = self.count.sum()
        return float(np.abs(self.truth - self.chance).sum() / total) if total else None

    @property
    def brier(self) -> float | None:
        """Mean square of probability - truth; None without pixels."""
        total = self.count.sum()
        return self._squares / float(total) if total else None

    def to_dict(self) -> dict:
        """Return numbers and curve; means of empty bins are None."""
        some = self.count > 0
        means = [np.divide(sums, self.count, where=some, out=np.zeros(self.bins)) for sums in (self.chance, self.truth)]
        chance, truth = ([float(v) if ok else None for v, ok in zip(mean, some, strict=True)] for mean in means)
        return {
            "ece": self.ece,
            "brier": self.brier,
            "pixels": int(self.count.sum()),
            "bins": {"probability": chance, "truth": truth, "pixels": [int(n) for n in self.count]},
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """Reliability of a model over cases.

    Parameters
    ----------
    model : its name
    everywhere, uncertain : by the structure's name, over all pixels, and over those with a probability of `LEAST`
    cases : that were counted
    failed : a line for each that could not be
    """

    model: str
    everywhere: Mapping[str, Reliability]
    uncertain: Mapping[str, Reliability]
    cases: tuple[str, ...]
    failed: Mapping[str, str]

    def to_dict(self) -> dict:
        """Return the object of ``explain calibration --json``."""
        structures = {
            name: {"all": of.to_dict(), f"probability>={LEAST:g}": self.uncertain[name].to_dict()}
            for name, of in self.everywhere.items()
        }
        return {
            "model": self.model,
            "structures": structures,
            "cases": list(self.cases),
            "failed": dict(self.failed),
            "definition": DEFINITION,
        }


def calibrate(
    cases: Iterable[Case],
    card: Card,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    report: Progress = silent,
) -> Calibration:
    """Segment cases in float32 and hold the probabilities against the truth; a case that fails is told and left out.

    Raises
    ------
    InputError : no case has a structure of the model's, or all failed
    """
    from SpineSegLib.pipelines import segment

    cases = list(cases)
    everywhere: dict[str, Reliability] = {}
    uncertain: dict[str, Reliability] = {}
    done, failed = [], {}
    for number, case in enumerate(cases):
        report(number, len(cases), case.name)
        try:
            image, truth = case.load()
            options = {"weights": weights, "device": device, "precision": "float32", "keep_probability": True}
            found = segment(image, card, where=case.name, **options).segmentation
            pairs = _probabilities(found, truth)
        except InputError as error:
            failed[case.name] = str(error)
            continue
        for name, probability, mask in pairs:
            everywhere.setdefault(name, Reliability()).add(probability, mask)
            some = probability >= LEAST
            uncertain.setdefault(name, Reliability()).add(probability[some], mask[some])
        if pairs:
            done.append(case.name)
        else:
            failed[case.name] = f"{case.name}: the truth has none of {', '.join(s.name for s in card.structures)}"
    report(len(cases), len(cases), "done")
    if not done:
        found = next(iter(failed.values()), "there is no case")
        raise problem("data", found, "cases with the model's structures", "Choose a model for these data")
    return Calibration(card.name, everywhere, uncertain, tuple(done), failed)


def _probabilities(found: Segmentation, truth: Segmentation) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, probability and true mask of each structure that both sides have."""
    pairs = pairs_of(by_structure(found, "prediction", []), by_structure(truth, "truth", []), [])
    listed = []
    for pair in pairs:
        if pair.ours and pair.theirs:
            mask = np.logical_or.reduce([truth.mask(segment) for segment in pair.theirs])
            listed.append((pair.name, np.maximum.reduce([segment.probability for segment in pair.ours]), mask))
    return listed
