"""CSV tables that people make, with spreadsheets or by hand."""

from __future__ import annotations

import csv
from pathlib import Path

from SpineSegLib.errors import problem


def read_table(
    path: Path, *columns: str, expected: str | None = None, next_step: str = "Name its columns so"
) -> list[tuple[int, dict[str, str]]]:
    """Return the number of the line and the cells of each row; a cell that a short row lacks is None.

    Parameters
    ----------
    columns : that it must have
    expected, next_step : what the error says where it lacks one, or has no rows

    Raises
    ------
    InputError : it cannot be read, lacks a column or has no rows
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise problem(path, f"it cannot be read ({error})", "a CSV table in UTF-8", "Check the path") from error
    if not rows or not set(columns) <= rows[0][1].keys():
        found = f"the columns {', '.join(str(name) for name in rows[0][1] if name is not None)}" if rows else "no rows"
        raise problem(path, found, expected or f"rows with the columns {' and '.join(columns)}", next_step)
    return rows
