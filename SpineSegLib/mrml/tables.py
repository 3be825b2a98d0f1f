"""Metrics -> vtkMRMLTableNode."""

from __future__ import annotations

import math

OVERALL = "Overall"


def metrics_table(evaluation: dict, tableNode=None, *, name: str = "Metrics", scene=None):
    """Put what ``evaluate --json`` prints into a table node: a row for all structures together and one for each.

    Parameters
    ----------
    evaluation : ``{"overall": {metric: number}, "structures": {name: {metric: number}}}``; a number that does not
        exist (no spacing, an empty mask) is None or absent and shows as ``nan``
    tableNode : vtkMRMLTableNode to fill; a new one unless given
    name : name of a new node
    scene : where a new node goes; the running Slicer's unless given

    Returns
    -------
    vtkMRMLTableNode
    """
    import vtk

    rows = {OVERALL: evaluation["overall"], **evaluation["structures"]}
    metrics = [
        metric for metric in dict.fromkeys(key for row in rows.values() for key in row) if _numeric(rows, metric)
    ]
    labels = vtk.vtkStringArray()
    labels.SetName("Structure")
    for label in rows:
        labels.InsertNextValue(label)
    columns = [_numbers(rows, metric) for metric in metrics]
    return _filled(tableNode, [labels, *columns], name=name, scene=scene)


SIZES = {
    "volume_mm3": ("volume_ml", "Volume (ml)", 0.001),
    "area_mm2": ("area_cm2", "Area (cm²)", 0.01),
    "pixels": ("pixels", "Pixels", 1.0),
}
"""Key of ``segment --json`` -> its column's name, title and factor; the first of them that is there is shown."""


def result_table(structures: list[dict], evaluation: dict | None = None, tableNode=None, *, name: str, scene=None):
    """Put what ``segment --json`` and ``evaluate --json`` print into one table node, a row for each structure.

    Parameters
    ----------
    structures : ``[{"name", "level", "volume_mm3" | "area_mm2" | "pixels", "confidence"}]``
    evaluation : as `metrics_table` takes it; its overall numbers become the first row, and what only the truth has
        becomes rows without a size
    tableNode : vtkMRMLTableNode to fill; a new one unless given
    name : name of a new node

    Returns
    -------
    vtkMRMLTableNode; a number that does not exist is ``nan``, and a column without any number is left out
    """
    import vtk

    size = next((key for key in SIZES if any(key in entry for entry in structures)), "pixels")
    column, title, factor = SIZES[size]
    found = {
        entry["name"]: {"level": entry.get("level"), "confidence": entry.get("confidence")}
        | ({column: factor * entry[size]} if size in entry else {})
        for entry in structures
    }
    measured = {OVERALL: evaluation["overall"], **evaluation["structures"]} if evaluation else {}
    rows = {label: {**found.get(label, {}), **measured.get(label, {})} for label in dict.fromkeys([*measured, *found])}
    names, levels = vtk.vtkStringArray(), vtk.vtkStringArray()
    names.SetName("Structure")
    levels.SetName("Level")
    for label, row in rows.items():
        names.InsertNextValue(label)
        levels.InsertNextValue(row.get("level") or "")
    wanted = [column, "confidence", *(key for row in measured.values() for key in row)]
    columns = [_numbers(rows, key) for key in dict.fromkeys(wanted) if _numeric(rows, key)]
    texts = [names, levels] if any(row.get("level") for row in rows.values()) else [names]
    tableNode = _filled(tableNode, [*texts, *columns], name=name, scene=scene)
    for key, words in ((column, title), ("confidence", "Confidence")):
        if tableNode.GetTable().GetColumnByName(key):
            tableNode.SetColumnTitle(key, words)
    return tableNode


def _numbers(rows: dict[str, dict], key: str):
    """Return a column of numbers; one that does not exist is ``nan``."""
    import vtk

    column = vtk.vtkDoubleArray()
    column.SetName(key)
    for row in rows.values():
        value = row.get(key)
        column.InsertNextValue(float(value) if isinstance(value, int | float) else math.nan)
    return column


def _numeric(rows: dict[str, dict], metric: str) -> bool:
    """Tell whether any row has a number for this metric; nested objects and texts are left out of the table."""
    return any(isinstance(row.get(metric), int | float) for row in rows.values())


def cases_table(path, tableNode=None, *, name: str = "Cases"):
    """Put the file that ``evaluate --csv`` writes for many cases into a table node, row by row.

    Parameters
    ----------
    path : CSV file with the columns ``case``, ``scope`` and ``structure``, then a column for each metric
    tableNode : vtkMRMLTableNode to fill; a new one unless given
    name : name of a new node

    Returns
    -------
    vtkMRMLTableNode; a cell without a number holds ``nan``
    """
    import csv
    from pathlib import Path

    import vtk

    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, titles = list(reader), list(reader.fieldnames or ())
    columns = []
    for title in titles:
        numbers = title not in _TEXTS
        column = vtk.vtkDoubleArray() if numbers else vtk.vtkStringArray()
        column.SetName(title)
        for row in rows:
            text = row[title] or ""
            column.InsertNextValue((float(text) if text else math.nan) if numbers else text)
        columns.append(column)
    return _filled(tableNode, columns, name=name)


def values_of(tableNode, metric: str) -> dict[str, list[float]]:
    """Return a metric of every case in a table of cases, by structure, with ``Overall`` first.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode, as `cases_table` makes it
    metric : name of a column of numbers
    """
    from SpineSegLib.anatomy import structure_named

    table = tableNode.GetTable()
    found: dict[str, list[float]] = {}
    for row in range(table.GetNumberOfRows()):
        scope, name = (table.GetValueByName(row, column).ToString() for column in ("scope", "structure"))
        if scope in ("overall", "structure"):
            value = table.GetValueByName(row, metric).ToDouble()
            found.setdefault(OVERALL if scope == "overall" else name, []).append(value)
    return dict(sorted(found.items(), key=lambda item: (item[0] != OVERALL, structure_named(item[0]).order)))


_TEXTS = ("case", "scope", "structure", "in", "union of", "error", "state", "model", "structures", "warnings")
"""Columns of ``evaluate --csv`` and of a batch's table that hold texts."""


def _filled(tableNode, columns: list, *, name: str, scene=None):
    """Replace a table node's columns, and say what those are that hold a metric."""
    from SpineSegLib.evaluation.metrics import METRICS

    if tableNode is None:
        if scene is None:
            import slicer

            scene = slicer.mrmlScene
        tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    described = {metric.key: metric for metric in METRICS}
    wasModified = tableNode.StartModify()
    try:
        tableNode.RemoveAllColumns()
        for column in columns:
            key = column.GetName()
            tableNode.AddColumn(column)
            # A column without a title would have an empty header.
            tableNode.SetColumnTitle(key, key[:1].upper() + key[1:] if key in _TEXTS else key)
            if key in described:
                metric = described[key]
                tableNode.SetColumnTitle(key, metric.title + ("" if metric.unit == "1" else f" ({metric.unit})"))
                tableNode.SetColumnUnitLabel(key, metric.unit)
                tableNode.SetColumnDescription(key, metric.definition)
        tableNode.SetUseColumnTitleAsColumnHeader(True)
    finally:
        tableNode.EndModify(wasModified)
    return tableNode
