"""Vertebra by vertebra: which one of the prediction is which one of the truth, found at all and named rightly.

Paper 001 (SpineFM, ISBI 2025, section 4) defines, for each level, '% identified' as the percentage of vertebrae that
were detected, 'Located DSC' as the mean Dice of those and 'Overall DSC' as the mean Dice of all, 0 for those that were
not. Its averages are weighted by how often a level occurs. It does not say when a vertebra was detected; here it was
when it has a partner in the prediction, whatever the partner's level, so that place and name are judged apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.evaluation.metrics.instances import Instances, count_instances


@dataclass(frozen=True)
class Vertebra:
    """A vertebra of the truth and its partner in the prediction.

    Parameters
    ----------
    name, level : of the truth; the level is None where the truth does not say it
    dice : with the partner; 0 without
    found_as : the partner's name, None when the vertebra was missed
    level_right : whether the partner carries its level; None when it was missed or has no level itself
    """

    name: str
    level: str | None
    dice: float = 0.0
    found_as: str | None = None
    level_right: bool | None = None


@dataclass(frozen=True)
class Vertebrae:
    """The vertebrae of one truth, or of many, and what was found of them.

    Parameters
    ----------
    each : every vertebra of the truth
    extra : names of vertebrae of the prediction without a partner: false ones, or such as the truth does not label
    """

    each: tuple[Vertebra, ...]
    extra: tuple[str, ...] = ()

    @property
    def instances(self) -> Instances:
        """How many were found and how well, over all levels; this equals the mean weighted by frequency."""
        return _counted(self.each)

    @property
    def levels(self) -> dict[str, Instances]:
        """The same level by level, in order."""
        names = sorted({one.level for one in self.each if one.level}, key=LEVELS.index)
        return {name: _counted([one for one in self.each if one.level == name]) for name in names}

    @property
    def levels_right_percent(self) -> float | None:
        """How many of those that were found carry the right level; None when none was."""
        judged = [one.level_right for one in self.each if one.level_right is not None]
        return 100 * sum(judged) / len(judged) if judged else None

    def to_dict(self) -> dict:
        """Return the numbers by name, those of each level and each vertebra within."""
        return {
            **self.instances.to_dict(),
            "levels_right_percent": self.levels_right_percent,
            "extra": list(self.extra),
            "levels": {level: found.to_dict() for level, found in self.levels.items()},
            "each": [
                {"name": one.name, "found_as": one.found_as, "dice": one.dice, "level_right": one.level_right}
                for one in self.each
            ],
        }


def _counted(some: Iterable[Vertebra]) -> Instances:
    # A partner has a Dice above the threshold, hence above 0: the others are exactly those that were missed.
    return count_instances(one.dice for one in some)


def match_one_to_one(dice: np.ndarray, *, above: float = 0.5) -> list[tuple[int, int]]:
    """Return pairs of a prediction and a truth, no one in two pairs, with the largest sum of Dice.

    Parameters
    ----------
    dice : (predictions, truths) array, Dice of each with each
    above : only a Dice that exceeds this makes a pair

    Returns
    -------
    Numbers of prediction and truth, in the order of the truths
    """
    from scipy.optimize import linear_sum_assignment

    dice = np.asarray(dice, dtype=float)
    worth = np.where(dice > above, dice, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    pairs = [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0]
    return sorted(pairs, key=lambda pair: pair[1])


Named = tuple[str, str | None]
"""Name and level of a vertebra; the level is None when it is not known."""


def match_vertebrae(
    dice: np.ndarray, predictions: Sequence[Named], truths: Sequence[Named], *, above: float = 0.5
) -> Vertebrae:
    """Return what was found of the vertebrae of a truth.

    Parameters
    ----------
    dice : (predictions, truths) array, Dice of each with each
    predictions, truths : names and levels; a prediction without level is never named rightly
    above : see `match_one_to_one`
    """
    partners = {truth: prediction for prediction, truth in match_one_to_one(dice, above=above)}
    each = []
    for number, (name, level) in enumerate(truths):
        if number not in partners:
            each.append(Vertebra(name, level))
            continue
        found_as, its_level = predictions[partners[number]]
        right = None if level is None else its_level == level
        each.append(Vertebra(name, level, float(dice[partners[number], number]), found_as, right))
    taken = set(partners.values())
    return Vertebrae(tuple(each), tuple(name for n, (name, _) in enumerate(predictions) if n not in taken))


def together(some: Iterable[Vertebrae]) -> Vertebrae:
    """Return the vertebrae of many cases as those of one, for the numbers of a paper's table."""
    parts = list(some)
    each = tuple(one for part in parts for one in part.each)
    return Vertebrae(each, tuple(name for part in parts for name in part.extra))
