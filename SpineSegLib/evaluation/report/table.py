"""The table of results: a row a structure, for people and for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, object]

METRICS = ("dice", "iou", "hd95_mm", "hd95_px", "assd_mm", "assd_px")
"""Metrics of the table where a truth is given; ``evaluate`` tells all of them."""
_FOR_PROGRAMS = ("name", "level", "kind", "code", "volume_mm3", "area_mm2", "pixels", "confidence", "edited", *METRICS)


@dataclass(frozen=True)
class Column:
    """A column for people.

    Parameters
    ----------
    key : in a row
    title : with the unit
    text : makes a cell of a value
    """

    key: str
    title: str
    text: Callable[[object], str] = str


_FOR_PEOPLE = (
    # A structure's name begins with its level.
    Column("name", "Level, structure"),
    Column("volume_mm3", "Volume, cm³", lambda value: f"{value / 1000:.1f}"),
    Column("area_mm2", "Area, cm²", lambda value: f"{value / 100:.2f}"),
    Column("pixels", "Pixels", "{:d}".format),
    Column("confidence", "Confidence", "{:.2f}".format),
    Column("dice", "Dice", "{:.3f}".format),
    Column("hd95_mm", "HD95, mm", "{:.2f}".format),
    Column("hd95_px", "HD95, px", "{:.2f}".format),
)


def with_metrics(rows: Sequence[Row], evaluation: Mapping | None) -> list[dict[str, object]]:
    """Return the rows with the metrics of their structures.

    Parameters
    ----------
    rows : one a structure, as ``segment --json`` lists them
    evaluation : what ``evaluate --json`` prints, if a truth was given
    """
    found = (evaluation or {}).get("structures", {})
    known = [{key: found.get(row["name"], {}).get(key) for key in METRICS} for row in rows]
    return [
        {**row, **{key: value for key, value in more.items() if value is not None}}
        for row, more in zip(rows, known, strict=True)
    ]


def table_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of the columns that hold something; what a row lacks is a dash."""
    present = {key for row in rows for key, value in row.items() if value not in (None, "")}
    # A size in pixels says less than one in millimetres; distances in pixels likewise.
    present -= {"pixels"} if present & {"volume_mm3", "area_mm2"} else set()
    present -= {"hd95_px"} if "hd95_mm" in present else set()
    columns = [column for column in _FOR_PEOPLE if column.key in present]
    cells = [[_cell(row.get(column.key), column) for column in columns] for row in rows]
    return [column.title for column in columns], cells


def blocks(count: int) -> int:
    """Return into how many tables beside each other so many rows are parted, so that one page holds them."""
    return 1 if count <= 16 else 2 if count <= 44 else 3


def _cell(value: object, column: Column) -> str:
    return "–" if value in (None, "") else column.text(value)


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV, with every digit (use `written_whole` around it); units are in the columns' names."""
    present = {key for row in rows for key in row}
    columns = [key for key in _FOR_PROGRAMS if key in present or key in ("name", "level", "kind", "code", "pixels")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
