"""How well a segmentation agrees with the truth, overall and structure by structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from SpineSegLib.anatomy import COLLECTIVES, Structure
from SpineSegLib.errors import problem
from SpineSegLib.evaluation.metrics import (
    Overlap,
    bounding_box,
    compare_masks,
    confusion,
    definitions,
    metrics_of,
    surface_distances,
)
from SpineSegLib.image import Geometry, Segment, Segmentation

Values = Mapping[str, float | int | str | None]


@dataclass(frozen=True)
class Evaluation:
    """All metrics of a prediction against a truth; the numbers are described in `SpineSegLib.evaluation.metrics`.

    Parameters
    ----------
    overall : metrics of the union of all segments of each
    structures : metrics by the structure's name; ``"in"`` says where a structure that one side lacks is, and ``"union
        of"`` which structures were joined to be compared with one that has no level
    definitions : what every number means
    warnings : what the reader must know, such as a truth that was on another grid
    """

    overall: Values
    structures: Mapping[str, Values] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=definitions)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Return the object of ``evaluate --json``; it holds no infinity and no NaN."""
        return {
            "overall": dict(self.overall),
            "structures": {name: dict(values) for name, values in self.structures.items()},
            "definitions": dict(self.definitions),
            "warnings": list(self.warnings),
        }


def evaluate(prediction: Segmentation, truth: Segmentation) -> Evaluation:
    """Measure how well `prediction` agrees with `truth`.

    Everything is measured on the grid of the truth, which is the reference and stays as it was drawn: a prediction on
    another grid is resampled to it by nearest neighbour, and a warning says so. Structures are matched by level and
    kind. Where both sides have levels, a structure that one side lacks counts as empty there. Where only one side has
    levels (a binary 'vertebrae' against T1…L5), the other's structure is compared with the union of those that it
    stands for; what then has no counterpart counts in the overall numbers alone.

    Raises
    ------
    InputError : the grids cannot be compared: no overlap, or no spacing and another size
    """
    warnings: list[str] = []
    prediction = _on_the_grid_of(truth, prediction, warnings)
    geometry = _finer_knowledge(prediction.geometry, truth.geometry)
    ours, theirs = _by_structure(prediction, "prediction", warnings), _by_structure(truth, "truth", warnings)
    pairs = _pairs(ours, theirs, warnings)
    compare = _Comparison(prediction, truth, geometry)
    overall = compare_masks(prediction.foreground, truth.foreground, geometry)
    return Evaluation(
        overall=overall,
        structures={pair.name: compare(pair, overall) for pair in pairs},
        warnings=tuple(warnings),
    )


def _on_the_grid_of(truth: Segmentation, prediction: Segmentation, warnings: list[str]) -> Segmentation:
    here, there = prediction.geometry, truth.geometry
    if not (here.has_spacing and there.has_spacing):
        if here.shape != there.shape:
            raise problem(
                "truth",
                f"{_size(there)}, while the prediction has {_size(here)}, and without spacing they cannot be aligned",
                "masks of one size, or files that know their spacing",
                "Give the truth that was drawn on the very image that was segmented",
            )
        if here.has_spacing != there.has_spacing:
            known = "prediction" if here.has_spacing else "truth"
            warnings.append(f"only the {known} knows its spacing; pixels of both are taken to be the same")
        return replace(prediction, geometry=_finer_knowledge(here, there))
    if here.same_as(there):
        return prediction
    if not (there.overlaps(here) or here.overlaps(there)):
        raise problem(
            "truth",
            f"its field of view ({_place(there)}) does not overlap the prediction's ({_place(here)})",
            "a truth of the same patient and scan",
            "Check that both files belong together",
        )
    moved = prediction.resampled(there)
    warnings.append(
        f"the truth is on another grid ({_size(there)}; the prediction has {_size(here)}): "
        "the prediction's labels were resampled onto it by nearest neighbour"
    )
    outside = _outside(prediction.foreground, here, there)
    if outside:
        warnings.append(f"{outside} voxels of the prediction lie outside the truth's field of view and do not count")
    missed = _outside(truth.foreground, there, here)
    if missed:
        warnings.append(f"{missed} voxels of the truth lie outside the prediction's field of view and count as missed")
    return moved


def _finer_knowledge(one: Geometry, two: Geometry) -> Geometry:
    return one if one.has_spacing and not two.has_spacing else two


def _outside(mask: np.ndarray, geometry: Geometry, other: Geometry) -> int:
    """Count the voxels of a mask whose centre lies outside the other grid."""
    points = other.to_index(geometry.to_world(np.argwhere(mask)))
    inside = ((points > -0.5) & (points < np.array(other.shape) - 0.5)).all(axis=-1)
    return int(np.count_nonzero(~inside))


def _size(geometry: Geometry) -> str:
    shape = "x".join(str(n) for n in geometry.shape[::-1])
    if not geometry.has_spacing:
        return f"{shape} without spacing"
    return f"{shape} at " + "x".join(f"{step:.3g}" for step in geometry.step[::-1]) + " mm"


