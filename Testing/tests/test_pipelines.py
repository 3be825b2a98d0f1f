"""Pipelines on grids that hide no mistake, with a network whose answer is known: brightness itself."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch

from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.image import Geometry, Image, SpacingSource, resample
from SpineSegLib.models import card
from SpineSegLib.models.cards import Card
from SpineSegLib.models.preprocess import Letterbox, scale_intensity
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment
from SpineSegLib.pipelines.masks import large_parts
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.slicewise import slicewise
from SpineSegLib.pipelines.whole_image import whole_image
from SpineSegLib.progress import silent


class Bright(torch.nn.Module):
    """Finds what is brighter than half, in the middle channel; remembers the pictures it saw."""

    stride = 32

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return 40 * (x[:, x.shape[1] // 2, None] - 0.5)


def runner():
    return Runner(Bright(), "cpu", "float32")


def dice(a, b):
    return 2 * (a & b).sum() / max((a.sum() + b.sum()), 1)


def letter(points):
    """An L with a foot, in world mm: no mirror image or quarter turn of it is itself."""
    x, y, z = np.moveaxis(points, -1, 0)
    stem = (abs(x) < 5) & (abs(y) < 5) & (z > -30) & (z < 30)
    foot = (x > -5) & (x < 22) & (abs(y) < 5) & (z > -30) & (z < -20)
    nose = (abs(x) < 5) & (y > 0) & (y < 17) & (z > 18) & (z < 30)
    return stem | foot | nose


def scan(matrix, shape):
    geometry = Geometry(shape, matrix)
    points = geometry.to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    mask = letter(points)
    return Image(np.where(mask, 1300, -500).astype(np.int16), geometry, "CT"), mask


def grid(order, signs, tilt):
    """A grid whose i, j, k run along any world axes, with unequal steps, turned a little."""
    from scipy.spatial.transform import Rotation

    steps = np.array([0.9, 1.2, 2.0])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ (
        np.eye(3)[:, list(order)] * signs * steps
    )
    shape = tuple(int(80 / step) for step in steps)[::-1]
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return matrix, shape


def test_mask_comes_back_in_place_from_every_orientation_of_the_grid():
    model = card("linknet34-ct-small")
    cases = [*product(permutations(range(3)), product((-1, 1), repeat=3))]
    for number, (order, signs) in enumerate(cases):
        image, mask = scan(*grid(order, signs, (9, -7, 12) if number % 2 else (0, 0, 0)))
        plane = ("axial", "sagittal", "coronal")[number % 3]
        found = slicewise(image, model, runner(), report=silent, planes=[plane])
        assert found.geometry.same_as(image.geometry)
        assert dice(found.mask("spine"), mask) > 0.9, (order, signs, plane)


def test_network_sees_every_volume_head_up_and_front_first():
    model = card("linknet34-ct-small")
    for order, signs in [((0, 1, 2), (-1, -1, 1)), ((2, 0, 1), (1, -1, -1)), ((1, 2, 0), (-1, 1, 1))]:
        image, _ = scan(*grid(order, signs, (0, 0, 0)))
        views = {}
        for plane in ("axial", "sagittal", "coronal"):
            run = runner()
            slicewise(image, model, run, report=silent, planes=[plane])
            views[plane] = torch.cat(run.network.seen)[:, 1].numpy()
        # The foot of the L is low and to the patient's right (+x), the nose high and in front (+y).
        coronal = views["coronal"].sum(axis=0)
        low, high = np.flatnonzero(coronal.sum(axis=1) > 0)[[-1, 0]]
        assert coronal[low - 1].sum() > coronal[high + 1].sum()
        assert np.flatnonzero(coronal[low - 1])[0] < np.flatnonzero(coronal[high + 1])[0]
        sagittal = views["sagittal"].sum(axis=0)
        top = np.flatnonzero(sagittal.sum(axis=1) > 0)[0] + 1
        bottom = np.flatnonzero(sagittal.sum(axis=1) > 0)[-1] - 1
        assert np.flatnonzero(sagittal[top])[0] < np.flatnonzero(sagittal[bottom])[0]


def test_planes_are_averaged():
    image, mask = scan(*grid((0, 1, 2), (-1, -1, 1), (4, 5, 6)))
    found = slicewise(
        image, card("linknet34-ct-small"), runner(), report=silent, planes=["axial", "sagittal", "coronal"]
    )
    assert dice(found.mask("spine"), mask) > 0.9


@pytest.mark.parametrize("every", [2, 3])
def test_skipped_slices_are_filled_in(every):
    image, mask = scan(*grid((0, 1, 2), (-1, -1, 1), (4, 5, 6)))
    run = runner()
    planes = ["axial", "sagittal", "coronal"]
    found = slicewise(image, card("linknet34-ct-small"), run, report=silent, planes=planes, every=every)
    assert dice(found.mask("spine"), mask) > 0.9
    whole = runner()
    slicewise(image, card("linknet34-ct-small"), whole, report=silent, planes=planes)
    assert sum(map(len, run.network.seen)) < sum(map(len, whole.network.seen)) / every + 6


@pytest.mark.parametrize(
    ("shape", "step"), [((91, 57), (1, 1)), ((57, 91), (0.3, 0.3)), ((80, 80), (0.5, 0.2)), ((700, 411), (0.15, 0.15))]
)
def test_radiograph_mask_comes_back_at_its_own_size_and_aspect(shape, step):
    j, i = np.meshgrid((np.arange(shape[0]) + 0.5) / shape[0], (np.arange(shape[1]) + 0.5) / shape[1], indexing="ij")
    mask = ((j < 0.45) & (abs(i - 0.3) < 0.2)) | ((abs(j - 0.35) < 0.1) & (i > 0.3) & (i < 0.8))
    geometry = Geometry((1, *shape), np.diag([-step[1], -step[0], 1, 1]))
    image = Image(np.where(mask, 200, 30).astype(np.uint8)[None], geometry, "XR")
    model = card("unet-xray-small")
    plain = Card(
        **{**vars(model), "input": {**model.input, "intensity": {"kind": "percentile", "low": 0, "high": 100}}}
    )
    run = runner()
    found = whole_image(image, plain, run, report=silent)
    assert found.mask("vertebrae").shape == (1, *shape)
    assert dice(found.mask("vertebrae")[0], mask) > 0.97
    seen = run.network.seen[0][0, 0].numpy()
    height, width = (np.ptp(np.flatnonzero((seen > 0.5).any(axis=axis))) + 1 for axis in (1, 0))
    real = (0.45 * shape[0] * step[0]) / (0.7 * shape[1] * step[1])
    assert height / width == pytest.approx(real, rel=0.06)


def test_a_film_may_be_seen_larger_than_in_training():
    j, i = np.mgrid[:300, :200]
    mask = (abs(j - 100) < 50) & (abs(i - 60) < 30)
    image = Image(
        np.where(mask, 200, 30).astype(np.uint8)[None], Geometry((1, 300, 200), np.diag([-1, -1, 1, 1])), "XR"
    )
    run = runner()
    found = whole_image(image, card("unet-xray-small"), run, report=silent, size=288)
    assert run.network.seen[0].shape[-2:] == (288, 288)
    assert dice(found.mask("vertebrae")[0], mask) > 0.97


class Leftish(torch.nn.Module):
    """Surer of what lies further left in the picture."""

    stride = 1

    def forward(self, x):
        return 8 * x - 4 - 6 * torch.linspace(0, 1, x.shape[-1])


def test_the_mean_with_the_mirror_image_lies_in_place_and_is_alike_on_both_sides():
    values = np.zeros((1, 60, 90), np.uint8)
    values[:, 20:40, 5:15] = values[:, 20:40, 75:85] = 255  # one on either side
    values[:, 5:12, 5:45] = 255  # which a mirror image would have on the right
    image = Image(values, Geometry(values.shape, np.diag([-0.4, -0.4, 1, 1])), "XR")
    model = card("unet-xray-small")
    plain = replace(model, input={**model.input, "intensity": {"kind": "percentile", "low": 0, "high": 100}})
    chances = {}
    for mirror in (False, True):
        found = whole_image(
            image, plain, Runner(Leftish(), "cpu", "float32"), report=silent, mirror=mirror, keep_probability=True
        )
        chances[mirror] = found.find(plain.structures[0]).probability[0]
    one, two = chances[False], chances[True]
    assert one[30, 10] > 0.95 and one[30, 80] < 0.3
    assert two[30, 10] == pytest.approx(two[30, 80], abs=0.02)
    assert two[30, 10] == pytest.approx((one[30, 10] + one[30, 80]) / 2, abs=0.03)
    assert two[8, 20] > 0.5 > two[8, 70]


def test_letterbox_is_undone_in_place():
    box = Letterbox((300, 200), 96)
    picture = np.zeros((300, 200), np.float32)
    picture[100:180, 40:90] = 1
    assert dice(box.undo(box.pad(box.shrink(picture))) > 0.5, picture > 0.5) > 0.97
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3).repeat(50, 0).repeat(50, 1)
    assert set(np.unique(Letterbox((100, 150), 64).shrink(labels, labels=True))) == set(range(6))


def test_intensity_follows_its_formula_and_clahe_raises_local_contrast():
    window = scale_intensity(np.array([-2000, -500, 400, 1300, 5000]), {"kind": "window", "low": -500, "high": 1300})
    np.testing.assert_allclose(window, [0, 0, 0.5, 1, 1])
    ramp = np.linspace(0, 1, 128 * 128).reshape(128, 128) + 0.02 * np.sin(np.arange(128) / 2)
    how = {"kind": "percentile", "low": 0, "high": 100}
    flat, local = scale_intensity(ramp, how), scale_intensity(ramp, {**how, "clahe": {"tiles": 8, "clip": 0.05}})
    assert np.abs(np.diff(local[64])).mean() > 1.5 * np.abs(np.diff(flat[64])).mean()
    assert 0 <= local.min() <= local.max() <= 1


def test_small_parts_are_dropped_by_their_share_of_the_largest():
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 2:12, 2:12], mask[0, 20:25, 20:25], mask[0, 30, 30] = True, True, True
    assert large_parts(mask, 0).sum() == 126
    assert large_parts(mask, 0.1).sum() == 125
    assert large_parts(mask, 1).sum() == 100


@pytest.fixture
def weighted(monkeypatch):
    """Every model has the network `Bright`."""
    monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: Bright())


def radiograph(array, modality="XR"):
    return Image(array, Geometry(array.shape, np.diag([-1.0, -1, 1, 1]), SpacingSource.UNKNOWN), modality)


def test_result_lies_on_the_image_and_says_what_it_ran_on(weighted):
    array = np.zeros((1, 50, 60), np.uint8)
    array[0, 10:30, 20:40] = 255
    result = segment(radiograph(array), card("unet-xray-small"), device="cpu")
    assert result.segmentation.geometry.shape == array.shape
    assert (result.device, result.precision, result.warnings) == ("cpu", "float32", ())
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 20, 20), np.uint8), "every voxel has the value 0"),
        (
            np.where(np.arange(400).reshape(1, 20, 20) == 7, np.nan, 1.0).astype(np.float32),
            "1 of 400 voxels are not a number",
        ),
    ],
)
def test_unusable_values_are_refused_in_one_line_with_the_file(weighted, array, says):
    with pytest.raises(InputError, match=says) as error:
        segment(radiograph(array), card("unet-xray-small"), where="film.png")
    assert str(error.value).startswith("film.png: ")
    assert "\n" not in str(error.value)


def test_a_ct_for_a_radiograph_model_is_refused(weighted):
    image, _ = scan(*grid((0, 1, 2), (-1, -1, 1), (0, 0, 0)))
    with pytest.raises(InputError, match="takes a radiograph"):
        segment(image, card("unet-xray-small"))


def test_an_empty_result_says_so(weighted):
    noise = np.random.default_rng(0).integers(0, 255, (1, 40, 40)).astype(np.uint8)
    model = card("unet-xray-small")
    strict = Card(**{**vars(model), "pipeline": {"name": "whole-image", "arguments": {"threshold": 1.0}}})
    result = segment(radiograph(noise), strict, device="cpu")
    assert result.warnings == ("Nothing was found of vertebrae.",)


def test_work_stops_where_progress_says_so(weighted):
    image, _ = scan(*grid((0, 1, 2), (-1, -1, 1), (0, 0, 0)))
    steps = []

    def report(step, of, what):
        steps.append((step, of, what))
        if len(steps) == 4:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        segment(image, card("linknet34-ct-small"), device="cpu", report=report)
    assert len(steps) == 4
    assert all(0 <= step <= of for step, of, _ in steps)


def test_an_absent_device_or_precision_is_refused_by_name(weighted):
    array = np.arange(400, dtype=np.float32).reshape(1, 20, 20)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device"):
            segment(radiograph(array), card("unet-xray-small"), device="cuda")
    with pytest.raises(InputError, match="--precision"):
        segment(radiograph(array), card("unet-xray-small"), device="cpu", precision="float8")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    ],
)
def test_out_of_memory_on_the_gpu_is_said_and_the_cpu_goes_on(weighted, monkeypatch, error):
    array = np.zeros((1, 50, 60), np.uint8)
    array[0, 10:30, 20:40] = 255
    monkeypatch.setattr(run_module, "choose_device", lambda wanted: "cuda")
    monkeypatch.setattr(Bright, "to", lambda self, *args, **kwargs: self)
    original = Runner.__call__

    def call(self, pictures):
        if self.device == "cuda":
            raise error
        return original(self, pictures)

    monkeypatch.setattr(Runner, "__call__", call)
    result = segment(radiograph(array), card("unet-xray-small"))
    assert result.device == "cpu"
    assert result.warnings == ("The cuda device ran out of memory; the CPU did the work instead.",)
    assert result.segmentation.foreground.any()


def test_bfloat16_finds_the_same(weighted):
    array = np.zeros((1, 50, 60), np.uint8)
    array[0, 10:30, 20:40] = 255
    one, two = (
        segment(radiograph(array), card("unet-xray-small"), device="cpu", precision=p) for p in ("float32", "bfloat16")
    )
    assert dice(one.segmentation.foreground, two.segmentation.foreground) > 0.99


def test_noise_does_not_alias_when_a_fine_scan_is_sampled_coarsely():
    from SpineSegLib.models.preprocess import coarsened

    fine = Geometry((40, 160, 160), np.diag([-0.4, -0.4, 2, 1]))
    coarse = fine.with_step(1.6)
    noise = np.random.default_rng(1).normal(0, 100, fine.shape).astype(np.float32)
    smooth = resample(coarsened(noise, fine.step, 1.6), fine, coarse, fill=0)
    assert smooth.std() < 0.4 * resample(noise, fine, coarse, fill=0).std()
