"""Preprocessing of the papers: local steps against other programs, and masks into the square and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.models.preprocess import Letterbox, denoised, enhanced, fitted, scale_intensity, smoothed
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.slicewise import slicewise
from SpineSegLib.progress import silent
from SpineSegLib.training.sources import Scan, targets_of
from SpineSegLib.training.sources.slices import SliceSource

PAPER_004 = {
    "kind": "window",
    "low": 0,
    "high": 255,
    "square": True,
    "clahe": {"tiles": 8, "clip": 0.01},
    "denoise": {"h": 10, "template": 7, "search": 21},
}

# Every fourth pixel of fastNlMeansDenoising(film(), h=10, templateWindowSize=7, searchWindowSize=21) of OpenCV 5.0.
OPENCV = [
    [100, 100, 133, 140, 105, 100, 143, 138, 102],
    [100, 101, 133, 140, 104, 100, 140, 139, 104],
    [140, 137, 109, 106, 138, 138, 110, 101, 133],
    [139, 140, 101, 101, 136, 140, 101, 100, 137],
    [101, 104, 132, 138, 108, 107, 133, 136, 108],
    [100, 100, 137, 141, 100, 100, 130, 141, 102],
    [144, 142, 104, 104, 133, 139, 105, 102, 138],
    [142, 141, 103, 101, 135, 140, 102, 101, 135],
    [100, 101, 138, 141, 101, 103, 135, 139, 101],
    [101, 101, 137, 140, 106, 100, 137, 140, 100],
]


def film():
    """A chessboard with noise, the same in every program: whole numbers only."""
    row, column = np.indices((40, 36))
    noise = ((row**2 * 37 + column**2 * 101 + row * column * 13) % 41) // 2 - 10
    return (100 + 40 * ((row // 8 + column // 8) % 2) + noise).astype(np.uint8)


def blobs(shape, seed=0):
    """A mask of round parts that touch the picture's edge too."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4, mode="wrap") > 0.02


def test_denoising_is_that_of_opencv_but_for_its_rounding():
    found = 255 * denoised(film().astype(np.float32) / 255)
    assert abs(found[::4, ::4] - OPENCV).max() < 0.6
    assert found.dtype == np.float32


def test_denoising_follows_its_formula():
    picture = np.random.default_rng(0).random((14, 17)).astype(np.float32)
    reach, away, h = 1, 2, 60 / 255
    wide = np.pad(picture, reach + away, mode="reflect").astype(float)
    expected = np.zeros_like(picture)
    for row in range(14):
        for column in range(17):
            total = weights = 0.0
            centre = wide[row + away : row + away + 3, column + away : column + away + 3]
            for down in range(5):
                for across in range(5):
                    other = wide[row + down : row + down + 3, column + across : column + across + 3]
                    weight = np.exp(-((centre - other) ** 2).mean() / h**2)
                    weight *= weight >= 0.001
                    total, weights = total + weight * other[1, 1], weights + weight
            expected[row, column] = total / weights
    np.testing.assert_allclose(denoised(picture, h=60, template=3, search=5), expected, atol=1e-5)


def test_denoising_takes_noise_away_and_leaves_edges():
    clean = np.zeros((60, 50), np.float32)
    clean[:, 25:] = 0.6
    noisy = clean + np.random.default_rng(1).normal(0, 0.02, clean.shape).astype(np.float32)
    found = denoised(noisy)
    assert abs(found - clean).mean() < 0.35 * abs(noisy - clean).mean()
    assert (found[:, 25] - found[:, 24]).min() > 0.55


def test_denoising_refuses_pictures_smaller_than_its_windows():
    with pytest.raises(ValueError, match="needs more than 13"):
        denoised(np.zeros((13, 40), np.float32))


def test_local_steps_come_in_the_papers_order():
    picture = film().astype(np.float32) / 255
    both = enhanced(picture, PAPER_004)
    equalised = enhanced(picture, {"clahe": PAPER_004["clahe"]})
    assert np.array_equal(both, denoised(equalised))
    assert not np.allclose(both, enhanced(denoised(picture), {"clahe": PAPER_004["clahe"]}), atol=0.01)


def test_paper_004_pads_and_scales_before_it_equalises():
    tall = np.kron(film()[:, :20], np.ones((4, 4), np.uint8))
    box = Letterbox(tall.shape, 96)
    square = fitted(tall, box, PAPER_004)
    assert square.shape == (96, 96)
    assert np.array_equal(square, scale_intensity(box.pad(box.shrink(tall)), PAPER_004))
    assert np.array_equal(box.pad(square), square), "padding again changes nothing"
    unpadded = fitted(tall, box, {**PAPER_004, "square": False})
    assert unpadded.shape == box.used == (96, 48)
    assert not np.allclose(unpadded, square[:, :48], atol=0.01), "the tiles are others"