def _place(geometry: Geometry) -> str:
    middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    return f"around R {middle[0]:.0f}, A {middle[1]:.0f}, S {middle[2]:.0f} mm"


def _by_structure(segmentation: Segmentation, side: str, warnings: list[str]) -> dict[Structure, list[Segment]]:
    found: dict[Structure, list[Segment]] = {}
    for segment in segmentation.segments:
        found.setdefault(segment.structure, []).append(segment)
    for structure, segments in found.items():
        if len(segments) > 1:
            warnings.append(f"the {side} has {len(segments)} segments for {structure.name}; they were joined")
    return found


@dataclass(frozen=True)
class _Pair:
    """Segments of both sides that are compared under one name; joined structures are named in `union_of`."""

    name: str
    ours: list[Segment]
    theirs: list[Segment]
    union_of: list[str] = field(default_factory=list)


_BySide = Mapping[Structure, list[Segment]]


def _pairs(ours: _BySide, theirs: _BySide, warnings: list[str]) -> list[_Pair]:
    names = {*ours, *theirs}
    levelled = [any(structure.level for structure in side) for side in (ours, theirs)]
    if all(levelled):
        return [_Pair(s.name, ours.get(s, []), theirs.get(s, [])) for s in _in_order(names)]
    pairs = [_Pair(s.name, ours[s], theirs[s]) for s in _in_order(names) if s in ours and s in theirs]
    rest = {s for s in names if not (s in ours and s in theirs)}
    detailed, binary = (ours, theirs) if levelled[0] else (theirs, ours)
    for whole in _in_order(s for s in rest if s in binary and s.kind in COLLECTIVES):
        members = _in_order(s for s in detailed if s.level and s.kind in COLLECTIVES[whole.kind])
        if members:
            joined = [segment for member in members for segment in detailed[member]]
            sides = (joined, binary[whole]) if levelled[0] else (binary[whole], joined)
            pairs.append(_Pair(whole.name, *sides, [member.name for member in members]))
            rest -= {whole, *members}
    if rest:
        listed = ", ".join(s.name for s in _in_order(rest))
        warnings.append(f"without a counterpart on the other side, counted in the overall numbers alone: {listed}")
    return pairs


def _in_order(structures: Iterable[Structure]) -> list[Structure]:
    return sorted(structures, key=lambda structure: structure.order)


class _Comparison:
    """Compares segments by counts made for all labels of two layers at once, and distances on their crops."""

    def __init__(self, prediction: Segmentation, truth: Segmentation, geometry: Geometry):
        self.prediction, self.truth, self.geometry = prediction, truth, geometry
        self._ours = [_Numbered(prediction, n) for n in range(len(prediction.layers))]
        self._theirs = [_Numbered(truth, n) for n in range(len(truth.layers))]
        self._tables: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, pair: _Pair, overall: Values) -> Values:
        note = {"union of": ", ".join(pair.union_of)} if pair.union_of else {}
        if len(pair.ours) == len(self.prediction.segments) and len(pair.theirs) == len(self.truth.segments):
            return {**overall, **note}
        if len(pair.ours) > 1 or len(pair.theirs) > 1:
            sides = _union(self.prediction, pair.ours), _union(self.truth, pair.theirs)
            return {**compare_masks(*sides, self.geometry), **note}
        if not pair.ours or not pair.theirs:
            segment, of = (pair.theirs[0], self.truth) if pair.theirs else (pair.ours[0], self.prediction)
            size = int(np.count_nonzero(of.mask(segment)))
            counts = Overlap(0, 0, size) if pair.theirs else Overlap(0, size, 0)
            where = "truth only" if pair.theirs else "prediction only"
            return {**metrics_of(counts, None, None, self.geometry), "in": where}
        return self._single(pair.ours[0], pair.theirs[0])

    def _single(self, ours: Segment, theirs: Segment) -> Values:
        one, two = self._ours[ours.layer], self._theirs[theirs.layer]
        table = self._table(ours.layer, theirs.layer)
        row, column = one.number[ours.label], two.number[theirs.label]
        both = int(table[row, column])
        counts = Overlap(both, int(table[row].sum()) - both, int(table[:, column].sum()) - both)
        boxes = [one.boxes[row - 1], two.boxes[column - 1]]
        distances = (None, None)
        if None not in boxes:
            box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*boxes, strict=True))
            distances = surface_distances(one.labels[box] == row, two.labels[box] == column, self.geometry)
        return metrics_of(counts, *distances, self.geometry)

    def _table(self, ours: int, theirs: int) -> np.ndarray:
        if (ours, theirs) not in self._tables:
            one, two = self._ours[ours], self._theirs[theirs]
            self._tables[ours, theirs] = confusion(one.labels, two.labels, (len(one.number), len(two.number)))
        return self._tables[ours, theirs]


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
