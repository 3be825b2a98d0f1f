"""Where SpineFM starts: three successive vertebrae among those that the detector found (paper 001, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from SpineSegLib.pipelines.levels import order_cranial_to_caudal
from SpineSegLib.pipelines.spinefm.parts import Detection


def without_doubles(detections: Sequence[Detection], overlap: float) -> list[Detection]:
    """Return detections of which no two show one vertebra; the one with the higher score stays.

    Two show one when the IoU of their masks exceeds `overlap`, or when the centroid of one lies in the other's mask.
    The paper leaves it open; a triple with a double in it would have a step of nothing.
    """
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda each: -each.score):
        if not any(_same(one, other, overlap) for other in kept):
            kept.append(one)
    return kept


def _same(one: Detection, other: Detection, overlap: float) -> bool:
    if one.mask is not None and other.mask is not None and iou(one.mask, other.mask) > overlap:
        return True
    return _holds(one, other.centroid) or _holds(other, one.centroid)


def _holds(one: Detection, point: np.ndarray) -> bool:
    if one.mask is None:
        return bool(np.linalg.norm(one.centroid - point) < 1)
    column, row = np.rint(point).astype(int)
    rows, columns = one.mask.shape
    return bool(0 <= row < rows and 0 <= column < columns and one.mask[row, column])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union of two masks, 0 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def in_order(detections: Sequence[Detection]) -> list[Detection]:
    """Return detections by their projection on the line fitted to them, from the top of the picture down."""
    points = np.array([each.centroid for each in detections], dtype=float).reshape(-1, 2)
    world = np.stack([points[:, 0], np.zeros(len(points)), -points[:, 1]], axis=1)
    return [detections[number] for number in order_cranial_to_caudal(world)]


def triples(detections: Sequence[Detection], *, uneven: float = 1.6) -> list[list[Detection]]:
    """Return every three successive detections, best first: even ones by their mean score, then uneven ones.

    Parameters
    ----------
    detections : in order along the spine
    uneven : a triple is uneven when one of its two steps exceeds the other by more than this factor
    """
    listed = [list(detections[n : n + 3]) for n in range(len(detections) - 2)]
    return sorted(listed, key=lambda three: (_unevenness(three) > uneven, -np.mean([one.score for one in three])))


def _unevenness(three: Sequence[Detection]) -> float:
    steps = [np.linalg.norm(b.centroid - a.centroid) for a, b in pairwise(three)]
    return float(max(steps) / max(min(steps), 1e-6))
