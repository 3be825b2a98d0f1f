"""Bad input is told in one line that names the file, and nothing else reaches the console."""

import gzip

import nibabel
import numpy as np
import pytest
from dicom_writing import DX, film, header, save, slice_of, write_series
from PIL import Image as Pillow

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_image, write_segmentation

SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".seg.nrrd", ".mha", ".mhd", ".png", ".jpg", ".tif", ".dcm"]


def one_line(path, capfd, read, where=None):
    """Return the error's text, having checked that it is one line about the file and that the console stays clean."""
    capfd.readouterr()
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(where or path))
    assert "; expected " in text
    assert len(text) < 500
    assert capfd.readouterr() == ("", "")
    return text


@pytest.fixture
def image(oblique):
    return Image(np.random.default_rng(0).integers(0, 255, oblique.shape).astype(np.uint8), oblique, "CT")


@pytest.fixture
def segmentation(oblique):
    masks = {Structure("vertebra", f"L{n}"): np.arange(9)[:, None, None] + np.zeros(oblique.shape) > n for n in (1, 2)}
    return Segmentation.from_masks(masks, oblique)


@pytest.mark.parametrize("read", [read_image, read_segmentation])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_is_no_such_file(tmp_path, capfd, read, suffix):
    assert "there is no such file" in one_line(tmp_path / f"a{suffix}", capfd, read)


@pytest.mark.parametrize("read", [read_image, read_segmentation])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"\0" * 5000, b"\x1f\x8b" + b"x" * 700, b"\xff" * 40])
def test_a_file_that_is_something_else(tmp_path, capfd, read, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    one_line(tmp_path / f"a{suffix}", capfd, read)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".dcm"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
def test_a_cut_off_image(image, tmp_path, capfd, suffix, part):
    path = tmp_path / f"a{suffix}"
    if suffix in (".png", ".jpg", ".tif"):
        Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (90, 80)).astype(np.uint8)).save(path)
    elif suffix == ".dcm":
        save(film(np.random.default_rng(0).integers(0, 4000, (90, 80)).astype(np.uint16)), path)
    else:
        write_image(image, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    one_line(path, capfd, read_image)


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.nii.gz", "a.mha"])
def test_a_cut_off_segmentation(segmentation, tmp_path, capfd, name):
    write_segmentation(segmentation, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) - 20])
    one_line(tmp_path / name, capfd, read_segmentation)


def test_a_cut_off_slice_is_named(oblique, tmp_path, capfd):
    paths = write_series(tmp_path, oblique, np.ones(oblique.shape, np.uint16))
    paths[3].write_bytes(paths[3].read_bytes()[:-100])
    assert "pixels are damaged or cut off" in one_line(tmp_path, capfd, read_image, where=paths[3])


def test_an_unknown_suffix(tmp_path, capfd):
    for name in ("a.docx", "a", "a.gz"):
        (tmp_path / name).write_bytes(b"something")
        assert "expected an image as DICOM, NIfTI, NRRD" in one_line(tmp_path / name, capfd, read_image)


def test_folders_without_images(tmp_path, capfd):
    assert "the folder is empty" in one_line(tmp_path, capfd, read_image)
    (tmp_path / "notes.txt").write_text("x")
    assert "no file in it is DICOM" in one_line(tmp_path, capfd, read_image)
    assert "no DICOM segmentation; expected one" in one_line(tmp_path, capfd, read_segmentation)


@pytest.mark.parametrize(
    ("uid", "modality", "said"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "this is a set of contours (RTSTRUCT)"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "SR", "this is a structured report"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "this is a presentation state"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", "this is a segmentation (DICOM SEG)"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "XX", "this is DICOM without pixels (XX)"),
    ],
)
def test_dicom_that_is_no_image(tmp_path, capfd, uid, modality, said):
    data = header(uid, modality, 1, 1)
    if modality == "SEG":
        data.Rows = data.Columns = 4
    save(data, tmp_path / "a.dcm")
    assert said in one_line(tmp_path / "a.dcm", capfd, read_image)
    assert said in one_line(tmp_path, capfd, read_image)


def test_an_image_without_its_pixels(oblique, tmp_path, capfd):
    data = slice_of(oblique, np.ones(oblique.shape, np.uint16), 0)
    del data.PixelData
    save(data, tmp_path / "a.dcm")
    assert "it has no pixels" in one_line(tmp_path / "a.dcm", capfd, read_image)


def test_a_segmentation_given_as_an_image(segmentation, tmp_path, capfd):
    write_segmentation(segmentation, tmp_path / "a.seg.nrrd")
    (tmp_path / "b.nrrd").write_bytes((tmp_path / "a.seg.nrrd").read_bytes())
    for name in ("a.seg.nrrd", "b.nrrd"):
        assert "this is a segmentation; expected an image" in one_line(tmp_path / name, capfd, read_image)
    assert len(read_segmentation(tmp_path / "b.nrrd").segments) == 2


def test_fractional_segments_are_refused(segmentation, tmp_path, capfd):
    write_segmentation(segmentation, tmp_path / "a.seg.nrrd")
    content = (tmp_path / "a.seg.nrrd").read_bytes()
    change = (b"MasterRepresentation:=Binary labelmap", b"MasterRepresentation:=Fractional labelmap")
    (tmp_path / "a.seg.nrrd").write_bytes(content.replace(*change))
    assert "stored as Fractional labelmap" in one_line(tmp_path / "a.seg.nrrd", capfd, read_segmentation)


def test_a_modality_that_does_not_exist_is_the_caller_s_mistake(image, tmp_path):
    write_image(image, tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match="expected one of XR, CT, MR"):
        read_image(tmp_path / "a.nrrd", modality="PET")


def samples(folder, image, segmentation):
    """Write one small file of every kind."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (9, 8)).astype(np.uint8)
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        write_image(image, folder / f"image{suffix}")
    write_segmentation(segmentation, folder / "a.seg.nrrd")
    for suffix in (".png", ".jpg", ".tif"):
        Pillow.fromarray(pixels).save(folder / f"picture{suffix}")
    data = film(pixels.astype(np.uint16), sop_class=DX)
    data.WindowCenter, data.WindowWidth, data.ImagerPixelSpacing = "100", "200", [0.2, 0.2]
    save(data, folder / "film.dcm")
    save(slice_of(image.geometry, image.array.astype(np.uint16), 0), folder / "slice.dcm")
    nibabel.save(nibabel.Nifti1Image(image.array.T.astype(np.float32), image.geometry.ijk_to_ras), folder / "float.nii")
    return sorted(folder.iterdir())


def test_damaged_bytes_give_an_image_or_one_line_but_never_another_error(image, segmentation, tmp_path, capfd, recwarn):
    """Flip bytes at random, mostly in the header, in one file of every kind."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    rng = np.random.default_rng(42)
    refused = total = 0
    for path in samples(tmp_path / "good", image, segmentation):
        whole = path.read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            reach = len(content) if rng.random() < 0.3 else min(len(content), 700)
            for place in rng.integers(0, reach, rng.integers(1, 6)):
                content[place] = rng.integers(0, 256)
            bad = tmp_path / "bad" / path.name
            bad.write_bytes(bytes(content))
            total += 1
            try:
                read_segmentation(bad) if path.name == "a.seg.nrrd" else read_image(bad)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert 50 < refused < total
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_a_header_that_promises_more_than_there_is_is_refused_without_filling_the_memory(image, tmp_path, capfd):
    write_image(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content)))
    for name in ("a.nii", "b.nii.gz"):
        assert "cut off after" in one_line(tmp_path / name, capfd, read_image)
