"""Compares segments by counts made for all labels of two layers at once, and the rest on their crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from SpineSegLib.evaluation.metrics import (
    Overlap,
    Settings,
    bounding_box,
    checked,
    confusion,
    measured,
    overlap,
    probability_errors,
    union_box,
)
from SpineSegLib.evaluation.pairing import Pair
from SpineSegLib.image import Geometry, Segment, Segmentation

Values = Mapping[str, float | int | str | None]


class Comparison:
    """The metrics of pairs of segments of two segmentations on one grid.

    Parameters
    ----------
    prediction, truth : on the voxels of `geometry`
    probability : k, j, i array in 0…1 of the union of all structures; where there is none, segments' own are used
    """

    def __init__(
        self,
        prediction: Segmentation,
        truth: Segmentation,
        geometry: Geometry,
        settings: Settings,
        probability: np.ndarray | None = None,
    ):
        self.prediction, self.truth, self.geometry, self.settings = prediction, truth, geometry, settings
        self._probability = probability
        self._ours = [_Numbered(prediction, n) for n in range(len(prediction.layers))]
        self._theirs = [_Numbered(truth, n) for n in range(len(truth.layers))]
        self._tables: dict[tuple[int, int], np.ndarray] = {}
        self._known: dict[tuple[tuple[int, int, int], ...], tuple[Values, Overlap]] = {}

    def overall(self) -> tuple[Values, Overlap]:
        """Return the metrics of the unions of all segments, and their counts."""
        values, counts = self._measured(list(self.prediction.segments), list(self.truth.segments))
        return dict(values), counts

    def __call__(self, pair: Pair) -> Values:
        """Return the metrics of a pair, with ``"in"`` where one side lacks it and ``"union of"`` where it is one."""
        note = {"union of": ", ".join(pair.union_of)} if pair.union_of else {}
        if not pair.ours or not pair.theirs:
            note["in"] = "truth only" if pair.theirs else "prediction only"
        return {**self._measured(pair.ours, pair.theirs)[0], **note}

    def dice_table(self, ours: Sequence[Segment], theirs: Sequence[Segment]) -> np.ndarray:
        """Return the Dice of each of our segments with each of theirs, (ours, theirs)."""
        found = np.zeros((len(ours), len(theirs)))
        for row, one in enumerate(ours):
            for column, other in enumerate(theirs):
                table = self._table(one.layer, other.layer)
                a, b = self._ours[one.layer].number[one.label], self._theirs[other.layer].number[other.label]
                both, sizes = int(table[a, b]), int(table[a].sum() + table[:, b].sum())
                found[row, column] = 2 * both / sizes if sizes else 0.0
        return found

    def _measured(self, ours: list[Segment], theirs: list[Segment]) -> tuple[Values, Overlap]:
        """Measure once what may be asked for twice: overall, as a structure and as a level."""
        places = tuple((side, s.layer, s.label) for side, of in enumerate((ours, theirs)) for s in of)
        if places not in self._known:
            counts, *crops = (self._counted if len(ours) <= 1 and len(theirs) <= 1 else self._joined)(ours, theirs)
            found = measured(counts, *crops, self.geometry, self.settings)
            probability = self._probability_of(ours)
            if probability is not None:
                found |= probability_errors(probability, _union(self.truth, theirs))
            self._known[places] = found, counts
        return self._known[places]

    def _counted(self, ours: list[Segment], theirs: list[Segment]) -> tuple:
        """Return counts from the table of all labels, crops around the two labels, and where they are."""
        ours, theirs = (next(iter(segments), None) for segments in (ours, theirs))
        sides = [
            (of[segment.layer], of[segment.layer].number[segment.label]) if segment else None
            for of, segment in ((self._ours, ours), (self._theirs, theirs))
        ]
        boxes = [side[0].boxes[side[1] - 1] if side else None for side in sides]
        box = union_box(*boxes) or (slice(0, 1),) * 3
        shape = [part.stop - part.start for part in box]
        crops = [side[0].labels[box] == side[1] if side else np.zeros(shape, bool) for side in sides]
        if all(sides):
            table = self._table(ours.layer, theirs.layer)
            row, column = sides[0][1], sides[1][1]
            both, one, two = int(table[row, column]), int(table[row].sum()), int(table[:, column].sum())
        else:
            both, one, two = 0, *(int(np.count_nonzero(crop)) for crop in crops)
        total = int(np.prod(self.geometry.shape))
        return Overlap(both, one - both, two - both, total - one - two + both), *crops, box

    def _joined(self, ours: list[Segment], theirs: list[Segment]) -> tuple:
        """Return counts and crops of the unions of several segments, and where they are."""
        sides = ((self.prediction, ours), (self.truth, theirs))
        masks = [of.foreground if len(segments) == len(of.segments) else _union(of, segments) for of, segments in sides]
        box = union_box(*(bounding_box(mask) for mask in masks)) or (slice(0, 1),) * 3
        crops = [mask[box] for mask in masks]
        counts = overlap(*crops)
        rest = masks[0].size - crops[0].size
        return Overlap(counts.tp, counts.fp, counts.fn, counts.tn + rest), *crops, box

    def _table(self, ours: int, theirs: int) -> np.ndarray:
        if (ours, theirs) not in self._tables:
            one, two = self._ours[ours], self._theirs[theirs]
            self._tables[ours, theirs] = confusion(one.labels, two.labels, (len(one.number), len(two.number)))
        return self._tables[ours, theirs]

    def _probability_of(self, segments: list[Segment]) -> np.ndarray | None:
        """Return the probability of a union: what was given for all, or the largest of the segments' own."""
        if self._probability is not None and len(segments) == len(self.prediction.segments):
            return self._probability
        if not segments or any(segment.probability is None for segment in segments):
            return None
        return np.maximum.reduce([segment.probability for segment in segments])


