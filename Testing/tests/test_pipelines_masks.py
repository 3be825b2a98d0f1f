"""From probabilities to masks."""

import numpy as np

from SpineSegLib.pipelines.masks import with_bright_rim


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
