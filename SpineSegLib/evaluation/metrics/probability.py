"""Errors of a probability against a binary truth."""

from __future__ import annotations

import numpy as np

from SpineSegLib.errors import problem


def checked(probability: np.ndarray, where: object) -> np.ndarray:
    """Return a probability whose numbers all lie in 0…1.

    Raises
    ------
    InputError : a number that is none, or one outside of 0…1
    """
    low, high = (float(end) for end in (probability.min(), probability.max()))
    # The smallest of numbers of which one is NaN is NaN.
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(probability.size - np.isfinite(probability).sum())
        found = f"{bad} of {probability.size} probabilities are not a number"
        raise problem(where, found, "numbers from 0 to 1", "Compute the probabilities again, in float32")
    if low < 0 or high > 1:
        found = f"the values run from {low:g} to {high:g}"
        raise problem(where, found, "probabilities from 0 to 1", "Give the output after its sigmoid or softmax")
    return probability


def probability_errors(probability: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Return the mean absolute error over all voxels and over the truth's alone (paper 000, figure 6).

    Parameters
    ----------
    probability, truth : numbers in 0…1 and a boolean mask of one k, j, i shape

    Returns
    -------
    ``global_mae``, and ``foreground_mae``, which is None when the truth is empty
    """
    total = foreground = 0.0
    for values, mask in zip(probability, truth, strict=True):
        inside = float(values[mask].sum(dtype=np.float64))
        size = int(np.count_nonzero(mask))
        foreground += size - inside
        total += size - inside + float(values.sum(dtype=np.float64)) - inside
    size = int(np.count_nonzero(truth))
    return {"global_mae": total / truth.size, "foreground_mae": foreground / size if size else None}
