"""From spine to vertebrae: plain shapes, whose every voxel has a known owner, on grids that hide no mistake."""

import numpy as np
import pytest
import torch
from plain_spine import SPACING, grid, names, owners, scores, truth

from SpineSegLib import pipelines
from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.models.cards import Card
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines.levels import unlabelled
from SpineSegLib.pipelines.vertebrae import split_into_vertebrae
from SpineSegLib.pipelines.vertebrae.cuts import Cut, find_cuts
from SpineSegLib.pipelines.vertebrae.ends import cut_off, without_fragments


@pytest.mark.parametrize(
    "geometry",
    [
        grid(),
        grid(tilt=(12, -9, 15)),
        grid(order=(1, 2, 0), signs=(1, -1, 1)),
        grid(tilt=(-14, 10, 5), order=(2, 0, 1), signs=(-1, 1, -1), steps=(1.5, 0.8, 1.0)),
        grid(steps=(0.8, 0.8, 3.0)),
    ],
    ids=["plain", "oblique", "sagittal slices", "oblique coronal slices", "thick slices"],
)
def test_every_vertebra_is_found_with_its_processes_on_any_grid(geometry):
    labels = truth(geometry)
    split = split_into_vertebrae(labels > 0, geometry)
    assert len(split.segmentation.segments) == 5
    assert min(scores(split, labels)) > 0.9
    assert ((split.segmentation.layers[0] > 0) == (labels > 0)).all()
    assert split.segmentation.geometry.same_as(geometry)


def test_vertebrae_are_counted_from_the_top_until_one_is_named():
    geometry = grid()
    mask = truth(geometry) > 0
    split = split_into_vertebrae(mask, geometry)
    assert names(split)[:2] == ["unlabelled, 1st from the top", "unlabelled, 2nd from the top"]
    assert {segment.structure for segment in split.segmentation.segments} == {Structure("vertebrae")}
    assert any("--top-level" in note for note in split.notes)
    split = split_into_vertebrae(mask, geometry, top_level="T11")
    assert names(split) == ["T11", "T12", "L1", "L2", "L3"]
    assert split.segmentation.segments[2].structure == Structure("vertebra", "L1")
    assert split.notes == ()


def test_more_vertebrae_than_a_spine_has_below_that_level_stay_unnamed_and_it_says_why():
    geometry = grid()
    split = split_into_vertebrae(truth(geometry) > 0, geometry, top_level="L4")
    assert names(split) == unlabelled(5)
    assert [note.startswith("--top-level: L4 with 0 vertebrae above it and 4 below") for note in split.notes] == [True]
    assert split.notes[0].endswith("The levels were left open.")


def test_a_level_that_there_is_not_is_refused():
    geometry = grid()
    with pytest.raises(InputError, match="--top-level: 'C9'"):
        split_into_vertebrae(truth(geometry) > 0, geometry, top_level="C9")


def test_a_fused_pair_is_split_and_said_to_be_doubtful():
    geometry = grid()
    labels = truth(geometry, fused=3)
    split = split_into_vertebrae(labels > 0, geometry, top_level="T11")
    assert names(split) == ["T11", "T12", "L1 (doubtful)", "L2 (doubtful)", "L3"]
    assert min(scores(split, labels)) > 0.8
    assert any("L1 is doubtful" in note for note in split.notes)


@pytest.mark.parametrize("upper", [True, False])
def test_vertebrae_at_an_end_whose_discs_are_filled_are_one_that_is_said_to_be_several(upper):
    geometry = grid(size=(80, 110, 250))
    points = geometry.to_world(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1))
    labels = owners(points, count=6)
    x, y, z = np.moveaxis(points, -1, 0)
    filled = np.isin(labels, (1, 2, 3) if upper else (4, 5, 6))
    inside = (z > z[filled].min()) & (z < z[filled].max())
    column = np.hypot(x + 6 * np.sin(z / 50), 1.2 * (y - 12 * np.sin(z / 70))) < 16
    split = split_into_vertebrae((labels > 0) | (column & inside), geometry, top_level="T11")
    (one,) = [note for note in split.notes if "may be several vertebrae in one" in note]
    assert one.startswith("T11 is doubtful" if upper else f"{names(split)[-1].split()[0]} is doubtful")
    assert names(split)[0 if upper else -1].endswith("(doubtful)")


