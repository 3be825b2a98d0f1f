"""Pictures that are small as files: side by side, without empty edges, with few colours; and the panel's dark theme."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

import numpy as np
from PIL import Image

GAP = 6
GREYS, COLOURS, SATURATED, FINE = 32, 160, 12, 8
"""Entries of a palette; by how much red, green and blue differ in what is not grey, and two colours at least."""
MARGIN = 10
"""Rows that are left below the last thing that is drawn."""
DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#2a2a2a",
    "AlternateBase": "#424242",
    "ToolTipBase": "#505050",
    "ToolTipText": "#ffffff",
    "Text": "#ffffff",
    "Button": "#404040",
    "ButtonText": "#ffffff",
    "BrightText": "#ff0000",
    "Link": "#7fb3ff",
    "Highlight": "#2a82da",
    "HighlightedText": "#ffffff",
    "PlaceholderText": "#a0a0a0",
}
"""Colours of a dark theme by Qt's role."""
DIM = "#808080"
"""Text of what cannot be clicked."""


def picture_of(array) -> Image.Image:
    """Return a view's snapshot, an array of (height, width, 3 or 4), as a picture."""
    return Image.fromarray(np.ascontiguousarray(array[..., :3]))


def trimmed(picture: Image.Image) -> Image.Image:
    """Return a picture without the empty rows at its bottom."""
    rows = np.asarray(picture)
    drawn = np.nonzero((rows != rows[-1, :1]).any(axis=(1, 2)))[0]
    return picture.crop((0, 0, picture.width, min(picture.height, int(drawn[-1]) + 1 + MARGIN)))


def framed(picture: Image.Image) -> Image.Image:
    """Return a picture of a white page with an edge that shows where it ends."""
    sheet = Image.new("RGB", (picture.width + 2, picture.height + 2), "#808080")
    sheet.paste(picture, (1, 1))
    return sheet


def beside(*pictures: Image.Image) -> Image.Image:
    """Return pictures side by side, their upper edges on one line."""
    sheet = Image.new(
        "RGB",
        (sum(p.width + GAP for p in pictures) - GAP, max(p.height for p in pictures)),
        pictures[0].getpixel((0, 0)),
    )
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def stacked(*pictures: Image.Image) -> Image.Image:
    """Return pictures below each other."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + GAP for p in pictures) - GAP), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + GAP
    return sheet


def few_colours(picture: Image.Image) -> Image.Image:
    """Return a picture with a palette of greys and of the colours that it has; nothing is dithered.

    A film is nearly all grey, and a swatch is small: a palette by frequency would have no entry for their colours.
    """
    pixels = np.asarray(picture).reshape(-1, 3)
    coloured = pixels[np.ptp(pixels, axis=1) > SATURATED]
    entries = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    if len(coloured):
        kinds = np.unique(coloured // FINE, axis=0) * FINE + FINE // 2
        found = Image.fromarray(kinds[None].astype(np.uint8)).quantize(COLOURS, kmeans=1)
        entries = np.vstack([entries, np.reshape(found.getpalette(), (-1, 3))[:COLOURS]])
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries.astype(np.uint8).tobytes())
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


@contextlib.contextmanager
def dressed(theme: str, *labels) -> Iterator[None]:
    """Give all widgets the dark theme for a while, or leave them light.

    Parameters
    ----------
    labels : whose red, or links, were chosen for the other theme
    """
    if theme == "light":
        yield
        return
    import qt
    from SpineSegPanel.status import style_of

    before = qt.QApplication.palette()
    palette = qt.QPalette()
    for role, colour in DARK.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(colour))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor(DIM))
    qt.QApplication.setPalette(palette)
    looks = [(label.styleSheet, label.text) for label in labels]

    def renew(failed_style) -> None:
        # A text's links and a style sheet keep the colours of the theme in which they were set.
        for label, (style, text) in zip(labels, looks, strict=True):
            label.styleSheet = label.text = ""
            qt.QApplication.processEvents()
            label.styleSheet, label.text = failed_style(label, style), text

    renew(lambda label, style: style_of(label, bool(style)))
    try:
        yield
    finally:
        qt.QApplication.setPalette(before)
        renew(lambda label, style: style)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Let the panel believe that PyTorch is not installed."""
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
    try:
        yield
    finally:
        importlib.util.find_spec = find
