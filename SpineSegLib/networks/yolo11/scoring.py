"""How good detections are: the F1 score of boxes, picture by picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from SpineSegLib.networks.yolo11.boxes import box_iou


def f1(found: Mapping[str, torch.Tensor], truth: Mapping[str, torch.Tensor], *, iou: float = 0.5) -> float:
    """Return 2 TP / (2 TP + FP + FN) of one picture; 1 where there is nothing and nothing is found.

    A detection is right when its box overlaps that of an instance of its class, which no better detection has taken
    yet, by `iou` or more; detections choose in the order of their scores.

    Parameters
    ----------
    found : ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,)
    truth : ``boxes`` (m, 4), ``labels`` (m,)
    """
    both = len(found["boxes"]) + len(truth["boxes"])
    if not both:
        return 1.0
    overlap = box_iou(found["boxes"][:, None], truth["boxes"].to(found["boxes"])[None])
    overlap = torch.where(found["labels"][:, None] == truth["labels"][None], overlap, 0.0)
    right = 0
    for row in found["scores"].argsort(descending=True).tolist():
        if overlap.shape[1] and overlap[row].max() >= iou:
            overlap[:, overlap[row].argmax()] = 0.0
            right += 1
    return 2 * right / both
