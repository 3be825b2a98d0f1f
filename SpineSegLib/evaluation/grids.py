"""Two segmentations on one grid: what can be compared, and what the reader is told about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segmentation


def on_the_grid_of(truth: Segmentation, prediction: Segmentation, warnings: list[str]) -> Segmentation:
    """Return the prediction on the truth's grid; what that did goes to `warnings`.

    Raises
    ------
    InputError : no overlap, or no spacing and another size
    """
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
        return replace(prediction, geometry=finer_knowledge(here, there))
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


def finer_knowledge(one: Geometry, two: Geometry) -> Geometry:
    """Return the one of two grids that knows its spacing, or the first."""
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
