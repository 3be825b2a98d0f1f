"""How well one mask agrees with another: overlap counts and distances between surfaces.

Every number has one definition, stated in `METRICS` and printed with the results. A mask's surface are its voxels
with a neighbour outside of it (4 neighbours in a single slice, 6 in a volume; beyond the image's border counts as
outside), as in MONAI. Distances run between the centres of surface voxels, through the whole affine matrix, so that
they are exact on oblique, anisotropic and sheared grids.

Fast by looking only where the masks are: overlap is one `bincount` for all labels, distances are nearest neighbours
in a k-d tree of the surface voxels.

References
----------
Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical Imaging 15:29, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry


@dataclass(frozen=True)
class Metric:
    """One described number: its key in the results, a title for tables, its unit and its definition."""

    key: str
    title: str
    unit: str
    definition: str


_HAUSDORFF = "largest distance from a surface voxel of one mask to the nearest of the other; the larger direction"
_HD95 = "95th percentile of those distances (linear interpolation) in each direction; the larger of the two, as MONAI"
_ASSD = "mean over the surface voxels of both masks, pooled, of the distance to the other surface"

METRICS: tuple[Metric, ...] = (
    Metric("dice", "Dice", "1", "2TP / (2TP + FP + FN)"),
    Metric("iou", "IoU", "1", "TP / (TP + FP + FN)"),
    Metric("volumetric_similarity", "Volumetric similarity", "1", "1 - |FN - FP| / (2TP + FP + FN)"),
    Metric("sensitivity", "Sensitivity", "1", "TP / (TP + FN)"),
    Metric("precision", "Precision", "1", "TP / (TP + FP)"),
    Metric("hausdorff_px", "Hausdorff", "px", f"{_HAUSDORFF}; in steps of the grid"),
    Metric("hd95_px", "HD95", "px", f"{_HD95}; in steps of the grid"),
    Metric("assd_px", "ASSD", "px", f"{_ASSD}; in steps of the grid"),
    Metric("hausdorff_mm", "Hausdorff", "mm", _HAUSDORFF),
    Metric("hd95_mm", "HD95", "mm", _HD95),
    Metric("assd_mm", "ASSD", "mm", _ASSD),
    Metric("voxels_prediction", "Voxels, prediction", "px", "number of voxels of the prediction"),
    Metric("voxels_truth", "Voxels, truth", "px", "number of voxels of the truth"),
    Metric("volume_mm3_prediction", "Volume, prediction", "mm³", "voxels of the prediction times a voxel's volume"),
    Metric("volume_mm3_truth", "Volume, truth", "mm³", "voxels of the truth times a voxel's volume"),
    Metric("area_mm2_prediction", "Area, prediction", "mm²", "pixels of the prediction times a pixel's area"),
    Metric("area_mm2_truth", "Area, truth", "mm²", "pixels of the truth times a pixel's area"),
)
"""Every metric, in the order of the tables. Millimetres exist only where the spacing is known."""

SURFACE_DEFINITION = (
    "voxels of the mask with a neighbour outside of it (4-neighbourhood in a slice, 6 in a volume); the border of the "
    "image counts as outside; distances between voxel centres, through the whole affine matrix"
)
EMPTY_DEFINITION = (
    "both masks empty: Dice, IoU and volumetric similarity are 1; one empty: they are 0; a quotient of nothing by "
    "nothing (sensitivity without truth, precision without prediction) and a distance to an empty mask are null"
)


@dataclass(frozen=True)
class Overlap:
    """Counts of voxels: true positive, false positive, false negative; the quotients follow `METRICS`."""

    tp: int
    fp: int
    fn: int

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


def _quotient(above: int, below: int, of_nothing: float | None) -> float | None:
    return above / below if below else of_nothing


def overlap(prediction: np.ndarray, truth: np.ndarray) -> Overlap:
    """Count the voxels in which two boolean masks of one shape agree and differ."""
    both = int(np.count_nonzero(prediction & truth))
    return Overlap(both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(truth)) - both)


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
    box = _union_box(bounding_box(prediction), bounding_box(truth))
    if box is not None:
        # Slice by slice, so that the 64-bit copy that bincount makes stays in the cache.
        for ours, theirs in zip(prediction[box], truth[box], strict=True):
            pairs = ours.astype(np.int32) * (m + 1) + theirs
            counts += np.bincount(pairs.ravel(), minlength=counts.size)
    counts[0] += prediction.size - counts.sum()
    return counts.reshape(n + 1, m + 1)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
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


def _union_box(one: tuple[slice, ...] | None, two: tuple[slice, ...] | None) -> tuple[slice, ...] | None:
    if one is None or two is None:
        return one or two
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, two, strict=True))


def surface(mask: np.ndarray, *, flat: bool) -> np.ndarray:
    """Return the boolean mask of a k, j, i mask's surface voxels: those with a neighbour outside of it.

    With `flat` a voxel has its 4 neighbours within the slice, else 6; beyond the border of the array counts as outside.
    """
    inner = mask.copy()
    for axis in range(1 if flat else 0, mask.ndim):
        inside, original = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= original[:-1]
        inside[:-1] &= original[1:]
        inside[[0, -1]] = False
    return mask & ~inner


@dataclass(frozen=True)
class Distances:
    """Distances between two surfaces in one unit, as `METRICS` defines them."""

    hausdorff: float
    hd95: float
    assd: float


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, geometry: Geometry, *, pixels: bool = True
) -> tuple[Distances | None, Distances | None]:
    """Measure how far the surfaces of two masks lie apart.

    Parameters
    ----------
    prediction, truth : boolean k, j, i masks of one shape (they may be crops: only their steps matter)
    geometry : grid whose ijk_to_ras gives a step's length and direction
    pixels : whether distances in steps of the grid are wanted beside millimetres

    Returns
    -------
    distances in steps of the grid (None unless wanted), and in millimetres (None without spacing); both None when
    a mask is empty
    """
    boxes = bounding_box(prediction), bounding_box(truth)
    if None in boxes:
        return None, None
    box = _union_box(*boxes)
    flat = geometry.is_2d
    ours, theirs = (_surface_in(*pair, box, flat) for pair in zip((prediction, truth), boxes, strict=True))
    steps = geometry.ijk_to_ras[:3, :3]
    scale = _isotropic_scale(steps[:, :2] if flat else steps)
    in_mm = in_pixels = None
    if geometry.has_spacing:
        in_mm = _distances(ours, theirs, steps)
        if pixels and scale:
            in_pixels = Distances(in_mm.hausdorff / scale, in_mm.hd95 / scale, in_mm.assd / scale)
    if pixels and in_pixels is None:
        in_pixels = _distances(ours, theirs, np.eye(3))
    return in_pixels, in_mm


def _surface_in(mask: np.ndarray, own: tuple[slice, ...], box: tuple[slice, ...], flat: bool) -> np.ndarray:
    """Return the surface of a mask, whose bounding box is `own`, within the larger `box`.

    Outside its own bounding box a mask is empty, so the crop's border is the outside that `surface` takes it for.
    """
    out = np.zeros([part.stop - part.start for part in box], dtype=bool)
    place = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(own, box, strict=True))
    out[place] = surface(mask[own], flat=flat)
    return out


def _isotropic_scale(steps: np.ndarray) -> float | None:
    """Return the common length of the columns when they are perpendicular and equally long (to 1e-6), else None."""
    gram = steps.T @ steps
    scale = float(np.sqrt(np.trace(gram) / len(gram)))
    return scale if np.allclose(gram, np.eye(len(gram)) * scale**2, rtol=0, atol=1e-6 * scale**2) else None


def _distances(one: np.ndarray, two: np.ndarray, steps: np.ndarray) -> Distances:
    from scipy.spatial import cKDTree

    found = []
    places = [np.flatnonzero(mask) for mask in (one, two)]
    points = [np.stack(np.unravel_index(place, one.shape)[::-1], axis=-1) @ steps.T for place in places]
    for start, end, other in ((0, 1, two), (1, 0, one)):
        # Voxels on both surfaces are at distance 0 and not looked up. Large leaves in a balanced tree hardly cost time
        # where surfaces lie close, and save most of it where one is a far plane with many points equally near.
        away = points[start][~other.ravel()[places[start]]]
        tree = cKDTree(points[end], leafsize=64, balanced_tree=True, compact_nodes=False)
        distances = np.zeros(len(points[start]))
        distances[: len(away)] = tree.query(away, workers=-1 if len(away) > 20_000 else 1)[0]
        found.append(distances)
    there, back = found
    return Distances(
        hausdorff=float(max(there.max(), back.max())),
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float((there.sum() + back.sum()) / (there.size + back.size)),
    )


def compare_masks(prediction: np.ndarray, truth: np.ndarray, geometry: Geometry) -> dict[str, float | int | None]:
    """Return every metric of `METRICS` that the grid allows, for two boolean k, j, i masks of its shape."""
    box = _union_box(bounding_box(prediction), bounding_box(truth))
    if box is None:
        return metrics_of(Overlap(0, 0, 0), None, None, geometry)
    prediction, truth = prediction[box], truth[box]
    return metrics_of(overlap(prediction, truth), *surface_distances(prediction, truth, geometry), geometry)


def metrics_of(
    counts: Overlap, in_pixels: Distances | None, in_mm: Distances | None, geometry: Geometry
) -> dict[str, float | int | None]:
    """Gather counts and distances under the keys of `METRICS`; no key in millimetres without spacing."""
    found: dict[str, float | int | None] = {
        key: getattr(counts, key) for key in ("dice", "iou", "volumetric_similarity", "sensitivity", "precision")
    }
    for unit, distances in (("px", in_pixels), ("mm", in_mm)):
        if unit == "px" or geometry.has_spacing:
            for key in ("hausdorff", "hd95", "assd"):
                found[f"{key}_{unit}"] = getattr(distances, key) if distances else None
    sizes = {"prediction": counts.tp + counts.fp, "truth": counts.tp + counts.fn}
    found |= {f"voxels_{side}": count for side, count in sizes.items()}
    if geometry.has_spacing:
        name, unit = ("area_mm2", geometry.pixel_area) if geometry.is_2d else ("volume_mm3", geometry.voxel_volume)
        found |= {f"{name}_{side}": count * unit for side, count in sizes.items()}
    return found


def definitions() -> dict[str, str]:
    """Return what every number means, to stand beside the results."""
    return {metric.key: metric.definition for metric in METRICS} | {
        "surface": SURFACE_DEFINITION,
        "empty": EMPTY_DEFINITION,
    }
