"""A report as one HTML file: styles and picture are inside it, and it prints on one A4 page."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from SpineSegLib.evaluation.report.content import NOTE, TITLE, Report
from SpineSegLib.evaluation.report.table import blocks

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_STYLE = """
@page { size: A4; margin: 12mm; }
body { font: 14px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 186mm; margin: 12mm auto; }
h1 { font-size: 22px; margin: 0; }
.warning { border: 1px solid #9a5b00; color: #7a4700; padding: 2px 8px; display: inline-block; margin: 6px 0 12px; }
img { display: block; max-width: 100%; max-height: 125mm; margin: 0 auto 12px; background: #000; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 1px 14px; margin: 0 0 12px; }
dt { color: #555; } p { margin: 0 0 6px; } dd { margin: 0; overflow-wrap: anywhere; }
.tables { display: grid; gap: 0 8mm; align-items: start; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 1px 8px 1px 0; text-align: left; border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: 11px; height: 11px; border: 1px solid #555; print-color-adjust: exact; }
@media print { body { margin: 0; font-size: 12px; } table { font-size: 9px; } img { max-height: 100mm; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_page(report: Report) -> str:
    """Return the report as a whole HTML document."""
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>\n" for label, text in report.facts)
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in report.notes)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>SpineSeg: {escape(TITLE)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(TITLE)}</h1>\n<p class="warning">{escape(NOTE)}</p>\n'
        f'<img alt="The structures on the image" src="{_data(report.picture)}">\n'
        f"<dl>\n{facts}</dl>\n{notes}{_table(report)}</body>\n</html>\n"
    )


def _data(picture: Picture) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _table(report: Report) -> str:
    """Return the table, in as many parts beside each other as one page needs."""
    if not report.cells:
        return "<p>Nothing was found.</p>\n"
    beside = blocks(len(report.cells))
    per = -(-len(report.cells) // beside)
    parts = "".join(_part(report, slice(n * per, (n + 1) * per)) for n in range(beside))
    return f'<div class="tables" style="grid-template-columns:repeat({beside}, 1fr)">\n{parts}</div>\n'


def _part(report: Report, rows: slice) -> str:
    # The first column is text, the others are numbers.
    kinds = ["", *[' class="number"'] * (len(report.titles) - 1)]
    heads = "".join(f"<th{kind}>{escape(title)}</th>" for kind, title in zip(kinds, report.titles, strict=True))
    lines = []
    for colour, cells in zip(report.colours[rows], report.cells[rows], strict=True):
        swatch = f'<td><span class="swatch" style="background:rgb{tuple(int(n) for n in colour)}"></span></td>'
        texts = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True))
        lines.append(f"<tr>{swatch}{texts}</tr>\n")
    return f"<table>\n<tr><th></th>{heads}</tr>\n{''.join(lines)}</table>\n"
