"""The projector against analytic shadows: which way is left, how large, how bright."""

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.phantom.projector import View, film, line_integrals, project

VERTEBRA = Structure("vertebra", "T5")


def ball(geometry, centre, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return np.linalg.norm(geometry.to_world(grid) - centre, axis=-1) <= radius


def upright(shape=(60, 70, 80), step=(2.0, 1.5, 1.25)):
    """A grid towards head, back and left whose middle is the origin; `step` is along k, j, i."""
    matrix = np.diag([-step[2], -step[1], step[0], 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return Geometry(shape, matrix)


def tilted(geometry, degrees=(11, -14, 23)):
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return geometry.transformed(turn)


def shadow(geometry, centre, radius, view):
    mask = ball(geometry, centre, radius)
    integrals, met = line_integrals(mask.astype(np.float32), geometry, view, (mask.astype(np.uint8),))
    return integrals, met[0] > 0


@pytest.mark.parametrize(
    ("azimuth", "centre", "row", "column"),
    [
        (0, (-20, 0, 0), 0, +1),  # the patient's left is at the right of an AP film
        (0, (0, 0, 20), -1, 0),  # the head is up
        (90, (0, 20, 0), 0, -1),  # the front is at the left of a lateral film
        (-90, (0, 20, 0), 0, +1),  # and at the right of one taken from the other side
        (180, (-20, 0, 0), 0, -1),  # a PA film as seen from the source
    ],
)
def test_nothing_is_flipped(azimuth, centre, row, column):
    view = View(azimuth=azimuth, size=(120, 140), pixel=1.5, centre=(0, 0, 0))
    _, mask = shadow(upright(), np.array(centre), 8, view)
    found = np.argwhere(mask).mean(axis=0) - [59.5, 69.5]
    assert np.sign(np.where(np.abs(found) < 3, 0, found)).tolist() == [row, column]


@pytest.mark.parametrize("turn", [None, (11, -14, 23), (80, 5, 10)])
def test_a_ball_throws_the_analytic_shadow_on_any_grid(turn):
    geometry = upright((90, 100, 110), (1.0, 0.9, 0.8))
    geometry = geometry if turn is None else tilted(geometry, turn)
    centre, radius = np.array([9.0, -6.0, 12.0]), 15.0
    view = View(
        azimuth=20, tilt=8, roll=5, size=(160, 160), pixel=0.8, source_detector=900, source_centre=700, centre=(0, 0, 0)
    )
    integrals, mask = shadow(geometry, centre, radius, view)
    beam, right, down = view.frame()
    source = -view.source_centre * beam
    v = (np.arange(160) - 79.5) * view.pixel
    rays = view.source_detector * beam + v[:, None, None] * down + v[None, :, None] * right
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ (centre - source)
    distance = np.sqrt(np.maximum(((centre - source) ** 2).sum() - along**2, 0))
    chord = 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
    # Half a voxel's diagonal is what a voxelised ball may differ by.
    edge = 0.5 * np.linalg.norm(geometry.step)
    assert mask[distance < radius - edge].all()
    assert not mask[distance > radius + edge].any()
    inner = distance < radius - 2 * edge
    assert np.abs(integrals - chord)[inner].max() < 2.0
    assert integrals[inner].sum() == pytest.approx(chord[inner].sum(), rel=0.01)
    assert integrals.sum() == pytest.approx(chord.sum(), rel=0.02)


def test_a_slab_of_water_absorbs_by_beer_and_lambert():
    geometry = upright((41, 50, 41), (2, 2, 2))
    slab = np.full(geometry.shape, 0.02, np.float32)
    view = View(size=(31, 31), pixel=1.0, source_detector=1e6, source_centre=0.9e6, centre=(0, 0, 0))
    integrals, _ = line_integrals(slab, geometry, view)
    assert integrals[15, 15] == pytest.approx(0.02 * 50 * 2, rel=1e-4)
    assert film(integrals, scatter=0, seed=None)[15, 15] == pytest.approx(2.0, rel=1e-4)


def test_quantum_noise_has_the_spread_of_its_photons():
    flat = np.full((200, 200), 1.0, np.float32)
    noisy = film(flat, photons=10_000, scatter=0, seed=3)
    assert noisy.std() == pytest.approx(1 / np.sqrt(10_000 * np.exp(-1)), rel=0.03)
    assert (film(flat, photons=10_000, seed=3) == film(flat, photons=10_000, seed=3)).all()


def test_overlapping_structures_each_keep_their_whole_mask():
    geometry = upright()
    front, back = ball(geometry, (0, 25, 0), 10), ball(geometry, (0, -25, 4), 10)
    other = Structure("vertebra", "T6")
    ct = Image(np.where(front | back, 800, -1000).astype(np.int16), geometry, "CT")
    labelled = Segmentation.from_masks({VERTEBRA: front, other: back}, geometry)
    view = View(size=(120, 120), pixel=1.0, centre=(0, 0, 0))
    picture, masks = project(ct, labelled, view, seed=None)
    assert picture.modality == "XR"
    assert picture.geometry.spacing == (1.0, 1.0, 1.0)
    assert (masks.mask(VERTEBRA) & masks.mask(other)).any()
    alone, _ = project(ct, Segmentation.from_masks({VERTEBRA: front}, geometry), view, seed=None)
    only = project(ct, Segmentation.from_masks({VERTEBRA: front}, geometry), view, seed=None)[1]
    assert (only.mask(VERTEBRA) == masks.mask(VERTEBRA)).all()
    assert (alone.array == picture.array).all()
    # Nearer to the source means larger on the film.
    assert masks.mask(VERTEBRA).sum() > masks.mask(other).sum()


def test_an_impossible_view_is_refused():
    with pytest.raises(ValueError, match="source_centre"):
        View(source_detector=1000, source_centre=1200)
