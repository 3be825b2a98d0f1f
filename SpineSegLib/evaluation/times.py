"""Time that automatic segmentation saves against people (figure 9 of CervSpineNet's paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.statistics import Description, describe, time_saved
from SpineSegLib.io.tables import read_table


@dataclass(frozen=True)
class Times:
    """How long each took for a case.

    Parameters
    ----------
    totals : who -> seconds of each case, all stages together
    stages : who -> stage -> seconds of each case
    automatic : who of them is no person
    """

    totals: Mapping[str, Sequence[float]]
    stages: Mapping[str, Mapping[str, Sequence[float]]]
    automatic: Sequence[str]

    @property
    def manual(self) -> list[str]:
        """The people."""
        return [who for who in self.totals if who not in self.automatic]

    def describe(self, *, seed: int = 0) -> dict[str, Description]:
        """Return mean, spread and intervals of everyone's time for a case."""
        return {who: describe(seconds, seed=seed) for who, seconds in self.totals.items()}

    def saved(self) -> dict[str, float]:
        """Return, for each automatic way, the percentage of all people's mean time that it saves."""
        people = [seconds for who in self.manual for seconds in self.totals[who]]
        return {who: time_saved(people, self.totals[who]) for who in self.automatic}

    def to_dict(self, *, seed: int = 0) -> dict:
        """Return the part of ``compare --json`` about times."""
        described = {who: found.to_dict() for who, found in self.describe(seed=seed).items()}
        return {"seconds": described, "automatic": list(self.automatic), "saved_percent": self.saved()}


def read_times(path: Path, automatic: Sequence[str]) -> Times:
    """Read a CSV table with the columns ``who`` and ``seconds`` (also ``case``, ``stage``).

    Rows of one case and several stages are summed up; a table without cases has one row a case and stage.

    Parameters
    ----------
    automatic : who of the table is no person

    Raises
    ------
    InputError : no such table, other columns, a time that is none, or nobody on one of the two sides
    """
    totals: dict[str, dict[str, float]] = {}
    stages: dict[str, dict[str, list[float]]] = {}
    for number, row in read_table(path, "who", "seconds"):
        try:
            seconds = float(row["seconds"])
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise problem(path, f"line {number}: {row['seconds']!r} seconds", "a positive number", "Correct the table")
        of_stage = stages.setdefault(row["who"], {}).setdefault(row.get("stage") or "", [])
        of_stage.append(seconds)
        case = row.get("case") or f"row {len(of_stage)}"
        of_case = totals.setdefault(row["who"], {})
        of_case[case] = of_case.get(case, 0.0) + seconds
    unknown = [who for who in automatic if who not in totals]
    if unknown or not automatic or not totals.keys() - set(automatic):
        found = f"{unknown[0]!r} is not in the table" if unknown else f"automatic: {', '.join(automatic) or 'nobody'}"
        expected = f"some, but not all, of {', '.join(totals)}"
        raise problem("--automatic", found, expected, "Name those that are no people")
    return Times({who: list(cases.values()) for who, cases in totals.items()}, stages, list(automatic))