def test_smoothing_is_gaussian_in_voxels_of_the_network_and_precedes_the_window():
    how = {"kind": "window", "low": -500, "high": 1300, "smooth": {"sigma": 1.5}}
    volume = np.full((15, 15, 15), -1000, np.int16)
    volume[7, 7, 7] = 3000
    found = smoothed(volume, how)
    away = np.arange(15) - 7
    weights = np.exp(-(away**2) / (2 * 1.5**2))
    weights /= weights.sum()
    expected = -1000 + 4000 * np.einsum("i,j,k->ijk", weights, weights, weights)
    np.testing.assert_allclose(found, expected, atol=1)
    # Voxels of twice the network's size are smoothed half as far.
    twice = smoothed(volume, how, step=2.0)
    np.testing.assert_allclose(twice, smoothed(volume, {"smooth": {"sigma": 0.75}}), atol=1e-3)
    assert smoothed(volume, {"kind": "window"}) is volume
    picture = np.zeros((31, 31), np.float32)
    picture[15, 15] = 5000
    seen = fitted(picture, Letterbox((31, 31), 31), how)
    assert seen[15, 15] < 1, "smoothed before it was clipped"


def test_letterbox_keeps_proportions_and_pads_right_and_below():
    box = Letterbox((3001, 1223), 480)
    square = box.pad(box.shrink(np.ones((3001, 1223), np.float32)))
    rows, columns = np.nonzero(square)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (0, 0, 479, round(1223 * 480 / 3001) - 1)


@pytest.mark.parametrize("size", [256, 480, 512, 1024])
@pytest.mark.parametrize("shape", [(101, 77), (333, 251), (97, 200), (1, 57)])
def test_masks_of_smaller_pictures_come_back_exactly_or_within_a_pixel_of_the_edge(shape, size):
    mask = blobs(shape)
    box = Letterbox(shape, size)
    square = box.pad(box.shrink(mask.astype(np.float32), labels=True))
    assert set(np.unique(square)) <= {0.0, 1.0}
    back = box.undo(square) > 0.5
    wrong = back != mask
    if min(box.scale) >= 2:
        assert not wrong.any(), "twice the size or more, nearest neighbours lose nothing"
    inner = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)
    outer = ndimage.binary_dilation(mask, np.ones((3, 3)))
    assert not (wrong & (inner | ~outer)).any()


@pytest.mark.parametrize("shape", [(601, 479), (487, 1001), (1223, 2840)])
def test_masks_of_larger_pictures_come_back_within_a_pixel_of_the_square(shape):
    mask = ndimage.zoom(
        blobs((61, 73)).astype(np.uint8), [n / m for n, m in zip(shape, (61, 73), strict=True)], order=0
    )
    box = Letterbox(mask.shape, 480)
    back = box.undo(box.pad(box.shrink(mask.astype(np.float32), labels=True))) > 0.5
    pixel = int(np.ceil(1 / min(box.scale)))
    inner = ndimage.minimum_filter(mask, 2 * pixel + 1)
    outer = ndimage.maximum_filter(mask, 2 * pixel + 1)
    assert not ((back != mask) & ((inner > 0) | (outer == 0))).any()


def test_labels_and_picture_fall_on_the_same_pixels():
    mask = blobs((211, 307)).astype(np.float32)
    box = Letterbox(mask.shape, 128)
    picture, labels = box.shrink(mask), box.shrink(mask, labels=True)
    certain = abs(picture - 0.5) > 0.45
    assert certain.mean() > 0.5
    assert np.array_equal(labels[certain] > 0.5, picture[certain] > 0.5)


def test_volumes_are_smoothed_alike_in_training_and_in_use():
    model = card("linknet34-ct-small")
    how = {**model.input["intensity"], "smooth": {"sigma": 1.2}}
    spacing = float(model.input["spacing"])
    random = np.random.default_rng(0)
    volume = random.normal(100, 300, (24, 26, 28)).astype(np.int16)
    geometry = Geometry(volume.shape, np.diag([-spacing, -spacing, spacing, 1.0]))
    before = ndimage.gaussian_filter(volume.astype(np.float32), 1.2)

    class Seen(torch.nn.Module):
        stride = 4

        def forward(self, x):
            pictures.append(x)
            return x[:, :1]

    def through(array, intensity):
        pictures.clear()
        changed = replace(model, input={**model.input, "intensity": intensity})
        slicewise(Image(array, geometry, "CT"), changed, Runner(Seen(), "cpu", "float32"), report=silent)
        return torch.cat(pictures).numpy()

    pictures = []
    np.testing.assert_allclose(through(volume, how), through(before, model.input["intensity"]), atol=1e-3)

    def sample(array, intensity):
        mask = {Structure("vertebra", "L1"): np.ones(volume.shape, bool)}
        scan = Scan(
            Image(array, geometry, "CT"),
            Segmentation.from_masks(mask, geometry),
            targets_of(model.structures, ["vertebra"]),
            spacing,
        )
        settings = {"seed": 1, "samples": 1, "volumes": 1, "plain": 1.0, "size": 32}
        source = SliceSource([scan], [], spacing, {**model.input, "intensity": intensity}, **settings)
        source.set_epoch(0)
        return source[0][0].numpy()

    # Training keeps volumes in whole HU.
    np.testing.assert_allclose(sample(volume, how), sample(before, model.input["intensity"]), atol=2e-3)
    assert not np.allclose(sample(volume, how), sample(volume, model.input["intensity"]), atol=0.05)
