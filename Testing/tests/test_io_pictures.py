"""Pictures: 8 and 16 bits, grey, palette and colour with equal channels; colour photographs refused."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Pillow
from PIL import ImageOps

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io import read_image, write_image


@pytest.fixture
def eight():
    return (np.add.outer(np.arange(30), 3 * np.arange(20)) * 2).astype(np.uint8)


@pytest.fixture
def sixteen(eight):
    return eight.astype(np.uint16) * 257 + np.arange(20, dtype=np.uint16)


def read(path):
    image = read_image(path)
    assert image.modality == "XR"
    assert image.geometry.spacing is None
    assert np.array_equal(image.geometry.ijk_to_ras, np.diag([-1, -1, 1, 1]))
    return image.array[0]


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp"])
def test_eight_bit_grey_is_read_as_stored(eight, tmp_path, suffix):
    Pillow.fromarray(eight).save(tmp_path / f"film.{suffix}")
    assert np.array_equal(read(tmp_path / f"film.{suffix}"), eight)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_read_as_stored(sixteen, tmp_path, suffix):
    Pillow.fromarray(sixteen).save(tmp_path / f"film.{suffix}")
    found = read(tmp_path / f"film.{suffix}")
    assert found.dtype == np.uint16
    assert np.array_equal(found, sixteen)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_colour_with_equal_channels_keeps_its_depth(sixteen, tmp_path, suffix):
    colours = sitk.GetImageFromArray(np.repeat(sixteen[..., None], 3, axis=-1), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / f"film.{suffix}"))
    assert np.array_equal(read(tmp_path / f"film.{suffix}"), sixteen)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_another_mode_is_grey(eight, tmp_path, mode):
    Pillow.fromarray(eight).convert(mode).save(tmp_path / "film.png")
    assert np.array_equal(read(tmp_path / "film.png"), eight)


def test_a_jpeg_is_close_to_what_was_saved_in_grey_and_in_colour(eight, tmp_path):
    for mode in ("L", "RGB"):
        Pillow.fromarray(eight // 2 + 40).convert(mode).save(tmp_path / "film.jpg", quality=95)
        assert np.abs(read(tmp_path / "film.jpg").astype(int) - (eight // 2 + 40)).mean() < 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_where_white_is_zero_is_turned_over(eight, sixteen, tmp_path, bits):
    tifffile = pytest.importorskip("tifffile")
    array = eight if bits == 8 else sixteen
    tifffile.imwrite(tmp_path / "film.tif", array, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "film.tif"), 2**bits - 1 - array)


def test_a_big_endian_tiff_is_read(sixteen, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "film.tif", sixteen, byteorder=">")
    found = read(tmp_path / "film.tif")
    assert found.dtype.isnative
    assert np.array_equal(found, sixteen)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(eight, tmp_path, orientation):
    exif = Pillow.Exif()
    exif[0x112] = orientation
    Pillow.fromarray(eight).save(tmp_path / "film.png", exif=exif)
    with Pillow.open(tmp_path / "film.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(read(tmp_path / "film.png"), expected)


def test_the_resolution_of_print_is_no_patient_spacing(eight, tmp_path):
    for name in ("film.png", "film.tif", "film.jpg"):
        Pillow.fromarray(eight).save(tmp_path / name, dpi=(300, 300))
        read(tmp_path / name)


def test_a_colour_photograph_is_refused(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)
    for name in ("photo.png", "photo.jpg"):
        Pillow.fromarray(colours).save(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: this is a colour picture; expected a grey radiograph"):
            read_image(tmp_path / name)


def test_several_pages_are_refused(eight, tmp_path):
    Pillow.fromarray(eight).save(tmp_path / "pages.tif", save_all=True, append_images=[Pillow.fromarray(eight)] * 2)
    with pytest.raises(InputError, match="it has 3 pages"):
        read_image(tmp_path / "pages.tif")


def test_what_the_user_says_about_the_modality_holds(eight, tmp_path):
    Pillow.fromarray(eight).save(tmp_path / "slice.png")
    assert read_image(tmp_path / "slice.png", modality="MR").modality == "MR"


@pytest.mark.parametrize("bits", [8, 16])
def test_a_written_png_is_read_back_exactly(eight, sixteen, tmp_path, bits):
    array = (eight if bits == 8 else sixteen)[None]
    geometry = Geometry(array.shape, np.diag([-0.2, -0.2, 1, 1]), SpacingSource.PIXEL_SPACING)
    write_image(Image(array, geometry, "XR"), tmp_path / "film.png")
    found = read(tmp_path / "film.png")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array[0])


@pytest.mark.parametrize("value", [-1.0, 0.5, 70000.0, np.nan])
def test_values_that_a_png_cannot_hold_are_refused(tmp_path, value):
    geometry = Geometry((1, 2, 2), np.diag([-1.0, -1, 1, 1]))
    with pytest.raises(InputError, match="do not fit a PNG"):
        write_image(Image(np.array([[[0, 1], [2, value]]]), geometry), tmp_path / "film.png")
    assert list(tmp_path.iterdir()) == []


def test_real_radiographs_are_read(shared):
    folder = shared / "data" / "fraiwan-ap-scoliosis" / "images_boxes"
    for path in sorted(folder.iterdir())[:5]:
        array = read(path)
        assert array.dtype == np.uint8
        assert np.ptp(array) > 150
