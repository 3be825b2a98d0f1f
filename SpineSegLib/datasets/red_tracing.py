"""From outlines that were traced in red to masks, as CervSpineNet's annotators made them.

Yang et al., Front. Bioeng. Biotechnol. 2025, doi:10.3389/fbioe.2025.1733689, "Data": spinous processes were traced in
red on the film with a stylus; the picture is turned to HSV, red is what lies in the hue bands 0-10 and 160-180, and the
contours are filled. The paper calls the hues degrees, but they are OpenCV's units for 8-bit pictures: half degrees, 0
to 179. It does not say where saturation and value begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.io.pictures import pixels

LOW_HUES = (0, 10)
HIGH_HUES = (160, 180)
"""Red in OpenCV's hue units, both ends included."""
SATURATION = 100
VALUE = 100
"""Least saturation and value of a red line, 0-255. A stylus draws near 255; grey films, and the colour noise that JPEG
adds to them, stay below."""
GAP = 3
"""Pixels of a break in an outline that are bridged: JPEG and a lifted stylus leave as many."""
LEAST = 30
"""Pixels; smaller red things are noise. A spinous process has thousands."""
_THIN = 0.1
"""An open stroke is thinner than this part of its length; painted areas are thicker."""


@dataclass(frozen=True, eq=False)
class Tracing:
    """What a picture with red outlines says.

    Parameters
    ----------
    mask : (rows, columns) bool, the outlines with what they enclose
    outlines : number of closed outlines and painted areas in the mask
    open_strokes : number of red strokes that enclose nothing; they are not in the mask
    """

    mask: np.ndarray
    outlines: int
    open_strokes: int


def read_tracing(path: Path, **options: object) -> Tracing:
    """Read a picture with red outlines (options of `traced`).

    Raises
    ------
    InputError : it is no picture, has no colours, or nothing in it is red
    """
    array = pixels(path)
    if array.ndim != 3 or array.shape[2] < 3:
        raise problem(path, "a picture without colours", "outlines drawn in red", "Give the tracing, not the film")
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    found = traced(array, **options)
    if not found.outlines and not found.open_strokes:
        raise problem(path, "nothing in it is red", "outlines drawn in red", "Give the tracing, or lower --saturation")
    return found


def traced(
    colours: np.ndarray,
    *,
    saturation: int = SATURATION,
    value: int = VALUE,
    low_hues: tuple[int, int] = LOW_HUES,
    high_hues: tuple[int, int] = HIGH_HUES,
    gap: int = GAP,
    least: int = LEAST,
) -> Tracing:
    """Fill the red outlines of a picture.

    Parameters
    ----------
    colours : (rows, columns, 3 or more) uint8, red green blue
    saturation, value, low_hues, high_hues : what is red; see `is_red`
    gap : widest break in an outline, in pixels, that is bridged
    least : pixels; smaller red things are left out
    """
    from scipy import ndimage

    red = is_red(colours, saturation=saturation, value=value, low_hues=low_hues, high_hues=high_hues)
    # Lines are connected over corners too, so that a thin slanting line is closed.
    strokes, _ = ndimage.label(_closed(red, gap), np.ones((3, 3)))
    mask = np.zeros(red.shape, bool)
    outlines = open_strokes = 0
    for number, place in enumerate(ndimage.find_objects(strokes), start=1):
        bridged = np.pad(strokes[place] == number, 1)
        line = bridged & np.pad(red[place], 1)
        if line.sum() < least:
            continue
        filled = ndimage.binary_fill_holes(line)
        if ndimage.binary_fill_holes(bridged).sum() > 1.5 * filled.sum():
            # Only the bridges close it; elsewhere they would round off corners.
            filled = ndimage.binary_fill_holes(bridged)
        if filled.sum() <= 1.5 * line.sum() and _is_thin(filled):
            open_strokes += 1
            continue
        mask[place] |= filled[1:-1, 1:-1]
        outlines += 1
    return Tracing(mask, outlines, open_strokes)


def is_red(
    colours: np.ndarray,
    *,
    saturation: int = SATURATION,
    value: int = VALUE,
    low_hues: tuple[int, int] = LOW_HUES,
    high_hues: tuple[int, int] = HIGH_HUES,
) -> np.ndarray:
    """Return which pixels are red: in one of two hue bands, with at least this saturation and value.

    Hue, saturation and value are those of OpenCV's ``COLOR_RGB2HSV`` for 8 bits: hue in half degrees 0-179, saturation
    and value 0-255, rounded.
    """
    rgb = colours[..., :3].astype(np.float32)
    top, bottom = rgb.max(axis=-1), rgb.min(axis=-1)
    spread = np.where(top > bottom, top - bottom, 1)
    red, green, blue = (rgb[..., channel] for channel in range(3))
    sixths = np.where(
        top == red,
        (green - blue) / spread,
        np.where(top == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    hue = np.rint(sixths % 6 * 30) % 180
    in_bands = np.zeros(hue.shape, bool)
    for low, high in (low_hues, high_hues):
        in_bands |= (low <= hue) & (hue <= high)
    strong = np.rint(255 * (top - bottom) / np.maximum(top, 1)) >= saturation
    return in_bands & strong & (top >= value)


def _closed(red: np.ndarray, gap: int) -> np.ndarray:
    """Return red with breaks up to `gap` pixels bridged (a closing by a disc)."""
    from scipy import ndimage

    if gap < 1:
        return red
    radius = (gap + 1) // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x**2 + y**2 <= radius**2 + 0.5
    return ndimage.binary_closing(np.pad(red, radius), disc)[radius:-radius, radius:-radius]


def _is_thin(area: np.ndarray) -> bool:
    from scipy import ndimage

    rows, columns = (np.ptp(places) + 1 for places in np.nonzero(area))
    return bool(ndimage.distance_transform_edt(area).max() < _THIN * np.hypot(rows, columns))