def check_probabilities(prediction: Segmentation) -> None:
    """Refuse a prediction with probabilities that are none.

    Raises
    ------
    InputError : a NaN, or a number outside of 0…1
    """
    for segment in prediction.segments:
        if segment.probability is not None:
            checked(segment.probability, f"probability of {segment.name}")


class _Numbered:
    """One layer with its segments' labels renumbered 1…n, and the bounding box of each."""

    def __init__(self, segmentation: Segmentation, layer: int):
        from scipy.ndimage import find_objects

        segments = [segment for segment in segmentation.segments if segment.layer == layer]
        labels = np.array(sorted(segment.label for segment in segments), dtype=np.int64)
        self.number = {int(label): n for n, label in enumerate(labels, start=1)}
        self.labels = np.zeros(segmentation.geometry.shape, np.uint8 if len(labels) < 256 else np.uint16)
        source = segmentation.layers[layer]
        box = bounding_box(source)
        if box is not None and len(labels):
            for out, values in zip(self.labels[box], source[box], strict=True):
                out[...] = _renumbered(values, labels)
        self.boxes = find_objects(self.labels, len(labels))


def _renumbered(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return, for each value, its place 1…n among the sorted labels, or 0 when it is none of them."""
    largest = int(labels[-1])
    if largest < 1 << 16:
        table = np.zeros(max(largest + 2, 256), np.uint16)
        table[labels] = np.arange(1, len(labels) + 1)
        return table[values if values.dtype == np.uint8 else values.astype(np.int64).clip(0, largest + 1)]
    place = np.searchsorted(labels, values).clip(max=len(labels) - 1)
    return np.where(labels[place] == values, place + 1, 0)


def _union(segmentation: Segmentation, segments: list[Segment]) -> np.ndarray:
    union = np.zeros(segmentation.geometry.shape, dtype=bool)
    for segment in segments:
        union |= segmentation.mask(segment)
    return union
