"""The digital spine's truth is what its masks show: corners, angles, heights, parts, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mask_rulers import Ruler

from SpineSegLib.anatomy import Structure
from SpineSegLib.phantom.body import KINDS, Tissue
from SpineSegLib.phantom.build import build_body


@pytest.fixture(scope="module")
def loins():
    """A lumbar CT at 0.35 mm, with a curve, so that no vertebra stands straight on the grid."""
    curve = {"upper": "T11", "lower": "L4", "cobb": 14.0, "side": "left"}
    options = {"region": ("L1", "L3"), "cells": (0.35, 0.35, 0.35), "width": (64.0, 110.0)}
    return build_body("ct", 21, curves=(curve,), osteophytes=0, **options)


@pytest.fixture(scope="module")
def neck():
    """A cervical CT at 0.25 mm."""
    # The neck leans a little: an endplate along the grid's planes would show on its mask as two or three broad stairs.
    curve = {"upper": "C3", "lower": "T2", "cobb": 16.0, "side": "right"}
    options = {"region": ("C4", "C5"), "cells": (0.25, 0.25, 0.25), "width": (66.0, 84.0)}
    return build_body("ct", 22, curves=(curve,), osteophytes=0, **options)


def whole_bodies(body) -> list[str]:
    """Levels whose body lies within the grid."""
    found = []
    for level in body.measurements["heights"]:
        places = np.argwhere(body.truth.mask(Structure("body", level)))
        if (places.min(axis=0) > 2).all() and (places.max(axis=0) < np.array(body.geometry.shape) - 3).all():
            found.append(level)
    return found


def angle_errors(body) -> np.ndarray:
    """Sagittal tilts measured on the masks less those of the truth, degrees."""
    found = []
    for level in whole_bodies(body):
        plane = Ruler(body.truth.mask(Structure("body", level)), body.geometry, body.measurements["points"][level])
        for side, word in (("sup", "superior"), ("inf", "inferior")):
            found.append(plane.tilt(side) - body.measurements["tilt"][level][f"{word} sagittal"])
    return np.array(found)


def height_errors(body) -> np.ndarray:
    """Ha, Hm, Hp measured on the masks less those of the truth, mm."""
    found = []
    for level in whole_bodies(body):
        plane = Ruler(body.truth.mask(Structure("body", level)), body.geometry, body.measurements["points"][level])
        truth = body.measurements["heights"][level]
        found.append(np.subtract(plane.heights(), [truth[name] for name in ("anterior", "middle", "posterior")]))
    return np.array(found)


@pytest.mark.parametrize("kind", ["loins", "neck"])
def test_truth_measured_back_from_the_masks_agrees(kind, request):
    """At the resolution of a fine CT every angle to 0.3 degrees and every height to 0.3 mm."""
    body = request.getfixturevalue(kind)
    angles, heights = angle_errors(body), height_errors(body)
    assert len(angles) >= 4
    assert np.abs(angles).max() < 0.3, np.round(angles, 2)
    assert np.abs(heights).max() < 0.3, np.round(heights, 2)
    assert np.abs(heights).mean() < 0.2


def test_truth_measured_back_at_half_a_millimetre_agrees_but_for_the_stairs():
    """Without bias; the stairs of a voxel mask leave a spread of half a degree and a quarter of a millimetre."""
    angles, heights = [], []
    for seed in (22, 23):
        body = build_body("ct", seed, region=("C3", "C7"), cells=(0.5,) * 3, width=(60.0, 90.0), osteophytes=0)
        angles += list(angle_errors(body))
        heights += list(height_errors(body).ravel())
    assert abs(np.mean(angles)) < 0.15 and np.sqrt(np.mean(np.square(angles))) < 0.5, np.round(angles, 2)
    assert abs(np.mean(heights)) < 0.15 and np.sqrt(np.mean(np.square(heights))) < 0.3, np.round(heights, 2)


@pytest.mark.parametrize("kind", ["loins", "neck"])
def test_corners_lie_on_the_masks_corners(kind, request):
    """As far along their diagonal as the mask goes, and on its surface, to one voxel."""
    body = request.getfixturevalue(kind)
    cell = body.geometry.step.max()
    for level in whole_bodies(body):
        points = body.measurements["points"][level]
        mask = body.truth.mask(Structure("body", level))
        plane = Ruler(mask, body.geometry, points)
        surface = body.geometry.to_world(np.argwhere(mask))
        for name, upward, forward in (("SA", 1, 1), ("SP", 1, -1), ("IA", -1, 1), ("IP", -1, -1)):
            truth = np.array(points[name])
            gap = np.maximum(np.abs(surface - truth) - cell / 2, 0)
            assert np.linalg.norm(gap, axis=1).min() < 0.75 * cell, (level, name)
            seen = plane.corner(upward, forward)
            diagonal = forward * plane.forward + upward * plane.up
            assert abs((seen - truth) @ diagonal) / np.sqrt(2) < cell, (level, name)


def test_slip_and_canal_and_disc_agree_with_the_masks(loins):
    points = loins.measurements["points"]
    for upper, lower in (("L2", "L3"),):
        along = np.subtract(points[lower]["sup ant"], points[lower]["sup post"])
        along /= np.linalg.norm(along)
        slip = np.subtract(points[upper]["IP"], points[lower]["SP"]) @ along
        assert slip == pytest.approx(loins.measurements["slips"][f"{upper}/{lower}"]["mm"], abs=1e-2)
        disc = loins.truth.mask(Structure("disc", f"{upper}/{lower}"))
        volume = disc.sum() * loins.geometry.voxel_volume
        marks = loins.measurements["discs"][f"{upper}/{lower}"]
        depth, width = (
            np.linalg.norm(np.subtract(points[lower][a], points[lower][b])) for a, b in (("SA", "SP"), ("SL", "SR"))
        )
        mean = (marks["anterior"] + marks["middle"] + marks["posterior"]) / 3
        assert 0.55 < volume / (depth * width * mean) < 1.2


def test_parts_lie_within_their_vertebra_and_apart(neck):
    for level in ("C5",):
        whole = neck.truth.mask(Structure("vertebra", level))
        body = neck.truth.mask(Structure("body", level))
        process = neck.truth.mask(Structure("spinous process", level))
        assert body.any() and process.any()
        assert not (body & ~whole).any() and not (process & ~whole).any() and not (body & process).any()
        y = {name: neck.geometry.to_world(np.argwhere(mask))[:, 1] for name, mask in (("b", body), ("p", process))}
        assert y["p"].max() < y["b"].min()
        share = body.sum() / whole.sum()
        assert 0.2 < share < 0.6
        centroid = neck.geometry.to_world(np.argwhere(body).mean(axis=0))
        assert centroid == pytest.approx(neck.measurements["points"][level]["centroid"], abs=1e-3)


def test_bone_is_bone_and_canal_is_not(neck):
    bone = np.isin(neck.tissue, (Tissue.TRABECULAR, Tissue.CORTICAL))
    for level in ("C4", "C5"):
        assert bone[neck.truth.mask(Structure("vertebra", level))].mean() > 0.995
    canal = neck.truth.mask(Structure("spinal canal"))
    cord = neck.truth.mask(Structure("spinal cord"))
    assert cord.any() and not (cord & ~canal).any()
    assert (neck.tissue[cord] == Tissue.CORD).all()
    shell = neck.tissue[neck.truth.mask(Structure("vertebra", "C5"))] == Tissue.CORTICAL
    assert 0.15 < shell.mean() < 0.75


def test_every_kind_of_body_holds_what_its_image_needs():
    needed = {
        "lateral-cervical": ("C2 body", "C7", "C5 spinous process", "C4/C5 disc"),
        "lateral-lumbar": ("T12 body", "L5", "sacrum", "L3/L4 disc", "S1 body"),
        "ap": ("T1", "T12 body", "L4", "sacrum"),
        "ct": ("T12", "L1 body", "spinal canal"),
        "mr": ("L1 body", "L5/S1 disc", "spinal canal", "sacrum"),
    }
    tissues = {
        "lateral-cervical": {Tissue.AIR, Tissue.SKIN, Tissue.TOOTH, Tissue.CORD},
        "lateral-lumbar": {Tissue.ORGAN, Tissue.FAT, Tissue.NUCLEUS},
        "ap": {Tissue.LUNG, Tissue.SKIN},
        "ct": {Tissue.CSF},
        "mr": {Tissue.CSF, Tissue.DISC},
    }
    for kind in KINDS:
        body = build_body(kind, 31, cells=(2.0, 2.0, 2.0))
        assert body.tissue.shape == body.density.shape == body.geometry.shape == body.truth.layers[0].shape
        assert body.tissue.dtype == np.uint8 and body.density.dtype == np.float16
        assert np.isfinite(body.density).all() and body.density.min() >= 0
        for name in needed[kind]:
            assert body.truth.mask(name).any(), (kind, name)
        present = {Tissue(value) for value in np.unique(body.tissue)}
        assert tissues[kind] <= present, (kind, tissues[kind] - present)
        text = json.dumps([body.measurements, body.parameters], allow_nan=False)
        assert json.loads(text)[0]["frame"] == "RAS" and json.loads(text)[0]["unit"] == "mm"


def test_shoulders_lie_beside_the_lowest_neck():
    """A horizontal ray at C7 or T1 crosses far more bone and flesh than one at C4."""
    body = build_body("lateral-cervical", 33, cells=(2.0, 2.0, 2.0))
    solid = (body.tissue > Tissue.LUNG).sum(axis=2) * body.geometry.step[2]

    def path(level):
        k, j, _ = np.round(body.geometry.to_index(body.measurements["points"][level]["centroid"])).astype(int)
        return solid[k - 2 : k + 3, j - 2 : j + 3].mean()

    assert path("T2") > 2 * path("C4") and 80 < path("C4") < 170


def digest(body) -> str:
    found = hashlib.sha256()
    for array in (body.tissue, body.density, *body.truth.layers):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(json.dumps([body.measurements, body.parameters]).encode())
    found.update(body.geometry.ijk_to_ras.tobytes())
    return found.hexdigest()


def test_same_seed_gives_the_same_bytes_even_in_another_process():
    options = {"cells": (2.0, 2.0, 2.0)}
    here = digest(build_body("lateral-cervical", 41, **options))
    assert here == digest(build_body("lateral-cervical", 41, **options))
    assert here != digest(build_body("lateral-cervical", 42, **options))
    root, testing = Path(__file__).resolve().parents[2], Path(__file__).resolve().parents[1]
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('truth', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.digest(module.build_body('lateral-cervical', 41, cells=(2.0, 2.0, 2.0))))"
    )
    paths = os.pathsep.join([str(root), str(testing), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": paths}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert there.stdout.strip() == here


def test_a_level_is_the_same_bone_in_every_kind_of_image():
    """Only the pose and the grid may differ: heights of L2 do not depend on what else is shown."""
    heights = [
        build_body(kind, 51, cells=(3.0, 3.0, 3.0)).measurements["heights"]["L2"]
        for kind in ("lateral-lumbar", "mr", "ap")
    ]
    assert heights[0] == heights[1] == heights[2]


def test_meshes_give_the_same_kind_of_truth(shared):
    data = shared / "data"
    folders = [data / "bp3d-v4-cervical-skull" / "meshes", data / "bp3d-v3-c3-sacrum-thorax" / "meshes"]
    body = build_body(
        "ct", 61, shapes=folders, mend_holes=24, region=("C4", "C6"), cells=(0.3, 0.3, 0.3), width=(62.0, 84.0)
    )
    assert body.parameters["mended"] and "C5.ply" in body.parameters["sources"]["C5"]
    angles = angle_errors(body)
    assert len(angles) >= 4 and np.abs(angles).mean() < 0.35 and np.median(np.abs(angles)) < 0.3, np.round(angles, 2)
