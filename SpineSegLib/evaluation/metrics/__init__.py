"""How well one mask agrees with another: counts, distances between surfaces, similarity of images, instances.

Every number has one definition, stated in `METRICS` and printed with the results. Fast by looking only where the
masks are: overlap is one `bincount` for all labels, distances are nearest neighbours in a k-d tree of the surface
voxels, and everything else works on the crop around both masks.

References
----------
Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical Imaging 15:29, 2015.
"""

from SpineSegLib.evaluation.metrics.described import METRICS, Metric, Settings, definitions, described
from SpineSegLib.evaluation.metrics.gathered import compare_masks, measured
from SpineSegLib.evaluation.metrics.instances import Instances, count_instances, weighted
from SpineSegLib.evaluation.metrics.overlap import Overlap, bounding_box, confusion, mean_iou, overlap, union_box
from SpineSegLib.evaluation.metrics.pictures import boundary_iou, boundary_width, row_distance, ssim
from SpineSegLib.evaluation.metrics.probability import checked, probability_errors
from SpineSegLib.evaluation.metrics.surfaces import Distances, surface, surface_distances
from SpineSegLib.evaluation.metrics.vertebrae import (
    Vertebra,
    Vertebrae,
    match_one_to_one,
    match_vertebrae,
    together,
)

__all__ = [
    "METRICS",
    "Distances",
    "Instances",
    "Metric",
    "Overlap",
    "Settings",
    "Vertebra",
    "Vertebrae",
    "boundary_iou",
    "boundary_width",
    "bounding_box",
    "checked",
    "compare_masks",
    "confusion",
    "count_instances",
    "definitions",
    "described",
    "match_one_to_one",
    "match_vertebrae",
    "mean_iou",
    "measured",
    "overlap",
    "probability_errors",
    "row_distance",
    "ssim",
    "surface",
    "surface_distances",
    "together",
    "union_box",
    "weighted",
]
