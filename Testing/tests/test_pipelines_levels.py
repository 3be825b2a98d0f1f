"""Levels of vertebrae: order, numbers, gaps, and names of those that nobody knows."""

import numpy as np
import pytest
import torch

from SpineSegLib import pipelines
from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io import read_segmentation, write_segmentation
from SpineSegLib.models import card
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines.levels import (
    gap_notes,
    head_direction,
    is_without_patient,
    numbered,
    order_cranial_to_caudal,
    probable_gaps,
    unlabelled,
    vertebrae_segmentation,
)

USUAL = [level for level in LEVELS if level not in ("T13", "L6")]


def test_a_whole_spine_is_counted_from_c1_to_s1():
    assert numbered(25, level="C1") == USUAL
    assert numbered(25, at=24, level="S1") == USUAL


def test_levels_are_counted_both_ways_from_the_known_one():
    assert numbered(6, at=3, level="T1") == ["C5", "C6", "C7", "T1", "T2", "T3"]
    assert numbered(3) == ["C2", "C3", "C4"]
    assert numbered(1, level="L5") == ["L5"]
    assert numbered(0, level="L5") == []


def test_t13_and_l6_are_counted_only_in_people_who_have_them():
    assert numbered(3, level="T12") == ["T12", "L1", "L2"]
    assert numbered(3, level="T12", extra=["T13"]) == ["T12", "T13", "L1"]
    assert numbered(4, level="L4", extra=["L6"]) == ["L4", "L5", "L6", "S1"]
    assert numbered(3, at=1, level="L6") == ["L5", "L6", "S1"]
    assert numbered(2, level="T13") == ["T13", "L1"]


def test_a_person_without_t12_has_l1_below_t11():
    assert numbered(3, level="T10", missing=["T12"]) == ["T10", "T11", "L1"]


@pytest.mark.parametrize(
    ("count", "at", "level"), [(3, 0, "L5"), (26, 0, "C1"), (5, 3, "C2"), (2, 0, "S1"), (1, 0, "T14"), (1, 0, "c2")]
)
def test_more_vertebrae_than_a_spine_has_are_an_error_that_names_the_level(count, at, level):
    with pytest.raises(InputError, match=rf"--top-level: .*{level}"):
        numbered(count, at=at, level=level)


def test_unlabelled_ones_are_counted_from_the_top():
    names = unlabelled(23)
    assert names[:4] == [f"unlabelled, {word} from the top" for word in ("1st", "2nd", "3rd", "4th")]
    assert names[10:13] == [f"unlabelled, {word} from the top" for word in ("11th", "12th", "13th")]
    assert names[20:] == [f"unlabelled, {word} from the top" for word in ("21st", "22nd", "23rd")]


def spine(count=9):
    """Centroids from the head down: a kyphotic, slightly scoliotic arc."""
    angle = np.linspace(-0.5, 0.6, count)
    return np.stack([6 * np.sin(3 * angle), -30 * np.cos(2 * angle), -200 * np.sin(angle)], axis=1)


@pytest.mark.parametrize("tilt", [(0, 0, 0), (50, 0, 0), (0, -60, 0), (35, 35, 170)])
def test_order_follows_the_spine_however_it_lies(tilt):
    from scipy.spatial.transform import Rotation

    points = spine() @ Rotation.from_euler("xyz", tilt, degrees=True).as_matrix().T + [10, 200, -1400]
    shuffled = np.random.default_rng(1).permutation(len(points))
    assert (shuffled[order_cranial_to_caudal(points[shuffled])] == np.arange(len(points))).all()


def test_order_in_an_oblique_volume_does_not_depend_on_its_axes(oblique):
    flipped = oblique.ijk_to_ras @ np.diag([-1, 1, -1, 1])
    for matrix in (oblique.ijk_to_ras, flipped):
        grid = Geometry(oblique.shape, matrix)
        points = grid.to_world(grid.to_index(spine()))
        assert order_cranial_to_caudal(points, grid).tolist() == list(range(len(points)))


def test_in_a_picture_the_top_is_cranial():
    picture = Geometry((1, 300, 200), np.diag([-1.0, -1.0, 1.0, 1.0]), SpacingSource.UNKNOWN)
    assert is_without_patient(picture)
    rows = np.array([[0, 250, 90], [0, 40, 120], [0, 150, 100]])
    assert order_cranial_to_caudal(picture.to_world(rows), picture).tolist() == [1, 2, 0]
    turned = Geometry((1, 300, 200), np.diag([1.0, 1.0, 1.0, 1.0]), SpacingSource.HEADER)
    assert order_cranial_to_caudal(turned.to_world(rows), turned).tolist() == [1, 2, 0]


def test_in_a_sagittal_slice_of_a_patient_the_head_is_where_it_is():
    # Rows run towards the head: what is at the top of the array is caudal.
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0.1, -4.0], [-0.7, 0, 0], [0, 0.7, 0.2]])
    grid = Geometry((1, 300, 200), matrix)
    assert not is_without_patient(grid)
    assert head_direction(grid).tolist() == [0, 0, 1]
    rows = np.array([[0, 250, 90], [0, 40, 120], [0, 150, 100]])
    assert order_cranial_to_caudal(grid.to_world(rows), grid).tolist() == [0, 2, 1]


