"""Squares around boxes: what they show, what is believed of them, and that they come back in place."""

import numpy as np
import pytest

from SpineSegLib.models.crops import Crop, scaled


def blob(shape, box):
    rows, columns = np.indices(shape)
    x0, y0, x1, y1 = box
    inside = ((columns + 0.5 - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows + 0.5 - (y0 + y1) / 2) / (y1 - y0)) ** 2
    return (inside < 0.25).astype(np.float32)


@pytest.mark.parametrize("aspect", [1.0, 2.5, 0.4])
@pytest.mark.parametrize("box", [(30, 40, 71, 90), (-5.5, 10, 30.2, 44.7), (100, 130, 140, 150)])
def test_what_is_cut_out_comes_back_in_place(aspect, box):
    picture = blob((150, 140), box)
    crop = Crop(picture.shape, box, 96, aspect=aspect)
    back = np.zeros_like(picture)
    back[crop.inside] = crop.undo(crop.cut(picture))
    assert 2 * ((back > 0.5) & (picture > 0.5)).sum() / ((back > 0.5).sum() + (picture > 0.5).sum()) > 0.97


def test_the_square_has_the_box_in_its_middle_and_the_margin_around_it():
    picture = np.zeros((200, 200), np.float32)
    picture[60:100, 80:100] = 1
    patch = Crop(picture.shape, (80, 60, 100, 100), 100, margin=0.125).cut(picture)
    rows, columns = np.flatnonzero((patch > 0.5).any(axis=1)), np.flatnonzero((patch > 0.5).any(axis=0))
    assert (rows[0], rows[-1] + 1) == (10, 90)  # 40 pixels and 5 on each side are 100
    assert (columns[0], columns[-1] + 1) == (30, 70)


def test_pixels_that_are_not_square_are_made_so():
    picture = np.zeros((100, 200), np.float32)
    picture[40:60, 80:120] = 1  # 20 rows of height 2, 40 columns
    crop = Crop(picture.shape, (80, 40, 120, 60), 64, aspect=2.0)
    patch = crop.cut(picture) > 0.5
    assert abs(int(patch.any(axis=0).sum()) - int(patch.any(axis=1).sum())) <= 1


def test_only_the_box_and_its_margin_are_believed():
    crop = Crop((200, 200), (80, 60, 100, 100), 64, margin=0.1)
    assert crop.kept == (slice(56, 104), slice(76, 104))
    assert crop.area[1].start < 76
    at_the_edge = Crop((200, 200), (-3, -2, 20, 18), 64, margin=0.1)
    assert at_the_edge.kept[0].start == at_the_edge.kept[1].start == 0


def test_beyond_the_picture_there_is_nothing_and_percentiles_do_not_see_it():
    picture = np.random.default_rng(0).uniform(1000, 2000, (60, 60)).astype(np.float32)
    crop = Crop(picture.shape, (-20, 10, 20, 50), 64)
    patch = scaled(crop.cut(picture), crop.reached, {"kind": "percentile", "low": 1, "high": 99})
    assert patch.dtype == np.float32
    assert not patch[~crop.reached].any()
    assert 0.3 < crop.reached.mean() < 0.7
    assert abs(np.median(patch[crop.reached]) - 0.5) < 0.1


def test_a_faint_vertebra_fills_the_range_by_itself():
    picture = np.full((200, 200), 250.0, np.float32)
    picture[:, :100] = 0
    picture[80:120, 140:180] = 252
    crop = Crop(picture.shape, (140, 80, 180, 120), 64)
    patch = scaled(crop.cut(picture), crop.reached, {"kind": "percentile", "low": 1, "high": 99.5})
    assert patch[32, 32] > 0.95
    assert patch[32, 1] < 0.05


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 9, 5), (0, 0, np.nan, 4)])
def test_a_box_without_an_inside_is_refused(box):
    with pytest.raises(ValueError, match="x0 < x1"):
        Crop((20, 20), box, 64)
