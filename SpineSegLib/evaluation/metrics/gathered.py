"""All metrics of one pair of masks under the keys of `METRICS`."""

from __future__ import annotations

import numpy as np

from SpineSegLib.evaluation.metrics.described import Settings
from SpineSegLib.evaluation.metrics.overlap import Box, Overlap, bounding_box, overlap, union_box
from SpineSegLib.evaluation.metrics.pictures import boundary_iou, boundary_width, row_distance, ssim
from SpineSegLib.evaluation.metrics.surfaces import Distances, surface_distances
from SpineSegLib.image import Geometry

_COUNTED = ("dice", "iou", "volumetric_similarity", "sensitivity", "precision", "specificity", "accuracy")
_DISTANCES = ("hausdorff", "hd95", "hd95_pooled", "assd")


def compare_masks(
    prediction: np.ndarray, truth: np.ndarray, geometry: Geometry, settings: Settings | None = None
) -> dict[str, float | int | None]:
    """Return every metric of `METRICS` that the grid allows, for two boolean k, j, i masks of its shape.

    Errors of probabilities and means over classes, which two masks do not have, are left out.
    """
    box = union_box(bounding_box(prediction), bounding_box(truth))
    if box is None:
        box = (slice(0, 1),) * 3
    crops = prediction[box], truth[box]
    counts = overlap(*crops)
    rest = prediction.size - crops[0].size
    return measured(Overlap(counts.tp, counts.fp, counts.fn, counts.tn + rest), *crops, box, geometry, settings)


def measured(
    counts: Overlap,
    prediction: np.ndarray,
    truth: np.ndarray,
    box: Box,
    geometry: Geometry,
    settings: Settings | None = None,
) -> dict[str, float | int | None]:
    """Return every metric of two masks that are given as crops.

    Parameters
    ----------
    counts : over the whole grid
    prediction, truth : boolean k, j, i crops
    box : where they lie on the grid; the masks are empty outside of it
    geometry : the whole grid
    """
    settings = settings or Settings()
    found: dict[str, float | int | None] = {key: getattr(counts, key) for key in _COUNTED}
    width = boundary_width(geometry.shape, settings.boundary_fraction)
    found |= {"boundary_iou": boundary_iou(prediction, truth, width), "boundary_width_px": width}
    found["ssim"] = ssim(prediction, truth, box, geometry.shape)
    in_pixels, in_mm = surface_distances(prediction, truth, geometry, settings=settings)
    both_empty = not (counts.tp or counts.fp or counts.fn)
    for unit, distances in (("px", in_pixels), ("mm", in_mm)):
        if unit == "px" or geometry.has_spacing:
            found |= _in_unit(unit, distances, both_empty)
    if geometry.is_2d:
        found["row_distance"] = row_distance(prediction, truth, geometry.shape)
    sizes = {"prediction": counts.tp + counts.fp, "truth": counts.tp + counts.fn}
    found |= {f"voxels_{side}": count for side, count in sizes.items()}
    if geometry.has_spacing:
        name, unit = ("area_mm2", geometry.pixel_area) if geometry.is_2d else ("volume_mm3", geometry.voxel_volume)
        found |= {f"{name}_{side}": count * unit for side, count in sizes.items()}
    return found


def _in_unit(unit: str, distances: Distances | None, both_empty: bool) -> dict[str, float | None]:
    found = {f"{key}_{unit}": getattr(distances, key) if distances else None for key in _DISTANCES}
    return found | {f"nsd_{unit}": distances.nsd if distances else float(both_empty)}