def test_few_centroids_are_in_order_too():
    assert order_cranial_to_caudal(np.zeros((0, 3))).tolist() == []
    assert order_cranial_to_caudal(np.ones((1, 3))).tolist() == [0]
    assert order_cranial_to_caudal(np.array([[0, 0, -5.0], [1, 0, 9]])).tolist() == [1, 0]


def test_a_missed_vertebra_is_noticed_and_growing_spacing_is_not():
    place = np.cumsum(16 * 1.04 ** np.arange(23))
    whole = np.stack([0.1 * place, place], axis=1)
    assert probable_gaps(whole) == []
    for missed in (1, 5, 12, 21):
        assert probable_gaps(np.delete(whole, missed, axis=0)) == [missed - 1]
    assert probable_gaps(np.delete(whole, [4, 14], axis=0)) == [3, 12]


def test_spacing_must_exceed_the_factor():
    place = np.array([0, 10, 20, 36, 46, 56.0])
    line = np.stack([place, 0 * place, 0 * place], axis=1)
    assert probable_gaps(line) == []
    line[3:, 0] += 0.01
    assert probable_gaps(line) == [2]
    assert probable_gaps(line, factor=1.7) == []
    assert probable_gaps(line[:2]) == probable_gaps(line[:1]) == []


def test_a_gap_is_told_in_words_with_both_names():
    (note,) = gap_notes(["C2", "C3", "C5"], [1])
    assert "C3 and C5" in note
    assert note.endswith(".")


def test_segments_carry_level_code_and_colour_through_a_file(oblique, tmp_path):
    masks = np.zeros((5, *oblique.shape), bool)
    for number in range(5):
        masks[number, 2 * number % 9, 3 : 6 + number] = True
    masks[1] |= masks[0]
    found = vertebrae_segmentation(masks, ["T12", "T13", None, None, "L1"], oblique, doubtful=[1, 3])
    assert [segment.name for segment in found.segments] == [
        "T12",
        "T13 (doubtful)",
        "unlabelled, 3rd from the top",
        "unlabelled, 4th from the top (doubtful)",
        "L1",
    ]
    assert len({segment.colour for segment in found.segments}) == 5
    write_segmentation(found, tmp_path / "v.seg.nrrd")
    again = read_segmentation(tmp_path / "v.seg.nrrd")
    assert [segment.name for segment in again.segments] == [segment.name for segment in found.segments]
    vertebra = Structure("vertebrae")
    expected = [Structure("vertebra", "T12"), Structure("vertebra", "T13"), vertebra, vertebra]
    assert [segment.structure for segment in again.segments] == [*expected, Structure("vertebra", "L1")]
    for mask, segment in zip(masks, again.segments, strict=True):
        assert (again.mask(segment) == mask).all()


def test_bodies_are_named_as_bodies(oblique):
    masks = np.zeros((2, *oblique.shape), bool)
    masks[0, 0], masks[1, 1] = True, True
    found = vertebrae_segmentation(masks, ["C3", None], oblique, kind="body", probabilities={1: masks[1] * 0.5})
    assert [segment.structure for segment in found.segments] == [Structure("body", "C3"), Structure("bodies")]
    assert found.segments[0].probability is None
    assert found.segments[1].probability.max() == 0.5


class Dark(torch.nn.Module):
    stride = 1

    def forward(self, x):
        return x - 9


@pytest.fixture
def ladder(monkeypatch):
    """A pipeline that finds three vertebrae and a gap, on any picture."""

    def finds(image, card, run, *, report, top_level=None, **card_arguments):
        masks = np.zeros((3, *image.geometry.shape), bool)
        for number in range(3):
            masks[number, 0, 10 * number : 10 * number + 5] = True
        names = numbered(3, level=top_level) if top_level else [None] * 3
        run.notes.append("Something was noticed.")
        return vertebrae_segmentation(masks, names, image.geometry)

    monkeypatch.setattr(run_module, "_pipelines", lambda: {"whole-image": finds})
    monkeypatch.setattr(run_module, "load_network", lambda *_: Dark())


def film():
    grid = Geometry((1, 40, 30), np.diag([-1.0, -1.0, 1.0, 1.0]), SpacingSource.UNKNOWN)
    return Image(np.arange(1200, dtype=np.int16).reshape(grid.shape), grid, "XR")


def found(**options):
    return pipelines.segment(film(), card("unet-xray-small"), device="cpu", precision="float32", **options)


def test_the_user_names_the_top_and_the_rest_follows(ladder):
    assert [segment.name for segment in found(top_level="C6").segmentation.segments] == ["C6", "C7", "T1"]
    assert [segment.name for segment in found().segmentation.segments] == unlabelled(3)


def test_what_a_pipeline_notices_reaches_the_user(ladder):
    assert found().warnings == ("Something was noticed.",)


@pytest.mark.parametrize("level", ["C9", "L5"])
def test_a_top_level_that_cannot_be_is_told_in_one_line(ladder, level):
    with pytest.raises(InputError, match="--top-level") as caught:
        found(top_level=level)
    assert "\n" not in str(caught.value)


def test_a_model_that_finds_all_vertebrae_in_one_has_no_top():
    with pytest.raises(InputError, match="--top-level: C2 for unet-xray-small"):
        found(top_level="C2")
