"""Where a segmentation errs: too much, too little, under another name, and how far from the true boundary.

As in figures 6 and 7 of paper 000 (CervSpineNet, Front. Bioeng. Biotechnol. 2025, doi 10.3389/fbioe.2025.1733689):
agreement stays transparent, and the numbers beside the picture are Dice, HD95 and the mean absolute errors of the
probability, everywhere and within the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.evaluation.agreement import evaluate
from SpineSegLib.evaluation.grids import finer_knowledge, on_the_grid_of
from SpineSegLib.evaluation.metrics import probability_errors, surface
from SpineSegLib.evaluation.pairing import Pair, by_structure, pairs_of
from SpineSegLib.image import Geometry, Image, Segment, Segmentation

FALSE_POSITIVE, FALSE_NEGATIVE, SWAPPED = "false positive", "false negative", "another structure"
COLOURS = {FALSE_POSITIVE: (255, 122, 26), FALSE_NEGATIVE: (56, 148, 255), SWAPPED: (230, 70, 220)}
"""Kinds of error and their colours, which also people with a red-green weakness tell apart."""


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """The errors of a prediction, on the grid of the truth.

    Parameters
    ----------
    kinds : name of the kind of error -> boolean k, j, i mask; a voxel that both sides mark under different names is of
        the kind ``"another structure"`` alone
    distance : float32, signed distance of each voxel in error to the true boundary: positive outside of the truth,
        negative within it; NaN where there is no error. None when the truth is empty. The boundary are the voxels of
        the truth's union with a neighbour outside of it, and distances run between centres, as in the metrics: a mask
        shifted by 3 px errs by up to 3 px.
    unit : of the distance, ``"mm"``, or ``"px"`` without spacing
    difference : float32, probability - truth, -1…1; None without probabilities
    numbers : ``dice``, ``hd95`` in `unit`, ``global_mae``, ``foreground_mae`` of the union (None where undefined);
        without probabilities, the absolute errors are those of the mask
    truth, prediction : unions of the two sides
    geometry : the truth's
    warnings : what the reader must know
    """

    kinds: Mapping[str, np.ndarray]
    distance: np.ndarray | None
    unit: str
    difference: np.ndarray | None
    numbers: Mapping[str, float | None]
    truth: np.ndarray
    prediction: np.ndarray
    geometry: Geometry
    warnings: tuple[str, ...] = ()

    @property
    def wrong(self) -> np.ndarray:
        """The union of all errors."""
        return np.logical_or.reduce(list(self.kinds.values()))

    def counts(self) -> dict[str, int]:
        """Return how many voxels are of each kind of error."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.kinds.items()}

    def segmentation(self) -> Segmentation:
        """Return the kinds of error as segments, for Slicer."""
        layer = np.zeros(self.geometry.shape, np.uint8)
        segments = []
        for label, (name, mask) in enumerate(self.kinds.items(), start=1):
            layer[mask] = label
            segments.append(Segment(Structure("other", label=name), 0, label, name, COLOURS[name]))
        return Segmentation((layer,), tuple(segments), self.geometry)

    def distance_image(self) -> Image | None:
        """Return the signed distance as an image, 0 where there is no error; None when the truth is empty."""
        if self.distance is None:
            return None
        return Image(np.nan_to_num(self.distance, nan=0.0), self.geometry)

    def to_dict(self) -> dict:
        """Return the numbers as ``explain errors --json`` prints them."""
        distance = self.distance if self.distance is not None else np.full(1, np.nan, np.float32)
        reach = [None if np.isnan(distance).all() else float(end(distance)) for end in (np.nanmax, np.nanmin)]
        return {
            **self.numbers,
            "unit": self.unit,
            "mae_of": "mask" if self.difference is None else "probability",
            "voxels": self.counts(),
            "farthest_outside": None if reach[0] is None else max(reach[0], 0.0),
            "farthest_inside": None if reach[1] is None else max(-reach[1], 0.0),
            "warnings": list(self.warnings),
        }


