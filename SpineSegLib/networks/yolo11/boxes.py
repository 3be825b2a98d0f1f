"""Boxes as YOLO11 predicts them: distances from places to four sides, each a distribution over whole strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def places(shape: tuple[int, int], strides: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """Return (places, 3) float32: x, y in pixels and the stride of each place that predicts a box.

    Parameters
    ----------
    shape : rows and columns of the picture, multiples of the strides
    strides : of the feature maps; each map's places go row by row, and lie in the middle of their pixel
    """
    found = []
    for stride in strides:
        y, x = ((torch.arange(side // stride, device=device, dtype=torch.float32) + 0.5) * stride for side in shape)
        y, x = torch.meshgrid(y, x, indexing="ij")
        found.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), float(stride), device=device)], 1))
    return torch.cat(found)


def expected_distances(logits: torch.Tensor) -> torch.Tensor:
    """Return distances (..., 4) in strides: the mean of each side's distribution (arXiv 2006.04388, eq. 5).

    Parameters
    ----------
    logits : (..., 4, bins)
    """
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return (logits.softmax(dim=-1) * bins).sum(dim=-1)


def decode(distances: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return boxes (..., places, 4), x0 y0 x1 y1 in pixels, from distances in strides.

    Parameters
    ----------
    distances : (..., places, 4), to the left, top, right and bottom side
    at : (places, 3), see `places`
    """
    centre, reach = at[:, :2], distances * at[:, 2:]
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)


def encode(boxes: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return distances (..., places, 4) in strides from boxes in pixels; the inverse of `decode`."""
    centre = at[:, :2]
    return torch.cat([centre - boxes[..., :2], boxes[..., 2:] - centre], dim=-1) / at[:, 2:]


def _overlap(one: torch.Tensor, two: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return intersection and union of boxes (..., 4) that broadcast."""
    low, high = torch.maximum(one[..., :2], two[..., :2]), torch.minimum(one[..., 2:], two[..., 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(each[..., 2:] - each[..., :2]).clamp(min=0).prod(dim=-1) for each in (one, two)]
    return both, areas[0] + areas[1] - both


def box_iou(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Return intersection over union of boxes (..., 4) that broadcast; 0 where both are empty."""
    both, union = _overlap(one, two)
    return both / union.clamp(min=1e-7)


def complete_iou(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Return the complete IoU (...,) of boxes (..., 4) that broadcast: 1 - the loss of paper 002.

    Zheng et al., arXiv 1911.08287: IoU - d²/c² - αv, with d the distance of the centres, c the diagonal of the box
    around both, v = 4/π² (atan(w/h) - atan(w'/h'))² and α = v / (1 - IoU + v), which has no gradient.
    """
    iou = box_iou(one, two)
    low, high = torch.minimum(one[..., :2], two[..., :2]), torch.maximum(one[..., 2:], two[..., 2:])
    diagonal = (high - low).square().sum(dim=-1).clamp(min=1e-7)
    away = (one[..., :2] + one[..., 2:] - two[..., :2] - two[..., 2:]).square().sum(dim=-1) / 4
    angles = []
    for each in (one, two):
        width, height = (each[..., 2:] - each[..., :2]).unbind(dim=-1)
        angles.append(torch.atan(width / height.clamp(min=1e-7)))
    shape = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = shape / (1 - iou + shape).clamp(min=1e-7)
    return iou - away / diagonal - weight * shape
