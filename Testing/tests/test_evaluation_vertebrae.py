"""Vertebrae matched one to one by place: what was found, how well, and whether its level is right."""

import csv
import itertools
import json

import numpy as np
import pytest
from mask_samples import T5, T6, T7, plates

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.metrics import Settings, Vertebra, Vertebrae, match_one_to_one, match_vertebrae, together
from SpineSegLib.image import Geometry, Segment, Segmentation
from SpineSegLib.io import write_segmentation


def test_the_matching_is_the_best_of_all_by_trying_them():
    random = np.random.default_rng(3)
    for rows, columns in ((3, 3), (2, 4), (4, 2)):
        dice = random.random((rows, columns))
        worth = np.where(dice > 0.3, dice, 0)
        short, long = sorted((rows, columns))
        wide = worth if rows <= columns else worth.T
        best = max(sum(wide[n, m] for n, m in enumerate(order)) for order in itertools.permutations(range(long), short))
        pairs = match_one_to_one(dice, above=0.3)
        assert sum(dice[pair] for pair in pairs) == pytest.approx(best)
        assert all(dice[pair] > 0.3 for pair in pairs)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)


def test_a_dice_at_the_threshold_makes_no_pair():
    assert match_one_to_one(np.array([[0.5]]), above=0.5) == []
    assert match_one_to_one(np.array([[0.5000001]]), above=0.5) == [(0, 0)]
    assert match_one_to_one(np.zeros((0, 3))) == match_one_to_one(np.zeros((2, 0))) == []


def test_one_prediction_over_two_fused_vertebrae_finds_one_of_them():
    found = match_vertebrae(np.array([[0.6, 0.62]]), [("C4", "C4")], [("C4", "C4"), ("C5", "C5")])
    assert [one.found_as for one in found.each] == [None, "C4"]
    assert [one.level_right for one in found.each] == [None, False]
    assert (found.instances.identified_percent, found.levels_right_percent, found.extra) == (50, 0, ())


def test_the_published_row_of_c7_comes_out_and_averages_are_weighted():
    # SpineFM, table 1: C7 96 % identified, located 0.937; overall 0.904 as printed, of rounded numbers.
    c7 = [Vertebra("C7", "C7", 0.937, "C7", True)] * 24 + [Vertebra("C7", "C7")]
    t1 = [Vertebra("T1", "T1", 0.897, "T1", True)] * 5 + [Vertebra("T1", "T1")] * 3
    both = together([Vertebrae(tuple(c7), ("C6",)), Vertebrae(tuple(t1))])
    assert both.levels["C7"].identified_percent == 96
    assert both.levels["C7"].overall_dice == pytest.approx(0.904, abs=0.005)
    assert both.levels["T1"].overall_dice == pytest.approx(0.561, abs=0.0005)
    assert both.instances.overall_dice == pytest.approx((25 * 0.937 * 0.96 + 8 * 0.897 * 0.625) / 33)
    assert both.instances.identified_percent == pytest.approx(100 * 29 / 33)
    assert (both.extra, list(both.levels)) == (("C6",), ["C7", "T1"])


def test_vertebrae_found_under_the_wrong_level_are_found_all_the_same(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8), T7=(9, 12))
    shifted = plates(oblique, T6=(1, 4), T7=(5, 8))
    found = evaluate(shifted, truth)
    vertebrae = found.to_dict()["vertebrae"]["vertebra"]
    assert vertebrae["identified_percent"] == pytest.approx(200 / 3)
    assert (vertebrae["located_dice"], vertebrae["levels_right_percent"], vertebrae["extra"]) == (1, 0, [])
    assert vertebrae["overall_dice"] == pytest.approx(2 / 3)
    assert vertebrae["each"][0] == {"name": "T5", "found_as": "T6", "dice": 1, "level_right": False}
    # By name, as before, nothing of it is right.
    assert found.instances["vertebra"].identified_percent == 0
    assert found.overall["vertebrae_identified_percent"] == vertebrae["identified_percent"]
    assert found.overall["vertebrae_levels_right_percent"] == 0


def test_dice_of_partners_is_that_of_the_masks_over_several_layers(oblique):
    truth = plates(oblique, T5=(1, 5), T6=(6, 10))
    one, two = np.zeros(oblique.shape, np.uint8), np.zeros(oblique.shape, np.uint8)
    one[:, 2:6, 3:14] = 7
    two[:, 5:10, 3:14] = 3
    prediction = Segmentation((one, two), (Segment(T5, 0, 7), Segment(T6, 1, 3)), oblique)
    found = evaluate(prediction, truth).vertebrae["vertebra"]
    assert [each.dice for each in found.each] == pytest.approx([evaluated(prediction, truth, s) for s in (T5, T6)])


