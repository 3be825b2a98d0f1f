"""Losses by name, and their weighted sums as recipes write them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from SpineSegLib.training.losses.boundary import hdt_karimi
from SpineSegLib.training.losses.overlap import bce_dice_loss, bce_loss, dice_loss, focal_tversky_loss, iou_loss
from SpineSegLib.training.losses.similarity import ms_ssim_loss, ssim_loss


def unet3plus_loss(logits: torch.Tensor, masks: torch.Tensor, *, scales: int = 5) -> torch.Tensor:
    """Return BCE + MS-SSIM + IoU losses, U-Net3+'s hybrid of pixel, patch and picture (arXiv 2004.08790, eq. 6).

    The article's pixel term is focal; its authors' program has cross-entropy, taken here.

    Parameters
    ----------
    scales : of `ms_ssim_loss`
    """
    return bce_loss(logits, masks) + ms_ssim_loss(logits, masks, scales=scales) + iou_loss(logits, masks)


LOSSES: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        "bce": bce_loss,
        "dice": dice_loss,
        "bce_dice": bce_dice_loss,
        "iou": iou_loss,
        "focal_tversky": focal_tversky_loss,
        "hdt_karimi": hdt_karimi,
        "ssim": ssim_loss,
        "ms_ssim": ms_ssim_loss,
        "unet3plus": unet3plus_loss,
    }
)
"""Every loss that can be trained with, by its name in a recipe."""

Terms = Mapping[str, float | Mapping[str, object]]
"""Name -> weight, or name -> ``{"weight": w, **arguments}``."""


def check_terms(terms: Terms) -> None:
    """Raise ValueError, naming the term, when `weighted_loss` could not compute a recipe's loss."""
    if not isinstance(terms, Mapping) or not terms:
        msg = f"loss is {terms!r}, expected terms such as {{bce: 1, dice: 1}}"
        raise ValueError(msg)
    for name, term in terms.items():
        if name == "hdt_as_written":
            msg = "loss hdt_as_written has no gradient (it compares binarised masks); train with hdt_karimi instead"
            raise ValueError(msg)
        if name not in LOSSES:
            msg = f"no loss {name!r}, expected some of {', '.join(LOSSES)}"
            raise ValueError(msg)
        weight, arguments = _term(term)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
            msg = f"loss {name}: weight is {weight!r}, expected a number, 0 or more"
            raise ValueError(msg)
        known = [p.name for p in inspect.signature(LOSSES[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
        unknown = sorted(set(map(str, arguments)) - set(known))
        if unknown:
            msg = f"loss {name}: unknown {', '.join(unknown)}; its arguments are {', '.join(known) or 'none'}"
            raise ValueError(msg)


def weighted_loss(logits: torch.Tensor, masks: torch.Tensor, terms: Terms) -> torch.Tensor:
    """Return the weighted sum of named losses.

    Parameters
    ----------
    logits, masks : (n, classes, rows, columns); masks are 0 or 1
    terms : such as ``{"bce": 1, "dice": 1}`` (paper 004), or with arguments ``{"bce_dice": {"weight": 1, "alpha":
        0.5}}`` (paper 002)

    Raises
    ------
    ValueError : see `check_terms`
    """
    check_terms(terms)
    total = 0.0
    for name, term in terms.items():
        weight, arguments = _term(term)
        total = total + weight * LOSSES[name](logits, masks, **arguments)
    return total


def _term(term: float | Mapping[str, object]) -> tuple[float, dict[str, object]]:
    arguments = dict(term) if isinstance(term, Mapping) else {"weight": term}
    return arguments.pop("weight", 1.0), arguments
