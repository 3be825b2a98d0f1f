"""Radiographs from DICOM: brightness, windows and tables compared with pydicom, spacing with the standard's rules."""

import numpy as np
import pydicom
import pytest
from dicom_writing import CR, film, save, set_pixels
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut
from pydicom.sequence import Sequence

from SpineSegLib.errors import InputError
from SpineSegLib.image import SpacingSource
from SpineSegLib.io import read_image


@pytest.fixture
def stored():
    """A 12-bit film of 6 rows and 4 columns."""
    return np.linspace(100, 4000, 24).astype(np.uint16).reshape(6, 4)


def table(entries, first, bits, explanation="curve"):
    lut = Dataset()
    lut.LUTDescriptor = [len(entries), first, bits]
    lut.LUTData = np.asarray(entries, np.uint16).tobytes()
    lut["LUTData"].VR, lut["LUTDescriptor"].VR = "OW", "US"
    lut.LUTExplanation = explanation
    return Sequence([lut])


def displayed(image):
    """The film as its first window shows it, 0 black to 1 white (PS3.3 C.11.2.1.2.1)."""
    centre, width = float(image.metadata["WindowCenter"]), float(image.metadata["WindowWidth"])
    return ((image.array[0].astype(float) - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1)


def test_a_monochrome2_film_keeps_its_values_and_its_window(stored, tmp_path):
    data = film(stored)
    data.WindowCenter, data.WindowWidth = ["2000", "3000"], ["1500", "900"]
    image = read_image(save(data, tmp_path / "film.dcm"))
    assert image.modality == "XR"
    assert image.array.shape == (1, 6, 4)
    assert np.array_equal(image.array[0], stored)
    assert (image.metadata["WindowCenter"], image.metadata["WindowWidth"]) == ("2000", "1500")
    assert image.metadata["ViewPosition"] == "LL"


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_the_window_shows_what_pydicom_shows(stored, tmp_path, interpretation):
    data = film(stored, interpretation=interpretation)
    data.RescaleSlope, data.RescaleIntercept = "2", "-50"
    data.WindowCenter, data.WindowWidth = "3100", "4200"
    path = save(data, tmp_path / "film.dcm")
    shown = apply_voi_lut(pydicom.pixels.apply_modality_lut(stored, data), data)
    # pydicom maps to what the stored bits can mean after the rescale: -50 to 2 x 4095 - 50.
    shown = (shown + 50) / (2 * 4095)
    if interpretation == "MONOCHROME1":
        shown = 1 - shown
    assert np.allclose(displayed(read_image(path)), shown, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_another_window_function_is_named_and_turned_over_exactly(stored, tmp_path, function):
    data = film(stored, interpretation="MONOCHROME1")
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = "1000", "700", function
    image = read_image(save(data, tmp_path / "film.dcm"))
    assert image.metadata["VOILUTFunction"] == function
    # What lay at the centre still does: both functions are symmetric about it.
    assert float(image.metadata["WindowCenter"]) == 4095 - 1000


def test_a_palette_film_is_refused(tmp_path):
    data = film(np.zeros((4, 4), np.uint8), bits=8, interpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"colour picture \(palette\)"):
        read_image(save(data, tmp_path / "film.dcm"))


def test_monochrome1_and_2_of_one_film_read_alike(stored, tmp_path):
    bright = read_image(save(film(stored), tmp_path / "2.dcm"))
    dark = read_image(save(film(4095 - stored, interpretation="MONOCHROME1"), tmp_path / "1.dcm"))
    assert np.array_equal(bright.array, dark.array)
    assert dark.metadata["PhotometricInterpretation"] == "MONOCHROME1"


def test_bone_is_as_bright_as_simpleitk_makes_it(stored, tmp_path):
    import SimpleITK as sitk

    path = save(film(stored, interpretation="MONOCHROME1"), tmp_path / "film.dcm")
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float).ravel()
    assert np.corrcoef(read_image(path).array.ravel(), other)[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_table_is_applied(stored, tmp_path, interpretation):
    data = film(stored, interpretation=interpretation)
    curve = (1023 * np.linspace(0, 1, 3001) ** 2).astype(np.uint16)
    data.VOILUTSequence = table(curve, 500, 10)
    data.WindowCenter, data.WindowWidth = "2000", "1500"
    image = read_image(save(data, tmp_path / "film.dcm"))
    shown = apply_voi_lut(stored, data)
    assert np.array_equal(shown.astype(int), curve[(stored.astype(int) - 500).clip(0, 3000)])
    expected = shown if interpretation == "MONOCHROME2" else 1023 - shown.astype(int)
    assert np.array_equal(image.array[0], expected)
    assert "WindowCenter" not in image.metadata


def test_a_modality_table_is_applied(stored, tmp_path):
    data = film(stored)
    curve = np.arange(4096, dtype=np.uint16)[::-1] * 4
    data.ModalityLUTSequence = table(curve, 0, 16)
    data.ModalityLUTSequence[0].ModalityLUTType = "OD"
    assert np.array_equal(read_image(save(data, tmp_path / "film.dcm")).array[0], curve[stored])


def test_a_fractional_rescale_gives_floats(stored, tmp_path):
    data = film(stored)
    data.RescaleSlope, data.RescaleIntercept = "0.5", "1"
    image = read_image(save(data, tmp_path / "film.dcm"))
    assert image.array.dtype == np.float32
    assert np.allclose(image.array[0], stored * 0.5 + 1)


def test_signed_films_are_turned_over_within_their_range(tmp_path):
    stored = np.array([[-2048, 0], [100, 2047]], np.int16)
    image = read_image(save(film(stored, interpretation="MONOCHROME1"), tmp_path / "film.dcm"))
    assert image.array[0].tolist() == [[2047, -1], [-101, -2048]]


CASES = [
    ({}, (1.0, 1.0), SpacingSource.UNKNOWN),
    ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), SpacingSource.IMAGER_PIXEL_SPACING),
    ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), SpacingSource.IMAGER_PIXEL_SPACING),
    ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), SpacingSource.IMAGER_PIXEL_SPACING),
    ({"PixelSpacing": [0.16, 0.08], "ImagerPixelSpacing": [0.2, 0.1]}, (0.16, 0.08), SpacingSource.PIXEL_SPACING),
    (
        {"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
        (0.2, 0.1),
        SpacingSource.PIXEL_SPACING,
    ),
    ({"NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), SpacingSource.IMAGER_PIXEL_SPACING),
    ({"PixelSpacing": [0, 0]}, (1.0, 1.0), SpacingSource.UNKNOWN),
]


@pytest.mark.parametrize(("given", "expected", "source"), CASES)
def test_the_spacing_is_taken_from_where_the_standard_says(stored, tmp_path, given, expected, source):
    data = film(stored)
    for keyword, value in given.items():
        setattr(data, keyword, value)
    geometry = read_image(save(data, tmp_path / "film.dcm")).geometry
    assert geometry.spacing_source is source
    assert np.array_equal(geometry.ijk_to_ras, np.diag([-expected[1], -expected[0], 1, 1]))
    assert (geometry.spacing is None) == (source is SpacingSource.UNKNOWN)


def test_the_estimated_magnification_is_told_and_not_divided_out(stored, tmp_path):
    data = film(stored)
    data.ImagerPixelSpacing, data.EstimatedRadiographicMagnificationFactor = [0.2, 0.2], "1.25"
    image = read_image(save(data, tmp_path / "film.dcm"))
    assert image.geometry.spacing[1:] == (0.2, 0.2)
    assert image.metadata["EstimatedRadiographicMagnificationFactor"] == "1.25"


def test_one_film_in_a_folder_is_read_and_two_are_named(stored, tmp_path):
    save(film(stored, sop_class=CR), tmp_path / "ap.dcm")
    assert read_image(tmp_path).array.shape == (1, 6, 4)
    second = film(stored)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    save(second, tmp_path / "la.dcm")
    with pytest.raises(InputError, match=r"2 radiographs: ap\.dcm \(4 x 6\), la\.dcm"):
        read_image(tmp_path)
    assert read_image(tmp_path / "la.dcm").array.shape == (1, 6, 4)


def test_a_grey_film_saved_in_colour_is_read_and_a_colour_one_is_refused(tmp_path):
    grey = np.repeat(np.arange(48, dtype=np.uint8).reshape(8, 6)[..., None], 3, axis=-1)
    data = film(grey, bits=8, interpretation="RGB")
    assert np.array_equal(read_image(save(data, tmp_path / "grey.dcm")).array[0], grey[..., 0])
    colour = grey.copy()
    colour[..., 0] += 100
    set_pixels(data, colour, 8, "RGB")
    with pytest.raises(InputError, match="colour picture"):
        read_image(save(data, tmp_path / "colour.dcm"))


def test_a_film_of_several_frames_is_refused(stored, tmp_path):
    data = film(stored)
    data.NumberOfFrames, data.PixelData = 3, data.PixelData * 3
    with pytest.raises(InputError, match="3 frames"):
        read_image(save(data, tmp_path / "cine.dcm"))


def test_a_film_without_preamble_and_file_header_is_read(stored, tmp_path):
    pydicom.dcmwrite(tmp_path / "old.dcm", plain(film(stored)), implicit_vr=True, little_endian=True)
    assert (tmp_path / "old.dcm").read_bytes()[128:132] != b"DICM"
    for where in (tmp_path / "old.dcm", tmp_path):
        assert np.array_equal(read_image(where).array[0], stored)


def plain(data):
    del data.file_meta
    return data


def test_a_scanned_film_is_read_and_an_ultrasound_refused(stored, tmp_path):
    data = film(stored)
    data.Modality = "OT"
    assert read_image(save(data, tmp_path / "a.dcm")).modality == "XR"
    data.Modality = "US"
    save(data, tmp_path / "a.dcm")
    for where in (tmp_path, tmp_path / "a.dcm"):
        with pytest.raises(InputError, match="its modality is US; expected CT, MR or a radiograph"):
            read_image(where)


def test_nothing_that_names_the_patient_is_carried_along(stored, tmp_path):
    image = read_image(save(film(stored), tmp_path / "film.dcm"))
    text = " ".join([*image.metadata, *image.metadata.values()])
    assert not any(secret in text for secret in ("Doe", "4711", "1950", "2020", "0815", "General", "1.2.826"))
