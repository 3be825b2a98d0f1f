"""Segmentations compared: which structures are paired, on which grid, and what the reader is told."""

import dataclasses
import json

import numpy as np
import pytest
from mask_samples import SPINE, T5, T6, T7, plates

from SpineSegLib.errors import InputError
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.metrics import compare_masks
from SpineSegLib.image import Geometry, Segment, Segmentation, SpacingSource

MEANS = {"miou", "miou_background"}
"""What the overall numbers have beside those of two masks."""


def masks_alone(values):
    """Return an evaluation's overall numbers that two masks have."""
    assert set(values) >= MEANS
    return {key: value for key, value in values.items() if key not in MEANS and not key.startswith("vertebrae_")}


def test_structures_are_matched_by_level_whatever_their_labels(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    prediction = plates(oblique, T6=(5, 9), T5=(1, 4))
    found = evaluate(prediction, truth)
    assert list(found.structures) == ["T5", "T6"]
    assert found.structures["T5"]["dice"] == 1
    expected = compare_masks(prediction.mask(T6), truth.mask(T6), oblique)
    assert dict(found.structures["T6"]) == pytest.approx(expected)
    assert masks_alone(found.overall) == pytest.approx(compare_masks(prediction.foreground, truth.foreground, oblique))
    assert found.warnings == ()


def test_labels_in_several_layers_and_of_any_number_are_compared(oblique):
    rng = np.random.default_rng(3)
    layers = rng.choice(np.array([0, 7, 70_000], np.int32), (2, *oblique.shape))
    other = rng.choice(np.array([0, 3, 200], np.uint8), (2, *oblique.shape))
    names = [T5, T6, T7, SPINE]
    one = Segmentation(layers, [Segment(s, n // 2, (7, 70_000)[n % 2]) for n, s in enumerate(names)], oblique)
    two = Segmentation(other, [Segment(s, 1 - n // 2, (200, 3)[n % 2]) for n, s in enumerate(names)], oblique)
    found = evaluate(one, two)
    for structure in names:
        expected = compare_masks(one.mask(structure), two.mask(structure), oblique)
        assert dict(found.structures[structure.name]) == pytest.approx(expected)


def test_a_structure_that_one_side_lacks_is_reported(oblique):
    found = evaluate(plates(oblique, T5=(1, 4), T7=(9, 12)), plates(oblique, T5=(1, 4), T6=(5, 8)))
    assert found.structures["T6"]["in"] == "truth only"
    assert found.structures["T7"]["in"] == "prediction only"
    for name in ("T6", "T7"):
        assert (found.structures[name]["dice"], found.structures[name]["hd95_mm"]) == (0, None)
    assert found.structures["T6"]["voxels_truth"] == 9 * 3 * 9


@pytest.mark.parametrize("name", ["spine", "vertebrae"])
def test_a_binary_prediction_is_compared_with_the_union(oblique, name):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8), cord=(12, 14))
    prediction = plates(oblique, **{name: (1, 8)})
    found = evaluate(prediction, truth)
    assert list(found.structures) == [name]
    union = truth.mask(T5) | truth.mask(T6)
    values = dict(found.structures[name])
    assert values.pop("union of") == "T5, T6"
    assert values == pytest.approx(compare_masks(prediction.foreground, union, oblique))
    assert found.overall["dice"] < values["dice"]
    assert "spinal cord" in found.warnings[0]
    turned = evaluate(truth, prediction).structures[name]
    assert (turned["dice"], turned["sensitivity"]) == (values["dice"], values["precision"])


def test_segments_of_one_structure_are_joined(oblique):
    half = plates(oblique, T5=(1, 3), T6=(3, 6))
    twice = Segmentation(half.layers, [dataclasses.replace(s, structure=T5) for s in half.segments], oblique)
    found = evaluate(twice, plates(oblique, T5=(1, 6)))
    assert found.structures["T5"]["dice"] == 1
    assert "2 segments for T5" in found.warnings[0]


def test_a_flipped_copy_of_the_same_voxels_agrees_perfectly(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    flip = np.diag([-1.0, 1, -1, 1])
    flip[0, 3], flip[2, 3] = oblique.shape[2] - 1, oblique.shape[0] - 1
    geometry = dataclasses.replace(oblique, ijk_to_ras=oblique.ijk_to_ras @ flip)
    prediction = Segmentation([layer[::-1, :, ::-1] for layer in truth.layers], truth.segments, geometry)
    found = evaluate(prediction, truth)
    assert [found.overall["dice"], found.structures["T6"]["hausdorff_mm"]] == [1, 0]
    assert "nearest neighbour" in found.warnings[0]


def test_a_prediction_on_a_coarser_grid_is_brought_to_the_truth(oblique):
    truth = plates(oblique, T5=(2, 8))
    shape = (5, 7, 9)
    scale = np.diag([2.0, 2, 2, 1])
    coarse = Geometry(shape, oblique.ijk_to_ras @ scale)
    prediction = truth.resampled(coarse)
    found = evaluate(prediction, truth)
    expected = compare_masks(prediction.resampled(oblique).foreground, truth.foreground, oblique)
    assert masks_alone(found.overall) == pytest.approx(expected)
    assert found.overall["voxels_truth"] == truth.foreground.sum()
    assert "17x14x9" in found.warnings[0] and "9x7x5" in found.warnings[0]


def test_what_lies_outside_the_other_field_of_view_is_counted_in_words(oblique):
    truth = plates(oblique, T5=(1, 8))
    cropped = oblique.cropped((0, 4, 0), oblique.shape)
    prediction = plates(cropped, T5=(0, 4))
    missed = evaluate(prediction, truth)
    assert "243 voxels of the truth lie outside the prediction's" in missed.warnings[1]
    assert missed.overall["sensitivity"] == pytest.approx(4 / 7)
    ignored = evaluate(truth, prediction)
    assert ignored.overall["dice"] == 1
    assert "243 voxels of the prediction lie outside the truth's" in ignored.warnings[1]


def test_a_truth_somewhere_else_is_refused(oblique):
    away = oblique.transformed(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    with pytest.raises(InputError, match="does not overlap") as caught:
        evaluate(plates(oblique, T5=(1, 4)), plates(away, T5=(1, 4)))
    assert "\n" not in str(caught.value)


def test_radiographs_without_spacing_are_compared_by_pixels_or_refused():
    unknown = Geometry((1, 20, 30), np.eye(4), SpacingSource.UNKNOWN)
    known = Geometry((1, 20, 30), np.diag([-0.2, -0.2, 1, 1]))
    truth = plates(unknown, T5=(2, 9))
    found = evaluate(plates(unknown, T5=(2, 8)), truth)
    assert found.overall["hausdorff_px"] == 1 and "hausdorff_mm" not in found.overall
    found = evaluate(plates(known, T5=(2, 8)), truth)
    assert found.overall["hausdorff_mm"] == pytest.approx(0.2)
    assert "only the prediction knows its spacing" in found.warnings[0]
    with pytest.raises(InputError, match="without spacing they cannot be aligned"):
        evaluate(plates(Geometry((1, 21, 30), np.eye(4), SpacingSource.UNKNOWN), T5=(2, 8)), truth)


def test_the_json_is_the_designs_and_holds_no_infinity(oblique):
    found = evaluate(plates(oblique, T5=(1, 4)), plates(oblique, T5=(1, 4), T6=(5, 8)))
    text = json.dumps(found.to_dict(), allow_nan=False)
    content = json.loads(text)
    assert list(content) == ["overall", "structures", "levels", "instances", "vertebrae", "definitions", "warnings"]
    assert {"dice", "iou", "hausdorff_px", "hd95_px", "hausdorff_mm", "hd95_mm"} <= set(content["overall"])
    assert "larger of the two" in content["definitions"]["hd95_mm"]
