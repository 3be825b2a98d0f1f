"""Geometric steps: where each pixel of the new picture comes from.

Each function returns a 3x3 matrix or a field (2, rows, columns). Both act on positions in rows and columns from the
picture's centre, in pixels, and lead from the new picture back to the old one: the matrix by multiplication, the field
by addition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from SpineSegLib.training.augment.ranges import Range, amount, factor, signed, signed_whole


def rotate(
    shape: tuple[int, int],
    random: np.random.Generator,
    *,
    degrees: Range | None = None,
    choose: Sequence[Sequence[float]] | None = None,
) -> np.ndarray:
    """Turn the picture about its centre, counter-clockwise as seen when positive.

    Parameters
    ----------
    degrees : limits of the angle
    choose : ranges with equal odds instead, such as ``[[-10, 10], [-45, 45]]`` (paper 000)
    """
    from monai.transforms.utils import create_rotate

    if (degrees is None) == (choose is None):
        msg = "rotate takes either degrees or choose"
        raise ValueError(msg)
    if choose is not None and (not isinstance(choose, Sequence) or not choose):
        msg = f"choose is {choose!r}, expected a list of ranges"
        raise ValueError(msg)
    angles = [signed("degrees", limits, random) for limits in (choose or [degrees])]
    return np.asarray(create_rotate(2, -np.deg2rad(angles[random.integers(len(angles))])))


def translate(
    shape: tuple[int, int], random: np.random.Generator, *, pixels: Range | None = None, share: Range | None = None
) -> np.ndarray:
    """Move the picture along its rows and columns, each by a draw of its own; positive is down and to the right.

    Parameters
    ----------
    pixels : limits in whole pixels, so that a picture which is only moved stays as sharp as it was
    share : limits as a share of the picture's side instead
    """
    if (pixels is None) == (share is None):
        msg = "translate takes either pixels or share"
        raise ValueError(msg)
    if pixels is not None:
        move = [signed_whole("pixels", pixels, random) for _ in shape]
    else:
        move = [round(signed("share", share, random) * side) for side in shape]
    return _translation(-np.array(move, dtype=float))


def scale(
    shape: tuple[int, int], random: np.random.Generator, *, factor: Sequence[float], uneven: Sequence[float] = (1, 1)
) -> np.ndarray:
    """Enlarge (above 1) or shrink the picture about its centre.

    Parameters
    ----------
    factor : limits of the factor
    uneven : limits of a factor by which rows grow more than columns
    """
    from monai.transforms.utils import create_scale

    both, more = _factor("factor", factor, random), _factor("uneven", uneven, random)
    return np.asarray(create_scale(2, (1 / (both * more**0.5), more**0.5 / both)))


def shear(shape: tuple[int, int], random: np.random.Generator, *, degrees: Range) -> np.ndarray:
    """Slant the picture's columns, then its rows, each by an angle of its own."""
    from monai.transforms.utils import create_shear

    slants = [np.tan(np.deg2rad(signed("degrees", degrees, random))) for _ in shape]
    down, across = (np.asarray(create_shear(2, coefs)) for coefs in ((slants[0], 0.0), (0.0, slants[1])))
    return down @ across


def flip(shape: tuple[int, int], random: np.random.Generator, *, axes: Sequence[str]) -> np.ndarray:
    """Mirror the picture: ``horizontal`` swaps left and right, ``vertical`` top and bottom; all the axes given."""
    known = ("vertical", "horizontal")
    if isinstance(axes, str) or not axes or set(axes) - set(known):
        msg = f"axes is {axes!r}, expected a list of {' and '.join(known)}"
        raise ValueError(msg)
    return np.diag([-1.0 if axis in axes else 1.0 for axis in known] + [1.0])


def crop(shape: tuple[int, int], random: np.random.Generator, *, keep: Sequence[float]) -> np.ndarray:
    """Cut a window anywhere in the picture and enlarge it to the picture's size.

    Parameters
    ----------
    keep : limits of the window's side as a share of the picture's
    """
    from monai.transforms.utils import create_scale

    share = factor("keep", keep, random, most=1)
    centre = [random.uniform(-0.5, 0.5) * (1 - share) * side for side in shape]
    return _translation(centre) @ np.asarray(create_scale(2, (share, share)))


def column(
    shape: tuple[int, int], random: np.random.Generator, *, share: Sequence[float], aside: float = 0.15
) -> np.ndarray:
    """Keep an upright strip of the picture, moved to its left edge; the rest is 0, as beside a narrow film.

    Long films of a whole spine are three or four times as high as wide; made square they are padded at the right. To be
    the last geometric step: the strip is one of the picture as the earlier steps left it.

    Parameters
    ----------
    share : limits of the strip's width as a share of the picture's
    aside : how far the strip's middle lies from the picture's at most, as a share of the picture's width
    """
    if isinstance(aside, bool) or not isinstance(aside, int | float) or not 0 <= aside <= 0.5:
        msg = f"aside is {aside!r}, expected 0 to 0.5"
        raise ValueError(msg)
    across = shape[1]
    wide = max(1, round(factor("share", share, random, most=1) * across))
    left = round((0.5 + random.uniform(-aside, aside)) * across - wide / 2)
    field = np.zeros((2, *shape))
    field[1, :, :wide] = min(max(left, 0), across - wide)
    field[1, :, wide:] = 2 * across  # beyond the picture: nothing
    return field


def elastic(shape: tuple[int, int], random: np.random.Generator, *, pixels: Range, spacing: int = 40) -> np.ndarray:
    """Bend the picture: control points move at random, those between follow by cubic B-splines.

    No pixel moves farther than the control points, and the picture does not fold as long as these move by no more than
    0.48 of their spacing (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, 2000).

    Parameters
    ----------
    pixels : the farthest that a control point moves along an axis, drawn anew for each picture
    spacing : pixels between the control points
    """
    if not isinstance(spacing, int) or spacing < 2:
        msg = f"spacing is {spacing!r}, expected a whole number of pixels, 2 or more"
        raise ValueError(msg)
    most = amount("pixels", pixels, random, most=0.48 * spacing)
    rows, columns = (_splines(side, spacing) for side in shape)
    control = random.uniform(-most, most, (2, rows.shape[1], columns.shape[1]))
    return rows @ control @ columns.T


def _splines(side: int, spacing: int) -> np.ndarray:
    """Return the weights (pixels, control points) of the uniform cubic B-splines; each pixel's add up to 1."""
    count = (side - 1) // spacing + 4
    away = abs((np.arange(side) / spacing)[:, None] + 1 - np.arange(count))
    return np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6)


def _translation(by: Sequence[float]) -> np.ndarray:
    from monai.transforms.utils import create_translate

    return np.asarray(create_translate(2, by))


_factor = factor  # `scale` has an argument of this name
