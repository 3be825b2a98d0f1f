"""Vertebrae found and missed, levels with several structures, and errors of probabilities."""

import dataclasses

import numpy as np
import pytest
from mask_samples import T5, T6, plates

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.metrics import Settings, compare_masks, count_instances, weighted
from SpineSegLib.image import Geometry, Image, Segment, Segmentation


def test_the_published_row_of_t1_comes_out():
    # SpineFM, table 1: T1 was identified in 62.5 % with a located Dice of 0.897, hence 0.561 overall.
    found = count_instances([0.897] * 5 + [0.0] * 3)
    assert (found.identified_percent, round(found.located_dice, 3), round(found.overall_dice, 3)) == (
        62.5,
        0.897,
        0.561,
    )


def test_the_average_over_levels_is_weighted_by_how_often_they_occur():
    dice = {"C3": [0.9, 0.8, 0.0], "C4": [0.7], "T1": [0.0, 0.0]}
    levels = {level: count_instances(values) for level, values in dice.items()}
    found = weighted(levels)
    everything = count_instances([value for values in dice.values() for value in values])
    assert found.to_dict() == pytest.approx(everything.to_dict())
    assert (found.count, found.identified_percent, found.located_dice) == (6, 50, pytest.approx(0.8))
    assert levels["T1"].located_dice is None and levels["T1"].overall_dice == 0
    assert weighted({}).identified_percent is None


def test_a_missed_level_lowers_the_overall_dice_alone(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    found = evaluate(plates(oblique, T5=(1, 4), T7=(10, 12)), truth)
    vertebrae = found.to_dict()["instances"]["vertebra"]
    assert vertebrae == {"count": 2, "identified_percent": 50, "located_dice": 1, "overall_dice": 0.5}
    assert found.overall["miou"] == pytest.approx(1 / 3)


def test_an_empty_prediction_misses_every_level(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    found = evaluate(Segmentation([np.zeros(oblique.shape, np.uint8)], [], oblique), truth)
    assert found.instances["vertebra"].identified_percent == 0
    assert [values["in"] for values in found.structures.values()] == ["truth only", "truth only"]
    assert (found.overall["dice"], found.overall["hd95_mm"]) == (0, None)


def test_how_much_must_agree_to_be_identified_is_a_choice(oblique):
    truth, prediction = plates(oblique, T5=(1, 5)), plates(oblique, T5=(4, 8))
    assert evaluate(prediction, truth).instances["vertebra"].identified_percent == 100
    strict = evaluate(prediction, truth, settings=Settings(identified_dice=0.5))
    assert strict.instances["vertebra"].identified_percent == 0
    assert "Dice above 0.5" in strict.definitions["instances"]


def test_a_level_is_the_union_of_its_structures(oblique):
    body, process = Structure("body", "T5"), Structure("spinous process", "T5")
    masks = {body: plates(oblique, T5=(1, 5)).foreground, process: plates(oblique, T5=(4, 8)).foreground}
    truth = Segmentation.from_masks({**masks, T6: plates(oblique, T6=(9, 12)).foreground}, oblique)
    prediction = Segmentation.from_masks({body: plates(oblique, T5=(1, 6)).foreground}, oblique)
    found = evaluate(prediction, truth)
    assert list(found.levels) == ["T5", "T6"]
    values = dict(found.levels["T5"])
    assert values.pop("union of") == "T5 body, T5 spinous process"
    assert values == pytest.approx(compare_masks(prediction.foreground, masks[body] | masks[process], oblique))
    assert found.levels["T6"]["in"] == "truth only"
    assert found.instances["spinous process"].identified_percent == 0


def film(probability=None):
    geometry = Geometry((1, 40, 50), np.diag([0.2, 0.2, 1, 1]))
    mask = np.zeros(geometry.shape, np.uint8)
    mask[0, 10:20, 10:30] = 1
    return Segmentation([mask], [Segment(T5, 0, 1, probability=probability)], geometry)


def test_errors_of_probabilities_are_the_means_worked_out_by_hand():
    probability = np.full((1, 40, 50), 0.1, np.float32)
    probability[0, 10:20, 10:30] = 0.75
    found = evaluate(film(probability), film())
    expected = {"global_mae": (200 * 0.25 + 1800 * 0.1) / 2000, "foreground_mae": 0.25}
    for values in (found.overall, found.structures["T5"], found.levels["T5"]):
        assert {key: values[key] for key in expected} == pytest.approx(expected)
    assert "global_mae" not in evaluate(film(), film()).overall


def test_errors_of_probabilities_are_numpys():
    truth = film()
    probability = np.random.default_rng(0).random((1, 40, 50)).astype(np.float32)
    image = Image(probability, truth.geometry)
    found = evaluate(film(), truth, probability=image).overall
    apart = np.abs(probability - truth.foreground)
    assert found["global_mae"] == pytest.approx(apart.mean(), rel=1e-5)
    assert found["foreground_mae"] == pytest.approx(apart[truth.foreground].mean(), rel=1e-5)


def test_a_probability_on_another_grid_is_brought_to_the_truth():
    truth = film()
    coarse = Geometry((1, 20, 25), truth.geometry.ijk_to_ras @ np.diag([2.0, 2, 1, 1]))
    image = Image(np.full(coarse.shape, 0.5, np.float32), coarse)
    assert evaluate(truth, truth, probability=image).overall["foreground_mae"] == pytest.approx(0.5)
    unknown = dataclasses.replace(coarse, spacing_source="unknown")
    with pytest.raises(InputError, match=r"probability: 25x20x1 voxels; expected the truth's 50x40x1"):
        evaluate(truth, truth, probability=Image(image.array, unknown))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "1 of 2000 probabilities are not a number"), (1.5, "run from 0 to 1.5")]
)
def test_probabilities_that_are_none_are_refused_in_one_line(value, message):
    probability = np.zeros((1, 40, 50), np.float32)
    probability[0, 3, 4] = value
    for options in ({}, {"probability": Image(probability, film().geometry)}):
        with pytest.raises(InputError, match=message) as caught:
            evaluate(film(None if options else probability), film(), **options)
        assert "\n" not in str(caught.value)
