"""Random values from ranges as recipes write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Range = float | Sequence[float]
"""A limit, or the lowest and the highest value."""


def signed(name: str, limits: Range, random: np.random.Generator) -> float:
    """Return an even draw; a single number n stands for -n…n."""
    low, high = _pair(name, limits, signed_limit=True)
    return float(random.uniform(low, high))


def signed_whole(name: str, limits: Range, random: np.random.Generator) -> int:
    """Return an even draw of whole numbers; a single number n stands for -n…n."""
    low, high = _pair(name, limits, signed_limit=True)
    if low != round(low) or high != round(high):
        msg = f"{name} is {limits!r}, expected whole numbers"
        raise ValueError(msg)
    return int(random.integers(round(low), round(high), endpoint=True))


def amount(name: str, limits: Range, random: np.random.Generator, *, most: float = math.inf) -> float:
    """Return an even draw from 0 to `most` at the outside; a single number n stands for 0…n."""
    low, high = _pair(name, limits, signed_limit=False)
    if low < 0 or high > most:
        msg = f"{name} is {limits!r}, expected no negative value" + (f" and none above {most:g}" if high > most else "")
        raise ValueError(msg)
    return float(random.uniform(low, high))


def factor(name: str, limits: Sequence[float], random: np.random.Generator, *, most: float = math.inf) -> float:
    """Return a draw from a pair of factors above 0 and up to `most`, even in their logarithm."""
    low, high = _pair(name, limits, signed_limit=None)
    if low <= 0 or high > most:
        msg = f"{name} is {limits!r}, expected factors above 0" + (f" and none above {most:g}" if high > most else "")
        raise ValueError(msg)
    return float(math.exp(random.uniform(math.log(low), math.log(high))))


def _pair(name: str, limits: Range, *, signed_limit: bool | None) -> tuple[float, float]:
    single = isinstance(limits, int | float) and not isinstance(limits, bool)
    if single and signed_limit is not None:
        limits = (-abs(limits) if signed_limit else 0, abs(limits) if signed_limit else limits)
    numbers = isinstance(limits, Sequence) and all(isinstance(x, int | float) and math.isfinite(x) for x in limits)
    if not numbers or len(limits) != 2 or limits[0] > limits[1]:
        msg = f"{name} is {limits!r}, expected {'' if signed_limit is None else 'a number or '}[lowest, highest]"
        raise ValueError(msg)
    return float(limits[0]), float(limits[1])
