"""Every metric's key, title, unit and definition, and the few numbers that its user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One described number: its key in the results, a title for tables, its unit, its definition and its sense."""

    key: str
    title: str
    unit: str
    definition: str
    better: Literal["higher", "lower", ""] = ""


@dataclass(frozen=True)
class Settings:
    """What the definitions leave open.

    Parameters
    ----------
    tolerance_mm : distance that the normalised surface Dice forgives; 1 mm, about a voxel of spine CT
    tolerance_px : the same where steps of the grid are counted; 2, about what two people differ by on a film
    boundary_fraction : width of the boundary in boundary IoU as a part of the slice's diagonal; 0.02, Cheng 2021
    identified_dice : a structure counts as identified when its Dice exceeds this; 0, any voxel in common, since the
        paper of SpineFM does not say when a vertebra was detected
    matched_dice : a vertebra of the prediction is the partner of one of the truth, whatever their levels, when their
        Dice exceeds this; 0.5, since one that touches a neighbour by a few pixels has not found it
    """

    tolerance_mm: float = 1.0
    tolerance_px: float = 2.0
    boundary_fraction: float = 0.02
    identified_dice: float = 0.0
    matched_dice: float = 0.5

    def __post_init__(self) -> None:
        for name in ("tolerance_mm", "tolerance_px", "boundary_fraction"):
            if not 0 < getattr(self, name) < float("inf"):
                msg = f"{name} is {getattr(self, name)}, expected a positive number"
                raise ValueError(msg)
        for name in ("identified_dice", "matched_dice"):
            if not 0 <= getattr(self, name) < 1:
                msg = f"{name} is {getattr(self, name)}, expected a number from 0 to below 1"
                raise ValueError(msg)


_HAUSDORFF = "largest distance from a surface voxel of one mask to the nearest of the other; the larger direction"
_HD95 = "95th percentile of those distances (linear interpolation) in each direction; the larger of the two, as MONAI"
_POOLED = "95th percentile (linear interpolation) of the distances of both directions together, as CervSpineNet's paper"
_ASSD = "mean over the surface voxels of both masks, pooled, of the distance to the other surface"
_NSD = "part of the surface voxels of both masks, pooled, that lie at most {} from the other surface, as MONAI"
_CLASSES = "mean of the IoU of the structures that were compared"


def described(settings: Settings | None = None) -> tuple[Metric, ...]:
    """Return every metric in the order of the tables, its definition with the numbers of `settings` filled in."""
    settings = settings or Settings()
    distances = []
    for unit, steps, tolerance in (
        ("px", "; in steps of the grid", f"{settings.tolerance_px:g} px"),
        ("mm", "", f"{settings.tolerance_mm:g} mm"),
    ):
        distances += [
            Metric(f"hausdorff_{unit}", "Hausdorff", unit, _HAUSDORFF + steps, "lower"),
            Metric(f"hd95_{unit}", "HD95", unit, _HD95 + steps, "lower"),
            Metric(f"hd95_pooled_{unit}", "HD95 pooled", unit, _POOLED + steps, "lower"),
            Metric(f"assd_{unit}", "ASSD", unit, _ASSD + steps, "lower"),
            Metric(f"nsd_{unit}", f"Surface Dice {tolerance}", "1", _NSD.format(tolerance), "higher"),
        ]
    width = f"{100 * settings.boundary_fraction:g} %"
    return (
        Metric("dice", "Dice", "1", "2TP / (2TP + FP + FN)", "higher"),
        Metric("iou", "IoU", "1", "TP / (TP + FP + FN)", "higher"),
        Metric("miou", "mIoU", "1", f"{_CLASSES}, each counting the same; without the background", "higher"),
        Metric("miou_background", "mIoU with background", "1", f"{_CLASSES} and of the background", "higher"),
        Metric("volumetric_similarity", "Volumetric similarity", "1", "1 - |FN - FP| / (2TP + FP + FN)", "higher"),
        Metric("sensitivity", "Sensitivity", "1", "TP / (TP + FN), also called recall", "higher"),
        Metric("precision", "Precision", "1", "TP / (TP + FP), also called positive predictive value", "higher"),
        Metric("specificity", "Specificity", "1", "TN / (TN + FP), over all voxels of the truth's grid", "higher"),
        Metric("accuracy", "Accuracy", "1", "(TP + TN) / all voxels of the truth's grid", "higher"),
        Metric(
            "boundary_iou",
            "Boundary IoU",
            "1",
            "IoU of the voxels of each mask that lie within boundary_width_px of its outline (square neighbourhood, "
            "slice by slice; the image's border counts as outside), Cheng 2021",
            "higher",
        ),
        Metric("boundary_width_px", "Boundary width", "px", f"{width} of the slice's diagonal, rounded, at least 1"),
        Metric(
            "ssim",
            "SSIM",
            "1",
            "structural similarity of the two binary masks over whole slices: Gaussian window of 11, sigma 1.5, "
            "C1 = 0.01², C2 = 0.03², the outermost 5 pixels left out; in a volume the mean of its slices",
            "higher",
        ),
        Metric("global_mae", "Global MAE", "1", "mean of |probability - truth| over all voxels", "lower"),
        Metric("foreground_mae", "Foreground MAE", "1", "mean of |probability - 1| over the truth's voxels", "lower"),
        *distances,
        Metric(
            "row_distance",
            "Row distance (CVM-UNet's 'HD')",
            "√px",
            "Hausdorff distance between the sets of image rows, each row a point with as many coordinates as pixels: "
            "the root of a number of pixels and no distance on the image; in single slices only",
            "lower",
        ),
        *_of_vertebrae(settings),
        Metric("voxels_prediction", "Voxels, prediction", "px", "number of voxels of the prediction"),
        Metric("voxels_truth", "Voxels, truth", "px", "number of voxels of the truth"),
        Metric("volume_mm3_prediction", "Volume, prediction", "mm³", "voxels of the prediction times a voxel's volume"),
        Metric("volume_mm3_truth", "Volume, truth", "mm³", "voxels of the truth times a voxel's volume"),
        Metric("area_mm2_prediction", "Area, prediction", "mm²", "pixels of the prediction times a pixel's area"),
        Metric("area_mm2_truth", "Area, truth", "mm²", "pixels of the truth times a pixel's area"),
    )


