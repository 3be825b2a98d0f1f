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
    if choose is not None:
        if not isinstance(choose, Sequence) or not choose:
            msg = f"choose is {choose!r}, expected a list of ranges"
            raise ValueError(msg)
        degrees = choose[random.integers(len(choose))]
    return np.asarray(create_rotate(2, -np.deg2rad(signed("degrees", degrees, random))))


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

    share = amount("keep", keep, random)
    if not 0 < share <= 1:
        msg = f"keep is {keep!r}, expected shares above 0, up to 1"
        raise ValueError(msg)
    centre = [random.uniform(-0.5, 0.5) * (1 - share) * side for side in shape]
    return _translation(centre) @ np.asarray(create_scale(2, (share, share)))


def elastic(shape: tuple[int, int], random: np.random.Generator, *, pixels: Range, spacing: int = 40) -> np.ndarray:
    """Bend the picture: control points move at random, those between follow smoothly (bicubic).

    Parameters
    ----------
    pixels : the farthest that a control point moves along an axis, drawn anew for each picture
    spacing : pixels between the control points
    """
    from monai.transforms import RandDeformGrid
    from torch.nn import functional

    if not isinstance(spacing, int) or spacing < 2:
        msg = f"spacing is {spacing!r}, expected a whole number of pixels, 2 or more"
        raise ValueError(msg)
    most = amount("pixels", pixels, random)
    make = RandDeformGrid(spacing=(spacing, spacing), magnitude_range=(most, most))
    make.set_random_state(seed=int(random.integers(2**32)))
    control = make(shape)[:2]
    # RandDeformGrid gives positions of control points; without their regular places the displacements remain.
    steps = [(np.arange(n) - (n - 1) / 2) * spacing for n in control.shape[1:]]
    move = control.float() - control.new_tensor(np.stack(np.meshgrid(*steps, indexing="ij"))).float()
    move = functional.interpolate(move[None], scale_factor=float(spacing), mode="bicubic", align_corners=False)[0]
    first = [(have - want) // 2 for have, want in zip(move.shape[1:], shape, strict=True)]
    return np.asarray(move[:, first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]], dtype=np.float64)


def _translation(by: Sequence[float]) -> np.ndarray:
    from monai.transforms.utils import create_translate

    return np.asarray(create_translate(2, by))


_factor = factor  # `scale` has an argument of this name
