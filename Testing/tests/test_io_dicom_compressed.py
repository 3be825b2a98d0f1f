"""Compressed DICOM: every syntax that an installed encoder can write is read back; lossless ones exactly."""

import numpy as np
import pydicom
import pytest
from dicom_writing import film, save
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from SpineSegLib.errors import InputError
from SpineSegLib.io import read_image


@pytest.fixture
def stored():
    """A smooth 12-bit film with a bright bar, of odd sizes."""
    j, i = np.mgrid[:61, :47]
    values = 1200 + 900 * np.sin(i / 9) * np.cos(j / 7)
    values[20:30, 10:40] += 1500
    return values.astype(np.uint16)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_what_pydicom_compresses_without_loss_is_read_exactly(stored, tmp_path, syntax):
    data = film(stored)
    data.compress(syntax)
    assert np.array_equal(read_image(save(data, tmp_path / "film.dcm")).array[0], stored)


@pytest.mark.parametrize("syntax", [JPEG2000, JPEGLSNearLossless], ids=lambda uid: uid.name)
def test_what_pydicom_compresses_with_loss_is_read_closely(stored, tmp_path, syntax):
    data = film(stored)
    data.compress(syntax, **({"j2k_cr": [4]} if syntax == JPEG2000 else {"jls_error": 3}))
    found = read_image(save(data, tmp_path / "film.dcm")).array[0].astype(int)
    assert np.abs(found - stored).max() <= 40
    assert np.corrcoef(found.ravel(), stored.ravel())[0, 1] > 0.999


def by_gdcm(path, target, syntax):
    """Let GDCM transcode a file, for the syntaxes that pydicom has no encoder for."""
    gdcm = pytest.importorskip("gdcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize(
    ("name", "uid"), [("JPEGLosslessProcess14_1", JPEGLosslessSV1), ("JPEGLosslessProcess14", JPEGLossless)]
)
def test_jpeg_lossless_is_read_exactly(stored, tmp_path, name, uid):
    gdcm = pytest.importorskip("gdcm")
    save(film(stored), tmp_path / "plain.dcm")
    by_gdcm(tmp_path / "plain.dcm", tmp_path / "film.dcm", getattr(gdcm.TransferSyntax, name))
    assert pydicom.dcmread(tmp_path / "film.dcm").file_meta.TransferSyntaxUID == uid
    assert np.array_equal(read_image(tmp_path / "film.dcm").array[0], stored)


def test_jpeg_baseline_is_read_closely(stored, tmp_path):
    """Encoded by Pillow, an encoder that has nothing to do with the decoders."""
    import io

    from PIL import Image

    eight = (stored >> 4).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(eight).save(buffer, "JPEG", quality=95)
    data = film(eight, bits=8)
    data.PixelData = encapsulate([buffer.getvalue()])
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found = read_image(save(data, tmp_path / "film.dcm")).array[0].astype(int)
    assert np.abs(found - eight).mean() < 2


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_the_uncompressed_syntaxes_are_read(stored, tmp_path, syntax):
    data = film(stored)
    data.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        data.PixelData = stored.astype(">u2").tobytes()
    assert np.array_equal(read_image(save(data, tmp_path / "film.dcm")).array[0], stored)


def test_a_syntax_that_nothing_here_decodes_is_named(stored, tmp_path):
    data = film(stored)
    data.PixelData = encapsulate([b"\0\0\1\xb3" + b"\0" * 60])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    with pytest.raises(InputError, match=r"compressed as MPEG2 .*could not be decompressed"):
        read_image(save(data, tmp_path / "film.dcm"))


def test_a_damaged_code_stream_is_one_line(stored, tmp_path):
    data = film(stored)
    data.compress(JPEG2000Lossless)
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\x07" * 200])
    data["PixelData"].is_undefined_length = True
    with pytest.raises(InputError) as caught:
        read_image(save(data, tmp_path / "film.dcm"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
