"""Volumes slab by slab, on grids that hide no mistake, with a network whose answer is known: brightness itself."""

from dataclasses import replace
from itertools import pairwise, permutations, product

import numpy as np
import pytest
import torch

from SpineSegLib.errors import Cancelled
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card, registry
from SpineSegLib.pipelines import slabs as pipeline
from SpineSegLib.pipelines.precision import worst_dice
from SpineSegLib.pipelines.run import Runner, check_image
from SpineSegLib.pipelines.slabs import slabs
from SpineSegLib.pipelines.tiles import boxes, starts, through, weights
from SpineSegLib.progress import silent
from SpineSegLib.training.recipe import read_recipe

CARD = card("triview-linknet152-small")
SIZE = (32, 32, 32)


class Bright(torch.nn.Module):
    """Finds what is brighter than half; remembers the slabs it saw."""

    stride = 32

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return 40 * (x - 0.5)


def seen_by(image, *, size=SIZE, report=silent, model=CARD, **arguments):
    runner = Runner(Bright(), "cpu", "float32")
    found = slabs(image, model, runner, report=report, size=size, **arguments)
    return found.foreground, runner.network.seen


def dice(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)


def letter(points):
    """An L with a foot, in world mm: no mirror image or quarter turn of it is itself."""
    x, y, z = np.moveaxis(points, -1, 0)
    stem = (abs(x) < 7) & (abs(y) < 7) & (z > -40) & (z < 40)
    foot = (x > -7) & (x < 30) & (abs(y) < 7) & (z > -40) & (z < -28)
    nose = (abs(x) < 7) & (y > 0) & (y < 24) & (z > 26) & (z < 40)
    return stem | foot | nose


def scan(matrix, shape, inside=letter, *, bright=1300, dark=-500):
    geometry = Geometry(shape, matrix)
    mask = inside(geometry.to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)))
    return Image(np.where(mask, bright, dark).astype(np.int16), geometry, "CT"), mask


def centred(matrix, shape):
    matrix = np.array(matrix, float)
    matrix[:3, 3] -= Geometry(shape, matrix).to_world((np.array(shape) - 1) / 2)
    return matrix


@pytest.mark.parametrize("name", [name for name, model in registry().items() if model.pipeline["name"] == "slabs"])
def test_slabs_are_as_large_as_the_network_wants_and_as_in_its_recipe(name):
    model, recipe = card(name), read_recipe(name.removesuffix("-levels").removesuffix("-pruned"))
    size = model.pipeline["arguments"]["size"]
    assert all(side % 32 == 0 for side in size)
    assert size == list(recipe.sampling["size"])
    assert model.pipeline["arguments"].get("look") == recipe.sampling.get("look", {}).get("spacing")


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_mask_lies_where_the_letter_is_whatever_the_order_and_direction_of_axes(axes):
    for signs in product((-1, 1), repeat=3):
        matrix = np.eye(4)
        matrix[:3, :3] = (np.eye(3) * signs)[:, list(axes)] * [2.0, 2.5, 3.0]
        shape = [0, 0, 0]
        for column, axis in enumerate(axes):  # i, j, k run along these world axes
            shape[2 - column] = int(100 / (2.0, 2.5, 3.0)[column]) + axis
        image, mask = scan(centred(matrix, shape), tuple(shape))
        found, _ = seen_by(image, size=(96, 96, 96))
        assert dice(found, mask) > 0.93


def test_mask_survives_an_oblique_anisotropic_volume_moved_by_a_transform(oblique):
    fine = oblique.step * [0.6, 1.2, 1.5]
    matrix = np.array(oblique.ijk_to_ras)
    matrix[:3, :3] = matrix[:3, :3] / oblique.step[::-1] * fine[::-1]
    shape = (90, 110, 120)
    image, mask = scan(centred(matrix, shape), shape)
    found, _ = seen_by(image)
    assert dice(found, mask) > 0.93
    transform = np.eye(4)
    transform[:3, :3] = np.diag([1.0, -1.0, -1.0])  # the patient turned on his head and his back
    transform[:3, 3] = (31, -12, 250)
    moved = Image(image.array, image.geometry.transformed(transform), "CT")
    found, _ = seen_by(moved)
    assert dice(found, mask) > 0.93


