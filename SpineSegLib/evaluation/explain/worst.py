"""The cases that a model does worst, out of a folder: looked at one after the other, and only the worst are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from SpineSegLib.errors import InputError
from SpineSegLib.evaluation.cases import CasePair
from SpineSegLib.evaluation.explain.error_pictures import Tile, draw_errors, tile_of
from SpineSegLib.evaluation.explain.errors import ErrorMap
from SpineSegLib.image import Image
from SpineSegLib.progress import Progress, silent

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Kept:
    """One of the worst cases: its numbers, its tile for the sheet, and its picture in detail, if wanted."""

    name: str
    dice: float
    numbers: dict
    tile: Tile
    picture: Picture | None = None


@dataclass(frozen=True)
class Worst:
    """What came of a folder.

    Parameters
    ----------
    cases : the worst first
    measured : how many were looked at
    failed : a line for each that could not be
    """

    cases: tuple[Kept, ...]
    measured: int
    failed: dict[str, str] = field(default_factory=dict)


def worst_cases(
    pairs: Sequence[CasePair],
    look: Callable[[CasePair], tuple[ErrorMap, Image | None]],
    *,
    keep: int = 12,
    pictures: bool = False,
    report: Progress = silent,
) -> Worst:
    """Look at every case and keep those with the smallest Dice; those with the same, in order of name.

    Parameters
    ----------
    look : reads the files of a case and returns its errors and its image
    keep : how many
    pictures : whether the picture in detail of each is kept, too
    """
    kept: list[Kept] = []
    failed: dict[str, str] = {}
    measured = 0
    for number, pair in enumerate(pairs):
        report(number, len(pairs), pair.name)
        lacking = [side for side in ("prediction", "truth") if getattr(pair, side) is None]
        if lacking:
            failed[pair.name] = f"there is no {lacking[0]} of this name"
            continue
        try:
            errors, image = look(pair)
            measured += 1
            dice = float(errors.numbers["dice"])
            if len(kept) == keep and (dice, pair.name) >= (kept[-1].dice, kept[-1].name):
                continue
            picture = draw_errors(errors, image) if pictures else None
            one = Kept(pair.name, dice, errors.to_dict(), tile_of(pair.name, errors, image), picture)
        except InputError as error:
            failed[pair.name] = str(error)
            continue
        kept = sorted([*kept, one], key=lambda case: (case.dice, case.name))[:keep]
    report(len(pairs), len(pairs), "done")
    return Worst(tuple(kept), measured, failed)
