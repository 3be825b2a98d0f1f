"""The patches that SpineFM's networks see: squares around a point, cut alike in training and in use."""

from __future__ import annotations

from collections.abc import Mapping

from SpineSegLib.models.crops import Crop


def patch_side(how: Mapping[str, float], step: float) -> float:
    """Return the side of a patch in pixels of the picture.

    Parameters
    ----------
    how : ``{"steps": n}``, n times the distance between successive vertebrae, whatever a film's scale; or
        ``{"pixels": n}``, as paper 001's public code has it (600 of a film of NHANES II, 300 of CSXA)
    step : that distance in pixels

    Raises
    ------
    ValueError : neither, both, or no positive number
    """
    if len(how) == 1:
        kind, value = next(iter(how.items()))
        if kind in ("steps", "pixels") and value > 0:
            return float(value) * (step if kind == "steps" else 1.0)
    msg = f'the size of a patch is {dict(how)}, expected {{"steps": n}} or {{"pixels": n}} with n above 0'
    raise ValueError(msg)


def patch_around(shape: tuple[int, int], point: tuple[float, float], side: float, size: int) -> Crop:
    """Return the square around a point: black where the picture ends, brought to a network's size.

    Parameters
    ----------
    shape : rows and columns of the picture, whose pixels are square
    point : x and y in its pixels, the centre of the first being (0, 0)
    side : in its pixels
    size : in pixels of the patch
    """
    x, y = (float(value) + 0.5 for value in point)
    return Crop(shape, (x - side / 2, y - side / 2, x + side / 2, y + side / 2), size, margin=0.0)


def in_patch(crop: Crop, point: tuple[float, float]) -> tuple[float, float]:
    """Return x and y in pixels of the patch of a point of the picture; centres of pixels are whole numbers."""
    rows, columns = crop.area
    across, down = (crop.size / (span.stop - span.start) for span in (columns, rows))
    return (float(point[0]) + 0.5 - columns.start) * across - 0.5, (float(point[1]) + 0.5 - rows.start) * down - 0.5


def in_picture(crop: Crop, point: tuple[float, float]) -> tuple[float, float]:
    """Return x and y in pixels of the picture of a point of the patch: the inverse of `in_patch`."""
    rows, columns = crop.area
    across, down = ((span.stop - span.start) / crop.size for span in (columns, rows))
    return (float(point[0]) + 0.5) * across + columns.start - 0.5, (float(point[1]) + 0.5) * down + rows.start - 0.5
