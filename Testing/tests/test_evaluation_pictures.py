"""Boundary IoU, SSIM, surface Dice, pooled HD95 and the row distance against other people's code and by hand."""

import math

import numpy as np
import pytest
from mask_samples import blobs, grid

from SpineSegLib.evaluation.metrics import (
    Overlap,
    Settings,
    boundary_iou,
    boundary_width,
    bounding_box,
    compare_masks,
    definitions,
    mean_iou,
    row_distance,
    surface,
    surface_distances,
    union_box,
)
from SpineSegLib.image import Geometry

SHAPES = [((21, 34, 29), (2.5, 0.7, 0.7)), ((1, 90, 70), (1.0, 0.143, 0.2)), ((1, 64, 80), (1.0, 0.25, 0.25))]


def square(rows, columns, shape=(1, 200, 200)):
    mask = np.zeros(shape, bool)
    mask[:, slice(*rows), slice(*columns)] = True
    return mask


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_quotients_of_counts_are_monais(shape, spacing, seed):
    import torch
    from monai.metrics import compute_confusion_matrix_metric, get_confusion_matrix

    ours, theirs = blobs(shape, seed)
    found = compare_masks(ours, theirs, grid(shape, spacing))
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (ours, theirs)]
    counts = get_confusion_matrix(*pair, include_background=True)
    for name in ("specificity", "accuracy", "precision", "sensitivity"):
        expected = compute_confusion_matrix_metric(name, counts).item()
        assert found[name] == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("tolerance", [0.3, 1.0, 2.5])
@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
def test_surface_dice_is_monais(shape, spacing, tolerance):
    import torch
    from monai.metrics import compute_surface_dice

    ours, theirs = blobs(shape, 2)
    settings = Settings(tolerance_mm=tolerance, tolerance_px=tolerance)
    found = compare_masks(ours, theirs, grid(shape, spacing), settings)
    flat = shape[0] == 1
    pair = [torch.from_numpy(mask[0] if flat else mask)[None, None].float() for mask in (ours, theirs)]
    steps = {"mm": spacing[1:] if flat else spacing, "px": (1,) * (2 if flat else 3)}
    for unit, step in steps.items():
        options = {"include_background": True, "spacing": step, "class_thresholds": [tolerance]}
        assert found[f"nsd_{unit}"] == pytest.approx(compute_surface_dice(*pair, **options).item(), rel=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_pooled_hd95_is_that_of_distance_maps(shape, spacing):
    from scipy.ndimage import distance_transform_edt

    ours, theirs = blobs(shape, 4)
    found = compare_masks(ours, theirs, grid(shape, spacing))
    outlines = [surface(mask, flat=shape[0] == 1) for mask in (ours, theirs)]
    for unit, step in (("mm", spacing), ("px", (1, 1, 1))):
        maps = [distance_transform_edt(~outline, sampling=step) for outline in outlines]
        pooled = np.concatenate([maps[1][outlines[0]], maps[0][outlines[1]]])
        assert found[f"hd95_pooled_{unit}"] == pytest.approx(np.percentile(pooled, 95), rel=1e-6)
        assert found[f"hd95_pooled_{unit}"] <= found[f"hd95_{unit}"]


def test_a_mask_shifted_by_3_pixels_lies_3_pixels_off():
    found = compare_masks(square((20, 60), (20, 60)), square((20, 60), (23, 63)), grid((1, 200, 200), (1, 0.5, 0.5)))
    assert (found["hausdorff_px"], found["hausdorff_mm"], found["hd95_px"], found["hd95_pooled_px"]) == (3, 1.5, 3, 3)


@pytest.mark.parametrize("step", [0.143, 0.3, 1 / 3])
def test_a_distance_that_equals_the_tolerance_is_within_it(step):
    masks = square((20, 60), (20, 60)), square((20, 60), (22, 62))
    geometry = Geometry((1, 200, 200), np.diag([step, step, 1, 1]))
    in_pixels, in_mm = surface_distances(*masks, geometry, settings=Settings(tolerance_mm=2 * step, tolerance_px=2))
    assert (in_pixels.nsd, in_mm.nsd) == (1, 1)
    assert surface_distances(*masks, geometry, settings=Settings(tolerance_px=1.99))[0].nsd < 1


@pytest.mark.parametrize("shape", [(1, 90, 70), (6, 40, 55)])
@pytest.mark.parametrize("width", [1, 2, 5, 40])
def test_boundary_iou_is_that_of_repeated_erosions(shape, width):
    from scipy.ndimage import binary_erosion

    ours, theirs = blobs(shape, 3)
    block = np.ones((1, 3, 3), bool)
    one, two = (mask & ~binary_erosion(mask, block, iterations=width) for mask in (ours, theirs))
    assert boundary_iou(ours, theirs, width) == pytest.approx((one & two).sum() / (one | two).sum())
    box = union_box(bounding_box(ours), bounding_box(theirs))
    assert boundary_iou(ours[box], theirs[box], width) == boundary_iou(ours, theirs, width)


def test_boundary_iou_of_frames_worked_out_by_hand():
    # 2 % of a diagonal of 282.8 pixels is a width of 6: frames of 40 x 40 without their inner 28 x 28.
    found = compare_masks(square((20, 60), (20, 60)), square((20, 60), (60, 100)), grid((1, 200, 200)))
    assert (found["boundary_iou"], found["boundary_width_px"]) == (0, 6)
    whole, hollow = square((20, 60), (20, 60)), square((20, 60), (20, 60)) & ~square((26, 54), (26, 54))
    found = compare_masks(whole, hollow, grid((1, 200, 200)))
    ring = 40**2 - 28**2
    assert found["iou"] == ring / 1600
    # The hollow one is all boundary and the whole one's boundary is just the same ring.
    assert found["boundary_iou"] == 1
    assert compare_masks(whole, hollow, grid((1, 200, 200)), Settings(boundary_fraction=0.005))["boundary_iou"] < 1
    assert [boundary_width(shape) for shape in ((1, 480, 480), (300, 3, 4))] == [14, 1]


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((1, 64, 80), None),
        ((1, 64, 80), (slice(0, 1), slice(0, 9), slice(70, 80))),
        ((1, 11, 40), (slice(0, 1), slice(0, 11), slice(3, 30))),
        ((5, 40, 33), (slice(1, 3), slice(20, 40), slice(0, 33))),
        ((1, 60, 60), (slice(0, 1), slice(0, 3), slice(0, 2))),
    ],
)
def test_ssim_of_the_crop_is_scikit_images_of_the_whole(shape, box):
    from skimage.metrics import structural_similarity

    masks = np.zeros((2, *shape), bool)
    place = box or (slice(None),) * 3
    rng = np.random.default_rng(3)
    for mask in masks:
        mask[place] = rng.random(mask[place].shape) < 0.6
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(*pair, **options) for pair in masks.transpose(1, 0, 2, 3).astype(float)]
    assert compare_masks(*masks, grid(shape))["ssim"] == pytest.approx(np.mean(expected), abs=1e-9)


