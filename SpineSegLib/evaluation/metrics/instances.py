"""Which vertebrae were found, and how well: the three numbers of paper 001's tables 1 and 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Instances:
    """How well structures of one level, or of all, were found.

    Parameters
    ----------
    count : structures in the truth
    identified_percent : how many of them were identified
    located_dice : mean Dice of those that were identified; None when none was
    overall_dice : mean Dice of all, 0 for those that were not identified
    """

    count: int
    identified_percent: float | None
    located_dice: float | None
    overall_dice: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the numbers by name."""
        return {
            "count": self.count,
            "identified_percent": self.identified_percent,
            "located_dice": self.located_dice,
            "overall_dice": self.overall_dice,
        }


def count_instances(dice: Iterable[float], *, identified_dice: float = 0.0) -> Instances:
    """Count structures of the truth from the Dice of each, 0 where the prediction lacks it.

    Parameters
    ----------
    dice : one number a structure of the truth
    identified_dice : it counts as identified when its Dice exceeds this
    """
    values = list(dice)
    located = [value for value in values if value > identified_dice]
    if not values:
        return Instances(0, None, None, None)
    return Instances(
        count=len(values),
        identified_percent=100 * len(located) / len(values),
        located_dice=sum(located) / len(located) if located else None,
        overall_dice=sum(located) / len(values),
    )


def weighted(levels: Mapping[str, Instances] | Sequence[Instances]) -> Instances:
    """Average over levels, each weighted by how often it occurs (located Dice: by how often it was identified).

    This is paper 001's 'Avg', "accounting for the frequency of occurrence of each vertebra", and equals the numbers
    over all structures at once.
    """
    parts = [part for part in (levels.values() if isinstance(levels, Mapping) else levels) if part.count]
    if not parts:
        return Instances(0, None, None, None)
    count = sum(part.count for part in parts)
    identified = [part.count * part.identified_percent / 100 for part in parts]
    located = sum(n * part.located_dice for n, part in zip(identified, parts, strict=True) if part.located_dice)
    return Instances(
        count=count,
        identified_percent=100 * sum(identified) / count,
        located_dice=located / sum(identified) if sum(identified) else None,
        overall_dice=sum(part.count * part.overall_dice for part in parts) / count,
    )
