"""Metrics against MONAI, SimpleITK and cases that are known exactly."""

import dataclasses
import math

import numpy as np
import pytest
from mask_samples import blobs, grid

from SpineSegLib.evaluation.metrics import (
    METRICS,
    Overlap,
    bounding_box,
    compare_masks,
    confusion,
    definitions,
    surface,
    surface_distances,
)
from SpineSegLib.image import SpacingSource


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    offsets = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (offsets * np.reshape(spacing, (3, 1, 1, 1))).__pow__(2).sum(axis=0) <= radius**2


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((21, 34, 29), (2.5, 0.7, 0.7)), ((18, 18, 18), (1.0, 1.0, 1.0)), ((1, 90, 70), (1.0, 0.143, 0.2))],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
def test_every_number_is_monais(shape, spacing, seed):
    import monai.metrics as monai
    import torch

    ours, theirs = blobs(shape, seed)
    found = compare_masks(ours, theirs, grid(shape, spacing))
    flat = shape[0] == 1
    pair = [torch.from_numpy(mask[0] if flat else mask)[None, None] for mask in (ours, theirs)]
    assert found["dice"] == pytest.approx(monai.compute_dice(*pair, include_background=True).item(), rel=1e-6)
    assert found["iou"] == pytest.approx(monai.compute_iou(*pair, include_background=True).item(), rel=1e-6)
    for unit, step in (("px", [1.0] * (2 if flat else 3)), ("mm", list(spacing[1:] if flat else spacing))):
        options = {"include_background": True, "spacing": step}
        expected = {
            "hausdorff": monai.compute_hausdorff_distance(*pair, **options),
            "hd95": monai.compute_hausdorff_distance(*pair, percentile=95, **options),
            "assd": monai.compute_average_surface_distance(*pair, symmetric=True, **options),
        }
        for key, value in expected.items():
            assert found[f"{key}_{unit}"] == pytest.approx(value.item(), rel=1e-5), (key, unit)


def test_overlap_and_hausdorff_are_simpleitks():
    import SimpleITK as sitk

    shape, spacing = (20, 30, 25), (3.0, 0.8, 1.1)
    ours, theirs = blobs(shape, 5)
    found = compare_masks(ours, theirs, grid(shape, spacing))
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (ours, theirs)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert found["dice"] == pytest.approx(overlap.GetDiceCoefficient())
    assert found["iou"] == pytest.approx(overlap.GetJaccardCoefficient())
    # SimpleITK takes every voxel of a mask for its surface; from the farthest voxel outwards that is the same.
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    assert found["hausdorff_mm"] == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


def test_shifted_balls_lie_as_far_apart_as_they_were_shifted():
    shape, spacing = (40, 40, 60), (1.5, 1.0, 0.5)
    ours, theirs = (ball(shape, (20, 20, centre), 9.3, spacing) for centre in (24, 32))
    found = compare_masks(ours, theirs, grid(shape, spacing))
    assert found["hausdorff_px"] == pytest.approx(8)
    assert found["hausdorff_mm"] == pytest.approx(4)
    assert 0 < found["assd_mm"] < found["hd95_mm"] <= found["hausdorff_mm"]


def test_boxes_give_the_numbers_worked_out_by_hand():
    ours, theirs = np.zeros((2, 8, 12, 12), bool)
    ours[2:6, 2:8, 2:8] = True  # 4 x 6 x 6 = 144
    theirs[2:6, 2:8, 4:10] = True  # the same, two voxels to the right: 96 in common
    found = compare_masks(ours, theirs, grid((8, 12, 12), (2, 1, 1)))
    assert (found["dice"], found["iou"]) == (96 / 144, 96 / 192)
    assert (found["volumetric_similarity"], found["sensitivity"], found["precision"]) == (1, 2 / 3, 2 / 3)
    assert (found["hausdorff_px"], found["hd95_px"], found["hausdorff_mm"]) == (2, 2, 2)
    assert (found["voxels_truth"], found["volume_mm3_truth"]) == (144, 288)


def test_formulas_follow_the_counts():
    counts = Overlap(tp=3, fp=1, fn=1)
    assert counts.volumetric_similarity == 1
    assert counts.iou == pytest.approx(counts.dice / (2 - counts.dice))
    assert Overlap(6, 3, 1).volumetric_similarity == pytest.approx(1 - 2 / 16)


