"""Counts of voxels that two masks share, for one pair or for all labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Overlap:
    """Counts of voxels: true positive, false positive, false negative, true negative; quotients follow `METRICS`."""

    tp: int
    fp: int
    fn: int
    tn: int = 0

    @property
    def dice(self) -> float:
        """2TP / (2TP + FP + FN); 1 when both masks are empty."""
        return _quotient(2 * self.tp, 2 * self.tp + self.fp + self.fn, 1.0)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); 1 when both masks are empty."""
        return _quotient(self.tp, self.tp + self.fp + self.fn, 1.0)

    @property
    def volumetric_similarity(self) -> float:
        """1 - |FN - FP| / (2TP + FP + FN), Taha and Hanbury 2015; 1 when both masks are empty."""
        return 1.0 - _quotient(abs(self.fn - self.fp), 2 * self.tp + self.fp + self.fn, 0.0)

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN); None when the truth is empty."""
        return _quotient(self.tp, self.tp + self.fn, None)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None when the prediction is empty."""
        return _quotient(self.tp, self.tp + self.fp, None)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP); None when the truth fills the grid."""
        return _quotient(self.tn, self.tn + self.fp, None)

    @property
    def accuracy(self) -> float | None:
        """(TP + TN) / all; None when there is no voxel at all."""
        return _quotient(self.tp + self.tn, self.tp + self.tn + self.fp + self.fn, None)

    @property
    def background(self) -> Overlap:
        """The same counts seen from the background."""
        return Overlap(self.tn, self.fn, self.fp, self.tp)


def _quotient(above: int, below: int, of_nothing: float | None) -> float | None:
    return above / below if below else of_nothing


def mean_iou(classes: Sequence[float], whole: Overlap) -> dict[str, float | None]:
    """Return the mean IoU of the classes, without and with the background as one more class.

    Parameters
    ----------
    classes : IoU of each class
    whole : counts of the union of all classes, from which the background's IoU follows
    """
    values = list(classes)
    both = [*values, whole.background.iou]
    return {
        "miou": float(np.mean(values)) if values else None,
        "miou_background": float(np.mean(both)) if values else None,
    }


def overlap(prediction: np.ndarray, truth: np.ndarray) -> Overlap:
    """Count the voxels in which two boolean masks of one shape agree and differ."""
    both = int(np.count_nonzero(prediction & truth))
    fp, fn = int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(truth)) - both
    return Overlap(both, fp, fn, prediction.size - both - fp - fn)


def confusion(prediction: np.ndarray, truth: np.ndarray, labels: tuple[int, int]) -> np.ndarray:
    """Count, for every pair of labels at once, the voxels that carry both.

    Parameters
    ----------
    prediction, truth : integer arrays of one shape with values 0…n and 0…m
    labels : n and m

    Returns
    -------
    (n + 1, m + 1) counts; row 0 and column 0 are the background
    """
    n, m = labels
    counts = np.zeros((n + 1) * (m + 1), dtype=np.int64)
    box = union_box(bounding_box(prediction), bounding_box(truth))
    if box is not None:
        # Some rows at a time, so that the 64-bit copy that bincount makes stays in the cache.
        rows = max(1, (1 << 16) // max(1, box[2].stop - box[2].start))
        for ours, theirs in zip(prediction[box], truth[box], strict=True):
            for start in range(0, len(ours), rows):
                pairs = ours[start : start + rows].astype(np.int32) * (m + 1) + theirs[start : start + rows]
                counts += np.bincount(pairs.ravel(), minlength=counts.size)
    counts[0] += prediction.size - counts.sum()
    return counts.reshape(n + 1, m + 1)


def bounding_box(mask: np.ndarray) -> Box | None:
    """Return the slices around the voxels of an array that are not 0, or None when there are none."""
    ends = _ends(mask)
    if ends is None:
        return None
    box = [slice(*ends)]
    if mask.ndim > 1:
        box += bounding_box(mask[box[0]].any(axis=0))
    return tuple(box)


def _ends(mask: np.ndarray) -> tuple[int, int] | None:
    """Return the first and the last + 1 index along axis 0 that hold anything, reading from both ends inwards."""
    length = mask.shape[0]
    chunk = max(1, (1 << 18) // max(1, mask[0].size))
    start = next((n for n in range(0, length, chunk) if mask[n : n + chunk].any()), None)
    if start is None:
        return None
    stop = next(n for n in range(length, 0, -chunk) if mask[max(0, n - chunk) : n].any())
    base = max(0, stop - chunk)
    rest = tuple(range(1, mask.ndim))
    first = start + int(mask[start : start + chunk].any(axis=rest).argmax())
    last = base + int(np.flatnonzero(mask[base:stop].any(axis=rest))[-1])
    return first, last + 1


def union_box(one: Box | None, two: Box | None) -> Box | None:
    """Return the box around two boxes; one of them, or both, may be None."""
    if one is None or two is None:
        return one or two
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, two, strict=True))
