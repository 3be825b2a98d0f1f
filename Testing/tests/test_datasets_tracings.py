"""Red tracings become masks: filled, whatever JPEG did to the colours; and CervSpineNet's folders are read."""

from __future__ import annotations

import colorsys
import json

import numpy as np
import pytest
from dataset_copies import film, write_picture
from PIL import Image as Pillow
from PIL import ImageDraw

from SpineSegLib.cli import main
from SpineSegLib.datasets import read_cases
from SpineSegLib.datasets.red_tracing import is_red, read_tracing, traced
from SpineSegLib.errors import InputError

CRIMSON = (220, 20, 60)
"""Hue 348 degrees: 174 in OpenCV's units, the upper band."""
SCARLET = (255, 36, 0)
"""Hue 8 degrees: 4 in OpenCV's units, the lower band."""


def _noisy(rows=200, columns=240, seed=3):
    grey = np.random.default_rng(seed).normal(120, 25, (rows, columns)).clip(0, 255).astype(np.uint8)
    return Pillow.fromarray(grey).convert("RGB")


def _ellipse(picture, box, colour, *, width=3, part=(0, 360)):
    """Draw an outline; return what it encloses with its line."""
    ImageDraw.Draw(picture).arc(box, *part, fill=colour, width=width)
    mask = Pillow.new("1", picture.size)
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return np.asarray(mask)


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("colour", [SCARLET, CRIMSON, (255, 0, 0)])
def test_a_closed_outline_is_filled_exactly(colour):
    picture = _noisy()
    truth = _ellipse(picture, (40, 30, 160, 110), colour)
    found = traced(np.asarray(picture))
    assert (found.outlines, found.open_strokes) == (1, 0)
    assert np.array_equal(found.mask, truth)


@pytest.mark.parametrize("colour", [SCARLET, CRIMSON])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_neither_opens_an_outline_nor_makes_red_of_grey(tmp_path, colour, quality):
    picture = _noisy()
    truth = _ellipse(picture, (40, 30, 160, 110), colour) | _ellipse(picture, (150, 120, 220, 180), colour)
    picture.save(tmp_path / "a.jpg", quality=quality)
    found = read_tracing(tmp_path / "a.jpg")
    assert (found.outlines, found.open_strokes) == (2, 0)
    assert _dice(found.mask, truth) > 0.97
    assert not found.mask[:25].any()


def test_hues_are_those_of_opencv_with_both_ends_included():
    # Half degrees, rounded: 10 is red and 11 is not; 160 is red and 159 is not. colorsys is the independent source.
    for hue, red in {
        0: True,
        5: True,
        10: True,
        11: False,
        30: False,
        90: False,
        159: False,
        160: True,
        179: True,
    }.items():
        colour = np.rint(255 * np.array(colorsys.hsv_to_rgb(hue / 180, 1, 1))).astype(np.uint8)
        assert is_red(colour[None, None])[0, 0] == red, hue


def test_dull_and_dark_red_are_not_red():
    colours = np.array([[[255, 160, 160], [255, 150, 150], [99, 0, 0], [101, 0, 0], [9, 2, 3], [0, 0, 0]]], np.uint8)
    assert is_red(colours).tolist() == [[False, True, False, True, False, False]]
    assert is_red(colours, saturation=90, value=50).tolist() == [[True, True, True, True, False, False]]
    assert not is_red(colours, low_hues=(1, 10)).any()


def test_a_break_is_bridged_and_a_wider_one_is_told():
    picture = _noisy()
    truth = _ellipse(picture, (40, 30, 160, 110), SCARLET, part=(2, 360))
    assert traced(np.asarray(picture), gap=0).open_strokes == 1
    found = traced(np.asarray(picture))
    assert (found.outlines, found.open_strokes) == (1, 0)
    assert _dice(found.mask, truth) > 0.99
    picture = _noisy()
    _ellipse(picture, (40, 30, 160, 110), SCARLET, part=(30, 330))
    found = traced(np.asarray(picture))
    assert (found.outlines, found.open_strokes) == (0, 1)
    assert not found.mask.any()


def test_a_painted_area_counts_as_it_is():
    picture = _noisy()
    ImageDraw.Draw(picture).ellipse((40, 30, 160, 70), fill=CRIMSON)
    found = traced(np.asarray(picture))
    assert found.outlines == 1
    assert found.mask[50, 100]


def test_specks_are_left_out():
    picture = _noisy()
    truth = _ellipse(picture, (40, 30, 160, 110), SCARLET)
    ImageDraw.Draw(picture).rectangle((200, 150, 203, 153), fill=SCARLET)
    assert np.array_equal(traced(np.asarray(picture)).mask, truth)


