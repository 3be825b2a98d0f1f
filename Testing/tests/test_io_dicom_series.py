"""CT and MR series from DICOM, compared with SimpleITK's own series reader (GDCM) and with the grid they came from."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_writing import ENHANCED_CT, header, save, set_pixels, slice_of, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from SpineSegLib.errors import InputError
from SpineSegLib.image import LPS_TO_RAS, Geometry, SpacingSource
from SpineSegLib.io import read_image
from SpineSegLib.io.dicom_series import read_grid


@pytest.fixture
def stored(oblique):
    return np.random.default_rng(1).integers(0, 3000, oblique.shape).astype(np.uint16)


def furthest_corner(one, other):
    """Largest distance in mm between where two grids place the same voxel."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one.shape])).reshape(3, -1).T
    return np.linalg.norm(one.to_world(corners) - other.to_world(corners), axis=1).max()


def test_a_scrambled_oblique_series_comes_back_in_hounsfield_units_at_its_place(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored)
    image = read_image(tmp_path)
    # The grid of the fixture is left-handed: sorted along the normal, its slices come in the other order.
    values = stored.astype(np.int32)[::-1] - 1024
    assert image.modality == "CT"
    assert image.array.dtype == np.int16
    assert np.array_equal(image.array, values)
    assert image.geometry.spacing_source is SpacingSource.PIXEL_SPACING
    last = np.array([oblique.shape[0] - 1, 0, 0])
    assert np.allclose(image.geometry.to_world([0, 0, 0]), oblique.to_world(last), atol=1e-6)
    assert np.allclose(image.geometry.to_world(last), oblique.to_world([0, 0, 0]), atol=1e-6)
    assert np.allclose(image.geometry.spacing, oblique.spacing, rtol=1e-7)
    assert read_grid(tmp_path, sorted(tmp_path.iterdir())).same_as(image.geometry, 1e-9)


