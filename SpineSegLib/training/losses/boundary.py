"""Losses of the boundary's distance, by Euclidean distance transforms."""

from __future__ import annotations

import math

import torch

from SpineSegLib.training.losses.precision import in_full_precision


@torch.no_grad()
def distance_field(masks: torch.Tensor) -> torch.Tensor:
    """Return each pixel's distance to the nearest pixel of the other kind: outside to inside, and inside to outside.

    That is the distance transform of the foreground plus that of the background (Karimi and Salcudean, arXiv
    1904.10030, sec. II-B). Exact; computed where the masks are, on a CPU or on a GPU.

    Parameters
    ----------
    masks : boolean, (…, rows, columns)

    Returns
    -------
    Tensor : float32, pixels; 0 all over a mask that is empty or full and so has no boundary
    """
    return (_squared_distance(masks) + _squared_distance(~masks)).sqrt()  # one of them is 0 in each pixel


def _squared_distance(masks: torch.Tensor) -> torch.Tensor:
    """Return the squared distance to the nearest pixel outside; 0 where a mask has none.

    First along rows by running extremes, then the smallest of (distance along the row)² + (rows away)² over rows,
    nearest first, until no row farther away can be smaller (Saito and Toriwaki 1994).
    """
    masks = masks & ~masks.all(-1).all(-1)[..., None, None]
    column = torch.arange(masks.shape[-1], dtype=torch.float32, device=masks.device).expand(masks.shape)
    before = torch.where(masks, -torch.inf, column).cummax(-1).values
    behind = torch.where(masks, torch.inf, column).flip(-1).cummin(-1).values.flip(-1)
    along = torch.minimum(column - before, behind - column).square_()
    best = along.clone()
    for away in range(1, masks.shape[-2]):
        # Asking for the largest value waits for a GPU; not at every row.
        if away % 16 == 1 and best.max() <= away**2:
            break
        torch.minimum(best[..., away:, :], along[..., :-away, :] + away**2, out=best[..., away:, :])
        torch.minimum(best[..., :-away, :], along[..., away:, :] + away**2, out=best[..., :-away, :])
    return best


@in_full_precision
def hdt_karimi(
    logits: torch.Tensor, masks: torch.Tensor, *, alpha: float = 2.0, normalise: bool = True
) -> torch.Tensor:
    """Return the differentiable Hausdorff loss by distance transforms: mean of (p - g)² (D_p^alpha + D_g^alpha).

    Karimi and Salcudean, arXiv 1904.10030, eq. 8. D are the fields (see `distance_field`) of the prediction above
    probability 0.5 and of the mask; no gradient goes through them. Paper 000 trains with "a differentiable Hausdorff
    distance surrogate" but prints `hdt_as_written`, which has no gradient; this is the usual surrogate.

    Parameters
    ----------
    alpha : how much more far errors count; Karimi and Salcudean's 2
    normalise : distances as shares of the picture's diagonal; squares of pixels, up to 10⁵, would drown other terms
    """
    probability = torch.sigmoid(logits)
    unit = math.hypot(*masks.shape[-2:]) if normalise else 1.0
    weight = sum((distance_field(each > 0.5) / unit) ** alpha for each in (probability, masks))
    return ((probability - masks) ** 2 * weight).mean()


@torch.no_grad()
@in_full_precision
def hdt_as_written(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``|D_p - D_g|`` in pixels, as paper 000 prints it (eq. 12); for measuring.

    Both masks are binarised (at 0.5) before their distance transforms, so the gradient is zero and this trains
    nothing: it is no name in `LOSSES`; `hdt_karimi` is for training.
    """
    return (distance_field(logits > 0) - distance_field(masks > 0.5)).abs().mean()
