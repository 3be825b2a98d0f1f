"""Timing by turns, so that whatever else the machine does slows both sides alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of ``bench``.

    Parameters
    ----------
    name : what was timed
    reference : what it is compared with
    seconds, reference_seconds : medians, of one call each
    """

    name: str
    reference: str
    seconds: float
    reference_seconds: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference."""
        return self.reference_seconds / self.seconds


def race(*runners: Callable[[], object], repeats: int) -> list[float]:
    """Return the median seconds of each runner, run in turns after one warm-up of each."""
    times: list[list[float]] = [[] for _ in runners]
    for turn in range(repeats + 1):
        for number, run in enumerate(runners):
            taken = seconds_of(run)
            if turn:
                times[number].append(taken)
    return [statistics.median(each) for each in times]


def seconds_of(run: Callable[[], object]) -> float:
    """Return the seconds by the clock that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
