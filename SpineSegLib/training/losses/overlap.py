"""Losses of overlap, and of each pixel for itself."""

from __future__ import annotations

import torch
from torch.nn import functional

from SpineSegLib.training.losses.precision import in_full_precision

_SUMMED = {"batch": (0, 2, 3), "image": (2, 3)}
"""Over which axes overlap is summed; what is left is averaged."""


@in_full_precision
def bce_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return binary cross-entropy, the mean over pixels."""
    return functional.binary_cross_entropy_with_logits(logits, masks)


@in_full_precision
def dice_loss(logits: torch.Tensor, masks: torch.Tensor, *, smooth: float = 1.0, over: str = "batch") -> torch.Tensor:
    """Return 1 - Dice of probabilities, the mean over classes (Milletari et al., V-Net, 3DV 2016).

    Parameters
    ----------
    smooth : pixels added to numerator and denominator; it keeps an empty mask defined
    over : ``batch`` sums over all pixels of the batch, so that a picture without any structure does not dominate;
        ``image`` takes each picture's Dice and averages
    """
    both, found, there = _sums(logits, masks, over)
    return (1 - (2 * both + smooth) / (found + there + smooth)).mean()


@in_full_precision
def iou_loss(logits: torch.Tensor, masks: torch.Tensor, *, smooth: float = 1.0, over: str = "image") -> torch.Tensor:
    """Return 1 - intersection over union of probabilities, the mean over classes.

    Parameters
    ----------
    smooth, over : as in `dice_loss`; by picture, as U-Net3+ does (Huang et al., arXiv 2004.08790)
    """
    both, found, there = _sums(logits, masks, over)
    return (1 - (both + smooth) / (found + there - both + smooth)).mean()


@in_full_precision
def focal_tversky_loss(
    logits: torch.Tensor,
    masks: torch.Tensor,
    *,
    weight_fn: float = 0.7,
    weight_fp: float = 0.3,
    exponent: float = 0.75,
    smooth: float = 1.0,
    over: str = "batch",
) -> torch.Tensor:
    """Return (1 - Tversky index) ** exponent, the mean over classes (Abraham and Khan, arXiv 1810.07842, eq. 3).

    Tversky index = TP / (TP + weight_fn FN + weight_fp FP), of probabilities (paper 000, eqs. 9-11).

    Parameters
    ----------
    weight_fn, weight_fp : of false negatives and false positives. Paper 000's values are lost in its text; it wants
        false negatives penalised, and these are Abraham and Khan's
    exponent : 1/γ, with γ = 4/3 of Abraham and Khan
    smooth, over : as in `dice_loss`
    """
    both, found, there = _sums(logits, masks, over)
    missed, added = there - both, found - both
    index = (both + smooth) / (both + weight_fn * missed + weight_fp * added + smooth)
    # The slope of x ** 0.75 is infinite at 0; a perfect prediction must not give NaN.
    return ((1 - index).clamp(min=1e-7) ** exponent).mean()


@in_full_precision
def bce_dice_loss(
    logits: torch.Tensor, masks: torch.Tensor, *, alpha: float = 0.5, over: str = "image"
) -> torch.Tensor:
    """Return alpha BCE + (1 - alpha) Dice loss (paper 002, BCEDiceLoss).

    Parameters
    ----------
    alpha : share of cross-entropy; the paper gives no value, and half treats both alike. What it calls "the reciprocal
        of the Dice coefficient" is read as 1 - Dice: it is said to fall as accuracy rises, from 1 at most
    over : of `dice_loss`
    """
    return alpha * bce_loss(logits, masks) + (1 - alpha) * dice_loss(logits, masks, over=over)


def _sums(logits: torch.Tensor, masks: torch.Tensor, over: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sums of probability in both, in the prediction and in the mask."""
    if over not in _SUMMED:
        msg = f"over is {over!r}, expected one of {', '.join(_SUMMED)}"
        raise ValueError(msg)
    probability = torch.sigmoid(logits)
    return tuple(x.sum(dim=_SUMMED[over]) for x in (probability * masks, probability, masks))
