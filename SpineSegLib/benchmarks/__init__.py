"""Benchmarks: how long something takes against a reference, both in one run, so that the ratio counts on any machine.

A benchmark is a function of the number of repeats that returns `Row`s; it checks that both sides give the same before
it times them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from SpineSegLib.benchmarks.race import Row, race, seconds_of

BENCHMARKS: dict[str, str] = {
    "sam-encoder": "sam:encoder",
    "cervspinenet-decoder": "sam:decoder",
    "cervspinenet-segment": "whole:cervspinenet",
    "linknet152-pruned": "pruning:linknet152",
    "ct-slices": "slices:growth",
    "selective-scan": "scan:forward",
    "selective-scan-training": "scan:training",
    "spinefm-vertebra": "vertebrae:spinefm",
    "yolo-unet-picture": "boxes:yolo_unet",
}
"""Name on the command line -> module of this package and its function; torch is imported only by `find`."""


def find(name: str) -> Callable[[int], Sequence[Row]]:
    """Return a benchmark by its name in `BENCHMARKS`."""
    module, function = BENCHMARKS[name].split(":")
    return getattr(import_module(f"SpineSegLib.benchmarks.{module}"), function)


__all__ = ["BENCHMARKS", "Row", "find", "race", "seconds_of"]
