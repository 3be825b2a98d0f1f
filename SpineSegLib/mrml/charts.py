"""Metrics -> plot chart nodes: bars of Dice for one pair, box plots of Dice for many cases.

Slicer's plot view writes numbers on the axis of bars and knows no boxes (qMRMLPlotView, 5.13). So the axis' title says
which number is which structure, and boxes are drawn with lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

TABLE_ATTRIBUTE = "SpineSeg.ChartOfTable"
"""Attribute of a chart node: the ID of the table whose numbers it shows."""

_BAR, _BOX, _MIDDLE = (0.30, 0.53, 0.79), (0.35, 0.40, 0.47), (0.80, 0.20, 0.12)
_LINE = 64
"""Characters in a line of an axis' title; a plot view of half a screen shows them whole."""


def bar_chart(tableNode, *, metric: str = "dice", title: str):
    """Show one column of a metrics table as bars, one for each row; the table's own chart is used again.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode, as `metrics_table` makes it
    metric : name of the column, a number from 0 to 1
    title : of the chart

    Returns
    -------
    vtkMRMLPlotChartNode
    """
    import slicer

    names = [tableNode.GetTable().GetValueByName(row, "Structure").ToString() for row in range(_rows(tableNode))]
    chartNode = _chart(tableNode, title, names, tableNode.GetColumnTitle(metric) or metric)
    series = _series(chartNode, tableNode, "Dice" if metric == "dice" else metric, metric, _BAR)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    series.SetLabelColumnName("Structure")
    chartNode.SetLegendVisibility(False)
    return chartNode


def box_chart(tableNode, values: Mapping[str, Sequence[float]], *, title: str, label: str):
    """Show how values spread, one box for each name: quartiles, median, and whiskers to the extremes.

    Quartiles are interpolated linearly (NumPy's and matplotlib's default). The corners of the lines lie in a hidden
    table of their own.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode that the values are from
    values : name -> numbers from 0 to 1; NaN is left out, and a name without numbers has no box
    title : of the chart
    label : of the axis of values

    Returns
    -------
    vtkMRMLPlotChartNode
    """
    chartNode = _chart(tableNode, title, list(values), f"{label} (red: median; box: quartiles; whiskers: extremes)")
    scene = tableNode.GetScene()
    cornersNode = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{chartNode.GetName()} corners")
    cornersNode.SetHideFromEditors(True)
    boxes, middles = [], []
    for place, found in enumerate(values.values()):
        numbers = [number for number in found if not math.isnan(number)]
        if numbers:
            low, first, middle, third, high = np.percentile(numbers, [0, 25, 50, 75, 100])
            left, right = place - 0.3, place + 0.3
            boxes += [(left, first), (right, first), (right, third), (left, third), (left, first), None]
            boxes += [(place, low), (place, first), None, (place, third), (place, high), None]
            middles += [(left, middle), (right, middle), None]
    _fill_corners(cornersNode, {"quartiles and extremes": boxes, "median": middles})
    for name, colour in (("quartiles and extremes", _BOX), ("median", _MIDDLE)):
        series = _series(chartNode, cornersNode, name, name, colour)
        series.SetXColumnName(f"place of {name}")
        series.SetLineWidth(2 if colour == _BOX else 4)
    chartNode.SetLegendVisibility(False)  # it would lie on the boxes
    return chartNode


def chart_of(tableNode):
    """Return the chart that shows a table, or None."""
    import slicer

    if tableNode is None or tableNode.GetScene() is None:
        return None
    charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode", tableNode.GetScene())
    return next((chart for chart in charts if chart.GetAttribute(TABLE_ATTRIBUTE) == tableNode.GetID()), None)


def numbered(names: Sequence[str]) -> str:
    """Return names with their places on the axis, in lines short enough to be read."""
    lines = [""]
    for place, name in enumerate(names):
        text = f"{place} {name}"
        if lines[-1] and len(lines[-1]) + len(text) > _LINE:
            lines.append("")
        lines[-1] += f"{' · ' if lines[-1] else ''}{text}"
    return "\n".join(lines)


def _rows(tableNode) -> int:
    return tableNode.GetTable().GetNumberOfRows()


def _chart(tableNode, title: str, names: Sequence[str], label: str):
    """Return the table's chart without its series, with axes for places 0, 1, 2 … and values from 0 to 1."""
    scene = tableNode.GetScene()
    chartNode = chart_of(tableNode)
    if chartNode is None:
        chartNode = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(title))
        chartNode.SetAttribute(TABLE_ATTRIBUTE, tableNode.GetID())
    for number in reversed(range(chartNode.GetNumberOfPlotSeriesNodes())):
        series = chartNode.GetNthPlotSeriesNode(number)
        table = series.GetTableNode() if series else None
        chartNode.RemoveNthPlotSeriesNodeID(number)
        for node in (series, table if table is not None and table.GetHideFromEditors() else None):
            if node is not None and node.GetScene() is not None:
                scene.RemoveNode(node)
    chartNode.SetTitle(title)
    chartNode.SetXAxisTitle(numbered(names))
    chartNode.SetYAxisTitle(label)
    chartNode.SetXAxisRangeAuto(False)
    chartNode.SetXAxisRange(-0.6, max(len(names), 1) - 0.4)
    chartNode.SetYAxisRangeAuto(False)
    chartNode.SetYAxisRange(0.0, 1.0)
    chartNode.SetTitleFontSize(16)
    chartNode.SetAxisTitleFontSize(13)
    chartNode.SetAxisLabelFontSize(12)
    return chartNode


def _series(chartNode, tableNode, name: str, column: str, colour: tuple[float, float, float]):
    """Add a line without markers to a chart."""
    import slicer

    kind = slicer.vtkMRMLPlotSeriesNode
    # The legend shows the node's name as it is: two charts may both have a 'median'.
    series = chartNode.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(tableNode.GetID())
    series.SetYColumnName(column)
    series.SetPlotType(kind.PlotTypeScatter)
    series.SetLineStyle(kind.LineStyleSolid)
    series.SetMarkerStyle(kind.MarkerStyleNone)
    series.SetColor(*colour)
    chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


def _fill_corners(tableNode, lines: Mapping[str, Sequence[tuple[float, float] | None]]) -> None:
    """Put lines into a table, x and y of each; None lifts the pen."""
    import vtk

    length = max((len(points) for points in lines.values()), default=0)
    for name, points in lines.items():
        columns = []
        for title in (f"place of {name}", name):
            column = vtk.vtkDoubleArray()
            column.SetName(title)
            columns.append(column)
        for number in range(length):
            point = points[number] if number < len(points) and points[number] else (math.nan, math.nan)
            for column, value in zip(columns, point, strict=True):
                column.InsertNextValue(value)
        for column in columns:
            tableNode.AddColumn(column)
