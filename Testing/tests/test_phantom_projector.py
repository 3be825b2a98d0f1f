"""Rays, shadows and radiographs of analytic solids."""

from __future__ import annotations

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource
from SpineSegLib.phantom.imaging.blur import blurred
from SpineSegLib.phantom.imaging.rays import Rays, integrate
from SpineSegLib.phantom.imaging.shadows import shadows
from SpineSegLib.phantom.projector import View, line_integrals, project

VIEWS = [
    View(azimuth=0, source_detector=1200, source_centre=900, size=(220, 260), pixel=0.8),
    View(azimuth=90, source_detector=1200, source_centre=900, size=(260, 220), pixel=0.8),
    View(azimuth=81, tilt=4, roll=7, source_detector=1200, source_centre=900, size=(240, 240), pixel=0.8),
    View(azimuth=45, source_detector=1500, source_centre=1100, size=(240, 240), pixel=0.8),
    View(azimuth=-10, tilt=-6, source_detector=1500, source_centre=1300, size=(240, 240), pixel=0.8),
]


def grid(step: tuple[float, float, float] = (0.8, 0.9, 1.0), *, turn: float = 0.0, extent: float = 130) -> Geometry:
    """Return a grid of about `extent` mm a side in the middle of the world, turned about an oblique axis."""
    shape = tuple(int(extent / s) for s in step)
    axis = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag(step[::-1])
    matrix[:3, 3] = (5, 110, -300) - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return Geometry(shape, matrix)


def places(geometry: Geometry) -> np.ndarray:
    """Return the RAS points of all voxel centres (k, j, i, 3)."""
    return geometry.to_world(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1))


