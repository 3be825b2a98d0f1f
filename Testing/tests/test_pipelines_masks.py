"""From probabilities to masks."""

import numpy as np
import pytest

from SpineSegLib.pipelines.masks import near_column, with_bright_rim


def test_the_bright_rim_is_taken_as_far_as_it_reaches_in_millimetres():
    values = np.full((9, 9, 9), 300.0)
    mask = np.zeros(values.shape, bool)
    mask[4, 4, 4] = True
    found = with_bright_rim(mask, values, (2.0, 1.0, 0.5), reach=2.0, above=200)
    assert found[:, 4, 4].sum() == 3, "one voxel of 2 mm above and below"
    assert found[4, :, 4].sum() == 5
    assert found[4, 4, :].sum() == 9
    assert not found[3, 3, 4], "the corner is further away"


def test_dark_voxels_stay_outside_and_what_was_found_stays_inside():
    values = np.full((5, 5, 5), 300.0)
    values[:, :, 3:] = 150.0
    mask = np.zeros(values.shape, bool)
    mask[2, 2, 1:4] = True
    found = with_bright_rim(mask, values, (1.0, 1.0, 1.0), reach=1.0, above=200)
    assert (found | mask == found).all()
    assert found[2, 1, 1] and found[2, 2, 0]
    assert not found[2, 1, 3] and not found[2, 2, 4]


def test_nothing_stays_nothing():
    nothing = np.zeros((3, 4, 5), bool)
    assert not with_bright_rim(nothing, np.full(nothing.shape, 900.0), (1, 1, 1), reach=3, above=200).any()


STEP = (3.0, 1.5, 2.0)


def trunk():
    """A bent spine 40 mm wide, and what hangs on it and lies around it: millimetres along head, back and left."""
    k, j, i = (np.arange(n) * size for n, size in zip((80, 120, 130), STEP, strict=True))
    k, j, i = k[:, None, None], j[None, :, None], i[None, None, :]
    bend = 130 + 25 * np.sin(k / 60)
    spine = (abs(i - bend) < 20) & (abs(j - 130) < 20)
    ribs = (abs(j - 130) < 5) & (abs(i - bend) < 120) & (k % 30 < 6)
    sternum = (abs(j - 20) < 6) & (abs(i - 130) < 15) & (k > 60) & (k < 200)
    return spine, ribs & ~spine, sternum & (i > 0), abs(i - bend)


def test_what_lies_far_from_the_spine_goes_and_the_spine_stays():
    spine, ribs, sternum, aside = trunk()
    found = near_column(spine | ribs | sternum, STEP, 80)
    assert found[spine].all()
    assert not found[sternum].any()
    assert found[ribs & (aside < 70)].all(), "within the radius nothing is touched"
    assert not found[ribs & (aside > 90)].any()


@pytest.mark.parametrize("upper", [True, False])
def test_a_shoulder_or_a_hip_larger_than_the_spine_that_hangs_on_it_goes(upper):
    spine, ribs, *_, aside = trunk()
    shoulder = np.zeros_like(spine)
    levels = slice(55, 80) if upper else slice(0, 25)
    shoulder[levels, 60:110, :18] = True
    bridge = np.zeros_like(spine)
    bridge[levels.start + 3 : levels.start + 6, 84:90, :60] = True
    assert shoulder[levels].sum() > 1.5 * spine[levels].sum()
    whole = spine | shoulder | bridge | ribs
    found = near_column(whole, STEP, 80)
    assert found[spine].all()
    assert found[shoulder & (aside > 90)].sum() < 0.02 * shoulder.sum()
    turned = near_column(whole[:, ::-1, ::-1], STEP, 80)[:, ::-1, ::-1]
    assert (turned == found).mean() > 0.99


def test_a_part_beyond_the_ends_may_be_half_as_much_further_away():
    spine, *_ = trunk()
    spine[50:] = False
    for levels, stays in ((slice(70, 75), True), (slice(52, 57), False), (slice(30, 35), False)):
        aside = np.zeros_like(spine)
        aside[levels, 82:90, 18:22] = True  # 104 to 110 mm from where the spine ends, and 60 mm or 6 mm above it
        assert near_column(spine | aside, STEP, 80)[aside].all() == stays
        assert near_column(spine | aside, STEP, 80)[aside].any() == stays


def test_nothing_and_a_single_voxel_have_a_column():
    nothing = np.zeros((3, 4, 5), bool)
    assert not near_column(nothing, STEP, 80).any()
    nothing[1, 2, 3] = True
    assert near_column(nothing, STEP, 80).sum() == 1
