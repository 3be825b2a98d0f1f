"""How the splitting of spines is measured: what counts as cut off, as matched, and what a model's mask looks like."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from held_out import without_cut_off

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Segmentation

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "vertebrae.py"
GEOMETRY = Geometry((40, 12, 12), np.diag([-1.0, -1.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("vertebrae_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its data classes look for their names
    spec.loader.exec_module(module)
    return module


def spine(rows, width=8):
    """A box for each level: rows from, to."""
    masks = {}
    for level, (low, high) in rows.items():
        mask = np.zeros(GEOMETRY.shape, bool)
        mask[low:high, 2 : 2 + width, 2 : 2 + width] = True
        masks[Structure("vertebra", level)] = mask
    return Segmentation.from_masks(masks, GEOMETRY)


def names(segmentation):
    return [segment.name for segment in segmentation.segments]


def test_in_a_volume_only_what_touches_the_edge_is_cut_off():
    # From the top: most of C7, a small T1 that is whole, T2, and less than half of T3.
    truth = spine({"C7": (37, 40), "T1": (32, 36), "T2": (10, 31), "T3": (0, 9)})
    assert names(without_cut_off(truth)) == ["C7", "T1", "T2"]
    assert names(without_cut_off(spine({"C7": (38, 40), "T1": (32, 36), "T2": (10, 31), "T3": (0, 18)}))) == [
        "T1",
        "T2",
        "T3",
    ]


def test_a_vertebra_is_matched_by_a_dice_above_four_fifths_and_by_none_that_has_another(script):
    truth = spine({"T1": (30, 40), "T2": (20, 28), "T3": (2, 18)})
    found = spine({"L1": (31, 40), "L2": (8, 28)})
    one, two, three = script.compare("case", truth, found)
    assert (one.matched, two.matched, three.matched) == (True, False, False)
    assert one.dice == pytest.approx(18 / 19)
    assert three.dice == pytest.approx(20 / 36)
    assert one.size == pytest.approx(10 * 64 * 2 / 1000)
    row = script.summary([one, two, three])
    assert (row["vertebrae"], row["matched"]) == (3, 1)
    assert (row["in_view"], row["in_view_matched"]) == (3, 1)


def test_a_models_mask_has_no_gaps_narrower_than_3_mm(script):
    mask = np.zeros((30, 20, 20), bool)
    mask[4:13, 4:16, 4:16] = mask[15:26, 4:16, 4:16] = True
    assert script.as_found(mask, np.array([1.0, 1.0, 1.0]))[13:15, 10, 10].all()
    assert not script.as_found(mask, np.array([3.0, 1.0, 1.0]))[13:15, 10, 10].any()
    assert not script.as_found(mask, np.array([1.0, 1.0, 1.0]))[4, 4, 4]