def evaluated(prediction, truth, structure):
    a, b = prediction.mask(structure), truth.mask(structure)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_vertebrae_without_a_level_are_matched_but_not_right(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    names = [f"unlabelled, {n} from the top" for n in ("1st", "2nd")]
    segments = [Segment(Structure("vertebrae"), 0, n, name) for n, name in enumerate(names, start=1)]
    found = evaluate(Segmentation(truth.layers, segments, oblique), truth)
    vertebrae = found.vertebrae["vertebra"]
    assert (vertebrae.instances.identified_percent, vertebrae.levels_right_percent) == (100, 0)
    assert [each.found_as for each in vertebrae.each] == names


def test_bodies_are_matched_with_bodies_where_both_sides_have_them(oblique):
    masks = {Structure("vertebra", "C4"): (2, 8), Structure("body", "C4"): (2, 5)}
    both = {structure: plates(oblique, T5=rows).foreground for structure, rows in masks.items()}
    truth = Segmentation.from_masks(both, oblique)
    body = {Structure("body", "C4"): both[Structure("body", "C4")]}
    found = evaluate(Segmentation.from_masks(body, oblique), truth)
    assert list(found.vertebrae) == ["body"]
    assert found.vertebrae["body"].instances.located_dice == 1
    whole = Segmentation.from_masks({Structure("vertebra", "C4"): both[Structure("vertebra", "C4")]}, oblique)
    across = evaluate(whole, Segmentation.from_masks(body, oblique)).vertebrae["body"]
    assert across.each[0].dice == pytest.approx(2 / 3)


def test_a_binary_prediction_is_no_instance_and_an_empty_one_misses_all(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    binary = Segmentation.from_masks({Structure("vertebrae"): truth.foreground}, oblique)
    found = evaluate(binary, truth)
    assert found.vertebrae == {} and "vertebrae_identified_percent" not in found.overall
    assert evaluate(truth, binary).vertebrae == {}
    nothing = Segmentation([np.zeros(oblique.shape, np.uint8)], [], oblique)
    vertebrae = evaluate(nothing, truth).vertebrae["vertebra"]
    assert (vertebrae.instances.overall_dice, vertebrae.levels_right_percent) == (0, None)
    # A structure that is named but has no voxel is none either.
    empty = Segmentation([np.zeros(oblique.shape, np.uint8)], [Segment(T5, 0, 1)], oblique)
    assert evaluate(empty, truth).vertebrae["vertebra"].instances.identified_percent == 0


def test_how_much_partners_must_share_is_a_choice(oblique):
    truth, prediction = plates(oblique, T5=(1, 5)), plates(oblique, T5=(4, 8))
    assert evaluate(prediction, truth).vertebrae["vertebra"].instances.identified_percent == 0
    found = evaluate(prediction, truth, settings=Settings(matched_dice=0.2))
    assert found.vertebrae["vertebra"].instances.located_dice == pytest.approx(0.25)
    assert "each above 0.2" in found.definitions["vertebrae"]
    with pytest.raises(ValueError, match="matched_dice is 1"):
        Settings(matched_dice=1)


def film(**rows):
    geometry = Geometry((1, 40, 50), np.diag([-0.2, -0.2, 1, 1]))
    labels = np.zeros(geometry.shape, np.uint8)
    for number, (first, last) in enumerate(rows.values(), start=1):
        labels[0, first:last, 10:30] = number
    segments = [Segment(Structure("vertebra", name), 0, n) for n, name in enumerate(rows, start=1)]
    return Segmentation((labels,), segments, geometry)


def test_the_command_line_gives_them_for_one_case_and_for_many(tmp_path, capsys):
    cases = {"a": (film(T5=(2, 8), T6=(10, 16)), film(T5=(2, 8), T6=(10, 16))), "b": (film(T6=(2, 8)), film(T5=(2, 8)))}
    for side in ("ours", "theirs"):
        (tmp_path / side).mkdir()
    for name, (ours, theirs) in cases.items():
        write_segmentation(ours, tmp_path / "ours" / f"{name}.seg.nrrd")
        write_segmentation(theirs, tmp_path / "theirs" / f"{name}.seg.nrrd")
    folders = [str(tmp_path / side) for side in ("ours", "theirs")]
    table = tmp_path / "table.csv"
    assert main(["evaluate", *folders, "--json", "--csv", str(table)]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]["vertebrae"]["vertebra"]
    assert (summary["count"], summary["identified_percent"], summary["extra"]) == (3, 100, 0)
    assert summary["levels_right_percent"] == pytest.approx(200 / 3)
    assert (summary["cases"], summary["cases_all_found_and_right"]) == (2, 1)
    assert summary["levels"]["T6"]["count"] == 1 and "each" not in summary
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file) if row["scope"] == "overall"}
    assert [float(rows[name]["vertebrae_levels_right_percent"]) for name in ("a", "b")] == [100, 0]
    assert main(["evaluate", *(f"{folder}/b.seg.nrrd" for folder in folders)]) == 0
    text = capsys.readouterr().out
    assert "vertebra, matched by place: 100.0 % of 1 found, located Dice 1.0000" in text
    assert "level right in 0.0 %, 0 without a partner" in text


def test_the_levels_are_in_order(oblique):
    each = tuple(Vertebra(s.name, s.level) for s in (T7, T5, T6))
    assert list(Vertebrae(each).levels) == ["T5", "T6", "T7"]
