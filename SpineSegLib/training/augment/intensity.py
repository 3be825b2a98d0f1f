"""Intensity steps: other values in the same place; masks stay. Pictures are (rows, columns), float32 in 0…1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from SpineSegLib.training.augment.ranges import Range, amount, signed
from SpineSegLib.training.augment.ranges import factor as ratio


def salt_and_pepper(image: np.ndarray, random: np.random.Generator, *, share: Range, salt: float = 0.5) -> np.ndarray:
    """Make a share of the pixels white (a part `salt` of them) or black (paper 002)."""
    if isinstance(salt, bool) or not isinstance(salt, int | float) or not 0 <= salt <= 1:
        msg = f"salt is {salt!r}, expected 0 to 1"
        raise ValueError(msg)
    hit = random.random(image.shape) < amount("share", share, random, most=1)
    white = random.random(image.shape) < salt
    return np.where(hit, white.astype(np.float32), image)


def gaussian_noise(image: np.ndarray, random: np.random.Generator, *, sd: Range) -> np.ndarray:
    """Add noise of a standard deviation, of a range 0…1."""
    return image + amount("sd", sd, random) * random.standard_normal(image.shape, dtype=np.float32)


def blur(image: np.ndarray, random: np.random.Generator, *, sigma: Range) -> np.ndarray:
    """Smooth by a Gaussian of `sigma` pixels."""
    from monai.transforms import GaussianSmooth

    return _through(GaussianSmooth(sigma=amount("sigma", sigma, random)), image)


def low_resolution(image: np.ndarray, random: np.random.Generator, *, factor: Sequence[float]) -> np.ndarray:
    """Shrink the picture by a factor and enlarge it again, as if its pixels had been larger."""
    from torch.nn import functional

    small = [max(1, round(side / ratio("factor", factor, random))) for side in image.shape]
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    tensor = functional.interpolate(tensor, small, mode="bilinear", antialias=True, align_corners=False)
    return functional.interpolate(tensor, image.shape, mode="bilinear", align_corners=False)[0, 0].numpy()


def gamma(image: np.ndarray, random: np.random.Generator, *, power: Sequence[float]) -> np.ndarray:
    """Raise the values between the picture's lowest and highest to a power."""
    from monai.transforms import AdjustContrast

    return _through(AdjustContrast(gamma=ratio("power", power, random)), image)


def contrast(image: np.ndarray, random: np.random.Generator, *, factor: Sequence[float]) -> np.ndarray:
    """Multiply the values' distance from their mean."""
    mean = image.mean()
    return (image - mean) * np.float32(ratio("factor", factor, random)) + mean


def brightness(image: np.ndarray, random: np.random.Generator, *, shift: Range) -> np.ndarray:
    """Add the same to all values, of a range 0…1."""
    return image + np.float32(signed("shift", shift, random))


def bias_field(image: np.ndarray, random: np.random.Generator, *, strength: Range, degree: int = 3) -> np.ndarray:
    """Multiply by the exponential of a smooth polynomial, as uneven coils and beams do.

    Parameters
    ----------
    strength : the largest coefficient of the polynomial
    degree : of the polynomial
    """
    from monai.transforms import RandBiasField

    most = amount("strength", strength, random)
    return _through(_seeded(RandBiasField(degree=degree, coeff_range=(-most, most), prob=1.0), random), image)


def invert(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Swap black and white."""
    return 1 - image


def cutout(image: np.ndarray, random: np.random.Generator, *, holes: int = 1, share: Range = 0.2) -> np.ndarray:
    """Hide rectangles behind one value each; the masks stay, so that the network learns to go on behind them.

    Parameters
    ----------
    holes : the most; their number is drawn from 1 to this
    share : limits of a hole's sides as a share of the picture's
    """
    if not isinstance(holes, int) or holes < 1:
        msg = f"holes is {holes!r}, expected a whole number above 0"
        raise ValueError(msg)
    from monai.transforms import RandCoarseDropout

    for _ in range(random.integers(1, holes, endpoint=True)):
        size = [max(1, round(amount("share", share, random, most=1) * side)) for side in image.shape]
        hide = RandCoarseDropout(holes=1, spatial_size=size, fill_value=float(random.random()), prob=1.0)
        image = _through(_seeded(hide, random), image)
    return image


def _seeded(transform, random: np.random.Generator):
    """Return a transform of MONAI with a random state of its own, drawn from ours."""
    return transform.set_random_state(seed=int(random.integers(2**32)))


def _through(transform, image: np.ndarray) -> np.ndarray:
    # A copy: some of MONAI's transforms write into what they are given.
    return np.asarray(transform(torch.from_numpy(image.copy())[None]), dtype=np.float32)[0]