def test_slabs_reach_the_network_head_back_left():
    # The letter's foot points to the patient's right, its nose to the front: after turning, to low i and low j.
    shape = (70, 70, 70)
    image, _ = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape)
    turned = Image(image.array[::-1, ::-1, ::-1], image.geometry.transformed(np.eye(4)), "CT")
    matrix = np.array(image.geometry.ijk_to_ras)
    matrix[:3, 3] = image.geometry.to_world(np.array(shape) - 1)
    matrix[:3, :3] *= -1
    turned = Image(turned.array, Geometry(shape, matrix), "CT")
    (one,), (other,) = (seen_by(each, size=(96, 96, 96))[1] for each in (image, turned))
    torch.testing.assert_close(one, other)
    slab = one[0, 0].numpy() > 0.5
    head, back, left = np.argwhere(slab[:20]).mean(0), np.argwhere(slab[50:]).mean(0), np.argwhere(slab).mean(0)
    assert head[2] < left[2], "the foot, at the lower end, points to the right"
    assert back[1] < left[1], "the nose, at the upper end, points to the front"


def test_tiles_cover_everything_and_overlap_as_told():
    for count, size, overlap in ((31, 64, 0.3), (64, 64, 0.3), (65, 64, 0.3), (500, 64, 0.25), (200, 96, 0.5)):
        found = starts(count, size, overlap)
        assert found[0] == 0 and found[-1] == max(0, count - size)
        assert all(second - first <= size * (1 - overlap) for first, second in pairwise(found))


def test_joined_tiles_are_what_one_tile_gives():
    volume = np.random.default_rng(0).random((70, 50, 90)).astype(np.float32)
    tiles = list(boxes(volume.shape, SIZE, 0.3))
    found = through(volume, tiles, SIZE, lambda x: x, 1, lambda: None)
    np.testing.assert_allclose(found[0], volume, atol=1e-5)


def test_the_middle_of_a_tile_counts_most():
    weight = weights((32, 64, 32))
    assert weight.max() == weight[15:17, 31:33, 15:17].max()
    assert weight[0, 0, 0] < 0.01 * weight.max()
    np.testing.assert_allclose(weight, weight[::-1, ::-1, ::-1])


def test_the_network_sees_no_more_at_a_time_in_a_long_volume():
    image, mask = scan(centred(np.diag([-2.0, -2.0, 2.0, 1.0]), (400, 40, 40)), (400, 40, 40))
    found, seen = seen_by(image)
    assert {tuple(x.shape) for x in seen} == {(1, 1, 32, 32, 32)}
    assert dice(found, mask) > 0.93


def test_work_grows_with_the_slices_and_not_faster():
    counts = []
    for slices in (64, 128, 256):
        shape = (slices, 40, 40)
        image, _ = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape, dark=0)
        counts.append(len(seen_by(image)[1]))
    assert counts[2] - counts[1] <= 2 * (counts[1] - counts[0]) + 8


@pytest.mark.parametrize("slices", [1, 2, 7])
def test_few_thick_slices_and_even_one_are_segmented(slices):
    shape = (slices, 60, 60)
    image, mask = scan(centred(np.diag([-1.2, -1.2, 5.0, 1.0]), shape), shape)
    check_image(image, CARD)
    found, _ = seen_by(image)
    assert found.shape == shape
    assert dice(found, mask) > 0.9


def test_a_neck_cut_at_both_ends_is_found_up_to_its_ends():
    shape = (40, 50, 50)
    image, mask = scan(centred(np.diag([-1.0, -1.0, 1.0, 1.0]), shape), shape, lambda p: (abs(p[..., :2]) < 9).all(-1))
    found, _ = seen_by(image)
    assert mask[0].any() and mask[-1].any()
    assert all(dice(found[k], mask[k]) > 0.9 for k in (0, 1, 20, 38, 39))


def test_metal_is_clamped_and_spoils_nothing_around_it():
    shape = (50, 60, 60)
    image, mask = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape)
    array = image.array.astype(np.int32)
    k, j, i = np.argwhere(mask)[len(np.argwhere(mask)) // 2]
    array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = 30000
    found, seen = seen_by(replace(image, array=array))
    assert max(float(x.max()) for x in seen) <= 1
    assert dice(found, mask) > 0.93


def test_a_small_part_far_from_the_spine_is_dropped_by_its_share():
    shape = (60, 70, 70)
    image, mask = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape)
    array = np.array(image.array)
    array[5:9, 60:64, 60:64] = 1300
    both, _ = seen_by(replace(image, array=array))
    kept, _ = seen_by(replace(image, array=array), keep_fraction=0.1)
    assert both[7, 62, 62] and not kept[:, 56:, 56:].any()
    assert dice(kept, mask) > 0.93


