"""The precision in which losses are computed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def in_full_precision(loss: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Compute a loss in float32 at least, whatever the network was run in.

    Sums over a million pixels and differences of squares lose everything in bfloat16.
    """

    @functools.wraps(loss)
    def full(logits: torch.Tensor, masks: torch.Tensor, **arguments: object) -> torch.Tensor:
        if logits.shape != masks.shape or logits.ndim != 4:
            msg = (
                f"logits are {tuple(logits.shape)} and masks {tuple(masks.shape)}, expected (n, classes, h, w) of both"
            )
            raise ValueError(msg)
        with torch.autocast(logits.device.type, enabled=False):
            if logits.dtype in (torch.float16, torch.bfloat16):
                logits = logits.float()
            return loss(logits, masks.to(logits.dtype), **arguments)

    return full
