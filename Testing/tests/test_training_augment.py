"""Augmentation: masks move exactly with the picture, once resampled, and a seed decides everything."""

import pickle

import numpy as np
import pytest
from scipy import ndimage

from SpineSegLib.training.augment import STEPS, augmentation

EVERY_STEP = [
    {"name": "rotate", "choose": [[-10, 10], [-45, 45]]},
    {"name": "translate", "pixels": 10},
    {"name": "scale", "factor": [0.9, 1.1], "uneven": [0.9, 1.1]},
    {"name": "shear", "degrees": 5},
    {"name": "flip", "axes": ["horizontal"], "probability": 0.5},
    {"name": "crop", "keep": [0.8, 1]},
    {"name": "column", "share": [0.3, 0.7]},
    {"name": "elastic", "pixels": 4, "spacing": 20},
    {"name": "salt_and_pepper", "share": 0.02},
    {"name": "gaussian_noise", "sd": 0.05},
    {"name": "blur", "sigma": 1},
    {"name": "low_resolution", "factor": [1, 2]},
    {"name": "gamma", "power": [0.7, 1.5]},
    {"name": "contrast", "factor": [0.7, 1.4]},
    {"name": "brightness", "shift": 0.1},
    {"name": "bias_field", "strength": 0.3},
    {"name": "invert", "probability": 0.5},
    {"name": "cutout", "holes": 3},
]


def sample(shape=(60, 80), structures=2, seed=0):
    """A smooth random picture and random masks."""
    random = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(random.random(shape), 2)
    image = (image - image.min()) / np.ptp(image)
    masks = np.stack([ndimage.gaussian_filter(random.random(shape), 3) > 0.5 for _ in range(structures)])
    return image.astype(np.float32), masks.astype(np.float32)


def apply(steps, image, masks, seed=0):
    return augmentation(steps)(image, masks, np.random.default_rng(seed))


def disc(centre, radius, shape=(101, 101)):
    rows, columns = np.indices(shape)
    return (np.hypot(rows - centre[0], columns - centre[1]) <= radius).astype(np.float32)


def centroid(mask):
    return np.array(ndimage.center_of_mass(mask))


def test_every_step_is_tried_here():
    assert {step["name"] for step in EVERY_STEP} == set(STEPS)


@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: step["name"])
def test_each_step_keeps_shapes_ranges_binary_masks_and_its_input(step):
    image, masks = sample()
    before = image.copy(), masks.copy()
    new, moved = apply([{**step, "probability": 1}], image, masks, seed=3)
    assert new.dtype == moved.dtype == np.float32
    assert new.shape == image.shape
    assert moved.shape == masks.shape
    assert 0 <= new.min() <= new.max() <= 1
    assert set(np.unique(moved)) <= {0.0, 1.0}
    assert not np.array_equal(new, image), "the step does something"
    assert np.array_equal(image, before[0])
    assert np.array_equal(masks, before[1])


def test_the_seed_alone_decides_and_global_random_states_are_not_touched():
    image, masks = sample()
    np.random.seed(5)  # noqa: NPY002 - the global state is what must not matter
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, first_masks = apply(EVERY_STEP, image, masks, seed=1)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(6)  # noqa: NPY002
    again, again_masks = apply(EVERY_STEP, image, masks, seed=1)
    other, _ = apply(EVERY_STEP, image, masks, seed=2)
    assert np.array_equal(first, again)
    assert np.array_equal(first_masks, again_masks)
    assert not np.array_equal(first, other)


def test_monais_shared_random_state_is_not_used():
    from monai.transforms import Randomizable

    image, masks = sample()
    Randomizable.R.seed(1)
    state = Randomizable.R.get_state()[1].copy()
    apply(EVERY_STEP, image, masks, seed=1)
    assert np.array_equal(state, Randomizable.R.get_state()[1])


def test_workers_get_the_same_augmentation_through_pickle():
    image, masks = sample()
    made = augmentation(EVERY_STEP)
    sent = pickle.loads(pickle.dumps(made))  # noqa: S301 - made on the line itself
    for one, two in zip(
        made(image, masks, np.random.default_rng(4)), sent(image, masks, np.random.default_rng(4)), strict=True
    ):
        assert np.array_equal(one, two)


