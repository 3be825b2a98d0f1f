"""Discs that a mask fills and the CT's endplates show."""

import numpy as np
import pytest
import torch
from plain_spine import HEIGHT, SPACING, grid, names, owners, scores
from scipy import ndimage

from SpineSegLib import pipelines
from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines.vertebrae import split_into_vertebrae
from SpineSegLib.pipelines.vertebrae.plates import emptier, middle, rises, usual


def filled_spine(geometry, *, plates=450, marrow=150, disc=90, noise=15, filled=(1, 2, 3, 4, 5)):
    """Return labels, a mask that fills the discs below these vertebrae, and the CT of it all."""
    points = geometry.to_world(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1))
    labels = owners(points)
    x, y, z = np.moveaxis(points, -1, 0)
    column = np.hypot(x + 6 * np.sin(z / 50), 1.2 * (y - 12 * np.sin(z / 70))) < 16
    column &= abs(z) < 2.5 * SPACING - (SPACING - HEIGHT) / 2
    below = np.clip(np.ceil((2.5 * SPACING - HEIGHT / 2 - z) / SPACING), 1, 5)
    up = (2.5 * SPACING - z) % SPACING - SPACING / 2
    mask = (labels > 0) | (column & np.isin(below, filled))
    hu = np.where(mask, np.where(labels > 0, marrow, disc), 40.0)
    hu[column & (abs(abs(up) - HEIGHT / 2) < 1.2)] = plates
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    return labels, mask, hu.astype(np.int16)


GRIDS = {
    "plain": grid(),
    "oblique": grid(tilt=(12, -9, 15)),
    "oblique coronal slices": grid(tilt=(-14, 10, 5), order=(2, 0, 1), signs=(-1, 1, -1), steps=(1.5, 0.8, 1.0)),
    "head down": grid(signs=(1, -1, -1)),
    "thick slices": grid(steps=(0.8, 0.8, 3.0)),
}


@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS.keys())
def test_filled_discs_are_found_between_bright_plates_on_any_grid(geometry):
    labels, mask, hu = filled_spine(geometry)
    alone = split_into_vertebrae(mask, geometry)
    assert len(alone.segmentation.segments) < 5
    split = split_into_vertebrae(mask, geometry, hu=hu)
    assert len(split.segmentation.segments) == 5
    assert min(scores(split, np.where(mask, labels, 0))) > 0.8
    assert ((split.segmentation.layers[0] > 0) == mask).all()


def test_one_filled_disc_among_open_ones_is_cut_where_the_plates_are():
    geometry = grid()
    labels, mask, hu = filled_spine(geometry, filled=(3,))
    split = split_into_vertebrae(mask, geometry, top_level="T11", hu=hu)
    assert names(split) == ["T11", "T12", "L1", "L2", "L3"]
    assert min(scores(split, labels)) > 0.85


def test_open_discs_are_cut_as_without_a_ct():
    geometry = grid(tilt=(12, -9, 15))
    _, mask, hu = filled_spine(geometry, filled=())
    with_ct, alone = (split_into_vertebrae(mask, geometry, hu=values) for values in (hu, None))
    assert (with_ct.segmentation.layers[0] == alone.segmentation.layers[0]).all()


def test_noise_is_no_plate():
    geometry = grid()
    _, mask, hu = filled_spine(geometry, plates=150, disc=150, noise=60)
    with_ct, alone = (split_into_vertebrae(mask, geometry, hu=values) for values in (hu, None))
    assert len(with_ct.segmentation.segments) == len(alone.segmentation.segments)


def test_metal_in_a_body_is_not_taken_for_a_plate():
    geometry = grid()
    labels, mask, hu = filled_spine(geometry)
    hu[ndimage.binary_erosion(labels == 3, iterations=6)] = 3000
    split = split_into_vertebrae(mask, geometry, hu=hu)
    assert len(split.segmentation.segments) == 5


def test_a_hill_is_measured_against_its_surroundings_and_bridges_what_is_not_seen():
    along = np.repeat(np.arange(100), 50)
    bright = np.where((along > 47) & (along < 53), 400.0, 150.0)
    seen = (along < 20) | (along > 23)
    rise = rises(along[seen], bright[seen], 100, 10)
    assert abs(rise.argmax() - 50) <= 1 and rise[50] > 80
    assert abs(rise[15:28]).max() < 5
    assert not rises(along[:0], bright[:0], 100, 10).any()
    share = emptier(np.ones(100), rise, usual(rise))
    assert (
        abs(share[48:53] - 0.3).max() < 1e-6
        and share.min() == pytest.approx(0.3)
        and share[10] == pytest.approx(1, abs=0.02)
    )


@pytest.mark.parametrize("lower", [300.0, 600.0])
def test_the_middle_of_a_disc_is_between_its_plates_though_one_is_brighter(lower):
    along = np.repeat(np.arange(100), 50)
    bright = np.where(abs(along - 47) < 2, 450.0, np.where(abs(along - 53) < 2, lower, 150.0))
    rise = rises(along, bright, 100, 10)
    assert middle(rise, int(rise.argmax())) == pytest.approx(50, abs=1)
    assert middle(rise[:50], 49) <= 49  # a hill that the end cuts off


def test_segment_takes_the_plates_of_a_ct(monkeypatch):
    geometry = grid(tilt=(5, 5, 5))
    _, mask, hu = filled_spine(geometry)

    def finds(image, card, run, **card_arguments):
        return Segmentation.from_masks({Structure("spine"): mask}, image.geometry)

    monkeypatch.setattr(run_module, "_pipelines", lambda: {"slicewise": finds})
    monkeypatch.setattr(run_module, "load_network", lambda *_: torch.nn.Identity())
    how = {"device": "cpu", "precision": "float32", "vertebrae": True}
    found = pipelines.segment(Image(hu, geometry, "CT"), card("linknet34-ct-small"), **how)
    assert len(found.segmentation.segments) == 5
