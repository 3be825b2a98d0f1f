"""A report as one A4 page of PDF, drawn by matplotlib; its text can be searched and copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib import __version__
from SpineSegLib.evaluation.report.content import NOTE, TITLE, Report
from SpineSegLib.evaluation.report.table import blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 210.0, 297.0
_EDGE, _LINE = 15.0, 4.6
"""Margin and line height in mm; lengths here are millimetres from the page's left and top."""
_PICTURES = {1: 118.0, 2: 100.0, 3: 85.0}
"""Greatest height of the picture by the number of tables beside each other."""
_APART, _SWATCH, _GAP = 8.0, 4.5, 0.5
"""Between tables, of the colour's column, and the least between columns for letters of one point."""
_POINT, _SIZE = 25.4 / 72, 8.5
"""A point in mm, and how many of them letters have."""
_GREY, _FAINT, _WARN = "#555555", "#cccccc", "#7a4700"


def write_pdf(report: Report, path: Path) -> None:
    """Write the report (use `written_whole` around it); the same report gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        page(report).savefig(
            path,
            format="pdf",
            metadata={"Title": f"SpineSeg: {TITLE}", "Creator": f"SpineSeg {__version__}", "CreationDate": None},
        )


def page(report: Report) -> Figure:
    """Return the page as a figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / 25.4, _HEIGHT / 25.4))
    _text(figure, _EDGE, 21, TITLE, size=16, weight="bold")
    _text(figure, _WIDTH - _EDGE, 21, NOTE, size=10, color=_WARN, ha="right", weight="bold")
    top = _picture(figure, report, 26)
    for label, text in report.facts:
        _text(figure, _EDGE, top, label, color=_GREY)
        for line in _wrapped(text, _WIDTH - 2 * _EDGE - 28):
            _text(figure, _EDGE + 28, top, line)
            top += _LINE
    for note in report.notes:
        for line in _wrapped(note, _WIDTH - 2 * _EDGE):
            _text(figure, _EDGE, top, line, color=_WARN)
            top += _LINE
    _table(figure, report, top + 3)
    _text(figure, _EDGE, _HEIGHT - 9, f"SpineSeg {__version__} - {NOTE.lower()}", size=7, color=_GREY)
    return figure


def _text(figure: Figure, x: float, y: float, text: str, *, size: float = _SIZE, **how) -> None:
    # What a file says is shown as it stands: a dollar sign would begin a formula.
    figure.text(x / _WIDTH, 1 - y / _HEIGHT, text, size=size, parse_math=False, **how)


def _picture(figure: Figure, report: Report, top: float) -> float:
    """Draw the picture, and return where the text below it begins."""
    width, height = report.picture.size
    scale = min((_WIDTH - 2 * _EDGE) / width, _PICTURES[blocks(len(report.cells))] / height)
    wide, high = width * scale, height * scale
    box = ((_WIDTH - wide) / 2 / _WIDTH, 1 - (top + high) / _HEIGHT, wide / _WIDTH, high / _HEIGHT)
    axes = figure.add_axes(box)
    axes.imshow(report.picture, interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    return top + high + 8


def _table(figure: Figure, report: Report, top: float) -> None:
    """Draw the table in as many parts beside each other as one page needs."""
    if not report.cells:
        _text(figure, _EDGE, top, "Nothing was found.")
        return
    beside = blocks(len(report.cells))
    per = -(-len(report.cells) // beside)
    line = min(_LINE, (_HEIGHT - 16 - top) / (per + 1))
    wide = (_WIDTH - 2 * _EDGE - _APART * (beside - 1)) / beside
    widths = _widths(report)
    # As large as the lines and the widths allow; the gaps between columns grow with the letters.
    size = min(_SIZE, line / _POINT * 0.72, (wide - _SWATCH) / (sum(widths) + _GAP * len(widths)))
    for n in range(beside):
        rows = slice(n * per, (n + 1) * per)
        if report.cells[rows]:
            left = _EDGE + n * (wide + _APART)
            _part(figure, report, rows, (left, top, wide), line, size, widths)


def _part(
    figure: Figure,
    report: Report,
    rows: slice,
    place: tuple[float, float, float],
    line: float,
    size: float,
    widths: Sequence[float],
) -> None:
    from matplotlib.patches import Rectangle

    left, top, wide = place
    # A table of few columns need not reach across the page.
    spare = min(8.0, (wide - _SWATCH - sum(widths) * size) / max(1, len(widths) - 1))
    for n, cells in enumerate([report.titles, *report.cells[rows]]):
        y, x = top + n * line, left + _SWATCH
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            # The first column is text, the others are numbers.
            end = x + width * size
            how = {"ha": "right"} if column else {}
            _text(figure, end if column else x, y, cell, size=size, color="black" if n else _GREY, **how)
            x = end + spare
        if n:
            face = tuple(part / 255 for part in report.colours[rows][n - 1])
            side = min(2.6, line * 0.6)
            figure.add_artist(
                Rectangle((left / _WIDTH, 1 - y / _HEIGHT), side / _WIDTH, side / _HEIGHT, facecolor=face)
            )
        rule = 1 - (y + line * 0.28) / _HEIGHT
        figure.add_artist(
            Rectangle((left / _WIDTH, rule), (x - spare - left) / _WIDTH, 0, edgecolor=_FAINT, linewidth=0.4)
        )


def _widths(report: Report) -> list[float]:
    """Return the width of each column's longest text in mm, for letters of one point."""
    columns = zip(report.titles, *report.cells, strict=True)
    return [max(_width(text) for text in set(column)) for column in columns]


def _width(text: str) -> float:
    """Return the width of a text in mm, for letters of one point."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family="DejaVu Sans", size=10)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / 10 * _POINT


def _wrapped(text: str, wide: float) -> list[str]:
    """Return the lines of a text that may be `wide` mm; a word longer than a line stays whole."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer) * _SIZE > wide:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
