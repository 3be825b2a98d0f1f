"""A square part of a picture around a box, brought to a network's size and back; the same in training and in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from SpineSegLib.models.preprocess import resized, scale_intensity


@dataclass(frozen=True)
class Crop:
    """The square around a box and its margin, at a network's size.

    Paper 002 (YOLO-UNet) does not say how boxes become the segmenter's input: here a square in the patient, so that
    shapes keep their proportions, of whole pixels of the picture, so that what is found comes back in place.

    Parameters
    ----------
    shape : rows and columns of the picture
    box : x0, y0, x1, y1 in pixels of the picture; a pixel reaches from its number to the next
    size : of the square, in pixels of the network
    margin : on each side, as a share of the box's longer side
    aspect : height of a pixel of the picture over its width
    """

    shape: tuple[int, int]
    box: tuple[float, float, float, float]
    size: int
    margin: float = 0.125
    aspect: float = 1.0

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (np.isfinite(self.box).all() and x1 > x0 and y1 > y0):
            msg = f"the box is {tuple(self.box)}, expected x0 < x1 and y0 < y1"
            raise ValueError(msg)

    @cached_property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the square; they may begin before the picture and end after it."""
        x0, y0, x1, y1 = self.box
        side = max(x1 - x0, (y1 - y0) * self.aspect) * (1 + 2 * self.margin)
        spans = []
        for middle, length in (((y0 + y1) / 2, side / self.aspect), ((x0 + x1) / 2, side)):
            count = max(2, round(length))
            start = round(middle - count / 2)
            spans.append(slice(start, start + count))
        return tuple(spans)

    @cached_property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the square that the picture has."""
        return tuple(
            slice(min(max(span.start, 0), count), max(0, min(span.stop, count)))
            for span, count in zip(self.area, self.shape, strict=True)
        )

    @property
    def kept(self) -> tuple[slice, slice]:
        """Rows and columns whose middle lies in the box with its margin; outside of them nothing is believed."""
        x0, y0, x1, y1 = self.box
        more = max(x1 - x0, (y1 - y0) * self.aspect) * self.margin
        limits = ((y0 - more / self.aspect, y1 + more / self.aspect), (x0 - more, x1 + more))
        return tuple(
            slice(max(inner.start, int(np.ceil(low - 0.5))), min(inner.stop, int(np.floor(high + 0.5))))
            for (low, high), inner in zip(limits, self.inside, strict=True)
        )

    def cut(self, picture: np.ndarray, *, labels: bool = False) -> np.ndarray:
        """Return the square (size, size) of a picture, 0 where the picture does not reach.

        Parameters
        ----------
        labels : nearest neighbour; linear and antialiased otherwise
        """
        rows, columns = (span.stop - span.start for span in self.area)
        square = np.zeros((rows, columns), picture.dtype)
        square[self._within] = picture[self.inside]
        return resized(square, (self.size, self.size), labels=labels)

    @property
    def reached(self) -> np.ndarray:
        """Where the square shows the picture, bool (size, size)."""
        rows, columns = (span.stop - span.start for span in self.area)
        square = np.zeros((rows, columns), bool)
        square[self._within] = True
        return resized(square, (self.size, self.size), labels=True)

    def undo(self, square: np.ndarray) -> np.ndarray:
        """Return a square of probabilities at the picture's own pixels, those of `inside`."""
        rows, columns = (span.stop - span.start for span in self.area)
        return resized(square, (rows, columns), labels=False)[self._within]

    @property
    def _within(self) -> tuple[slice, slice]:
        return tuple(
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(self.inside, self.area, strict=True)
        )


def scaled(patch: np.ndarray, reached: np.ndarray, how: Mapping[str, object]) -> np.ndarray:
    """Return a cut square as the network sees it, float32 in 0…1, and 0 where there is no picture.

    Percentiles are the patch's own, so that a vertebra behind the shoulders has as much contrast as one in front of
    air. Local steps of the card ("clahe", "denoise") are for whole pictures and are left out.

    Parameters
    ----------
    patch : (size, size), in the picture's own values
    reached : see `Crop.reached`
    how : of the model card
    """
    plain = {name: value for name, value in how.items() if name in ("kind", "low", "high")}
    out = np.zeros(patch.shape, np.float32)
    if reached.any():
        out[reached] = scale_intensity(patch[reached], plain)
    return out