def _set(folder, *, tracings=(), masks=(), images=("0000012",)):
    for name in images:
        write_picture(folder / "images" / f"{name}.png", np.asarray(_noisy().convert("L")))
    truth = None
    for name in tracings:
        picture = _noisy()
        truth = _ellipse(picture, (40, 30, 160, 110), CRIMSON)
        write_picture(folder / "tracings" / f"{name}.png", np.asarray(picture))
    for name in masks:
        truth = np.zeros((200, 240), bool)
        truth[50:90, 30:70] = True
        write_picture(folder / "masks" / f"{name}.png", (truth * 255).astype(np.uint8))
    return truth


@pytest.mark.parametrize("part", ["masks", "tracings"])
def test_cervspinenet_reads_masks_and_tracings_alike(tmp_path, part):
    truth = _set(tmp_path, **{part: ("0000012",)})
    (case,) = read_cases("cervspinenet", tmp_path)
    image, labels = case.load()
    assert image.array.shape == (1, 200, 240)
    assert case.labelled == {"spinous processes"}
    assert [segment.name for segment in labels.segments] == ["spinous processes"]
    assert np.array_equal(labels.mask("spinous processes")[0], truth)


def test_variants_of_a_film_are_one_patient(tmp_path):
    names = ("0000012", "0000012_clahe", "0000012_aug", "0000013")
    _set(tmp_path, images=names, masks=names)
    found = {case.name: case.patient for case in read_cases("cervspinenet", tmp_path)}
    assert len(set(found.values())) == 2
    assert found["0000012"] == found["0000012_aug"] == found["0000012_clahe"]


def test_an_open_outline_a_grey_tracing_and_another_size_are_one_line(tmp_path):
    names = ("1", "2", "3", "4")
    _set(tmp_path, images=names, tracings=names)
    picture = _noisy()
    _ellipse(picture, (40, 30, 160, 110), CRIMSON, part=(40, 330))
    write_picture(tmp_path / "tracings" / "1.png", np.asarray(picture))
    write_picture(tmp_path / "tracings" / "2.png", np.asarray(_noisy()))
    write_picture(tmp_path / "tracings" / "3.png", film())
    write_picture(tmp_path / "images" / "4.png", film())
    complaints = ("1 red strokes enclose nothing", "nothing in it is red", "without colours", "labels of 240 x 200")
    for case, complaint in zip(read_cases("cervspinenet", tmp_path), complaints, strict=True):
        with pytest.raises(InputError, match=complaint):
            case.load()


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"images": ("1",)}, "folders 'images' and 'masks' or 'tracings'"),
        ({"images": ("1",), "tracings": ("1", "2")}, "'2' is in one of"),
        ({"images": ("1", "2"), "masks": ("1",)}, "it has no mask"),
    ],
)
def test_a_folder_that_is_not_cervspinenet_is_one_line(tmp_path, parts, complaint):
    _set(tmp_path, **parts)
    with pytest.raises(InputError, match=complaint):
        read_cases("cervspinenet", tmp_path)


def test_the_command_writes_masks_and_keeps_those_that_are_there(tmp_path, capsys):
    truth = _set(tmp_path, tracings=("a", "b"))
    picture = _noisy()
    _ellipse(picture, (40, 30, 160, 110), CRIMSON, part=(40, 330))
    write_picture(tmp_path / "tracings" / "c.png", np.asarray(picture))
    corrected = write_picture(tmp_path / "masks" / "b.png", np.full((200, 240), 255, np.uint8))
    assert main(["masks", str(tmp_path / "tracings"), "--out", str(tmp_path / "masks"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["kept"] for row in told["masks"]] == [False, True, False]
    assert told["masks"][0]["pixels"] == truth.sum()
    assert told["warnings"] == ["c.png: 1 strokes enclose nothing and were left out"]
    written = np.asarray(Pillow.open(tmp_path / "masks" / "a.png"))
    assert written.dtype == np.uint8
    assert np.array_equal(written, truth * 255)
    assert np.array_equal(np.asarray(Pillow.open(tmp_path / "masks" / "b.png")), corrected)


def test_the_command_refuses_what_would_harm_or_makes_no_sense(tmp_path, capsys):
    _set(tmp_path, tracings=("a",))
    folder = str(tmp_path / "tracings")
    before = (tmp_path / "tracings" / "a.png").read_bytes()
    for arguments in (
        [folder, "--out", folder],
        [str(tmp_path / "none"), "--out", str(tmp_path / "masks")],
        [str(tmp_path / "images" / ".."), "--out", str(tmp_path / "masks")],
        [folder, "--out", str(tmp_path / "masks"), "--saturation", "300"],
    ):
        assert main(["masks", *arguments]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "tracings" / "a.png").read_bytes() == before
