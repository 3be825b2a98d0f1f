"""Losses of structural similarity, at one scale and at several."""

from __future__ import annotations

import torch
from torch.nn import functional

from SpineSegLib.training.losses.precision import in_full_precision

WINDOW, SIGMA = 11, 1.5
"""Pixels of the Gaussian window and its standard deviation (Wang et al., IEEE TIP 13, 600, 2004)."""
C1, C2 = 0.01**2, 0.03**2
"""Wang's constants for values in 0…1."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales, finest first (Wang et al., Asilomar 2003)."""


def ssim(one: torch.Tensor, two: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean structural similarity and its mean contrast-structure part, each (n, classes).

    Windows that reach over the edge are left out, as in Wang's own program.

    Parameters
    ----------
    one, two : (n, classes, rows, columns), values in 0…1

    Raises
    ------
    ValueError : a side is shorter than the window
    """
    if min(one.shape[-2:]) < WINDOW:
        msg = f"the picture is {tuple(one.shape[-2:])} pixels, SSIM's window needs {WINDOW}"
        raise ValueError(msg)
    # Apart, so that what depends on the masks alone needs no gradient.
    mean_1, square_1, product = _smooth(torch.stack([one, one**2, one * two])).unbind()
    mean_2, square_2 = _smooth(torch.stack([two, two**2])).unbind()
    variance = square_1 - mean_1**2 + square_2 - mean_2**2
    contrast = (2 * (product - mean_1 * mean_2) + C2) / (variance + C2)
    luminance = (2 * mean_1 * mean_2 + C1) / (mean_1**2 + mean_2**2 + C1)
    return (luminance * contrast).mean((-2, -1)), contrast.mean((-2, -1))


def _smooth(maps: torch.Tensor) -> torch.Tensor:
    """Return maps (…, rows, columns) smoothed by the Gaussian window, without the edge that it cannot cover."""
    away = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    weights = torch.exp(-(away**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    # As channels that are each convolved alone: many times faster on a CPU than as pictures of one channel.
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    count = flat.shape[1]
    flat = functional.conv2d(flat, weights[:, None].expand(count, 1, -1, 1), groups=count)
    flat = functional.conv2d(flat, weights.expand(count, 1, 1, -1), groups=count)
    return flat.reshape(*maps.shape[:-2], *flat.shape[-2:])


@in_full_precision
def ssim_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return 1 - mean SSIM of probabilities and masks (paper 000, eqs. 13 and 18).

    The paper gives no window and no constants; these are Wang's.
    """
    return 1 - ssim(torch.sigmoid(logits), masks)[0].mean()


@in_full_precision
def ms_ssim_loss(logits: torch.Tensor, masks: torch.Tensor, *, scales: int = 5) -> torch.Tensor:
    """Return 1 - multi-scale SSIM of probabilities and masks (U-Net3+, Huang et al., arXiv 2004.08790, eq. 5).

    Contrast and structure at every scale, luminance at the coarsest, each to the power of its weight; 2x2 means lead
    from a scale to the next.

    Parameters
    ----------
    scales : how many, finest first; with fewer than 5 the weights are divided by their sum

    Raises
    ------
    ValueError : a picture too small for so many scales: 5 need 176 pixels, 4 need 88, 3 need 44
    """
    if scales not in range(1, len(SCALE_WEIGHTS) + 1):
        msg = f"scales is {scales!r}, expected 1 to {len(SCALE_WEIGHTS)}"
        raise ValueError(msg)
    if min(masks.shape[-2:]) < WINDOW * 2 ** (scales - 1):
        msg = (
            f"the picture is {tuple(masks.shape[-2:])} pixels, {scales} scales of MS-SSIM need "
            f"{WINDOW * 2 ** (scales - 1)}; take fewer scales"
        )
        raise ValueError(msg)
    weights = torch.tensor(SCALE_WEIGHTS[:scales], dtype=logits.dtype, device=logits.device)
    weights = weights / weights.sum()
    one, two = torch.sigmoid(logits), masks
    similarity = torch.ones(logits.shape[:2], dtype=logits.dtype, device=logits.device)
    for scale, weight in enumerate(weights):
        full, contrast = ssim(one, two)
        # Anticorrelated pictures have a negative value, of which no broken power exists.
        similarity = similarity * (full if scale == scales - 1 else contrast).clamp(min=1e-6) ** weight
        one, two = functional.avg_pool2d(one, 2), functional.avg_pool2d(two, 2)
    return 1 - similarity.mean()
