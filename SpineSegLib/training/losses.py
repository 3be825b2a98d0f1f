"""Losses of logits against masks. Each returns a scalar tensor."""

from __future__ import annotations

import torch
from torch.nn import functional


def dice_loss(logits: torch.Tensor, masks: torch.Tensor, *, smooth: float = 1.0) -> torch.Tensor:
    """Return 1 - Dice of probabilities, over all pixels of the batch.

    Milletari et al., V-Net, 3DV 2016, with the sums over the batch: a slice without any structure then does not
    dominate. `smooth` (pixels) keeps an empty batch defined.
    """
    probability = torch.sigmoid(logits)
    both = (probability * masks).sum()
    return 1 - (2 * both + smooth) / (probability.sum() + masks.sum() + smooth)


def bce_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return binary cross-entropy, the mean over pixels."""
    return functional.binary_cross_entropy_with_logits(logits, masks)


LOSSES = {"bce": bce_loss, "dice": dice_loss}


def weighted_loss(logits: torch.Tensor, masks: torch.Tensor, weights: dict[str, float]) -> torch.Tensor:
    """Return the weighted sum of named losses, such as ``{"bce": 1, "dice": 1}`` (papers 002 and 004)."""
    return sum(weight * LOSSES[name](logits, masks) for name, weight in weights.items())
