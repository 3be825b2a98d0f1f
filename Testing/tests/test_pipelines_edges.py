"""Edges at a volume's own voxels, of balls whose edge is known exactly."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from SpineSegLib.image import Geometry, resample
from SpineSegLib.pipelines.edges import SURE, sharpened

STEP = (1.5, 0.6, 0.6)
SHAPE = (28, 70, 70)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ball(radius=15.0, step=STEP, shape=SHAPE):
    """Return a ball's mask and its cortex, 2 mm thick."""
    places = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, step, strict=True)], indexing="ij"
    )
    away = np.sqrt(sum(place**2 for place in places))
    return away < radius, (away < radius) & (away > radius - 2)


def bone(mask, cortex, *, noise=20.0, seed=0):
    values = np.where(cortex, 600.0, np.where(mask, 200.0, 40.0))
    return values + np.random.default_rng(seed).normal(0, noise, mask.shape)


def coarse(mask, *, bias=0.0, step=STEP, grid=1.5):
    """Return what a network that saw 1.5 mm voxels may say: shares of voxels, on the way back to the finer grid."""
    matrix = np.diag([*step[::-1], 1.0])
    fine = Geometry(mask.shape, matrix)
    there = fine.with_step(grid)
    share = gaussian_filter(mask.astype(np.float32), [grid / 2 / size for size in step])
    found = np.clip(resample(share, fine, there, fill=0.0), 1e-4, 1 - 1e-4)
    odds = 1.5 * np.log(found / (1 - found)) + bias
    return np.clip(resample((1 / (1 + np.exp(-odds))).astype(np.float32), there, fine, fill=0.0), 0, 1)


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.5])
def test_an_edge_seen_too_far_in_or_out_goes_where_the_bone_ends(bias):
    mask, cortex = ball()
    before = coarse(mask, bias=bias)
    after = sharpened(before, bone(mask, cortex), STEP)
    assert dice(after > 0.5, mask) > 0.985
    assert 1 - dice(after > 0.5, mask) < 0.6 * (1 - dice(before > 0.5, mask))


def test_without_contrast_nothing_changes():
    mask, _ = ball()
    before = coarse(mask, bias=1.0)
    after = sharpened(before, np.full(mask.shape, 40, np.int16), STEP)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_dark_inside_changes_nothing():
    mask, cortex = ball()
    before = coarse(mask)
    after = sharpened(before, -bone(mask, cortex, noise=0), STEP)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_what_the_network_is_sure_of_stays_whatever_is_bright():
    mask, cortex = ball()
    before = coarse(mask)
    values = bone(mask, cortex)
    values[:, :8] = 3000  # metal beside it
    after = sharpened(before, values, STEP)
    sure = (before <= SURE) | (before >= 1 - SURE)
    assert (after[sure] == before[sure]).all()
    assert not np.shares_memory(after, before)


def test_holes_in_the_marrow_are_not_cut_out():
    mask, cortex = ball()
    values = bone(mask, cortex)
    values[12:15, 33:37, 33:37] = -80  # fat
    assert (sharpened(coarse(mask), values, STEP) > 0.5)[12:15, 33:37, 33:37].all()


def test_nothing_found_stays_nothing():
    empty = np.zeros((4, 5, 6), np.float32)
    assert not sharpened(empty, np.full(empty.shape, 900), STEP).any()


def test_a_thin_volume_is_sharpened_within_its_slices():
    mask, cortex = ball()
    before = coarse(mask, bias=1.5)[14:15]
    after = sharpened(before, bone(mask, cortex)[14:15], STEP)
    assert dice(after > 0.5, mask[14:15]) > dice(before > 0.5, mask[14:15])