def chords(view: View, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return how long each pixel's ray runs in a ball, mm."""
    source = view.source()
    ray = view.pixels() - source
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = ray @ (centre - source)
    return 2 * np.sqrt(np.maximum(radius**2 - ((centre - source) @ (centre - source) - along**2), 0))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_shadow_of_a_ball_is_the_ellipse_of_its_perspective(view, turn):
    geometry = grid((0.5, 0.5, 0.6), turn=turn, extent=64)
    centre, radius = np.array([0.0, 113.0, -298.0]), 22.0
    labels = (np.linalg.norm(places(geometry) - centre, axis=-1) <= radius).astype(np.uint8)
    masks = Segmentation.from_labels(labels, {1: Structure("vertebra", "C4")}, geometry)
    view = view.centred(geometry)
    ((structure, shadow),) = shadows(Rays(view, geometry), masks)
    assert structure == Structure("vertebra", "C4")
    # A pixel whose ray comes within a pixel's half width of the ball's edge may belong to either side.
    pixel = view.pixel / view.magnification
    assert not (shadow & (chords(view, centre, radius + pixel) == 0)).any()
    assert not (~shadow & (chords(view, centre, radius - pixel) > 0)).any()
    assert shadow.sum() == pytest.approx((chords(view, centre, radius) > 0).sum(), rel=0.015)


@pytest.mark.parametrize("view", VIEWS)
def test_ray_integral_of_a_ball_is_its_chord(view):
    geometry = grid(turn=0.2, extent=80)
    centre, radius = np.array([3.0, 108.0, -302.0]), 30.0
    # A ball with the partial volume of voxels, so that its edge is no staircase.
    ball = np.clip((radius - np.linalg.norm(places(geometry) - centre, axis=-1)) / 0.9 + 0.5, 0, 1).astype(np.float32)
    view = view.centred(geometry)
    lengths, _ = line_integrals(ball, geometry, view)
    truth = chords(view, centre, radius)
    deep = truth > 40
    assert np.abs(lengths - truth)[deep].max() < 0.4
    assert np.abs((lengths - truth)[deep].mean()) < 0.05


def test_several_materials_are_integrated_side_by_side():
    geometry = grid()
    view = VIEWS[1].centred(geometry)
    one = np.random.default_rng(0).random(geometry.shape, dtype=np.float32)

    def amounts(axis, part):
        where = tuple(part if n == axis else slice(None) for n in range(3))
        return np.stack([one[where], 2 * one[where], 1 - one[where]])

    a, b, c = integrate(Rays(view, geometry), amounts, 3)
    full, _ = line_integrals(np.ones(geometry.shape, np.float32), geometry, view)
    assert np.allclose(b, 2 * a, rtol=1e-5)
    assert np.allclose(a + c, full, atol=0.05)


@pytest.mark.parametrize("view", VIEWS)
def test_points_fall_where_their_shadow_lies(view):
    geometry = grid((0.6, 0.6, 0.6), extent=60)
    view = view.centred(geometry)
    point = np.array([20.0, 96.0, -288.0])
    ball = np.clip((2.0 - np.linalg.norm(places(geometry) - point, axis=-1)) / 0.6 + 0.5, 0, 1).astype(np.float32)
    lengths, _ = line_integrals(ball, geometry, view)
    rows, columns = np.indices(lengths.shape)
    seen = np.array([(rows * lengths).sum(), (columns * lengths).sum()]) / lengths.sum()
    assert seen == pytest.approx(view.project(point), abs=0.15)


def test_a_ball_near_the_source_is_magnified_more():
    view = View(azimuth=90, source_detector=1000, source_centre=800, centre=(0, 0, 0))
    assert view.magnification_at(np.zeros(3)) == pytest.approx(1.25)
    # At azimuth 90 the source is at the patient's left: x is negative there.
    assert view.magnification_at(np.array([-300.0, 0, 0])) == pytest.approx(2.0)
    apart = view.project(np.array([[-300.0, 0, 10], [-300.0, 0, -10]]))
    assert apart[1, 0] - apart[0, 0] == pytest.approx(20 * 2.0 / view.pixel)


def test_front_of_a_lateral_film_is_left_and_head_is_up():
    view = View(azimuth=90, centre=(0, 0, 0))
    front, head = view.project(np.array([[0.0, 50, 0], [0.0, 0, 50]]))
    middle = view.project(np.zeros(3))
    assert front[1] < middle[1] and front[0] == pytest.approx(middle[0])
    assert head[0] < middle[0] and head[1] == pytest.approx(middle[1])


def test_right_of_an_ap_film_is_left_as_seen_from_the_front():
    view = View(azimuth=0, centre=(0, 0, 0))
    assert view.project(np.array([50.0, 0, 0]))[1] < view.project(np.zeros(3))[1]


def test_structures_that_overlap_in_projection_keep_their_whole_shadows():
    geometry = grid((1.0, 1.0, 1.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[40:60, 50:70, 20:40] = 1
    labels[50:70, 50:70, 80:100] = 2
    structures = {1: Structure("vertebra", "C3"), 2: Structure("vertebra", "C4")}
    ct = Image(np.where(labels > 0, 900, -1000).astype(np.int16), geometry, "CT")
    film, masks = project(ct, Segmentation.from_labels(labels, structures, geometry), VIEWS[1])
    first, second = masks.mask("C3"), masks.mask("C4")
    assert (first & second).any() and len(masks.layers) == 2
    assert film.geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING
    bone = film.array[first & second].mean()
    assert film.array[first & ~second].mean() < bone
    assert film.array[~first & ~second].mean() < 0.1


def test_more_than_64_structures_have_their_shadows():
    geometry = grid((1.0, 1.0, 1.0))
    structures = [Structure("other", label=f"bead {n}") for n in range(100)]
    labels = np.zeros(geometry.shape, np.uint8)
    for n in range(100):
        labels[10 + 11 * (n // 10) :, 10 + 11 * (n % 10) :, 60:][:4, :4, :4] = n + 1
    masks = Segmentation.from_labels(labels, {n + 1: s for n, s in enumerate(structures)}, geometry)
    found = shadows(Rays(VIEWS[1].centred(geometry), geometry), masks)
    assert [structure for structure, _ in found] == [s.structure for s in masks.segments]
    sizes = [mask.sum() for _, mask in found]
    assert min(sizes) > 0.5 * max(sizes)


def test_labels_on_another_grid_are_refused():
    geometry = grid()
    other = grid((2.0, 2.0, 2.0))
    masks = Segmentation.from_labels(np.zeros(other.shape, np.uint8), {}, other)
    with pytest.raises(ValueError, match="another grid"):
        project(Image(np.zeros(geometry.shape, np.int16), geometry, "CT"), masks, VIEWS[0])


def test_a_view_without_room_for_the_patient_is_refused():
    with pytest.raises(ValueError, match="source_centre"):
        View(source_detector=1000, source_centre=1200)


def test_a_wide_blur_has_the_width_asked_for():
    points = np.zeros((201, 201), np.float32)
    points[100, 100] = 1
    columns = np.indices(points.shape)[1] - 100
    for sigma in (1.5, 7.0, 20.0):
        spot = blurred(points, sigma)
        assert spot.sum() == pytest.approx(1, abs=0.01)
        assert np.sqrt((spot * columns**2).sum()) == pytest.approx(sigma, rel=0.06)