def test_a_shifted_mask_is_shifted_by_exactly_that_many_pixels():
    image, masks = sample()
    new, moved = apply([{"name": "translate", "pixels": [7, 7]}], image, masks)
    assert np.array_equal(moved[:, 7:, 7:], masks[:, :-7, :-7])
    np.testing.assert_allclose(new[7:, 7:], image[:-7, :-7], atol=1e-6)
    assert not moved[:, :7].any()
    np.testing.assert_allclose(new[:, :7], 0, atol=1e-6)


def test_shifts_are_whole_pixels_within_the_published_limits():
    point = np.zeros((1, 61, 61), np.float32)
    point[0, 30, 30] = 1
    found = np.array(
        [
            np.argwhere(apply([{"name": "translate", "pixels": 10}], point[0], point, seed)[1][0])[0] - 30
            for seed in range(200)
        ]
    )
    assert found.min() == -10
    assert found.max() == 10
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.2, "down and across are drawn apart"


@pytest.mark.parametrize(("axes", "index"), [(["horizontal"], np.s_[..., ::-1]), (["vertical"], np.s_[..., ::-1, :])])
def test_flips_are_exact_and_undo_themselves(axes, index):
    image, masks = sample()
    step = {"name": "flip", "axes": axes}
    new, moved = apply([step], image, masks)
    assert np.array_equal(moved, masks[index])
    np.testing.assert_allclose(new, image[index], atol=1e-6)
    back, back_masks = apply([step], new, moved)
    assert np.array_equal(back_masks, masks)
    np.testing.assert_allclose(back, image, atol=1e-6)


def test_a_right_angle_turns_counter_clockwise_and_loses_nothing():
    image, masks = sample((64, 64))
    new, moved = apply([{"name": "rotate", "degrees": [90, 90]}], image, masks)
    assert np.array_equal(moved, np.rot90(masks, axes=(1, 2)))
    np.testing.assert_allclose(new, np.rot90(image), atol=1e-5)


def test_a_disc_turns_about_the_centre_by_the_stated_angle():
    mask = disc((50, 80), 8)
    _, moved = apply([{"name": "rotate", "degrees": [30, 30]}], mask, mask[None])
    expected = 50 + 30 * np.array([-np.sin(np.pi / 6), np.cos(np.pi / 6)])
    np.testing.assert_allclose(centroid(moved[0]), expected, atol=0.1)
    assert moved.sum() == pytest.approx(mask.sum(), rel=0.03)


def test_rotation_draws_from_either_published_range_with_equal_odds():
    mask = disc((50, 90), 3)
    steps = [{"name": "rotate", "choose": [[-10, 10], [-45, 45]]}]
    made = augmentation(steps)
    angles = []
    for seed in range(300):
        down, across = centroid(made(mask, mask[None], np.random.default_rng(seed))[1][0]) - 50
        angles.append(np.degrees(np.arctan2(-down, across)))
    angles = np.array(angles)
    assert abs(angles).max() < 46
    # Half within 10 degrees, and two ninths of the other half: 0.61; four standard deviations are 0.11.
    assert np.mean(abs(angles) <= 10) == pytest.approx(11 / 18, abs=0.11)


def test_scale_crop_and_shear_change_areas_as_they_must():
    mask = disc((50, 50), 20)
    _, larger = apply([{"name": "scale", "factor": [1.5, 1.5]}], mask, mask[None])
    assert larger.sum() == pytest.approx(mask.sum() * 2.25, rel=0.02)
    _, uneven = apply([{"name": "scale", "factor": [1, 1], "uneven": [1.44, 1.44]}], mask, mask[None])
    rows, columns = (np.ptp(np.argwhere(uneven[0]), axis=0) + 1).tolist()
    assert rows / columns == pytest.approx(1.44, rel=0.04)
    _, window = apply([{"name": "crop", "keep": [0.5, 0.5]}], np.ones_like(mask), np.ones_like(mask)[None])
    assert window.all(), "a window lies within the picture"
    _, slanted = apply([{"name": "shear", "degrees": 15}], mask, mask[None], seed=1)
    assert slanted.sum() == pytest.approx(mask.sum(), rel=0.03)
    assert not np.array_equal(slanted[0], mask)