def test_ssim_needs_a_slice_as_large_as_its_window():
    assert compare_masks(*blobs((4, 10, 30), 0), grid((4, 10, 30)))["ssim"] is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_row_distance_is_scipys_hausdorff_of_the_arrays(seed):
    from scipy.spatial.distance import directed_hausdorff

    ours, theirs = blobs((1, 90, 70), seed)
    expected = max(directed_hausdorff(*pair)[0] for pair in ((ours[0], theirs[0]), (theirs[0], ours[0])))
    assert compare_masks(ours, theirs, grid(ours.shape))["row_distance"] == pytest.approx(expected)


def test_the_row_distance_is_no_distance_on_the_image():
    spine = square((20, 180), (70, 130))
    none = compare_masks(np.zeros_like(spine), spine, grid(spine.shape))
    assert none["row_distance"] == pytest.approx(math.sqrt(60)) and none["hausdorff_px"] is None
    # Ten rows lower every row still has its equal, so that the number is 0 where the outline is 10 pixels off.
    lower = compare_masks(square((30, 190), (70, 130)), spine, grid(spine.shape))
    assert (lower["row_distance"], lower["hausdorff_px"]) == (0, 10)
    assert row_distance(*blobs((3, 20, 20), 0), (3, 20, 20)) is None
    assert "row_distance" not in compare_masks(*blobs((3, 20, 20), 0), grid((3, 20, 20)))


def test_mean_iou_is_monais_with_and_without_background():
    import torch
    from monai.metrics import compute_iou

    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 4, (2, 30, 20))
    one_hot = [torch.from_numpy(np.stack([labels == n for n in range(4)]))[None] for labels in (ours, theirs)]
    expected = compute_iou(*one_hot, include_background=True)[0].numpy()
    both = int(((ours > 0) & (theirs > 0)).sum())
    fp, fn = int((ours > 0).sum()) - both, int((theirs > 0).sum()) - both
    found = mean_iou(expected[1:], Overlap(both, fp, fn, ours.size - both - fp - fn))
    assert found["miou"] == pytest.approx(expected[1:].mean(), rel=1e-6)
    assert found["miou_background"] == pytest.approx(expected.mean(), rel=1e-6)
    assert mean_iou([], Overlap(0, 0, 0, 9)) == {"miou": None, "miou_background": None}


@pytest.mark.parametrize(("ours", "theirs", "score"), [(0, 0, 1), (1, 0, 0), (0, 1, 0)])
def test_empty_masks_have_defined_scores_of_surfaces_and_boundaries(ours, theirs, score):
    shape = (1, 20, 30)
    found = compare_masks(np.full(shape, ours, bool), np.full(shape, theirs, bool), grid(shape))
    assert [found[key] for key in ("boundary_iou", "nsd_px", "nsd_mm")] == [score] * 3
    assert found["hd95_pooled_mm"] is None
    assert found["accuracy"] == score and found["specificity"] == (None if theirs else 1 - ours)
    assert (found["ssim"] == 1) == (score == 1)


def test_definitions_state_the_numbers_that_hold():
    found = definitions(Settings(tolerance_mm=0.5, tolerance_px=3, boundary_fraction=0.01))
    assert "at most 0.5 mm" in found["nsd_mm"] and "at most 3 px" in found["nsd_px"]
    assert "1 % of the slice's diagonal" in found["boundary_width_px"]
    with pytest.raises(ValueError, match="tolerance_mm is -1"):
        Settings(tolerance_mm=-1)
