"""Overlay pictures: the right slice, the right way round, at the right size, in the structures' colours."""

import numpy as np
import pytest
from PIL import Image as Pillow

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource
from SpineSegLib.io import write_overlay
from SpineSegLib.io.overlay import MARGIN, draw_overlay
from SpineSegLib.io.planes import as_grey, film_plane, grey_range, volume_planes


def film(rows=700, columns=500, matrix=None, level=100):
    geometry = Geometry(
        (1, rows, columns), np.diag([-1.0, -1, 1, 1]) if matrix is None else matrix, SpacingSource.UNKNOWN
    )
    array = np.full(geometry.shape, level, np.uint8)
    array[0, :, : columns // 2] = 30
    array[0, 0, 0], array[0, -1, -1] = 0, 255
    return Image(array, geometry, "XR")


def with_boxes(image, **boxes):
    masks = {}
    for level, (j, i) in boxes.items():
        mask = np.zeros(image.geometry.shape, bool)
        mask[0, j : j + 60, i : i + 80] = True
        masks[Structure("vertebra", level)] = mask
    return Segmentation.from_masks(masks, image.geometry)


def test_a_radiograph_is_shown_pixel_for_pixel_with_its_outlines_in_colour(tmp_path):
    image = film()
    segmentation = with_boxes(image, C4=(100, 100), C5=(200, 120))
    write_overlay(image, segmentation, tmp_path / "film.png")
    with Pillow.open(tmp_path / "film.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] == 500
    assert 700 < pixels.shape[0] < 760
    grey = as_grey(image.array[0], *grey_range(image)).astype(int)
    for segment, (j, i) in zip(segmentation.segments, ((100, 100), (200, 120)), strict=True):
        assert pixels[j, i + 30].tolist() == list(segment.colour)
        assert pixels[j + 59, i + 30].tolist() == list(segment.colour)
        assert pixels[j + 30, i].tolist() == list(segment.colour)
        inside = 0.65 * grey[j + 30, i + 30] + 0.35 * np.array(segment.colour)
        assert np.abs(pixels[j + 30, i + 30] - inside).max() <= 1
    outside = pixels[400:700, 20:480]
    assert np.array_equal(outside, np.repeat(grey[400:700, 20:480, None], 3, axis=-1))


def test_names_are_written_beside_few_segments_and_not_beside_many():
    image = film()
    few = with_boxes(image, C4=(100, 100))
    beside = np.s_[90:170, 181:240]
    apart = np.abs(np.asarray(draw_overlay(image, few))[beside].astype(int) - few.segments[0].colour).max(axis=-1)
    assert (apart < 60).sum() > 20
    masks = []
    for n in range(45):
        mask = np.zeros(image.geometry.shape, bool)
        mask[0, 15 * n : 15 * n + 10, 100:180] = True
        masks.append((Structure("other", label=f"thing {n}"), mask))
    many = Segmentation.from_masks(masks, image.geometry)
    grey = np.asarray(draw_overlay(image, many))[:600, 181:240]
    assert np.ptp(grey, axis=-1).max() == 0


def test_vertebrae_of_one_kind_are_written_as_their_levels_and_unknown_ones_as_their_number():
    from SpineSegLib.image import Segment
    from SpineSegLib.io.overlay import short_names

    bodies = [
        Segment(Structure("body", level), 0, n, name)
        for n, (level, name) in enumerate((("C4", ""), ("C5", "C5 body (doubtful)")), 1)
    ]
    assert list(short_names(bodies).values()) == ["C4", "C5 (doubtful)"]
    unknown = [Segment(Structure("bodies"), 0, n, f"unlabelled, {n}th from the top") for n in (4, 5)]
    assert list(short_names(unknown).values()) == ["4th", "5th"]
    mixed = [*bodies[:1], Segment(Structure("spinous process", "C4"), 0, 3), Segment(Structure("spine"), 0, 4)]
    assert list(short_names(mixed).values()) == ["C4 body", "C4 spinous process", "spine"]


def test_a_name_that_fits_nowhere_beside_is_written_on_the_structure():
    image = film(300, 90)
    mask = np.zeros(image.geometry.shape, bool)
    mask[0, 100:200] = True
    drawn = np.asarray(
        draw_overlay(image, Segmentation.from_masks({Structure("vertebra", "C4"): mask}, image.geometry))
    )
    plain = draw_overlay(image, Segmentation.from_masks({Structure("spine"): mask & False}, image.geometry))
    colour = np.array(Structure("vertebra", "C4").colour)
    rows = drawn.shape[0] * 150 // 326
    middle = drawn[rows - 20 : rows + 20, 10:-10].astype(int)
    assert (np.abs(middle - colour).max(axis=-1) < 40).sum() > 15
    assert drawn.shape[1] == plain.width


def test_pixels_that_are_not_square_are_stretched():
    image = film(300, 500, np.diag([-0.2, -0.4, 1, 1]))
    plane = film_plane(image, with_boxes(image, C4=(100, 100)))
    assert plane.size == (500, 600)


def test_a_huge_film_is_made_smaller_and_a_tiny_one_larger():
    empty = {"segments": (), "layers": ()}
    huge, tiny = film(3000, 2500), film(60, 40)
    assert film_plane(huge, Segmentation(geometry=huge.geometry, **empty)).size == (1707, 2048)
    assert film_plane(tiny, Segmentation(geometry=tiny.geometry, **empty)).size == (320, 480)


def patient(geometry):
    """A volume that is bright where the patient's right, front and head meet, with one vertebra in the middle."""
    centre = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    kji = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), axis=-1)
    away = geometry.to_world(kji) - centre
    bright = (away * [1, 1, 1] > [4, 4, 4]).all(axis=-1)
    mask = np.abs(away).max(axis=-1) < 3.5
    array = np.where(bright, 1000, -200).astype(np.int16)
    return Image(array, geometry, "CT"), Segmentation.from_masks({Structure("vertebra", "L1"): mask}, geometry)