def test_elastic_moves_no_pixel_farther_than_stated_and_folds_nothing():
    rows, columns = np.indices((101, 101), dtype=np.float32)
    for seed, most in enumerate((5, 9.6)):
        step = {"name": "elastic", "pixels": [most, most], "spacing": 20}
        masks = np.zeros((0, 101, 101), np.float32)
        # Pictures whose values are positions show where each pixel came from.
        (down, _), (across, _) = (apply([step], ramp / 100, masks, seed) for ramp in (rows, columns))
        inside = np.s_[15:-15, 15:-15]
        moves = np.stack([100 * down - rows, 100 * across - columns])[:, 15:-15, 15:-15]
        assert 0.2 * most < abs(moves).max() < most
        assert abs(np.diff(moves, n=2, axis=1)).max() < 0.5, "smooth"
        jacobian = np.linalg.det(
            np.moveaxis([np.gradient(100 * down[inside]), np.gradient(100 * across[inside])], (0, 1), (2, 3))
        )
        assert jacobian.min() > 0
    grid = np.zeros((1, 101, 101), np.float32)
    grid[0, ::10] = 1
    assert not np.array_equal(apply([step], grid[0], grid)[1], grid)


def test_geometric_steps_in_a_row_blur_no_more_than_one():
    image, masks = sample()
    there_and_back = [
        {"name": "rotate", "degrees": [33, 33]},
        {"name": "scale", "factor": [1.3, 1.3]},
        {"name": "scale", "factor": [1 / 1.3, 1 / 1.3]},
        {"name": "rotate", "degrees": [-33, -33]},
    ]
    new, moved = apply(there_and_back, image, masks)
    np.testing.assert_allclose(new, image, atol=1e-5)
    assert np.array_equal(moved, masks)


def test_steps_act_in_the_recipes_order():
    mask = disc((50, 50), 5)
    turn, move = {"name": "rotate", "degrees": [90, 90]}, {"name": "translate", "pixels": [20, 20]}
    _, moved = apply([move, turn], mask, mask[None])
    np.testing.assert_allclose(centroid(moved[0]), [30, 70], atol=1e-6)
    _, moved = apply([turn, move], mask, mask[None])
    np.testing.assert_allclose(centroid(moved[0]), [70, 70], atol=1e-6)


def test_picture_and_mask_move_together():
    mask = ndimage.gaussian_filter(disc((40, 60), 15), 1)
    for seed in range(5):
        image, moved = apply(EVERY_STEP[:7], mask, (mask > 0.5).astype(np.float32)[None], seed)
        assert np.mean((image > 0.5) != moved[0]) < 0.004


def test_intensity_steps_have_their_analytic_values():
    image, masks = sample()

    def after(**step):
        new, same = apply([step], image, masks)
        assert np.array_equal(same, masks)
        return new

    np.testing.assert_allclose(after(name="invert"), 1 - image, atol=1e-6)
    np.testing.assert_allclose(after(name="brightness", shift=[0.2, 0.2]), np.clip(image + 0.2, 0, 1), atol=1e-6)
    mean = image.mean()
    np.testing.assert_allclose(after(name="contrast", factor=[0.5, 0.5]), mean + (image - mean) / 2, atol=1e-6)
    np.testing.assert_allclose(after(name="gamma", power=[2, 2]), image**2, atol=1e-5)
    smooth = ndimage.gaussian_filter(image, 1.5)
    np.testing.assert_allclose(after(name="blur", sigma=[1.5, 1.5])[8:-8, 8:-8], smooth[8:-8, 8:-8], atol=0.01)


def test_noise_has_the_stated_size():
    image = np.full((200, 200), 0.5, np.float32)
    new, _ = apply([{"name": "gaussian_noise", "sd": [0.1, 0.1]}], image, image[None] > 1)
    assert (new - image).std() == pytest.approx(0.1, rel=0.02)
    new, _ = apply([{"name": "salt_and_pepper", "share": [0.1, 0.1], "salt": 0.25}], image, image[None] > 1)
    assert np.mean(new != 0.5) == pytest.approx(0.1, abs=0.01)
    assert np.mean(new == 1) == pytest.approx(0.025, abs=0.005)
    assert np.mean(new == 0) == pytest.approx(0.075, abs=0.008)