def error_map(prediction: Segmentation, truth: Segmentation, probability: Image | None = None) -> ErrorMap:
    """Compare a prediction with the truth, voxel by voxel.

    Structures are paired as in `evaluate`, and a prediction on another grid is resampled as there. Where one side alone
    has levels, structures without a counterpart are left out, so that a model of vertebrae is not blamed for ribs.

    Parameters
    ----------
    probability : of the union of all structures, on the truth's grid; else the largest of the segments' own is used

    Raises
    ------
    InputError : as `evaluate`
    """
    warnings: list[str] = []
    prediction, truth = _comparable(prediction, truth, warnings)
    found = evaluate(prediction, truth, probability=probability)
    prediction = on_the_grid_of(truth, prediction, [])
    geometry = finer_knowledge(prediction.geometry, truth.geometry)
    chance = _chance(prediction, probability, truth.geometry)
    ours, theirs = prediction.foreground, truth.foreground
    unit = "mm" if geometry.has_spacing else "px"
    numbers = {"dice": found.overall["dice"], "hd95": found.overall[f"hd95_{unit}"]}
    numbers |= probability_errors(ours.astype(np.float32) if chance is None else chance, theirs)
    kinds = _kinds(prediction, truth)
    wrong = np.logical_or.reduce(list(kinds.values()))
    return ErrorMap(
        kinds=kinds,
        distance=signed_distance(theirs, wrong, geometry),
        unit=unit,
        difference=None if chance is None else chance - theirs.astype(np.float32),
        numbers=numbers,
        truth=theirs,
        prediction=ours,
        geometry=geometry,
        warnings=(*warnings, *found.warnings),
    )


def _comparable(
    prediction: Segmentation, truth: Segmentation, warnings: list[str]
) -> tuple[Segmentation, Segmentation]:
    """Return both sides without the structures that the other has no counterpart for; as they are where none has."""
    pairs = _pairs(prediction, truth)
    sides = []
    for side, segments in ((prediction, [pair.ours for pair in pairs]), (truth, [pair.theirs for pair in pairs])):
        kept = {id(segment) for some in segments for segment in some}
        left = [segment.name for segment in side.segments if id(segment) not in kept]
        if pairs and left:
            warnings.append(f"without a counterpart on the other side, not looked at: {', '.join(left)}")
            side = replace(side, segments=tuple(segment for segment in side.segments if id(segment) in kept))
        sides.append(side)
    return sides[0], sides[1]


def _pairs(prediction: Segmentation, truth: Segmentation) -> list[Pair]:
    return pairs_of(by_structure(prediction, "prediction", []), by_structure(truth, "truth", []), [])


def _chance(prediction: Segmentation, probability: Image | None, grid: Geometry) -> np.ndarray | None:
    if probability is not None:
        there = probability.geometry
        same = not (there.has_spacing and grid.has_spacing) or there.same_as(grid)
        return (probability if same else probability.resampled(grid, fill=0.0)).array.astype(np.float32)
    own = [segment.probability for segment in prediction.segments]
    return np.maximum.reduce(own) if own and all(each is not None for each in own) else None


def _kinds(prediction: Segmentation, truth: Segmentation) -> dict[str, np.ndarray]:
    """Return the masks of the kinds of error; of the third only where structures of several names are compared."""
    shape = truth.geometry.shape
    too_much, too_little = np.zeros(shape, bool), np.zeros(shape, bool)
    for pair in _pairs(prediction, truth):
        ours, theirs = _union(prediction, pair.ours), _union(truth, pair.theirs)
        too_much |= ours & ~theirs
        too_little |= theirs & ~ours
    # Where nothing at all was paired, the unions are compared.
    too_much |= prediction.foreground & ~truth.foreground
    too_little |= truth.foreground & ~prediction.foreground
    both = too_much & too_little
    kinds = {FALSE_POSITIVE: too_much & ~both, FALSE_NEGATIVE: too_little & ~both}
    return {**kinds, SWAPPED: both} if both.any() else kinds


def _union(segmentation: Segmentation, segments: list[Segment]) -> np.ndarray:
    union = np.zeros(segmentation.geometry.shape, bool)
    for segment in segments:
        union |= segmentation.mask(segment)
    return union


def signed_distance(truth: np.ndarray, where: np.ndarray, geometry: Geometry) -> np.ndarray | None:
    """Return the signed distance to a mask's boundary, positive outside, at some voxels; NaN at all others.

    Distances run through the whole affine matrix, so that they hold on oblique and sheared grids too.

    Parameters
    ----------
    truth, where : boolean k, j, i masks on the grid

    Returns
    -------
    float32, in millimetres, or in steps of the grid without spacing; None when the mask is empty
    """
    from scipy.spatial import cKDTree

    if not truth.any():
        return None
    steps = geometry.ijk_to_ras[:3, :3] if geometry.has_spacing else np.eye(3)
    boundary = np.argwhere(surface(truth, flat=geometry.is_2d))
    out = np.full(truth.shape, np.nan, np.float32)
    places = np.argwhere(where)
    if len(places):
        away = cKDTree(boundary[:, ::-1] @ steps.T).query(places[:, ::-1] @ steps.T)[0]
        out[where] = np.where(truth[where], -away, away)
    return out
