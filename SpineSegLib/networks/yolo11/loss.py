"""What YOLO11 minimises: complete IoU and distributions of the boxes, cross-entropy of the scores and of the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from SpineSegLib.networks.yolo11.assign import assign
from SpineSegLib.networks.yolo11.boxes import complete_iou, decode, encode, expected_distances

GAINS: Mapping[str, float] = {"box": 7.5, "score": 0.5, "distribution": 1.5, "mask": 7.5}
"""Weights of the terms, as the family is published to be trained; paper 002 names the terms alone."""


class Predictions(NamedTuple):
    """What the network says of each place, in float32.

    Attributes
    ----------
    distances : (n, places, 4, bins) logits of the distances to the left, top, right and bottom
    scores : (n, places, classes) logits
    at : (places, 3) x, y in pixels and stride
    coefficients : (n, places, prototypes), or None without masks
    prototypes : (n, prototypes, h/4, w/4), or None without masks
    """

    distances: torch.Tensor
    scores: torch.Tensor
    at: torch.Tensor
    coefficients: torch.Tensor | None = None
    prototypes: torch.Tensor | None = None

    @property
    def boxes(self) -> torch.Tensor:
        """Boxes (n, places, 4) in pixels."""
        return decode(expected_distances(self.distances), self.at)


def distribution_focal_loss(logits: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Return the distribution focal loss (...,) of each distance (arXiv 2006.04388, eq. 6).

    The cross-entropy of the two bins beside the true distance, each weighted by how near it is.

    Parameters
    ----------
    logits : (..., bins)
    distances : (...,) in strides; beyond the last bin they count as just before it
    """
    distances = distances.clamp(0, logits.shape[-1] - 1 - 0.01)
    below = distances.floor()
    share = distances - below
    log = logits.log_softmax(dim=-1)
    left = log.gather(-1, below.long()[..., None])[..., 0]
    right = log.gather(-1, below.long()[..., None] + 1)[..., 0]
    return -(left * (1 - share) + right * share)


def mask_loss(logits: torch.Tensor, masks: torch.Tensor, boxes: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return the cross-entropy (p,) of masks within their boxes, the mean over each box (arXiv 1904.02689, 3.2).

    Parameters
    ----------
    logits, masks : (p, rows, columns); masks in 0…1
    boxes : (p, 4) in pixels of the picture
    shape : rows and columns of the picture
    """
    within = inside(boxes, logits.shape[-2:], shape)
    found = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none") * within
    return found.sum(dim=(1, 2)) / within.sum(dim=(1, 2)).clamp(min=1)


def inside(boxes: torch.Tensor, shape: Sequence[int], picture: Sequence[int]) -> torch.Tensor:
    """Return which pixels of a grid (p, rows, columns) have their centre in each box (p, 4).

    Parameters
    ----------
    shape : of the grid
    picture : rows and columns of the picture that the grid covers and whose pixels boxes count
    """
    y, x = (
        (torch.arange(side, device=boxes.device) + 0.5) * (whole / side)
        for side, whole in zip(shape, picture, strict=True)
    )
    left, top, right, bottom = (side[:, None] for side in boxes.unbind(dim=1))
    down, across = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (down[:, :, None] & across[:, None, :]).to(boxes.dtype)


def detection_loss(
    found: Predictions, targets: Sequence[Mapping[str, torch.Tensor]], gains: Mapping[str, float] = GAINS
) -> torch.Tensor:
    """Return the loss of a batch, a scalar.

    Every term is a sum over places weighted by the score they should reach, divided by the sum of these weights, so
    that well placed boxes count most (arXiv 2108.07755, eq. 6 and 7).

    Parameters
    ----------
    targets : for each picture ``boxes`` (n, 4) in pixels, ``labels`` (n,) from 0 and, where masks are learnt,
        ``masks`` (n, h, w)
    gains : weights of the terms
    """
    boxes, wanted = found.boxes, torch.zeros_like(found.scores)
    total, weight = found.distances.sum() * 0.0, 0.0
    for number, target in enumerate(targets):
        truth = target["boxes"].to(boxes)
        if not len(truth):
            continue
        learnt = assign(
            found.scores[number].detach().sigmoid(), boxes[number].detach(), found.at, truth, target["labels"]
        )
        places, each, weights = learnt.places, truth[learnt.instances], learnt.weights
        wanted[number, places, target["labels"][learnt.instances]] = weights
        weight = weight + weights.sum()
        overlap = complete_iou(boxes[number, places], each)
        distances = torch.diagonal(encode(each[:, None], found.at[places]), dim1=0, dim2=1).T
        spread = distribution_focal_loss(found.distances[number, places], distances).mean(dim=1)
        terms = gains["box"] * (1 - overlap) + gains["distribution"] * spread
        if found.prototypes is not None:
            terms = terms + gains["mask"] * _masks(found, number, places, each, target["masks"], learnt.instances)
        total = total + (terms * weights).sum()
    scores = functional.binary_cross_entropy_with_logits(found.scores, wanted, reduction="sum")
    return (total + gains["score"] * scores) / torch.as_tensor(weight, device=boxes.device).clamp(min=1)


def _masks(
    found: Predictions,
    number: int,
    places: torch.Tensor,
    boxes: torch.Tensor,
    masks: torch.Tensor,
    instances: torch.Tensor,
) -> torch.Tensor:
    prototypes = found.prototypes[number]
    logits = torch.einsum("pc,chw->phw", found.coefficients[number, places], prototypes)
    # At the prototypes' size a pixel of a mask is the share that is covered.
    small = functional.adaptive_avg_pool2d(masks.to(logits)[None], prototypes.shape[-2:])[0]
    return mask_loss(logits, small[instances], boxes, masks.shape[-2:])