def test_a_bias_field_is_smooth_and_a_hole_is_flat():
    image = np.full((100, 100), 0.4, np.float32)
    new, _ = apply([{"name": "bias_field", "strength": [0.2, 0.2]}], image, image[None] > 1)
    assert np.ptp(new) > 0.02
    assert abs(np.diff(new, axis=0)).max() < 0.02
    new, _ = apply([{"name": "cutout", "holes": 1, "share": [0.3, 0.3]}], image, image[None] > 1)
    rows, columns = np.nonzero(new != new[0, 0] if (new == new[0, 0]).mean() > 0.5 else new == new[0, 0])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (30, 30, 900)


def test_probability_is_the_share_of_samples_that_are_changed():
    image, masks = sample((16, 16), 1)
    made = augmentation([{"name": "invert", "probability": 0.3}])
    changed = [not np.array_equal(made(image, masks, np.random.default_rng(n))[0], image) for n in range(500)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)


def test_no_steps_and_no_masks_are_fine():
    image, masks = sample()
    assert np.array_equal(apply([], image, masks)[0], image)
    new, moved = apply([{"name": "rotate", "degrees": 10}], image, masks[:0])
    assert moved.shape == (0, *image.shape)
    assert new.shape == image.shape


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"name": "spin"}, "no augmentation step 'spin', expected one of rotate"),
        ({"degrees": 3}, "has no name"),
        ("rotate", "has no name"),
        ({"name": "rotate", "degree": 3}, "rotate: unknown degree.*degrees, choose"),
        ({"name": "rotate"}, "rotate: rotate takes either degrees or choose"),
        ({"name": "rotate", "degrees": "much"}, "rotate: degrees is 'much'"),
        ({"name": "rotate", "choose": [[-10, 10], [45, -45]]}, r"degrees is \[45, -45\]"),
        ({"name": "rotate", "choose": 5}, "choose is 5"),
        ({"name": "salt_and_pepper", "share": 0.1, "salt": 2}, "salt is 2"),
        ({"name": "rotate", "degrees": [10, -10]}, r"degrees is \[10, -10\]"),
        ({"name": "translate", "pixels": 1.5}, "pixels is 1.5, expected whole numbers"),
        ({"name": "scale"}, "scale: no factor"),
        ({"name": "scale", "factor": 1.1}, "factor is 1.1"),
        ({"name": "scale", "factor": [0, 1]}, "above 0"),
        ({"name": "flip", "axes": ["diagonal"]}, "axes is"),
        ({"name": "crop", "keep": [0.9, 1.4]}, "keep is.*none above 1"),
        ({"name": "elastic", "pixels": 3, "spacing": 0}, "spacing is 0"),
        ({"name": "elastic", "pixels": 30}, "none above 19.2"),
        ({"name": "blur", "sigma": [-1, 1]}, "no negative value"),
        ({"name": "cutout", "holes": 0}, "holes is 0"),
        ({"name": "invert", "probability": 2}, "invert: probability is 2"),
        ({"name": "invert", "amount": 2}, "invert: unknown amount; its arguments are none"),
    ],
)
def test_a_wrong_step_is_refused_by_name(step, says):
    with pytest.raises(ValueError, match=says):
        augmentation([step])


def test_masks_of_another_size_are_refused():
    image, masks = sample()
    with pytest.raises(ValueError, match="same rows and columns"):
        augmentation([])(image, masks[:, :-1], np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(5))
def test_a_column_is_a_strip_of_the_picture_at_its_left_edge_with_nothing_beside_it(seed):
    image, masks = sample()
    image = 0.1 + 0.9 * image
    new, moved = apply([{"name": "column", "share": [0.3, 0.7]}], image, masks, seed=seed)
    wide = int((new > 0).any(axis=0).sum())
    assert 0.3 * 80 - 1 <= wide <= 0.7 * 80 + 1
    assert not new[:, wide:].any() and not moved[:, :, wide:].any()
    places = [x for x in range(80 - wide + 1) if np.allclose(image[:, x : x + wide], new[:, :wide], atol=1e-6)]
    assert len(places) == 1, "whole columns as they were, in their order: neither mirrored nor stretched"
    assert np.array_equal(masks[:, :, places[0] : places[0] + wide], moved[:, :, :wide])
    assert abs(places[0] + wide / 2 - 40) <= 0.15 * 80 + 1
