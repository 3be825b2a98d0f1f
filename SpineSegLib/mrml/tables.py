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

    from SpineSegLib.evaluation.metrics import METRICS

    described = {metric.key: metric for metric in METRICS}
    rows = {OVERALL: evaluation["overall"], **evaluation["structures"]}
    metrics = [
        metric for metric in dict.fromkeys(key for row in rows.values() for key in row) if _numeric(rows, metric)
    ]
    labels = vtk.vtkStringArray()
    labels.SetName("Structure")
    columns = []
    for metric in metrics:
        column = vtk.vtkDoubleArray()
        column.SetName(metric)
        columns.append(column)
    for label, row in rows.items():
        labels.InsertNextValue(label)
        for metric, column in zip(metrics, columns, strict=True):
            value = row.get(metric)
            column.InsertNextValue(float(value) if isinstance(value, int | float) else math.nan)
    if tableNode is None:
        if scene is None:
            import slicer

            scene = slicer.mrmlScene
        tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    wasModified = tableNode.StartModify()
    try:
        tableNode.RemoveAllColumns()
        for column in (labels, *columns):
            tableNode.AddColumn(column)
            # A column without a title would have an empty header.
            tableNode.SetColumnTitle(column.GetName(), column.GetName())
        for key in metrics:
            if key in described:
                metric = described[key]
                tableNode.SetColumnTitle(key, metric.title + ("" if metric.unit == "1" else f" ({metric.unit})"))
                tableNode.SetColumnUnitLabel(key, metric.unit)
                tableNode.SetColumnDescription(key, metric.definition)
        tableNode.SetUseColumnTitleAsColumnHeader(True)
    finally:
        tableNode.EndModify(wasModified)
    return tableNode


def _numeric(rows: dict[str, dict], metric: str) -> bool:
    """Tell whether any row has a number for this metric; nested objects and texts are left out of the table."""
    return any(isinstance(row.get(metric), int | float) for row in rows.values())
