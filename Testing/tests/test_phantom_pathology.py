"""What disease does to the digital spine is as large as it was asked to be, and can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from mask_rulers import Ruler
from scipy.ndimage import binary_erosion, label

from SpineSegLib.anatomy import Structure
from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.built_in import built_in_shape
from SpineSegLib.phantom.levels import vertebra_landmarks
from SpineSegLib.phantom.parameters import Fracture
from SpineSegLib.phantom.pathology import body_heights, compressed

CT = {"region": ("L1", "L2"), "cells": (0.5, 0.5, 0.5), "width": (64.0, 110.0), "osteophytes": 0}
PICK = {"wedge": 0, "biconcave": 1}


@pytest.mark.parametrize("kind", ["wedge", "biconcave", "crush"])
@pytest.mark.parametrize("loss", [15.0, 30.0, 45.0])
def test_chosen_height_loss_is_met_exactly(kind, loss):
    shape = built_in_shape("L1")
    before = body_heights(vertebra_landmarks(shape))
    after = body_heights(vertebra_landmarks(compressed(shape, Fracture("L1", kind, loss))))
    lost = 100 * (1 - after / before)
    found = lost.mean() if kind == "crush" else lost[PICK[kind]]
    if kind == "crush":
        found = 100 * (1 - after.mean() / before.mean())
    assert found == pytest.approx(loss, abs=0.3)
    if kind == "wedge":
        assert lost[0] > lost[1] > lost[2] and abs(lost[2]) < 5
    if kind == "biconcave":
        assert abs(lost[0]) < 0.4 * loss and abs(lost[2]) < 0.4 * loss
    if kind == "crush":
        assert np.ptp(lost) < 8


@pytest.mark.parametrize("kind", ["wedge", "biconcave", "crush"])
def test_height_loss_is_found_in_the_masks(kind):
    sound = build_body("ct", 3, **CT)
    broken = build_body("ct", 3, fractures=({"level": "L1", "kind": kind, "loss": 32.0},), **CT)
    found = []
    for body in (sound, broken):
        mask = body.truth.mask(Structure("body", "L1"))
        found.append(np.array(Ruler(mask, body.geometry, body.measurements["points"]["L1"]).heights()))
    lost = 100 * (1 - found[1] / found[0])
    value = 100 * (1 - found[1].mean() / found[0].mean()) if kind == "crush" else lost[PICK[kind]]
    assert value == pytest.approx(32.0, abs=2.0)
    # A neighbour stays as it was.
    assert sound.measurements["heights"]["L2"] == broken.measurements["heights"]["L2"]
    before, after = (body.measurements["heights"]["L1"] for body in (sound, broken))
    mean = [np.mean([h["anterior"], h["middle"], h["posterior"]]) for h in (before, after)]
    truth = {"wedge": after["anterior"] / before["anterior"], "biconcave": after["middle"] / before["middle"]}
    assert 100 * (1 - truth.get(kind, mean[1] / mean[0])) == pytest.approx(32.0, abs=0.3)


def test_slip_is_found_in_the_masks():
    options = CT | {"region": ("L4", "L5")}
    body = build_body("ct", 5, slips=({"level": "L4", "percent": 30.0},), **options)
    rulers = {
        level: Ruler(body.truth.mask(Structure("body", level)), body.geometry, body.measurements["points"][level])
        for level in ("L4", "L5")
    }
    lower = rulers["L5"]
    front, back = lower.corner(1, 1), lower.corner(1, -1)
    along = (front - back) / np.linalg.norm(front - back)
    slip = (rulers["L4"].corner(-1, -1) - back) @ along
    assert 100 * slip / np.linalg.norm(front - back) == pytest.approx(30.0, abs=1.5)


def test_broken_process_lies_apart_from_its_vertebra():
    options = {"region": ("C6", "T1"), "cells": (0.5, 0.5, 0.5), "width": (70.0, 130.0), "osteophytes": 0}
    sound = build_body("ct", 6, **options)
    broken = build_body("ct", 6, process_fractures=("C7",), **options)
    parts = []
    for body in (sound, broken):
        labels, _ = label(body.truth.mask(Structure("vertebra", "C7")))
        sizes = np.bincount(labels.ravel())[1:] * body.geometry.voxel_volume
        parts.append(sorted(sizes[sizes > 150]))
    assert len(parts[0]) == 1 and len(parts[1]) == 2
    low = [
        body.geometry.to_world(np.argwhere(body.truth.mask("C7 spinous process")))[:, 2].min()
        for body in (sound, broken)
    ]
    assert low[1] < low[0] - 1.0


def test_lysis_parts_the_arch_from_the_body():
    """Body with pedicles and upper facets on one side, arch with lower facets and process on the other."""
    options = {"region": ("L5", "L5"), "cells": (0.5, 0.5, 0.5), "width": (110.0, 130.0), "osteophytes": 0}
    connected = []
    for pars in ((), ("L5",)):
        body = build_body("ct", 8, pars_defects=pars, **options)
        labels, _ = label(binary_erosion(body.truth.mask(Structure("vertebra", "L5"))))
        front = np.bincount(labels[body.truth.mask("L5 body")])[1:].argmax()
        back = np.bincount(labels[body.truth.mask("L5 spinous process")])[1:].argmax()
        connected.append(front == back)
    assert connected == [True, False]


def test_plate_and_screws_are_metal_on_the_bodies_they_bridge():
    options = {"cells": (1.0, 1.0, 1.0)}
    body = build_body("lateral-cervical", 9, plate=("C5", "C7"), fused=("C5/C6", "C6/C7"), **options)
    metal = body.geometry.to_world(np.argwhere(body.tissue == Tissue.METAL))
    points = body.measurements["points"]
    assert 700 < len(metal) < 6000
    assert points["C7"]["IA"][2] - 2 < metal[:, 2].min() and metal[:, 2].max() < points["C5"]["SA"][2] + 2
    assert metal[:, 1].max() < max(points[level]["SA"][1] for level in ("C5", "C6", "C7")) + 8
    within = body.tissue[body.truth.mask(Structure("vertebra", "C6"))] == Tissue.METAL
    assert 0.01 < within.mean() < 0.3
    fused = body.tissue[body.truth.mask("C5/C6 disc")]
    assert np.isin(fused, (Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.METAL)).all()
    assert not np.isin(body.tissue[body.truth.mask("C3/C4 disc")], (Tissue.METAL,)).any()


def test_osteophytes_grow_with_their_amount():
    volumes = []
    for amount in (0.0, 1.0):
        body = build_body("ct", 14, **(CT | {"osteophytes": amount, "cells": (0.8, 0.8, 0.8)}))
        volumes.append([body.truth.mask(Structure("body", level)).sum() for level in ("L1", "L2")])
    assert sum(volumes[1]) > 1.005 * sum(volumes[0])


def test_poor_bone_is_less_dense():
    dense = []
    for mineral in (0.5, 1.2):
        body = build_body("ct", 15, mineral=mineral, **(CT | {"cells": (0.8, 0.8, 0.8)}))
        inner = body.truth.mask(Structure("body", "L1")) & (body.tissue == Tissue.TRABECULAR)
        dense.append(float(np.median(body.density[inner].astype(float))))
    assert dense[1] / dense[0] == pytest.approx(1.2 / 0.5, rel=0.2)
