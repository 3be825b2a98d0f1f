"""Geometry, images and segmentations on oblique grids, against SimpleITK where it knows the same thing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import LPS_TO_RAS, Geometry, Image, Segment, Segmentation, SpacingSource, resample


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """Return SimpleITK's image on the same grid, put together with its own setters."""
    image = sitk.GetImageFromArray(array)
    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def sampled_by_sitk(
    array: np.ndarray, source: Geometry, target: Geometry, interpolator: int, fill: float
) -> np.ndarray:
    grid = to_sitk(np.zeros(target.shape, np.uint8), target)
    sampled = sitk.Resample(to_sitk(array, source), grid, sitk.Transform(), interpolator, fill, sitk.sitkUnknown)
    return sitk.GetArrayFromImage(sampled)


def turned(
    geometry: Geometry, degrees: float, shift: tuple[float, float, float], shape: tuple[int, int, int]
) -> Geometry:
    """Return another oblique grid over the same place."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = centre + shift, -centre
    stretch = np.diag([1.1, 0.8, 0.7, 1.0])
    return replace(geometry, shape=shape, ijk_to_ras=there @ turn @ back @ geometry.ijk_to_ras @ stretch)


@pytest.fixture
def noise(oblique: Geometry) -> np.ndarray:
    return np.random.default_rng(5).normal(100, 30, oblique.shape).astype(np.float32)


@pytest.fixture
def elsewhere(oblique: Geometry) -> Geometry:
    """A second grid, turned against the first one, that reaches beyond it."""
    return turned(oblique, 12.0, (0.3, -0.8, 1.7), (12, 17, 16))


def test_voxel_centres_lie_where_simpleitk_puts_them(oblique):
    image = to_sitk(np.zeros(oblique.shape, np.uint8), oblique)
    for kji in itertools.product((0, 3, 8), (0, 5, 13), (0, 7, 16)):
        lps = image.TransformIndexToPhysicalPoint([int(n) for n in kji[::-1]])
        assert np.allclose(oblique.to_world(kji), np.array(lps) * [-1, -1, 1], atol=1e-9)
    between = (2.25, 7.5, 3.75)
    lps = image.TransformContinuousIndexToPhysicalPoint(between[::-1])
    assert np.allclose(oblique.to_world(between), np.array(lps) * [-1, -1, 1], atol=1e-9)


def test_world_to_index_undoes_index_to_world(oblique):
    kji = np.random.default_rng(1).uniform(-3, 20, (50, 3))
    assert np.allclose(oblique.to_index(oblique.to_world(kji)), kji, atol=1e-9)
    assert oblique.to_world(np.zeros((4, 5, 3))).shape == (4, 5, 3)


def test_spacing_volume_and_area_of_an_oblique_grid(oblique):
    assert np.allclose(oblique.spacing, (2.3, 0.9, 0.7))
    assert oblique.voxel_volume == pytest.approx(2.3 * 0.9 * 0.7)
    assert oblique.pixel_area == pytest.approx(0.9 * 0.7)


def test_volume_and_area_of_a_sheared_grid_count_the_shear():
    matrix = np.array([[2.0, 1.0, 0, 0], [0, 3.0, 0, 0], [0, 0.5, 4.0, 0], [0, 0, 0, 1]])
    geometry = Geometry((2, 2, 2), matrix)
    assert geometry.voxel_volume == pytest.approx(24)
    assert geometry.pixel_area == pytest.approx(np.sqrt((2 * 3) ** 2 + (2 * 0.5) ** 2))


def test_without_spacing_there_are_no_millimetres(oblique):
    geometry = replace(oblique, spacing_source=SpacingSource.UNKNOWN)
    assert not geometry.has_spacing
    assert geometry.spacing is geometry.voxel_volume is geometry.pixel_area is None
    assert np.allclose(geometry.step, (2.3, 0.9, 0.7))


def test_cropped_grid_stays_at_its_place(oblique):
    part = oblique.cropped((2, 3, 5), (7, 9, 10))
    assert part.shape == (5, 6, 5)
    assert np.allclose(part.to_world((1, 2, 3)), oblique.to_world((3, 5, 8)))


def test_transformed_grid_moves_every_voxel_with_the_world(oblique):
    move = np.array([[0, -1, 0, 10.0], [1, 0, 0, -4.0], [0, 0, 1, 2.5], [0, 0, 0, 1]])
    kji = (1.5, 4.0, 9.0)
    expected = move @ [*oblique.to_world(kji), 1]
    assert np.allclose(oblique.transformed(move).to_world(kji), expected[:3])


def test_index_transform_joins_two_oblique_grids(oblique, elsewhere):
    matrix = oblique.index_transform_to(elsewhere)
    kji = np.array([3.0, 4.0, 5.0])
    assert np.allclose(matrix[:3, :3] @ kji + matrix[:3, 3], elsewhere.to_index(oblique.to_world(kji)))


def test_same_grid_allows_rounding_and_nothing_more(oblique):
    assert oblique.same_as(oblique.transformed(np.eye(4)))
    nudge = np.eye(4)
    nudge[0, 3] = 1e-5
    assert oblique.same_as(oblique.transformed(nudge))
    nudge[0, 3] = 0.01
    assert not oblique.same_as(oblique.transformed(nudge))
    assert not oblique.same_as(replace(oblique, shape=(9, 14, 16)))


def test_overlap_of_fields_of_view(oblique, elsewhere):
    assert oblique.overlaps(elsewhere)
    away = np.eye(4)
    away[2, 3] = 500
    assert not oblique.overlaps(elsewhere.transformed(away))


def test_a_small_grid_inside_a_large_one_overlaps_both_ways(oblique):
    inner = oblique.cropped((4, 6, 8), (5, 7, 9))
    assert oblique.overlaps(inner)
    assert inner.overlaps(oblique)


@pytest.mark.parametrize(
    ("shape", "matrix", "words"),
    [
        ((3, 4), np.eye(4), "shape"),
        ((0, 4, 4), np.eye(4), "shape"),
        ((3, 4, 5), np.eye(3), "4x4"),
        ((3, 4, 5), np.diag([1.0, 0, 1, 1]), "invertible"),
        ((3, 4, 5), np.diag([1.0, np.nan, 1, 1]), "invertible"),
        ((3, 4, 5), np.array([[1.0, 2, 0, 0], [2, 4, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "invertible"),
        ((3, 4, 5), np.diag([1.0, 1, 1, 2]), "last row"),
    ],
)
def test_geometry_that_is_none_is_refused(shape, matrix, words):
    with pytest.raises(ValueError, match=words):
        Geometry(shape, matrix)


def test_geometry_of_very_fine_pixels_is_accepted():
    """Microscopic or metre-valued headers exist; only a grid without volume is no grid."""
    assert Geometry((2, 2, 2), np.diag([1e-5, 1e-5, 1e-5, 1.0])).voxel_volume == pytest.approx(1e-15)


def test_geometry_cannot_be_changed_from_outside(oblique):
    matrix = np.eye(4)
    geometry = Geometry((1, 2, 3), matrix)
    matrix[0, 0] = 7
    assert geometry.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        oblique.ijk_to_ras[0, 0] = 2


def test_linear_resampling_agrees_with_simpleitk(noise, oblique, elsewhere):
    ours = resample(noise, oblique, elsewhere, fill=-1000)
    theirs = sampled_by_sitk(noise, oblique, elsewhere, sitk.sitkLinear, -1000)
    assert 0.05 < (ours == -1000).mean() < 0.8
    assert np.allclose(ours, theirs, atol=1e-2)


def test_a_finer_grid_over_the_same_place_has_no_dark_rim(oblique):
    """The outermost quarter step lies beyond the centres and within the voxels."""
    finer = replace(oblique, shape=tuple(2 * n for n in oblique.shape))
    halved = np.diag([0.5, 0.5, 0.5, 1.0])
    halved[:3, 3] = -0.25
    finer = replace(finer, ijk_to_ras=oblique.ijk_to_ras @ halved)
    values = np.full(oblique.shape, 50, np.float32)
    values[4, 7, 8] = -1000
    assert resample(values, oblique, finer)[0].min() == 50


def test_a_film_is_seen_from_a_plane_a_little_beside_it(oblique):
    film = replace(oblique, shape=(1, 14, 17))
    values = np.random.default_rng(2).normal(size=film.shape).astype(np.float32)
    for offset, seen in ((0.4, True), (0.6, False)):
        move = np.eye(4)
        move[:3, 3] = film.ijk_to_ras[:3, 2] * offset
        sampled = resample(values, film, film.transformed(move), fill=-9)
        assert np.allclose(sampled, values if seen else -9, atol=1e-5)


def test_nearest_resampling_agrees_with_simpleitk(oblique, elsewhere):
    labels = np.random.default_rng(3).integers(0, 9, oblique.shape).astype(np.uint8)
    ours = resample(labels, oblique, elsewhere, order=0)
    theirs = sampled_by_sitk(labels, oblique, elsewhere, sitk.sitkNearestNeighbor, 0)
    assert ours.dtype == np.uint8
    assert (ours > 0).mean() > 0.2
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("order", [0, 1])
def test_resampling_onto_the_same_grid_changes_nothing(noise, oblique, order):
    assert np.allclose(resample(noise, oblique, oblique, order=order), noise, rtol=1e-5)


def test_a_single_slice_keeps_its_values(oblique):
    film = replace(oblique, shape=(1, 14, 17))
    values = np.random.default_rng(2).normal(size=film.shape).astype(np.float32)
    finer = replace(film, shape=(1, 27, 33), ijk_to_ras=film.ijk_to_ras @ np.diag([0.5, 0.5, 1, 1]))
    sampled = resample(values, film, finer)
    assert np.allclose(sampled[:, ::2, ::2], values, atol=1e-5)
    assert np.allclose(sampled[:, 1::2, ::2], (values[:, 1:] + values[:, :-1]) / 2, atol=1e-5)


def test_outside_is_the_image_s_minimum_and_background_for_labels(noise, oblique):
    move = np.eye(4)
    move[0, 3] = 1000
    away = oblique.transformed(move)
    assert (resample(noise, oblique, away) == noise.min()).all()
    labels = np.ones(oblique.shape, np.int16)
    assert (resample(labels, oblique, away, order=0) == 0).all()


def test_integer_images_are_rounded_not_cut(oblique):
    steps = np.broadcast_to(np.arange(17, dtype=np.int16) * 3, oblique.shape).copy()
    half = np.eye(4)
    half[:3, 3] = oblique.ijk_to_ras[:3, 0] * (2 / 3 - 0.01)
    sampled = resample(steps, oblique, oblique.transformed(half))
    assert sampled.dtype == np.int16
    assert sampled[4, 5, 3] == 11  # 3 * 3.657 = 10.97


def test_image_refuses_an_array_that_does_not_fit(oblique):
    with pytest.raises(ValueError, match=r"\(17, 14, 9\)"):
        Image(np.zeros((17, 14, 9)), oblique)
    with pytest.raises(ValueError, match="CR"):
        Image(np.zeros(oblique.shape), oblique, modality="CR")


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not a number"), (np.inf, "not a number"), (7.0, "value 7"), (None, None)]
)
def test_an_image_tells_its_flaw(noise, oblique, value, words):
    if value == 7.0:
        noise[:] = value
    elif value is not None:
        noise[2, 3, 4] = value
    flaw = Image(noise, oblique).flaw()
    assert flaw is None if words is None else words in flaw


def overlapping(geometry: Geometry) -> dict[Structure, np.ndarray]:
    """Body and process overlap, as in a radiograph; the next body lies apart."""
    body, process, below = (np.zeros(geometry.shape, bool) for _ in range(3))
    body[2:6, 3:8, 3:9], process[3:5, 6:11, 7:12], below[6:8, 3:8, 3:9] = True, True, True
    return {Structure("body", "C4"): body, Structure("spinous process", "C4"): process, Structure("body", "C5"): below}


def test_overlapping_masks_come_back_exactly_from_as_few_layers_as_possible(oblique):
    masks = overlapping(oblique)
    segmentation = Segmentation.from_masks(masks, oblique)
    assert len(segmentation.layers) == 2
    for structure, mask in masks.items():
        assert np.array_equal(segmentation.mask(structure), mask)
        assert np.array_equal(segmentation.mask(structure.name), mask)
    assert np.array_equal(segmentation.foreground, np.logical_or.reduce(list(masks.values())))


def test_masks_apart_share_one_layer_with_their_own_labels(oblique):
    masks = overlapping(oblique)
    masks.pop(Structure("spinous process", "C4"))
    segmentation = Segmentation.from_masks(masks.items(), oblique)
    assert len(segmentation.layers) == 1
    assert [segment.label for segment in segmentation.segments] == [1, 2]


def test_empty_masks_stay_segments(oblique):
    empty = Segmentation.from_masks({Structure("sacrum"): np.zeros(oblique.shape)}, oblique)
    assert not empty.mask("sacrum").any()
    nothing = Segmentation.from_masks({}, oblique)
    assert len(nothing.layers) == 1
    assert not nothing.foreground.any()


def test_many_masks_have_labels_of_their_own(oblique):
    masks = []
    for n in range(300):
        mask = np.zeros(oblique.shape, bool)
        mask.flat[n] = True
        masks.append((Structure("other", label=f"piece {n}"), mask))
    segmentation = Segmentation.from_masks(masks, oblique)
    assert len(segmentation.layers) == 1
    assert segmentation.mask("piece 299").ravel()[299]
    assert segmentation.foreground.sum() == 300


def test_labels_that_do_not_occur_are_no_segments(oblique):
    labels = np.zeros(oblique.shape, np.uint8)
    labels[1], labels[4] = 20, 3
    wanted = {20: Structure("vertebra", "L1"), 3: Structure("vertebra", "C3"), 5: Structure("vertebra", "C5")}
    segmentation = Segmentation.from_labels(labels, wanted, oblique)
    assert [segment.name for segment in segmentation.segments] == ["C3", "L1"]
    assert np.array_equal(segmentation.mask("L1"), labels == 20)


def test_labels_without_a_segment_belong_to_nothing(oblique):
    labels = np.zeros(oblique.shape, np.uint8)
    labels[1], labels[2] = 20, 99
    segmentation = Segmentation.from_labels(labels, {20: Structure("vertebra", "L1")}, oblique)
    assert np.array_equal(segmentation.foreground, labels == 20)


def test_resampled_segmentation_moves_each_structure_as_its_mask(oblique, elsewhere):
    masks = overlapping(oblique)
    moved = Segmentation.from_masks(masks, oblique).resampled(elsewhere)
    assert moved.geometry is elsewhere
    for structure, mask in masks.items():
        theirs = sampled_by_sitk(mask.astype(np.uint8), oblique, elsewhere, sitk.sitkNearestNeighbor, 0)
        assert theirs.any()
        assert np.array_equal(moved.mask(structure), theirs > 0)


def test_resampled_probability_stays_between_zero_and_one(oblique, elsewhere):
    probability = np.random.default_rng(0).uniform(0, 1, oblique.shape).astype(np.float32)
    segment = Segment(Structure("spine"), 0, 1, probability=probability)
    labels = (probability > 0.5).astype(np.uint8)
    (moved,) = Segmentation((labels,), (segment,), oblique).resampled(elsewhere).segments
    assert moved.probability.shape == elsewhere.shape
    assert 0 <= moved.probability.min() < moved.probability.max() <= 1


def test_segment_takes_name_and_colour_from_its_structure_unless_given():
    structure = Structure("vertebra", "T5")
    assert (Segment(structure, 0, 1).name, Segment(structure, 0, 1).colour) == ("T5", structure.colour)
    own = Segment(structure, 0, 1, name="mine", colour=(0, 0, 0))
    assert (own.name, own.colour) == ("mine", (0, 0, 0))


def test_segmentation_that_is_none_is_refused(oblique):
    layer = np.zeros(oblique.shape, np.uint8)
    spine = Structure("spine")
    with pytest.raises(ValueError, match="expected integers"):
        Segmentation((layer.astype(float),), (), oblique)
    with pytest.raises(ValueError, match="expected integers"):
        Segmentation((layer[1:],), (), oblique)
    with pytest.raises(ValueError, match="different places"):
        Segmentation((layer,), (Segment(spine, 0, 1), Segment(Structure("sacrum"), 0, 1)), oblique)
    with pytest.raises(ValueError, match="different places"):
        Segmentation((layer,), (Segment(spine, 1, 1),), oblique)
    with pytest.raises(ValueError, match="label is 0"):
        Segment(spine, 0, 0)


def test_missing_segment_is_named_with_what_there_is(oblique):
    segmentation = Segmentation.from_masks(overlapping(oblique), oblique)
    with pytest.raises(KeyError, match="C5 body"):
        segmentation.mask("L3")