def test_distances_are_exact_on_an_oblique_sheared_grid(oblique):
    shear = np.eye(4)
    shear[0, 2] = 0.35
    geometry = dataclasses.replace(oblique, ijk_to_ras=oblique.ijk_to_ras @ shear)
    ours, theirs = blobs(geometry.shape, 7)
    found = compare_masks(ours, theirs, geometry)
    one, two = (geometry.to_world(np.argwhere(surface(mask, flat=False))) for mask in (ours, theirs))
    apart = np.linalg.norm(one[:, None] - two[None], axis=-1)
    there, back = apart.min(axis=1), apart.min(axis=0)
    assert found["hausdorff_mm"] == pytest.approx(max(there.max(), back.max()))
    assert found["hd95_mm"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found["assd_mm"] == pytest.approx(np.concatenate([there, back]).mean())
    assert found["volume_mm3_truth"] == pytest.approx(theirs.sum() * abs(np.linalg.det(geometry.ijk_to_ras)))


@pytest.mark.parametrize("flat", [False, True])
def test_surface_is_mask_minus_its_erosion(flat):
    from scipy.ndimage import binary_erosion, generate_binary_structure

    mask = blobs((7, 15, 13), 3)[0]
    cross = generate_binary_structure(2, 1)[None] if flat else generate_binary_structure(3, 1)
    assert np.array_equal(surface(mask, flat=flat), mask & ~binary_erosion(mask, cross))


def test_a_flat_structure_in_a_volume_is_all_surface():
    plate, dot = np.zeros((2, 5, 12, 12), bool)
    plate[2, 2:10, 2:10] = True
    dot[2, 5, 5] = True
    assert surface(plate, flat=False).sum() == 64
    assert surface(plate[2:3], flat=True).sum() == 28
    # The dot lies on the plate's surface in a volume, but 3 pixels inside its outline in a single slice.
    rings = [math.hypot(j - 5, i - 5) for j in range(2, 10) for i in range(2, 10)]
    outline = [math.hypot(j - 5, i - 5) for j in range(2, 10) for i in range(2, 10) if {i, j} & {2, 9}]
    volume = surface_distances(dot, plate, grid(plate.shape))[1]
    slice_ = surface_distances(dot[2:3], plate[2:3], grid((1, 12, 12)))[1]
    assert volume.assd == pytest.approx(sum(rings) / 65)
    assert slice_.assd == pytest.approx((3 + sum(outline)) / 29)


def test_no_spacing_means_no_millimetres():
    ours, theirs = blobs((1, 40, 40), 1)
    found = compare_masks(ours, theirs, grid((1, 40, 40), source=SpacingSource.UNKNOWN))
    assert found["hausdorff_px"] > 0
    assert not [key for key in found if "mm" in key]
    assert "area_mm2_truth" in compare_masks(ours, theirs, grid((1, 40, 40)))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (0, 0, {"dice": 1, "iou": 1, "volumetric_similarity": 1, "sensitivity": None, "precision": None}),
        (1, 0, {"dice": 0, "iou": 0, "volumetric_similarity": 0, "sensitivity": None, "precision": 0}),
        (0, 1, {"dice": 0, "iou": 0, "volumetric_similarity": 0, "sensitivity": 0, "precision": None}),
    ],
)
def test_empty_masks_have_defined_numbers_and_no_distance(ours, theirs, expected):
    shape = (4, 5, 6)
    found = compare_masks(np.full(shape, ours, bool), np.full(shape, theirs, bool), grid(shape))
    assert {key: found[key] for key in expected} == expected
    assert all(found[f"{key}_{unit}"] is None for key in ("hausdorff", "hd95", "assd") for unit in ("px", "mm"))


def test_equal_masks_agree_perfectly():
    mask = blobs((12, 14, 16), 4)[0]
    found = compare_masks(mask, mask, grid(mask.shape, (2, 1, 1)))
    assert (found["dice"], found["hausdorff_mm"], found["hd95_px"], found["assd_mm"]) == (1, 0, 0, 0)


def test_confusion_counts_every_pair_of_labels():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 4, (6, 7, 8), dtype=np.uint8), rng.integers(0, 3, (6, 7, 8), dtype=np.uint8)
    one[0] = two[0] = 0
    expected = [[np.sum((one == a) & (two == b)) for b in range(3)] for a in range(4)]
    assert confusion(one, two, (3, 2)).tolist() == expected
    assert confusion(one * 0, two * 0, (3, 2)).sum() == one.size


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 40, 3), (700, 30, 40), (1, 2000, 1300)])
def test_bounding_box_is_tight(shape):
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, bool)
    assert bounding_box(mask) is None
    places = np.stack([rng.integers(0, n, 4) for n in shape], axis=-1)
    mask[tuple(places.T)] = True
    expected = tuple(slice(low, high + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    assert bounding_box(mask) == expected


def test_every_number_is_defined_in_words():
    found = compare_masks(*blobs((4, 9, 9), 0), grid((4, 9, 9))) | compare_masks(*blobs((1, 9, 9), 0), grid((1, 9, 9)))
    beyond_masks = {"miou", "miou_background", "global_mae", "foreground_mae"}
    beyond_masks |= {f"vertebrae_{key}" for key in ("located_dice", "overall_dice")}
    beyond_masks |= {f"vertebrae_{key}_percent" for key in ("identified", "levels_right")}
    assert set(found) | beyond_masks == {metric.key for metric in METRICS}
    assert {metric.key for metric in METRICS} < set(definitions())