@pytest.fixture(params=["as is", "other axes"])
def turned(request, oblique):
    """A tilted grid large enough for the patient above, also with its axes in another order."""
    matrix = np.array(oblique.ijk_to_ras)
    angles = np.radians([8.0, -11, 9])
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    rotation = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]]) @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rotation = rotation @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    matrix[:3, :3] = rotation @ np.diag([0.7, -0.9, 2.1])
    shape = (14, 30, 40)
    if request.param == "other axes":
        matrix[:3, :3] = matrix[:3, [2, 0, 1]] * [-1, 1, -1]
        shape = (30, 40, 14)
    return Geometry(shape, matrix)


def test_right_is_left_front_is_up_and_head_is_up_whatever_the_grid(turned):
    from SpineSegLib.image import Reorientation

    image, segmentation = patient(turned)
    axial, coronal, sagittal = volume_planes(image, segmentation, Reorientation.of(turned), 700)
    assert (axial.letters, coronal.letters, sagittal.letters) == ("RLAP", "RLSI", "APSI")
    turn = Reorientation.of(turned)
    k, j, i = turn.geometry(turned).step
    steps = {id(axial): (j, i), id(coronal): (k, i), id(sagittal): (k, j)}
    world = np.moveaxis(turned.to_world(np.stack(np.meshgrid(*map(np.arange, turned.shape), indexing="ij"), -1)), -1, 0)
    right, front, head = (turn.apply(part) for part in world)
    place = [int(turn.apply(segmentation.foreground).sum(axis=other).argmax()) for other in ((1, 2), (0, 2), (0, 1))]
    for plane, x, y in (
        (axial, -right[place[0]], -front[place[0]]),
        (coronal, -right[::-1, place[1]], -head[::-1, place[1]]),
        (sagittal, -front[::-1, :, place[2]], -head[::-1, :, place[2]]),
    ):
        assert plane.grey.shape == x.shape
        assert (np.diff(x, axis=1) > 0).all()
        assert (np.diff(y, axis=0) > 0).all()
        # Square on the canvas: a pixel is as many millimetres wide as high.
        down, across = np.array(plane.grey.shape) * steps[id(plane)] / plane.size[::-1]
        assert down == pytest.approx(across, rel=0.01)


def test_the_bright_corner_shows_at_the_patient_s_right_front_and_head(turned):
    from SpineSegLib.image import Reorientation

    image, segmentation = patient(turned)
    turn = Reorientation.of(turned)
    array, mask = turn.apply(image.array), turn.apply(segmentation.foreground)
    k, j, i = (int(n) for n in np.argwhere(array > 0).mean(axis=0).round())
    centre = np.argwhere(mask).mean(axis=0)
    assert k > centre[0]
    assert j < centre[1]
    assert i < centre[2]


def test_the_slices_with_the_most_foreground_are_shown():
    geometry = Geometry((20, 30, 40), np.diag([-1.0, -1, 1, 1]))
    mask = np.zeros(geometry.shape, bool)
    mask[5, 10:20, 10:30] = True
    mask[5:15, 12, 20] = True
    segmentation = Segmentation.from_masks({Structure("vertebra", "L1"): mask}, geometry)
    from SpineSegLib.image import Reorientation

    planes = volume_planes(Image(mask.astype(np.int16), geometry), segmentation, Reorientation.of(geometry), 100)
    assert [int(plane.masks[0][1].sum()) for plane in planes] == [200, 29, 19]


def test_a_volume_without_segments_shows_its_middle(oblique):
    image = Image(np.random.default_rng(0).normal(size=oblique.shape).astype(np.float32), oblique, "MR")
    picture = draw_overlay(image, Segmentation((), (), oblique))
    assert picture.width > 3 * 100 + 2 * MARGIN


def test_ct_is_windowed_for_bone_and_everything_else_between_percentiles(oblique):
    values = np.random.default_rng(0).integers(-1000, 3000, oblique.shape).astype(np.int16)
    assert grey_range(Image(values, oblique, "CT")) == (-350, 1150)
    low, high = grey_range(Image(values, oblique, "MR"))
    assert (low, high) == tuple(np.percentile(values, (0.5, 99.5)))
    broken = values.astype(np.float32)
    broken[0] = np.nan
    assert np.isfinite(grey_range(Image(broken, oblique, "MR"))).all()
    assert as_grey(np.array([np.nan, -5, 0, 10, np.inf]), 0, 10).tolist() == [0, 0, 0, 255, 255]


def test_a_segmentation_on_another_grid_is_resampled_and_one_elsewhere_refused(tmp_path):
    image = film()
    coarse = Geometry((1, 350, 250), np.array([[-2.0, 0, 0, -0.5], [0, -2, 0, -0.5], [0, 0, 1, 0], [0, 0, 0, 1]]))
    mask = np.zeros(coarse.shape, bool)
    mask[0, 50:80, 50:90] = True
    segmentation = Segmentation.from_masks({Structure("vertebra", "C4"): mask}, coarse)
    write_overlay(image, segmentation, tmp_path / "a.png")
    with Pillow.open(tmp_path / "a.png") as picture:
        assert picture.getpixel((140, 100)) == Structure("vertebra", "C4").colour
    away = Geometry((1, 350, 250), np.array([[-2.0, 0, 0, 9e3], [0, -2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="lies outside the image"):
        write_overlay(image, Segmentation((mask.astype(np.uint8),), segmentation.segments, away), tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
