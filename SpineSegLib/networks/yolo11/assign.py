"""Which places learn which instance: task-aligned assignment (Feng et al., TOOD, arXiv 2108.07755)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from SpineSegLib.networks.yolo11.boxes import box_iou


class Assignment(NamedTuple):
    """What the places of one picture learn.

    Attributes
    ----------
    places : (p,) numbers of the places that learn an instance
    instances : (p,) the instance of each
    weights : (p,) the score that each should reach, 0…1
    """

    places: torch.Tensor
    instances: torch.Tensor
    weights: torch.Tensor


@torch.no_grad()
def assign(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    at: torch.Tensor,
    truth: torch.Tensor,
    labels: torch.Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 6.0,
    top: int = 10,
) -> Assignment:
    """Return which places learn which instance of one picture.

    The alignment of a place with an instance is t = s^α u^β, with s the score of the instance's class and u the IoU of
    the boxes (eq. 4). Of the places within its box each instance gets the `top` best aligned; a place that several
    want goes to the one it overlaps most. The score to reach is t, scaled so that the best of an instance is its best
    IoU (3.3). An instance too small to have a place within is not learnt.

    Parameters
    ----------
    scores : (places, classes) probabilities
    boxes : (places, 4) predicted, in pixels
    at : (places, 3), see `places`
    truth, labels : (n, 4) in pixels and (n,) of the instances
    alpha, beta, top : TOOD has 1, 6 and 13; YOLO11 is trained with 0.5, 6 and 10
    """
    if not len(truth):
        none = torch.zeros(0, dtype=torch.int64, device=scores.device)
        return Assignment(none, none, scores.new_zeros(0))
    overlap = box_iou(truth[:, None], boxes)
    sides = torch.cat([at[:, :2] - truth[:, None, :2], truth[:, None, 2:] - at[:, :2]], dim=-1)
    within = (sides > 0).all(dim=-1)
    alignment = scores.T[labels].pow(alpha) * overlap.pow(beta) * within
    best, chosen = alignment.topk(min(top, alignment.shape[1]), dim=1)
    wanted = torch.zeros_like(within).scatter_(1, chosen, best > 0)
    instances = torch.where(wanted, overlap, -1.0).argmax(dim=0)
    learning = wanted.any(dim=0).nonzero()[:, 0]
    instances = instances[learning]
    kept = alignment[instances, learning]
    size = len(truth)
    most = kept.new_zeros(size).scatter_reduce_(0, instances, kept, "amax")
    reach = kept.new_zeros(size).scatter_reduce_(0, instances, overlap[instances, learning], "amax")
    return Assignment(learning, instances, kept / most[instances].clamp(min=1e-30) * reach[instances])