def test_a_broad_end_is_the_sacrum_and_the_level_above_is_advised():
    geometry = grid(size=(90, 110, 190))
    labels = truth(geometry, sacrum=True)
    split = split_into_vertebrae(labels > 0, geometry)
    assert names(split)[-1] == "sacrum"
    assert any("--top-level L2" in note for note in split.notes)
    assert names(split_into_vertebrae(labels > 0, geometry, top_level="L2")) == ["L2", "L3", "L4", "L5", "sacrum"]


def test_processes_of_a_vertebra_that_is_cut_off_stay_with_what_is_left_of_it():
    geometry = grid()
    # The image ends within the uppermost body, below its pedicles.
    labels = truth(geometry, cut_above=2 * SPACING - 4)
    split = split_into_vertebrae(labels > 0, geometry)
    assert len(split.segmentation.segments) == 5
    assert min(scores(split, labels)) > 0.8


@pytest.mark.parametrize("height", [-13.0, -15.0])
def test_the_tip_of_a_process_at_the_edge_is_a_vertebra_of_its_own_and_doubtful(height):
    geometry = grid(steps=(0.9, 1.1, 1.2))
    labels = truth(geometry)
    # The image ends below the uppermost body: nothing but the tip of its spinous process is in view, behind the next.
    shown = int(np.floor(geometry.to_index(np.array([0, 0, 2 * SPACING + height]))[0])) + 1
    labels = labels[:shown]
    assert 0 < (labels == 1).sum() < 0.06 * (labels == 3).sum()
    split = split_into_vertebrae(labels > 0, geometry.cropped([0, 0, 0], labels.shape), top_level="T9")
    assert names(split) == ["T9 (doubtful)", "T10", "T11", "T12", "L1"]
    assert min(scores(split, labels)) > 0.8
    assert any(note.startswith("T9 is doubtful: the image's edge cuts it off") for note in split.notes)
    assert any("--top-level T8" in note for note in split.notes)


def test_a_small_part_is_a_vertebra_only_where_the_image_ends():
    numbers = np.repeat(np.arange(5), 20)[:, None, None] * np.ones((1, 20, 20), int)
    numbers[20:40] = 0
    numbers[38:40, :5, :12] = 1  # 120 mm³ of 8000
    edge = np.zeros(numbers.shape, bool)
    cuts = [Cut(at, 0.0, 0.0, 0.0) for at in (40.0, 60.0, 80.0)]
    found, left = without_fragments(numbers, cuts, edge)
    assert found.max() == 3 and left == cuts[1:]
    assert (found[38:60] == np.where(numbers[38:60] > 0, 1, 0)).all()
    edge[38] = True
    found, left = without_fragments(numbers, cuts, edge)
    assert (found == numbers).all() and left == cuts
    assert cut_off(found, edge, 4) == {0: 120.0}
    # Less than a hundredth of a vertebra counts where nothing touches it, unless it is a speck.
    numbers[39] = 0
    numbers[38, :5, 7:] = 0  # 35 mm³
    assert without_fragments(numbers, cuts, edge)[0].max() == 4
    numbers[38, 3:] = 0
    assert without_fragments(numbers, cuts, edge)[0].max() == 3


def test_a_mask_without_discs_is_one_doubtful_vertebra():
    geometry = grid()
    labels = truth(geometry, count=1)
    split = split_into_vertebrae(labels > 0, geometry)
    assert names(split) == ["unlabelled, 1st from the top (doubtful)"]
    speck = np.zeros(geometry.shape, bool)
    speck[50, 40, 30] = True
    assert (split_into_vertebrae(speck, geometry).segmentation.layers[0] == speck).all()


def test_a_spine_that_fills_the_image_to_its_edges_is_kept_whole():
    geometry = Geometry((53, 31, 37), np.diag([-1.37, -1.21, 1.83, 1.0]))
    split = split_into_vertebrae(np.ones(geometry.shape, bool), geometry)
    assert (split.segmentation.layers[0] > 0).all()


