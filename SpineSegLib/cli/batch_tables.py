"""The tables of a batch: a row a case, a row a structure, and metrics in the form that ``compare`` reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from SpineSegLib.io import all_written_whole

_CASE = ("case", "state", "model", "seconds", "found", "structures", "pixels", "area_mm2", "volume_mm3")
_STRUCTURE = ("case", "name", "level", "kind", "code", "pixels", "area_mm2", "volume_mm3", "confidence")
_SIZES = ("pixels", "area_mm2", "volume_mm3")
_OVERALL = ("dice", "iou", "hd95_px", "hd95_mm")
"""Metrics that stand in a case's row; all of them stand in the table of metrics."""

FILES = ("batch.json", "batch.csv", "structures.csv", "metrics.csv")


def write_tables(out: Path, about: Mapping[str, object], records: Sequence[Mapping]) -> None:
    """Write ``batch.json`` and the tables; all of them change, or none does.

    Parameters
    ----------
    about : what is true of the whole batch
    records : of every case, in order

    Raises
    ------
    InputError : the folder cannot be written
    """
    metrics = list(_metric_rows(records))
    paths = [out / name for name in FILES if metrics or name != "metrics.csv"]
    with all_written_whole(*paths) as temporaries:
        content = {**about, "cases": list(records)}
        temporaries[0].write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        _write(temporaries[1], [*_CASE, *_OVERALL, "warnings", "error"], [case_row(record) for record in records])
        _write(temporaries[2], _STRUCTURE, list(_structure_rows(records)))
        if metrics:
            keys = dict.fromkeys(key for row in metrics for key in row)
            _write(temporaries[3], list(keys), metrics)


def case_row(record: Mapping) -> dict[str, object]:
    """Return what the table of cases says of one: sizes are those of all its structures together."""
    present = [entry for entry in record.get("structures", ()) if entry["pixels"]]
    overall = (record.get("evaluation") or {}).get("overall", {})
    row = {key: record.get(key) for key in ("case", "state", "model", "error")}
    row["seconds"] = None if record.get("seconds") is None else round(record["seconds"], 3)
    row["found"] = len(present) if record["state"] == "done" else None
    row["structures"] = "; ".join(entry["name"] for entry in present)
    for key in _SIZES:
        sizes = [entry[key] for entry in present if key in entry]
        row[key] = sum(sizes) if sizes else None
    row |= {key: overall.get(key) for key in _OVERALL}
    row["warnings"] = " ".join(record.get("warnings", ()))
    return row


def _structure_rows(records: Sequence[Mapping]) -> Iterator[dict[str, object]]:
    for record in records:
        for entry in record.get("structures", ()):
            yield {"case": record["case"], **{key: entry.get(key) for key in _STRUCTURE[1:]}}


def _metric_rows(records: Sequence[Mapping]) -> Iterator[dict[str, object]]:
    """Yield rows as ``evaluate --csv`` writes them for many cases."""
    for record in records:
        found = record.get("evaluation")
        if not found:
            continue
        for scope, entries in (
            ("overall", {"overall": found["overall"]}),
            ("structure", found["structures"]),
            ("level", found["levels"]),
        ):
            for name, values in entries.items():
                yield {"case": record["case"], "scope": scope, "structure": name, **values}


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
