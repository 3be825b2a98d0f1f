"""Bodies from corners: exactly the pixels whose centres lie inside, checked against an independent rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.measure import grid_points_in_poly

from SpineSegLib.datasets.polygons import bodies, corners, crosses_itself, outline, polygon_mask
from SpineSegLib.errors import InputError
from SpineSegLib.io.pictures import picture_geometry


def test_a_rectangle_covers_as_many_pixels_as_its_sides_say():
    mask = polygon_mask([[2, 3], [7, 3], [7, 5], [2, 5]], 10, 12)
    assert mask.shape == (10, 12)
    assert set(zip(*np.nonzero(mask), strict=True)) == {(row, column) for row in (3, 4) for column in range(2, 7)}


def test_neighbours_share_no_pixel_and_leave_none_out():
    rng = np.random.default_rng(0)
    for _ in range(30):
        # A quadrangle cut along a diagonal into two triangles, corners on whole and on broken numbers.
        quad = rng.uniform(0, 5, (4, 2)) + np.array([[0, 0], [20, 0], [20, 20], [0, 20]])
        quad = np.where(rng.random((4, 2)) < 0.5, np.rint(quad), quad)
        halves = [polygon_mask(quad[list(part)], 32, 32) for part in ((0, 1, 2), (0, 2, 3))]
        assert not (halves[0] & halves[1]).any()
        assert np.array_equal(halves[0] | halves[1], polygon_mask(quad, 32, 32))


def test_it_agrees_with_scikit_image_away_from_edges():
    rng = np.random.default_rng(1)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radius = rng.uniform(4, 14, 7)
        polygon = np.stack([15.3 + radius * np.cos(angles), 16.7 + radius * np.sin(angles)], axis=1)
        assert np.array_equal(polygon_mask(polygon, 34, 31), grid_points_in_poly((34, 31), polygon[:, ::-1]))


@pytest.mark.parametrize("turn", [False, True])
def test_direction_and_start_do_not_matter_and_the_picture_cuts_it_off(turn):
    polygon = np.array([[-5.0, -4.0], [8.5, -2.0], [9.0, 30.0], [3.0, 12.0]])
    reference = polygon_mask(polygon, 40, 40)
    other = polygon_mask(np.roll(polygon[:: -1 if turn else 1], 2, axis=0), 10, 6)
    assert np.array_equal(other, reference[:10, :6])
    assert other.any()


def test_points_that_are_no_polygon_are_refused():
    for wrong in ([[0, 0], [1, 1]], [[0, 0], [1, 1], [np.nan, 2]], [0, 1, 2]):
        with pytest.raises(ValueError, match="three or more points"):
            polygon_mask(wrong, 5, 5)


def test_corners_come_left_to_right_whatever_the_order_of_the_ends():
    upper, lower = np.array([[9, 1], [2, 2]]), np.array([[3, 8], [10, 7]])
    assert corners(upper, lower).tolist() == [[2, 2], [9, 1], [3, 8], [10, 7]]
    assert outline(corners(upper, lower)).tolist() == [[2, 2], [9, 1], [10, 7], [3, 8]]


def test_crossing_outlines_are_found():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    assert not crosses_itself(square)
    assert crosses_itself(square[[0, 2, 1, 3]])
    assert not crosses_itself(np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], float))  # hollow, yet sound


def test_overlapping_bodies_are_kept_whole_in_layers():
    geometry = picture_geometry(20, 20)
    quads = {
        "C4": np.array([[2, 8], [12, 8], [2, 14], [12, 14]], float),
        "C3": np.array([[2, 2], [12, 2], [2, 9], [12, 9]], float),
        "C2": np.array([[2, 1], [12, 1]], float),
    }
    found = bodies(quads, geometry, Path("marks"))
    assert [segment.name for segment in found.segments] == ["C3 body", "C4 body"]
    assert [int(found.mask(name).sum()) for name in ("C3 body", "C4 body")] == [70, 60]
    assert len(found.layers) == 2


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([[2, 2], [12, 2], [12, 9], [2, 9]], "the outline of C3 crosses itself"),
        ([[200, 2], [212, 2], [200, 9], [212, 9]], "no body lies in the picture of 20 x 30"),
    ],
)
def test_corners_in_a_wrong_order_or_of_another_picture_are_one_line(points, complaint):
    with pytest.raises(InputError, match=f"marks: {complaint}"):
        bodies({"C3": np.array(points, float)}, picture_geometry(30, 20), Path("marks"))
