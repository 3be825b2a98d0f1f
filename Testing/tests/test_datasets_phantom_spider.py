"""Cases of the digital spine and SPIDER's slices as pictures: what lies on disk is what a case shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_copies import film, write_picture, write_spider_slices
from simple_body import simple_body

from SpineSegLib.datasets import read_cases
from SpineSegLib.datasets.polygons import bodies
from SpineSegLib.datasets.splits import split_cases
from SpineSegLib.errors import InputError
from SpineSegLib.image import SpacingSource
from SpineSegLib.io import write_segmentation
from SpineSegLib.phantom.cases import Order, image_of
from SpineSegLib.phantom.write import write_case

KINDS = ("lateral-cervical", "ap", "ct", "mr")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A folder of each kind, each with a case."""
    out = tmp_path_factory.mktemp("phantoms")
    made = {}
    for kind in KINDS:
        made[kind] = image_of(simple_body(1.0), Order(kind, size=160 if kind in KINDS[:2] else 64), 0, image_seed=3)
        (out / kind).mkdir()
        write_case(made[kind], out / kind, write_segmentation)
    return made, out


def test_every_kind_of_phantom_is_listed_and_read(phantoms):
    made, out = phantoms
    found = {case.name: case for case in read_cases("phantom-folder", out)}
    assert sorted(found) == sorted(f"{kind}-phantom0001" for kind in KINDS)
    assert {case.patient for case in found.values()} == {"phantom0001"}
    for kind, truth in made.items():
        image, labels = found[f"{kind}-phantom0001"].load()
        assert image.modality == truth.image.modality
        assert image.geometry.same_as(truth.image.geometry)
        assert labels.geometry.same_as(image.geometry)
        assert {segment.name for segment in labels.segments} == {segment.name for segment in truth.masks.segments}
        for segment in truth.masks.segments:
            assert np.array_equal(labels.mask(segment.name), truth.masks.mask(segment))
        assert {segment.structure.kind for segment in truth.masks.segments} <= found[f"{kind}-phantom0001"].labelled


def test_a_film_has_its_spacing_and_source(phantoms):
    (case,) = read_cases("phantom-folder", phantoms[1] / "lateral-cervical")
    assert case.name == "phantom0001"
    assert case.load()[0].geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING


@pytest.mark.parametrize("kind", ["lateral-cervical", "ap"])
def test_landmarks_are_the_corners_of_the_bodies_on_the_film(phantoms, kind):
    (case,) = read_cases("phantom-folder", phantoms[1] / kind)
    image, labels = case.load()
    landmarks = case.landmarks()
    assert landmarks
    inside = bodies(landmarks, image.geometry, phantoms[1])
    for level, points in landmarks.items():
        top_left, top_right, bottom_left, bottom_right = points
        assert top_left[0] < top_right[0]
        assert bottom_left[0] < bottom_right[0]
        assert top_left[1] < bottom_left[1]
        assert top_right[1] < bottom_right[1]
        a, b = inside.mask(f"{level} body"), labels.mask(f"{level} body")
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.75


def test_an_unfinished_case_is_left_out_and_none_is_one_line(tmp_path, phantoms):
    made, _ = phantoms
    write_case(made["ap"], tmp_path, write_segmentation)
    (tmp_path / "parameters" / "phantom0001.json").unlink()
    with pytest.raises(InputError, match="no finished case"):
        read_cases("phantom-folder", tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"size": [1, 2], "kind": "ap", "points": {}})])
def test_a_damaged_truth_file_is_one_line(tmp_path, phantoms, content):
    write_case(phantoms[0]["ap"], tmp_path, write_segmentation)
    (case,) = read_cases("phantom-folder", tmp_path)
    (tmp_path / "truth" / "phantom0001.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="it is damaged"):
        case.landmarks()


def test_spider_slices_are_turned_upright_with_levels_by_colour(tmp_path):
    truth = write_spider_slices(tmp_path)
    case = read_cases("spider-slices", tmp_path)[0]
    image, labels = case.load()
    assert case.name == "10008_12"
    assert case.labelled == {"vertebra"}
    assert image.modality == "MR"
    assert image.geometry.spacing is None
    assert np.array_equal(image.array[0], truth["image"])
    assert {segment.name for segment in labels.segments} == set(truth["masks"])
    for level, mask in truth["masks"].items():
        assert np.array_equal(labels.mask(level)[0], mask)


def test_neighbouring_series_of_spider_stay_together(tmp_path):
    names = ("10008_1", "10009_5", "10010_5", "10012_3", "10013_0", "10020_7")
    write_spider_slices(tmp_path, names)
    found = {case.name: case.patient for case in read_cases("spider-slices", tmp_path)}
    assert len(set(found.values())) == 3
    assert found["10008_1"] == found["10009_5"] == found["10010_5"] != found["10012_3"]
    alone = {case.patient for case in read_cases("spider-slices", tmp_path, neighbours=False)}
    assert len(alone) == 6
    told = read_cases("spider-slices", tmp_path, patient=r"^\d{4}")
    assert {case.patient for case in told} == {"1000", "1001", "1002"}


def test_an_unknown_colour_or_another_size_of_a_spider_mask_is_one_line(tmp_path):
    write_spider_slices(tmp_path)
    cases = read_cases("spider-slices", tmp_path)
    colours = np.zeros((40, 30, 3), np.uint8)
    colours[3, 4] = (254, 0, 0)
    write_picture(tmp_path / "masks" / "10008_12.png", colours)
    with pytest.raises(InputError, match="1 pixels of an unknown colour, first #fe0000"):
        cases[0].load()
    write_picture(tmp_path / "masks" / "10009_3.png", colours[:, :20])
    with pytest.raises(InputError, match=r"a mask of 20 x 40; expected 30 x 40"):
        cases[1].load()
    write_picture(tmp_path / "masks" / "10011_0.png", film())
    with pytest.raises(InputError, match="without colours"):
        cases[2].load()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (["images/10008_1.png"], "no folders 'images' and 'masks'"),
        (["images/10008_1.png", "masks/10008_2.png"], "stands in one of them alone"),
        (["images/lumbar.png", "masks/lumbar.png"], "no series and slice"),
    ],
)
def test_a_folder_that_is_no_set_of_spider_slices_is_one_line(tmp_path, files, complaint):
    for name in files:
        write_picture(tmp_path / name, film())
    with pytest.raises(InputError, match=complaint):
        read_cases("spider-slices", tmp_path)


def test_the_real_spider_slices_split_without_one_body_in_two_parts(shared):
    found = read_cases("spider-slices", shared / "data" / "spider-lumbar-mri-2d")
    assert len(found) == 26
    split = split_cases(found, {"shares": [0.6, 0.2, 0.2]}, seed=0)
    masks = {}
    for case in found:
        _image, labels = case.load()
        # The sacrum is below: L5 lies under L4 in every slice that has both.
        rows = {s.name: np.nonzero(labels.mask(s)[0])[0].mean() for s in labels.segments}
        assert list(rows.values()) == sorted(rows.values()) or labels.foreground.sum() < 3000
        masks[case.name] = labels.foreground.tobytes()
    parts = [{masks[name] for name in part} for part in (split.training, split.validation, split.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