def test_an_empty_mask_gives_no_vertebra_and_says_so():
    geometry = grid()
    split = split_into_vertebrae(np.zeros(geometry.shape, bool), geometry)
    assert split.segmentation.segments == ()
    assert "no spine" in split.notes[0]


def test_cuts_lie_in_the_valleys_and_go_on_through_one_that_is_filled():
    along = np.arange(200)
    valleys = [10, 35, 60, 86, 112, 138, 163, 188]
    share = 1 - sum(np.exp(-(((along - at) / 2.0) ** 2)) for at in valleys)
    assert find_cuts(share, np.full(200, 13.0)) == valleys
    share[80:92] = 1.0
    found = find_cuts(share, np.full(200, 13.0))
    assert len(found) == 8 and abs(found[3] - 86) <= 3
    # A slight hollow in the middle of a body is no disc.
    share[122:128] = 0.7
    assert len(find_cuts(share, np.full(200, 13.0))) == 8


def test_solid_bone_is_not_cut():
    assert find_cuts(np.ones(100), np.full(100, 13.0)) == []


class Still(torch.nn.Module):
    stride = 1

    def forward(self, x):
        return x


@pytest.fixture
def scan(monkeypatch):
    """An image, and a pipeline that finds in it what is brighter than 0 as a whole spine."""
    geometry = grid(tilt=(5, 5, 5))
    labels = truth(geometry)

    def finds(image, card, run, **card_arguments):
        return Segmentation.from_masks({Structure("spine"): image.array > 0}, image.geometry)

    monkeypatch.setattr(run_module, "_pipelines", lambda: {"slicewise": finds, "whole-image": finds})
    monkeypatch.setattr(run_module, "load_network", lambda *_: Still())
    return Image(labels.astype(np.int16), geometry, "CT")


def segmented(image, **how):
    model = how.pop("model", card("linknet34-ct-small"))
    return pipelines.segment(image, model, device="cpu", precision="float32", **how)


def test_any_model_of_the_spine_in_one_gives_vertebrae_when_asked(scan):
    assert names(segmented(scan)) == ["spine"]
    assert names(segmented(scan, vertebrae=True, top_level="C3")) == ["C3", "C4", "C5", "C6", "C7"]
    found = segmented(scan, vertebrae=True)
    assert len(found.segmentation.segments) == 5
    assert any("--top-level" in warning for warning in found.warnings)


def test_a_card_can_ask_for_vertebrae_and_the_user_can_decline(scan):
    model = card("linknet34-ct-small")
    model = Card(**{**vars(model), "pipeline": {**model.pipeline, "vertebrae": True}})
    assert len(names(segmented(scan, model=model))) == 5
    assert names(segmented(scan, model=model, vertebrae=False)) == ["spine"]
    assert names(segmented(scan, model=model, keep_probability=True)) == ["spine"]


def test_a_top_level_without_vertebrae_says_what_to_add(scan):
    with pytest.raises(InputError, match="Add --vertebrae"):
        segmented(scan, top_level="C3")


def test_a_model_of_radiographs_cannot_split_a_spine():
    film = Image(
        np.arange(1200, dtype=np.int16).reshape(1, 40, 30), Geometry((1, 40, 30), np.diag([-1.0, -1.0, 1.0, 1.0])), "XR"
    )
    with pytest.raises(InputError, match="--vertebrae: it is asked of unet-xray-small"):
        segmented(film, model=card("unet-xray-small"), vertebrae=True)


@pytest.mark.slow
def test_a_digital_patients_vertebrae_are_found_one_to_one():
    from SpineSegLib.phantom.cases import Order, make_case

    masks = make_case(Order(kind="ct", seed=5101, size=160), 0).masks
    whole = [segment for segment in masks.segments if segment.structure.kind in ("vertebra", "sacrum")]
    spine = np.logical_or.reduce([masks.mask(segment) for segment in whole])
    found = split_into_vertebrae(spine, masks.geometry).segmentation.layers[0]
    best = []
    for segment in whole:
        mask = masks.mask(segment)
        number = np.bincount(found[mask]).argmax()
        best.append((number, 2 * (mask & (found == number)).sum() / (mask.sum() + (found == number).sum())))
    assert len({number for number, _ in best}) == len(whole)
    assert min(dice for _, dice in best[1:]) > 0.9
