"""What made a segmentation, as its files tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What made a segmentation.

    Parameters
    ----------
    model : name of the model, or None when that is not known
    title : of the model, for people
    weights_sha256 : of the file of its weights, hexadecimal, or None
    """

    model: str | None = None
    title: str = ""
    weights_sha256: str | None = None