def test_what_is_large_but_far_from_the_spine_is_dropped_on_an_oblique_grid(oblique):
    def with_sternum(points):
        x, y, z = np.moveaxis(points, -1, 0)
        return letter(points) | ((abs(x) < 7) & (y > 48) & (y < 58) & (abs(z) < 30))

    fine = oblique.step * [0.6, 1.2, 1.5]
    matrix = np.array(oblique.ijk_to_ras)
    matrix[:3, :3] = matrix[:3, :3] / oblique.step[::-1] * fine[::-1]
    shape = (90, 110, 120)
    image, _ = scan(centred(matrix, shape), shape, with_sternum)
    _, mask = scan(centred(matrix, shape), shape)
    both, _ = seen_by(image, keep_fraction=0.1)
    kept, _ = seen_by(image, keep_fraction=0.1, column=35.0)
    assert both.sum() > 1.2 * kept.sum()
    assert dice(kept, mask) > 0.93


def test_the_first_look_spares_slabs_without_spine_and_loses_nothing():
    shape = (150, 150, 150)
    image, _ = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape, dark=-100)
    every, all_slabs = seen_by(image)
    found, some = seen_by(image, look=4.5)
    assert len(some) < 0.6 * len(all_slabs)
    np.testing.assert_array_equal(found, every)


def test_where_the_first_look_finds_nothing_the_whole_volume_is_looked_at():
    shape = (40, 40, 40)
    image, mask = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape, lambda p: (abs(p) < 2.2).all(-1))
    found, _ = seen_by(image, look=12.0, suspected=0.9)
    assert dice(found, mask) > 0.9


def test_probabilities_lie_where_the_mask_is():
    shape = (50, 60, 60)
    image, mask = scan(centred(np.diag([1.5, -1.5, -1.5, 1.0]), shape), shape)
    runner = Runner(Bright(), "cpu", "float32")
    (segment,) = slabs(image, CARD, runner, report=silent, size=SIZE, keep_probability=True).segments
    assert segment.probability.shape == shape
    assert dice(segment.probability > 0.5, mask) > 0.93


def test_progress_counts_slabs_and_cancelling_stops_between_two():
    shape = (120, 60, 60)
    image, _ = scan(centred(np.diag([-1.5, -1.5, 1.5, 1.0]), shape), shape)
    steps = []
    _, seen = seen_by(image, look=4.5, report=lambda *step: steps.append(step))
    assert [what for _, _, what in steps].count("slabs") + [what for _, _, what in steps].count("first look") == len(
        seen
    )
    assert all(0 <= step <= of for step, of, _ in steps)
    assert steps[-1][0] == steps[-1][1]

    def stop(step, _of, what):
        if what == "slabs":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        seen_by(image, look=4.5, report=stop)


def test_precisions_are_compared_in_volumes_too():
    one = torch.rand(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    assert worst_dice(one, one) == 1.0
    other = one.clone()
    other[:, 1, :4] = 1 - other[:, 1, :4]
    assert worst_dice(one, other) < 0.7


def turned_scan(shape=(60, 100, 90)):
    """A letter on a grid that is oblique, anisotropic and left-handed."""
    a, b = np.deg2rad(20), np.deg2rad(-12)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-0.9, 0.9, 2.0])
    return scan(centred(matrix, shape), shape)


def test_edges_come_out_finer_than_the_networks_grid_on_an_oblique_volume():
    image, mask = turned_scan()
    plain, _ = seen_by(image)
    fine, _ = seen_by(image, edge={"share": 0.5})
    assert dice(fine, mask) > 0.985
    assert 1 - dice(fine, mask) < 0.6 * (1 - dice(plain, mask))


def test_edges_are_the_same_when_slices_come_back_a_few_at_a_time(monkeypatch):
    image, _ = turned_scan()
    whole, _ = seen_by(image, edge={"width": 2.5})
    monkeypatch.setattr(pipeline, "AT_ONCE", 3 * image.array[0].size)
    pieces, _ = seen_by(image, edge={"width": 2.5})
    np.testing.assert_array_equal(whole, pieces)
