"""What every reader of a data set gives: cases that are listed at once and read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled image of a data set.

    Parameters
    ----------
    name : unique in the set, safe as a file name
    patient : whom it shows; splits keep a patient together
    load : reads the image and its labels, on one grid; InputError when a file is at fault
    landmarks : reads level -> points, float64, in the reader's documented order: (n, 2) x, y in pixels for a picture,
        (n, 3) RAS in mm for a volume (VerSe: (1, 3), the centre of the vertebral body); None without any
    labelled : kinds of structure that the set labels completely; None where that is unknown
    """

    name: str
    patient: str
    load: Callable[[], tuple[Image, Segmentation]]
    landmarks: Callable[[], Mapping[str, np.ndarray]] | None = None
    labelled: frozenset[str] | None = None


def existing(folder: str | Path) -> Path:
    """Return the folder; InputError when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise problem(folder, "no such folder", "the folder of a data set", "Name one with --data")
    return folder
