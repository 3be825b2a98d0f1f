"""The digital spine stands as it was asked to: chosen angles, slips, steps, motion."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from SpineSegLib.errors import InputError
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.parameters import Parameters

COARSE = {"cells": (3.0, 3.0, 3.0)}
"""The pose does not depend on the grid; a coarse one is quick."""

STEPS = {
    "C3": 17.8, "C4": 17.2, "C5": 16.9, "C6": 17.8, "C7": 19.9, "T1": 20.7, "T3": 21.0, "T5": 22.1, "T7": 23.3,
    "T9": 25.4, "T11": 29.7, "T12": 32.3, "L1": 34.6, "L2": 35.8, "L3": 36.5, "L4": 36.3,
}  # fmt: skip
"""Mean distance of neighbouring body centres in 2,116 CTs, mm (VID-vertebra-identification-dataset)."""


@pytest.mark.parametrize("lordosis", [-12.0, 8.0, 31.0])
def test_chosen_cervical_lordosis_is_met_exactly(lordosis):
    body = build_body("lateral-cervical", 4, cervical_lordosis=lordosis, t1_slope=22.0, **COARSE)
    angles = body.measurements["angles"]
    assert angles["cervical lordosis"] == pytest.approx(lordosis, abs=1e-3)
    assert angles["T1 slope"] == pytest.approx(22.0, abs=1e-3)
    # The parts add up: discs' and bodies' angles between both endplates.
    tilt = body.measurements["tilt"]
    total = tilt["C2"]["inferior sagittal"] - tilt["C7"]["inferior sagittal"]
    discs = sum(angles[f"C{n}/C{n + 1}"] for n in range(2, 7))
    bodies = sum(tilt[f"C{n}"]["superior sagittal"] - tilt[f"C{n}"]["inferior sagittal"] for n in range(3, 8))
    assert discs + bodies == pytest.approx(total, abs=1e-2)


@pytest.fixture(scope="module")
def scoliosis():
    curves = (
        {"upper": "T5", "lower": "T11", "cobb": 48.0, "side": "right"},
        {"upper": "T11", "lower": "L4", "cobb": 33.0, "side": "left"},
    )
    options = {"thoracic_kyphosis": 30.0, "lumbar_lordosis": 52.0, "sacral_slope": 38.0}
    return build_body("ap", 7, curves=curves, **options, **COARSE)


def test_chosen_cobb_angles_are_met_exactly_with_the_sagittal_ones(scoliosis):
    truth = scoliosis.measurements
    assert truth["cobb"]["T5-T11"] == pytest.approx(48.0, abs=1e-3)
    assert truth["cobb"]["T11-L4"] == pytest.approx(-33.0, abs=1e-3)
    assert truth["angles"]["thoracic kyphosis"] == pytest.approx(30.0, abs=1e-3)
    assert truth["angles"]["lumbar lordosis"] == pytest.approx(52.0, abs=1e-3)
    assert truth["angles"]["sacral slope"] == pytest.approx(38.0, abs=1e-3)


def test_curve_bulges_to_its_side_and_turns_the_vertebrae(scoliosis):
    centre = {level: np.array(points["centroid"]) for level, points in scoliosis.measurements["points"].items()}

    def offset(upper, apex, lower):
        share = (centre[upper][2] - centre[apex][2]) / (centre[upper][2] - centre[lower][2])
        return centre[apex][0] - (centre[upper][0] + share * (centre[lower][0] - centre[upper][0]))

    assert offset("T5", "T8", "T11") > 8  # to the right, R is positive
    assert offset("T11", "L2", "L4") < -5
    turned = {level: tilt["axial rotation"] for level, tilt in scoliosis.measurements["tilt"].items()}
    assert abs(turned["T8"]) > 8 > abs(turned["T5"])


def test_the_largest_cobb_angle_is_found_among_all_pairs(scoliosis):
    cobb = {pair: abs(value) for pair, value in scoliosis.measurements["cobb"].items()}
    assert max(cobb.values()) < 48.0 + 3.0
    assert cobb["T5-T11"] > 0.93 * max(cobb.values())


def test_chosen_slip_is_met_exactly():
    slips = ({"level": "L4", "percent": 22.0}, {"level": "L2", "percent": -12.0})
    truth = build_body("lateral-lumbar", 3, slips=slips, **COARSE).measurements
    assert truth["slips"]["L4/L5"]["percent"] == pytest.approx(22.0, abs=1e-2)
    assert truth["slips"]["L2/L3"]["percent"] == pytest.approx(-12.0, abs=1e-2)
    assert abs(truth["slips"]["L3/L4"]["mm"]) < 1.0
    points = truth["points"]
    depth = np.linalg.norm(np.subtract(points["L5"]["SA"], points["L5"]["SP"]))
    assert truth["slips"]["L4/L5"]["mm"] == pytest.approx(0.22 * depth, rel=1e-3)


def test_one_neck_bends_and_only_bends():
    films = {m: build_body("lateral-cervical", 11, motion=m, **COARSE).measurements for m in (-30.0, 0.0, 20.0)}
    neutral = films[0.0]["angles"]["cervical lordosis"]
    for motion, truth in films.items():
        assert truth["angles"]["cervical lordosis"] == pytest.approx(neutral + motion, abs=1e-3)
        assert truth["angles"]["T1 slope"] == pytest.approx(films[0.0]["angles"]["T1 slope"], abs=1e-3)
        for level in ("C3", "C5", "C7"):
            for name in ("anterior", "middle", "posterior", "depth"):
                assert truth["heights"][level][name] == films[0.0]["heights"][level][name]
    spread = [films[m]["distances"]["interspinous"]["C5/C6"] for m in (-30.0, 0.0, 20.0)]
    assert spread[0] > spread[1] > spread[2]


def test_fused_disc_does_not_move():
    films = [
        build_body("lateral-cervical", 12, motion=m, fused=("C5/C6",), **COARSE).measurements for m in (-25.0, 20.0)
    ]
    moved = {disc: abs(films[0]["angles"][disc] - films[1]["angles"][disc]) for disc in ("C4/C5", "C5/C6", "C6/C7")}
    tips = [film["distances"]["interspinous"]["C5/C6"] for film in films]
    assert moved["C5/C6"] < 1e-3 and abs(tips[0] - tips[1]) < 1e-2
    assert moved["C4/C5"] > 5 and moved["C6/C7"] > 5


def test_steps_between_bodies_are_those_of_two_thousand_people():
    """Six people of both sexes; the mean step is within 1.5 mm + 3 % of the mean of the CTs."""
    steps: dict[str, list[float]] = {level: [] for level in STEPS}
    for seed in range(6):
        sex = ("male", "female")[seed % 2]
        options = {"region": ("C1", "S1"), "width": (60.0, 260.0), "cells": (4.0, 4.0, 4.0), "sex": sex}
        points = build_body("ct", seed, **options).measurements["points"]
        levels = list(points)
        for upper, lower in pairwise(levels):
            if upper in steps:
                middle = [
                    np.mean([points[level][corner] for corner in ("SA", "SP", "IA", "IP")], axis=0)
                    for level in (upper, lower)
                    if "IA" in points[level]
                ]
                if len(middle) == 2:
                    steps[upper].append(float(np.linalg.norm(middle[0] - middle[1])))
    for level, published in STEPS.items():
        assert abs(np.mean(steps[level]) - published) < 1.5 + 0.03 * published, (level, np.mean(steps[level]))


def test_atlas_rests_on_the_axis():
    for seed in (1, 2, 3):
        truth = build_body("lateral-cervical", seed, **COARSE).measurements
        assert 0.5 < truth["distances"]["ADI"] < 3.0


def test_extra_levels_take_their_place():
    truth = build_body("lateral-lumbar", 5, extra=("T13", "L6"), **COARSE).measurements
    assert truth["levels"][-6:] == ["L2", "L3", "L4", "L5", "L6", "S1"]
    assert "T12/T13" in truth["discs"] and "T13/L1" in truth["discs"] and "L6/S1" in truth["discs"]
    assert truth["angles"]["lumbar lordosis"] > 20


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"curves": ({"upper": "T5", "lower": "T11", "cobb": 200.0},)}, "200"),
        ({"curves": ({"upper": "T5", "lower": "Q1", "cobb": 20.0},)}, "Q1"),
        ({"curves": ({"upper": "T5", "lower": "T6", "cobb": 20.0},)}, "T6"),
        ({"slips": ({"level": "C9", "percent": 10.0},)}, "C9"),
        ({"slips": ({"level": "L4", "percent": 400.0},)}, "400"),
        ({"fractures": ({"level": "L1", "kind": "burst", "loss": 30.0},)}, "burst"),
        ({"fractures": ({"level": "L1", "kind": "wedge", "loss": 99.0},)}, "99"),
        ({"fused": ("C5/C9",)}, "C5/C9"),
        ({"cervical_lordosis": 300.0}, "300"),
        ({"cervical_lordosis": float("nan")}, "nan"),
        ({"sex": "unknown"}, "unknown"),
        ({"plate": ("C7", "C5")}, "C7"),
        ({"cells": (0.0, 1.0, 1.0)}, "cells"),
        ({"region": ("L3", "T1")}, "L3"),
        ({"colour": "red"}, "colour"),
        ({"slips": ({"level": "L4", "percent": 10.0},)}, "L4"),
        ({"plate": ("C5", "C7"), "fused": ("L4/L5",)}, "L4"),
    ],
)
def test_impossible_choice_is_one_clear_line(options, word):
    with pytest.raises(InputError) as caught:
        build_body("lateral-cervical", 1, **options)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_kind_and_bad_seed_are_refused():
    with pytest.raises(InputError, match="pelvis"):
        Parameters(kind="pelvis")
    with pytest.raises(InputError, match="-1"):
        build_body("ct", -1)
