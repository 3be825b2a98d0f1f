"""Training: recipes, sources of samples, losses, fitting, and the weights and card that come out.

`train` is that of `SpineSegLib.training.run`, loaded with torch only when it is asked for.
"""

from __future__ import annotations

__all__ = ["train"]


def __getattr__(name: str) -> object:
    if name == "train":
        from SpineSegLib.training.run import train

        return train
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