def test_geometry_and_values_agree_with_simpleitk(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    other = sitk.ReadImage(files)
    image = read_image(tmp_path)
    assert np.array_equal(image.array, sitk.GetArrayFromImage(other))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(other.GetDirection()).reshape(3, 3) * other.GetSpacing()
    matrix[:3, 3] = other.GetOrigin()
    assert furthest_corner(image.geometry, Geometry(image.array.shape, LPS_TO_RAS @ matrix)) < 1e-4


def test_one_file_stands_for_its_series_and_other_series_beside_it_are_left_alone(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    write_series(tmp_path, oblique, stored // 2, series=2)
    assert np.array_equal(read_image(paths[3]).array, stored.astype(int)[::-1] - 1024)


def test_several_series_are_named_with_their_sizes(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored)
    write_series(tmp_path, oblique, stored, series=2, leave_out=(8,))
    with pytest.raises(InputError, match=r"2 series.*'series 1' \(CT, 9 images.*'series 2' \(CT, 8 images"):
        read_image(tmp_path)


def test_a_localizer_and_a_report_do_not_hide_the_examination(oblique, stored, tmp_path):
    write_series(tmp_path / "", oblique, stored)
    scout = slice_of(oblique, stored, 0, series=3)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    (tmp_path / "sub").mkdir()
    save(scout, tmp_path / "sub" / "scout.dcm")
    save(header("1.2.840.10008.5.1.4.1.1.88.22", "SR", 4, 1), tmp_path / "sub" / "report.dcm")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    assert read_image(tmp_path).array.shape == oblique.shape


def test_a_file_copied_twice_counts_once(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    assert read_image(tmp_path).array.shape == oblique.shape


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_no_gap(tmp_path):
    geometry = Geometry((12, 6, 5), np.diag([-0.5, -0.5, 1.25, 1]))
    for k in range(12):
        data = slice_of(geometry, np.zeros(geometry.shape, np.uint16), k)
        data.ImagePositionPatient = [0, 0, round(1.25 * k, 1)]
        save(data, tmp_path / f"{k}")
    assert np.allclose(read_image(tmp_path).geometry.spacing, (1.25, 0.5, 0.5), atol=0.01)


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path):
    matrix = np.array([[-0.7, 0, 0, 5], [0, -0.7, 0.9, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    geometry = Geometry((6, 8, 10), matrix)
    stored = np.random.default_rng(2).integers(0, 99, geometry.shape).astype(np.uint16)
    write_series(tmp_path, geometry, stored)
    image = read_image(tmp_path)
    assert furthest_corner(image.geometry, geometry) < 1e-6
    assert image.geometry.voxel_volume == pytest.approx(0.7 * 0.7 * 2.0)
    assert np.array_equal(image.array, stored.astype(int) - 1024)


def test_mr_without_rescale_keeps_its_values(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored, modality="MR")
    image = read_image(tmp_path)
    assert image.modality == "MR"
    assert np.array_equal(image.array, stored[::-1])
    assert read_image(tmp_path, modality="CT").modality == "CT"


def test_slices_with_slopes_of_their_own_are_rescaled_one_by_one(tmp_path):
    geometry = Geometry((3, 4, 5), np.diag([-1.0, -1, 2, 1]))
    stored = np.arange(60, dtype=np.uint16).reshape(geometry.shape)
    for k in range(3):
        data = slice_of(geometry, stored, k)
        data.RescaleSlope, data.RescaleIntercept = str(0.5 * (k + 1)), "3"
        save(data, tmp_path / f"{k}")
    factors = np.array([0.5, 1, 1.5])[:, None, None]
    assert np.allclose(read_image(tmp_path).array, stored * factors + 3)


def test_values_beyond_16_bits_are_not_wrapped(tmp_path):
    geometry = Geometry((2, 4, 5), np.diag([-1.0, -1, 2, 1]))
    stored = np.full(geometry.shape, 60000, np.uint16)
    stored[0, 0, 0] = 0
    write_series(tmp_path, geometry, stored)
    image = read_image(tmp_path)
    assert (image.array.min(), image.array.max()) == (-1024, 58976)


def test_a_single_slice_is_as_thick_as_it_says(tmp_path):
    geometry = Geometry((1, 4, 5), np.diag([-1.0, -1, 2, 1]))
    write_series(tmp_path, geometry, np.ones(geometry.shape, np.uint16))
    assert read_image(tmp_path).geometry.spacing == (5.0, 1.0, 1.0)


def test_nothing_that_names_the_patient_is_carried_along(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored)
    image = read_image(tmp_path)
    assert image.metadata["KVP"] == "120"
    text = " ".join([*image.metadata, *image.metadata.values()])
    for secret in ("Doe", "4711", "1950", "2020", "0815", "General", "1.2.826", "Patient" + "Name", "Date"):
        assert secret not in text


def test_an_enhanced_file_is_read_by_the_places_of_its_frames(oblique, stored, tmp_path):
    data = header(ENHANCED_CT, "CT", 1, 1)
    plain = [slice_of(oblique, stored, k) for k in range(len(stored))]
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([Dataset()]), Sequence([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = plain[0].ImageOrientationPatient
    shared.PixelMeasuresSequence[0].PixelSpacing = plain[0].PixelSpacing
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    order = np.random.default_rng(3).permutation(len(stored))
    frames = []
    for k in order:
        frame = Dataset()
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = (
            Sequence([Dataset()]),
            Sequence([Dataset()]),
        )
        frame.PlanePositionSequence[0].ImagePositionPatient = plain[k].ImagePositionPatient
        frame.PixelValueTransformationSequence[0].RescaleSlope = "2"
        frame.PixelValueTransformationSequence[0].RescaleIntercept = "-100"
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(data, stored[0])
    data.NumberOfFrames, data.PixelData = len(stored), stored[order].tobytes()
    path = save(data, tmp_path / "enhanced.dcm")
    for where in (path, tmp_path):
        image = read_image(where)
        assert np.array_equal(image.array, stored.astype(int)[::-1] * 2 - 100)
        assert np.allclose(image.geometry.to_world([8, 0, 0]), oblique.to_world([0, 0, 0]), atol=1e-6)
        assert read_grid(where, [path]).same_as(image.geometry, 1e-9)


def test_a_missing_slice_is_named_by_its_neighbours(oblique, stored, tmp_path):
    write_series(tmp_path, oblique, stored, leave_out=(4, 5))
    with pytest.raises(InputError, match=r"2 slice\(s\) missing between instance 7 .* and instance 4 .*2\.30 mm apart"):
        read_image(tmp_path)


def change(paths, number, **values):
    data = pydicom.dcmread(paths[number])
    for keyword, value in values.items():
        setattr(data, keyword, value)
    save(data, paths[number])
    return data


def test_a_slice_of_another_size_is_refused(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    data = pydicom.dcmread(paths[2])
    set_pixels(data, np.zeros((14, 12), np.uint16))
    save(data, paths[2])
    with pytest.raises(InputError, match="different sizes: 8 of 14 x 17, 1 of 14 x 12"):
        read_image(tmp_path)


def test_a_slice_in_another_orientation_is_refused(oblique, stored, tmp_path):
    change(write_series(tmp_path, oblique, stored), 2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    with pytest.raises(InputError, match="lie in different orientations"):
        read_image(tmp_path)


def test_two_slices_at_one_place_are_refused(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    change(paths, 2, SOPInstanceUID="1.2.3", ImagePositionPatient=pydicom.dcmread(paths[3]).ImagePositionPatient)
    with pytest.raises(InputError, match="lie at the same place"):
        read_image(tmp_path)


def test_uneven_distances_are_refused(tmp_path):
    geometry = Geometry((6, 6, 5), np.diag([-0.5, -0.5, 1, 1]))
    for k, place in enumerate((0, 1, 2, 3.3, 4.6, 5.9)):
        data = slice_of(geometry, np.zeros(geometry.shape, np.uint16), k)
        data.ImagePositionPatient = [0, 0, place]
        save(data, tmp_path / f"{k}")
    with pytest.raises(InputError, match=r"varies from 1\.00 to 1\.30 mm"):
        read_image(tmp_path)


def test_slices_shifted_sideways_by_uneven_amounts_are_refused(tmp_path):
    geometry = Geometry((5, 6, 5), np.diag([-0.5, -0.5, 1, 1]))
    for k in range(5):
        data = slice_of(geometry, np.zeros(geometry.shape, np.uint16), k)
        data.ImagePositionPatient = [k**2, 0, k]
        save(data, tmp_path / f"{k}")
    with pytest.raises(InputError, match="shifted against each other unevenly"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "values",
    [{"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, {"ImageOrientationPatient": [1, 0, 0]}, {"PixelSpacing": [0, 1]}],
)
def test_a_damaged_orientation_or_spacing_is_refused(oblique, stored, tmp_path, values):
    change(write_series(tmp_path, oblique, stored), 2, **values)
    with pytest.raises(InputError, match="orientation or pixel spacing is damaged"):
        read_image(tmp_path)


def test_slices_in_colour_or_in_frames_without_places_are_refused(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    change(paths, 2, NumberOfFrames=2)
    with pytest.raises(InputError, match="several frames without positions"):
        read_image(tmp_path)
    data = pydicom.dcmread(paths[2])
    del data.NumberOfFrames
    set_pixels(data, np.zeros((14, 17, 3), np.uint8), 8, "RGB")
    save(data, paths[2])
    with pytest.raises(InputError, match="it has colours; expected grey slices"):
        read_image(tmp_path)


def test_slices_without_a_place_are_refused(oblique, stored, tmp_path):
    paths = write_series(tmp_path, oblique, stored)
    data = pydicom.dcmread(paths[0])
    del data.ImagePositionPatient
    save(data, paths[0])
    with pytest.raises(InputError, match="no position, orientation or pixel spacing"):
        read_image(tmp_path)


def test_progress_is_told_and_can_stop_the_reading(oblique, stored, tmp_path):
    from SpineSegLib.errors import Cancelled

    write_series(tmp_path, oblique, stored)
    steps = []
    read_image(tmp_path, report=lambda step, of, what: steps.append((step, of, what)))
    assert steps[0][0] == 0
    assert steps == sorted(steps, key=lambda s: s[0])
    assert {of for _, of, _ in steps} == {18}

    def stop(*_):
        raise Cancelled("now")

    with pytest.raises(Cancelled):
        read_image(tmp_path, report=stop)


def test_a_grid_of_whole_numbers_is_kept_exactly(tmp_path):
    geometry = replace(Geometry((4, 5, 6), np.diag([-0.5, -0.25, 3.0, 1])))
    write_series(tmp_path, geometry, np.zeros(geometry.shape, np.uint16))
    assert np.array_equal(read_image(tmp_path).geometry.ijk_to_ras, geometry.ijk_to_ras)
