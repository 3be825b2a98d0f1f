"""Distances between the surfaces of two masks.

A mask's surface are its voxels with a neighbour outside of it (4 neighbours in a single slice, 6 in a volume; beyond
the image's border counts as outside), as in MONAI. Distances run between the centres of surface voxels, through the
whole affine matrix, so that they are exact on oblique, anisotropic and sheared grids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.evaluation.metrics.described import Settings
from SpineSegLib.evaluation.metrics.overlap import Box, bounding_box, union_box
from SpineSegLib.image import Geometry

_ROUNDING = 1 + 1e-9
"""Keeps a distance that equals the tolerance within it, whatever the matrix does to its last digit."""


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
    """Distances between two surfaces in one unit, as `METRICS` defines them; `nsd` is a part of 1."""

    hausdorff: float
    hd95: float
    hd95_pooled: float
    assd: float
    nsd: float

    @classmethod
    def of(cls, there: np.ndarray, back: np.ndarray, tolerance: float) -> Distances:
        """Sum up the distances from each surface voxel of one mask to the other, and back."""
        pooled = np.concatenate([there, back])
        within = np.count_nonzero(pooled <= tolerance)
        return cls(
            hausdorff=float(max(there.max(), back.max())),
            hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
            hd95_pooled=float(np.percentile(pooled, 95, overwrite_input=True)),
            assd=float((there.sum() + back.sum()) / pooled.size),
            nsd=within / pooled.size,
        )


def surface_distances(
    prediction: np.ndarray,
    truth: np.ndarray,
    geometry: Geometry,
    *,
    pixels: bool = True,
    settings: Settings | None = None,
) -> tuple[Distances | None, Distances | None]:
    """Measure how far the surfaces of two masks lie apart.

    Parameters
    ----------
    prediction, truth : boolean k, j, i masks of one shape (they may be crops: only their steps matter)
    geometry : grid whose ijk_to_ras gives a step's length and direction
    pixels : whether distances in steps of the grid are wanted beside millimetres
    settings : tolerances of the surface Dice

    Returns
    -------
    distances in steps of the grid (None unless wanted), and in millimetres (None without spacing); both None when
    a mask is empty
    """
    settings = settings or Settings()
    boxes = bounding_box(prediction), bounding_box(truth)
    if None in boxes:
        return None, None
    box = union_box(*boxes)
    flat = geometry.is_2d
    ours, theirs = (_surface_in(*pair, box, flat) for pair in zip((prediction, truth), boxes, strict=True))
    steps = geometry.ijk_to_ras[:3, :3]
    scale = _isotropic_scale(steps[:, :2] if flat else steps)
    in_mm = in_pixels = None
    if geometry.has_spacing:
        there, back = _nearest(ours, theirs, steps)
        in_mm = Distances.of(there, back, settings.tolerance_mm * _ROUNDING)
        if pixels and scale:
            in_pixels = Distances.of(there / scale, back / scale, settings.tolerance_px * _ROUNDING)
    if pixels and in_pixels is None:
        in_pixels = Distances.of(*_nearest(ours, theirs, np.eye(3)), settings.tolerance_px * _ROUNDING)
    return in_pixels, in_mm


def _surface_in(mask: np.ndarray, own: Box, box: Box, flat: bool) -> np.ndarray:
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


def _nearest(one: np.ndarray, two: np.ndarray, steps: np.ndarray) -> list[np.ndarray]:
    """Return, for each surface voxel of one mask and then of the other, the distance to the other surface."""
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
    return found
