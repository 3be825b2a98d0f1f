"""Losses against independent programs, analytic values and numerical gradients."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from SpineSegLib.training.losses import (
    LOSSES,
    check_terms,
    distance_field,
    hdt_as_written,
    ms_ssim_loss,
    ssim,
    weighted_loss,
)

PAPER_000 = {"dice": 0.5, "focal_tversky": 0.3, "hdt_karimi": 0.1, "ssim": 0.1}
SMALL = {"ms_ssim": {"scales": 2}, "unet3plus": {"scales": 2}}
"""Arguments that let every loss take small pictures."""


def sample(shape=(2, 2, 24, 30), seed=0, dtype=torch.float32):
    """Smooth random logits and blobs of masks that overlap them in part."""
    random = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(random.normal(size=shape), (0, 0, 3, 3))
    noise = ndimage.gaussian_filter(random.normal(size=shape), (0, 0, 1, 1))
    blobs, noise = (x / x.std() for x in (blobs, noise))
    return torch.tensor(2 * blobs + noise, dtype=dtype), torch.tensor(blobs > 0.5, dtype=dtype)


def perfect(masks):
    return torch.where(masks > 0, 40.0, -40.0).to(masks.dtype)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    logits, masks = sample((1, 1, 24, 23), dtype=torch.float64)
    arguments = SMALL.get(name, {})
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, masks, **arguments), logits.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing_and_its_gradient_is_finite(name):
    _, masks = sample()
    logits = perfect(masks).requires_grad_()
    loss = LOSSES[name](logits, masks, **SMALL.get(name, {}))
    assert loss.item() == pytest.approx(0, abs=2e-5)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_empty_and_full_masks_have_finite_losses_that_fall_towards_them(name, fill):
    masks = torch.full((1, 1, 24, 24), fill)
    arguments = SMALL.get(name, {})
    values = []
    for confidence in (-4.0, 0.5, 30.0):
        logits = torch.full(masks.shape, confidence if fill else -confidence).requires_grad_()
        loss = LOSSES[name](logits, masks, **arguments)
        loss.backward()
        assert torch.isfinite(logits.grad).all()
        values.append(loss.item())
    # Without any boundary there are no distances, whatever the prediction.
    assert values[0] > values[1] > values[2] or (name == "hdt_karimi" and values == [0, 0, 0])
    assert values[2] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_computed_in_float32_under_bfloat16(name):
    logits, masks = sample((2, 1, 64, 64))
    arguments = SMALL.get(name, {})
    rounded = logits.bfloat16()
    exact = LOSSES[name](rounded.double(), masks.double(), **arguments)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = LOSSES[name](rounded, masks, **arguments)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_dice_agrees_with_monai(over):
    monai = pytest.importorskip("monai.losses")
    logits, masks = sample()
    theirs = monai.DiceLoss(sigmoid=True, batch=over == "batch", smooth_nr=1.0, smooth_dr=1.0)(logits, masks)
    torch.testing.assert_close(LOSSES["dice"](logits, masks, over=over), theirs)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_iou_agrees_with_monais_jaccard(over):
    monai = pytest.importorskip("monai.losses")
    logits, masks = sample()
    jaccard = monai.DiceLoss(sigmoid=True, jaccard=True, batch=over == "batch", smooth_nr=2.0, smooth_dr=2.0)
    # MONAI's is 2I / 2U: its smoothing counts twice.
    torch.testing.assert_close(LOSSES["iou"](logits, masks, over=over), jaccard(logits, masks))


def test_focal_tversky_agrees_with_monais_tversky():
    monai = pytest.importorskip("monai.losses")
    logits, masks = sample()
    tversky = monai.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, smooth_nr=1.0, smooth_dr=1.0, batch=True)
    theirs = torch.stack([tversky(logits[:, [c]], masks[:, [c]]) ** 0.75 for c in range(2)]).mean()
    torch.testing.assert_close(LOSSES["focal_tversky"](logits, masks), theirs)


def test_focal_tversky_punishes_a_missed_pixel_more_than_an_added_one():
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., 2:5, 2:5] = 1
    missed, added = perfect(masks), perfect(masks)
    missed[..., 3, 3] *= -1
    added[..., 7, 7] *= -1
    loss = LOSSES["focal_tversky"]
    assert loss(missed, masks).item() == pytest.approx((1 - 9 / 9.7) ** 0.75, rel=1e-4)
    assert loss(added, masks).item() == pytest.approx((1 - 10 / 10.3) ** 0.75, rel=1e-4)
    swapped = {"weight_fn": 0.3, "weight_fp": 0.7}
    assert loss(missed, masks, **swapped) < loss(missed, masks)


def test_overlap_has_its_analytic_values():
    logits = torch.zeros(1, 1, 2, 2)
    masks = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert LOSSES["bce"](logits, masks).item() == pytest.approx(math.log(2))
    assert LOSSES["dice"](logits, masks).item() == pytest.approx(1 - (2 * 0.5 + 1) / (2 + 1 + 1))
    assert LOSSES["iou"](logits, masks).item() == pytest.approx(1 - (0.5 + 1) / (2.5 + 1))
    assert LOSSES["bce_dice"](logits, masks, alpha=0.25).item() == pytest.approx(0.25 * math.log(2) + 0.75 * 0.5)


def test_dice_over_the_batch_forgives_an_empty_picture_that_dice_over_images_does_not():
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, :, 4:12, 4:12] = 1
    logits = perfect(masks)
    logits[1, :, 0, 0] = 40  # one wrong pixel in the empty picture
    assert LOSSES["dice"](logits, masks, over="batch").item() == pytest.approx(1 - 129 / 130, abs=1e-5)
    assert LOSSES["dice"](logits, masks, over="image").item() == pytest.approx(0.25, abs=1e-5)
    with pytest.raises(ValueError, match="over is 'slice', expected one of batch, image"):
        LOSSES["dice"](logits, masks, over="slice")


@pytest.mark.parametrize("shape", [(24, 30), (61, 17), (1, 9), (9, 1), (120, 90)])
def test_distance_fields_agree_with_scipy(shape):
    for seed, density in enumerate((0.02, 0.5, 0.98)):
        masks = np.random.default_rng(seed).random((2, 3, *shape)) < density
        masks[0, 0, 0, 0], masks[0, 0, -1, -1] = True, False
        field = distance_field(torch.from_numpy(masks)).numpy()
        for one, mask in zip(field.reshape(-1, *shape), masks.reshape(-1, *shape), strict=True):
            theirs = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
            expected = theirs if mask.any() and not mask.all() else np.zeros(shape)
            np.testing.assert_allclose(one, expected, rtol=1e-6)


def test_distance_fields_reach_across_large_pictures():
    mask = np.zeros((300, 200), bool)
    mask[290, 190] = True
    theirs = ndimage.distance_transform_edt(~mask) + mask
    np.testing.assert_allclose(distance_field(torch.from_numpy(mask)).numpy(), theirs, rtol=1e-6)


def test_karimis_hausdorff_loss_agrees_with_monai():
    monai = pytest.importorskip("monai.losses")
    logits, masks = sample()
    for alpha in (2.0, 1.0):
        # Class by class: MONAI 1.6's keeps the last class alone.
        theirs = torch.stack(
            [
                monai.HausdorffDTLoss(alpha=alpha, sigmoid=True, include_background=True)(logits[:, [c]], masks[:, [c]])
                for c in range(2)
            ]
        ).mean()
        pixels = LOSSES["hdt_karimi"](logits, masks, alpha=alpha, normalise=False)
        torch.testing.assert_close(pixels, theirs)
        shares = LOSSES["hdt_karimi"](logits, masks, alpha=alpha)
        torch.testing.assert_close(shares, theirs / math.hypot(24, 30) ** alpha)


def test_an_error_far_from_the_mask_costs_more_than_one_beside_it():
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., 4:10, 4:10] = 1
    near, far = perfect(masks), perfect(masks)
    near[..., 11, 11], far[..., 28, 28] = 40, 40
    assert LOSSES["hdt_karimi"](far, masks) > 20 * LOSSES["hdt_karimi"](near, masks)
    assert LOSSES["dice"](far, masks).item() == pytest.approx(LOSSES["dice"](near, masks).item())


def test_hausdorff_as_written_measures_but_does_not_train():
    # A half plane and the same one moved by 3 columns: the fields differ by 3, by less between the two edges.
    masks = torch.zeros(1, 1, 8, 20)
    masks[..., 10:] = 1
    moved = torch.roll(perfect(masks), 3, -1)
    moved[..., :3] = -40
    column = np.arange(20)
    one, two = (np.where(column >= edge, column - edge + 1, edge - column) for edge in (10, 13))
    value = hdt_as_written(moved.requires_grad_(), masks)
    assert value.item() == pytest.approx(abs(one - two).mean())
    assert not value.requires_grad
    with pytest.raises(ValueError, match=r"no gradient.*hdt_karimi"):
        weighted_loss(moved, masks, {"dice": 1, "hdt_as_written": 0.1})
    assert hdt_as_written(perfect(masks), masks) == 0


def test_ssim_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    logits, masks = sample((2, 2, 40, 33), dtype=torch.float64)
    probability = torch.sigmoid(logits)
    ours, _ = ssim(probability, masks)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for n in range(2):
        for c in range(2):
            theirs = structural_similarity(probability[n, c].numpy(), masks[n, c].numpy(), **settings)
            assert ours[n, c].item() == pytest.approx(theirs, abs=1e-9)
    assert LOSSES["ssim"](logits, masks).item() == pytest.approx(1 - ours.mean().item())
    assert ssim(masks, masks)[0].min().item() == pytest.approx(1)


def test_multi_scale_ssim_agrees_with_monai():
    metrics = pytest.importorskip("monai.metrics")
    logits, masks = sample((2, 1, 180, 200))
    theirs = metrics.MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0)(torch.sigmoid(logits), masks).mean()
    assert LOSSES["ms_ssim"](logits, masks).item() == pytest.approx(1 - theirs.item(), abs=1e-4)
    one = LOSSES["ms_ssim"](logits, masks, scales=1)
    torch.testing.assert_close(one, LOSSES["ssim"](logits, masks))


def test_pictures_too_small_for_the_windows_are_refused_with_a_way_out():
    logits, masks = sample((1, 1, 100, 170))
    with pytest.raises(ValueError, match=r"\(100, 170\) pixels, 5 scales of MS-SSIM need 176; take fewer"):
        ms_ssim_loss(logits, masks)
    assert torch.isfinite(ms_ssim_loss(logits, masks, scales=4))
    with pytest.raises(ValueError, match="scales is 6, expected 1 to 5"):
        ms_ssim_loss(logits, masks, scales=6)
    with pytest.raises(ValueError, match="window needs 11"):
        LOSSES["ssim"](logits[..., :8], masks[..., :8])


def test_the_hybrid_of_u_net_3_plus_is_the_sum_of_its_terms():
    logits, masks = sample((1, 1, 60, 60))
    parts = weighted_loss(logits, masks, {"bce": 1, "iou": 1, "ms_ssim": {"weight": 1, "scales": 3}})
    torch.testing.assert_close(LOSSES["unet3plus"](logits, masks, scales=3), parts)


def test_the_compound_of_paper_000_is_the_weighted_sum_and_trains():
    logits, masks = sample((2, 1, 32, 32))
    expected = sum(weight * LOSSES[name](logits, masks) for name, weight in PAPER_000.items())
    torch.testing.assert_close(weighted_loss(logits, masks, PAPER_000), expected)
    assert weighted_loss(perfect(masks), masks, PAPER_000).item() == pytest.approx(0, abs=1e-5)
    values = []
    parameter = torch.zeros_like(logits, requires_grad=True)
    optimiser = torch.optim.Adam([parameter], lr=0.3)
    for _ in range(60):
        loss = weighted_loss(parameter, masks, PAPER_000)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.05 * values[0]


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({}, "expected terms"),
        (["dice"], "expected terms"),
        ({"dise": 1}, "no loss 'dise', expected some of bce"),
        ({"dice": "much"}, "dice: weight is 'much'"),
        ({"dice": -1}, "dice: weight is -1"),
        ({"dice": {"weight": 1, "smoth": 2}}, "dice: unknown smoth; its arguments are smooth, over"),
        ({"hdt_as_written": 1}, "no gradient"),
    ],
)
def test_wrong_terms_are_refused_by_name(terms, says):
    with pytest.raises(ValueError, match=says):
        check_terms(terms)


def test_arguments_of_terms_reach_their_loss():
    logits, masks = sample()
    twice = weighted_loss(logits, masks, {"focal_tversky": {"weight": 2, "exponent": 1.0}})
    torch.testing.assert_close(twice, 2 * LOSSES["focal_tversky"](logits, masks, exponent=1.0))
    torch.testing.assert_close(weighted_loss(logits, masks, {"bce_dice": {"alpha": 1.0}}), LOSSES["bce"](logits, masks))


def test_masks_of_another_shape_are_refused():
    logits, masks = sample()
    with pytest.raises(ValueError, match="expected \\(n, classes, h, w\\) of both"):
        LOSSES["dice"](logits, masks[:, :1])
