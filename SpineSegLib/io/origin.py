"""What made a segmentation, as its files tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What made a segmentation.

    Parameters
    ----------
    model : name of the model, or None when that is not known
    weights_sha256 : of the file of its weights, hexadecimal, or None
    edited : whether somebody changed the result afterwards
    """

    model: str | None = None
    weights_sha256: str | None = None
    edited: bool = False