def _of_vertebrae(settings: Settings) -> tuple[Metric, ...]:
    partner = f"with a partner in the prediction (one to one, Dice above {settings.matched_dice:g}, any level)"
    return (
        Metric("vertebrae_identified_percent", "Identified", "%", f"vertebrae of the truth {partner}", "higher"),
        Metric("vertebrae_located_dice", "Located Dice", "1", f"mean Dice of the vertebrae {partner}", "higher"),
        Metric(
            "vertebrae_overall_dice",
            "Overall Dice",
            "1",
            f"mean Dice of all vertebrae of the truth, 0 for those not {partner}",
            "higher",
        ),
        Metric(
            "vertebrae_levels_right_percent",
            "Levels right",
            "%",
            f"of the vertebrae {partner}, those whose partner carries their level",
            "higher",
        ),
    )


METRICS: tuple[Metric, ...] = described()
"""Every metric with the settings that hold unless others are given. Millimetres exist only where spacing is known."""

SURFACE_DEFINITION = (
    "voxels of the mask with a neighbour outside of it (4-neighbourhood in a slice, 6 in a volume); the border of the "
    "image counts as outside; distances between voxel centres, through the whole affine matrix"
)
EMPTY_DEFINITION = (
    "both masks empty: Dice, IoU, volumetric similarity, boundary IoU and surface Dice are 1; one empty: they are 0; "
    "a quotient of nothing by nothing (sensitivity and foreground MAE without truth, precision without prediction, "
    "specificity without background) and a distance to an empty mask are null"
)
INSTANCES_DEFINITION = (
    "over the truth's structures that have a level: identified_percent of them have a Dice above {:g}; located_dice is "
    "the mean Dice of these, overall_dice of all with 0 for the others (SpineFM); averages over levels are weighted "
    "by how often a level occurs"
)

VERTEBRAE_DEFINITION = (
    "vertebrae matched one to one by place, whatever their levels (the largest sum of Dice, each above {:g}): "
    "identified_percent of the truth's have a partner, located_dice and overall_dice as of instances, "
    "levels_right_percent of those with a partner carry its level (one without a level is not right), extra are the "
    "prediction's without a partner"
)


def definitions(settings: Settings | None = None) -> dict[str, str]:
    """Return what every number means, to stand beside the results."""
    settings = settings or Settings()
    return {metric.key: metric.definition for metric in described(settings)} | {
        "surface": SURFACE_DEFINITION,
        "empty": EMPTY_DEFINITION,
        "instances": INSTANCES_DEFINITION.format(settings.identified_dice),
        "vertebrae": VERTEBRAE_DEFINITION.format(settings.matched_dice),
    }
