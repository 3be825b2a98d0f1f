"""What a report says, whatever it is written as: nothing that leads to the patient, no file names either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date
from typing import TYPE_CHECKING

from SpineSegLib import __version__
from SpineSegLib.errors import problem
from SpineSegLib.evaluation.report.table import Row, table_of
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from SpineSegLib.io.origin import Origin

TITLE = "Segmentation of the spine"
NOTE = "Not for diagnostic use"
_LONGEST = 1600
"""Pixels of the picture's longer side, at most: about 200 dots an inch on paper."""
_PLANES = 380
"""Height of a volume's planes: three of them stand across the page, and their names must be legible there."""
_KINDS = {"XR": "radiograph", "CT": "CT", "MR": "MR"}


@dataclass(frozen=True)
class Report:
    """What one page says.

    Parameters
    ----------
    facts : labels and texts, in order
    picture : the structures on the image (Pillow, RGB)
    titles, cells : the table
    colours : red green blue of each row, as in the picture
    notes : what the reader should know, in sentences
    """

    facts: tuple[tuple[str, str], ...]
    picture: Picture
    titles: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    colours: tuple[tuple[int, int, int], ...]
    notes: tuple[str, ...] = ()


def check_date(text: str | None) -> str:
    """Return a date as YYYY-MM-DD, today's unless one is given.

    Raises
    ------
    InputError : the text is no date
    """
    try:
        return (Date.fromisoformat(text) if text else Date.today()).isoformat()
    except ValueError as error:
        raise problem("--date", repr(text), "a date such as 2026-03-31", "Correct it") from error


def make_report(
    image: Image,
    segmentation: Segmentation,
    rows: Sequence[Row],
    *,
    origin: Origin,
    date: str,
    case: str = "",
    evaluation: Mapping | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Gather what a report says.

    Parameters
    ----------
    image, segmentation : for the picture; the segmentation is resampled when its grid is another one
    rows : one a segment, in the segmentation's order (see `table.with_metrics`)
    origin : what made the segmentation
    date : as it is to be printed
    case : a name of the user's own choice; nothing unless given, since names of files often hold the patient's
    evaluation : what ``evaluate --json`` prints, if a truth was given
    warnings : of the run

    Raises
    ------
    InputError : the segmentation lies outside the image
    """
    from PIL import Image as Pillow

    from SpineSegLib.io.overlay import draw_overlay, on_grid_of

    picture = draw_overlay(image, on_grid_of(image, segmentation, "the segmentation"), height=_PLANES)
    picture.thumbnail((_LONGEST, _LONGEST), Pillow.Resampling.LANCZOS)
    facts = [("Case", case)] if case else []
    facts += [
        ("Image", _image(image)),
        ("Model", f"{origin.title} ({origin.model})" if origin.title else origin.model or "not stated"),
        ("Weights", f"sha256 {origin.weights_sha256}" if origin.weights_sha256 else "not stated"),
        ("Software", f"SpineSeg {__version__}"),
        ("Date", date),
    ]
    if evaluation:
        facts.append(("Against a truth", _overall(evaluation["overall"])))
    changed = [f"{row['name']} ({row['edited']})" for row in rows if row.get("edited")]
    notes = [f"Edited by hand: {', '.join(changed)}."] if changed else []
    if image.geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING:
        notes.append("Sizes are those of the shadow on the detector; in the patient they are smaller.")
    if not image.geometry.has_spacing:
        notes.append("No spacing is known, so nothing is given in millimetres.")
    titles, cells = table_of(rows)
    return Report(
        tuple(facts),
        picture,
        tuple(titles),
        tuple(tuple(row) for row in cells),
        tuple(segment.colour for segment in segmentation.segments),
        (*notes, *warnings),
    )


def _image(image: Image) -> str:
    """Return what the image is, from its grid and modality alone."""
    geometry = image.geometry
    sizes = " × ".join(str(n) for n in geometry.shape[::-1][: 2 if geometry.is_2d else 3])
    what = _KINDS.get(image.modality, "image of unknown modality")
    return f"{what}, {sizes} {'pixels' if geometry.is_2d else 'voxels'}{_spacing(geometry)}"


def _spacing(geometry: Geometry) -> str:
    if not geometry.has_spacing:
        return ""
    steps = geometry.spacing[::-1][: 2 if geometry.is_2d else 3]
    return f" of {' × '.join(f'{step:.3g}' for step in steps)} mm"


def _overall(overall: Mapping) -> str:
    parts = [f"Dice {overall['dice']:.3f}"] if overall.get("dice") is not None else []
    distance = next((unit for unit in ("mm", "px") if overall.get(f"hd95_{unit}") is not None), None)
    parts += [f"HD95 {overall[f'hd95_{distance}']:.2f} {distance}"] if distance else []
    return "overall " + ", ".join(parts) if parts else "nothing to compare"
