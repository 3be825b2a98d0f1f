"""DICOM segmentations as we write them, read back by our reader, by highdicom, and checked by dciodvfy."""

import shutil
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_writing import film, save, write_series

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Reorientation, Segment, Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_image
from SpineSegLib.io.dicom_seg_writing import check_source, write_dicom_seg
from SpineSegLib.io.origin import Origin

MADE = Origin(model="linknet34-ct-small", weights_sha256="ab" * 32)
VERTEBRA, PROCESS, SACRUM, L6 = (
    Structure("vertebra", "L5"),
    Structure("spinous process", "L5"),
    Structure("sacrum"),
    Structure("vertebra", "L6"),
)


@pytest.fixture
def folder(oblique, tmp_path):
    """An oblique, anisotropic series, its files in no order."""
    stored = np.random.default_rng(1).integers(0, 3000, oblique.shape).astype(np.uint16)
    write_series(tmp_path / "series", oblique, stored)
    return tmp_path / "series"


def segmentation_on(grid, *, overlap=True) -> Segmentation:
    masks = {structure: np.zeros(grid.shape, bool) for structure in (VERTEBRA, L6, SACRUM)}
    masks[VERTEBRA][1:4, 2:9, 3:12] = True
    masks[L6][5:6, 2:9, 3:12] = True
    masks[SACRUM][6:8, 3:11, 4:13] = True
    if overlap:
        masks[PROCESS] = np.zeros(grid.shape, bool)
        masks[PROCESS][2:4, 6:12, 5:9] = True
    return Segmentation.from_masks(masks, grid)


def written(folder, segmentation, **options):
    path = folder.parent / "seg.dcm"
    write_dicom_seg(segmentation, path, folder, origin=options.pop("origin", MADE), **options)
    return path


@pytest.mark.parametrize("overlap", [True, False])
def test_every_voxel_comes_back_on_the_oblique_series(folder, overlap):
    grid = read_image(folder).geometry
    before = segmentation_on(grid, overlap=overlap)
    path = written(folder, before)
    (folder / "seg.dcm").write_bytes(path.read_bytes())
    after = read_segmentation(folder / "seg.dcm")
    assert after.geometry.same_as(grid)
    assert {segment.structure for segment in after.segments} == {segment.structure for segment in before.segments}
    for segment in before.segments:
        assert np.array_equal(after.mask(segment.structure), before.mask(segment))


def test_a_tilted_gantry_moves_no_voxel(oblique, tmp_path):
    matrix = np.array(oblique.ijk_to_ras)
    matrix[:3, 2] += 0.8 * matrix[:3, 1]
    stored = np.random.default_rng(1).integers(0, 3000, oblique.shape).astype(np.uint16)
    write_series(tmp_path, Geometry(oblique.shape, matrix), stored)
    grid = read_image(tmp_path).geometry
    before = segmentation_on(grid)
    write_dicom_seg(before, tmp_path / "seg.dcm", tmp_path)
    after = read_segmentation(tmp_path / "seg.dcm")
    assert after.geometry.same_as(grid)
    for segment in before.segments:
        assert np.array_equal(after.mask(segment.structure), before.mask(segment))


def test_highdicom_finds_the_same_voxels_at_the_same_places(folder):
    grid = read_image(folder).geometry
    before = segmentation_on(grid)
    found = highdicom.seg.segread(written(folder, before))
    volume = found.get_volume(combine_segments=False)
    for number, segment in enumerate(before.segments):
        indices = np.argwhere(volume.array[..., number] > 0)
        places = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        expected = grid.to_world(np.argwhere(before.mask(segment))) * [-1, -1, 1]
        assert len(places) == len(expected)
        assert np.allclose(_sorted(places), _sorted(expected), atol=1e-3)


def _sorted(points):
    return points[np.lexsort(points.round(2).T)]


def test_each_structure_says_in_codes_and_colour_what_it_is(folder):
    grid = read_image(folder).geometry
    segmentation = segmentation_on(grid)
    data = pydicom.dcmread(written(folder, segmentation))
    assert data.SegmentationType == "BINARY"
    for item, segment in zip(data.SegmentSequence, segmentation.segments, strict=True):
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", segment.structure.code.value)
        assert item.SegmentLabel == segment.name
        regions = [region.CodeValue for region in item.get("AnatomicRegionSequence", ())]
        assert regions == ([segment.structure.region.value] if segment.structure.region else [])
        colour = highdicom.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue)
        assert np.abs(np.array(colour.to_rgb()) - segment.colour).max() <= 1


def test_the_algorithm_is_named_with_its_version_and_weights(folder):
    from SpineSegLib import __version__

    grid = read_image(folder).geometry
    made = segmentation_on(grid)
    changed = replace(made, segments=[replace(made.segments[0], edited="relabelled"), *made.segments[1:]])
    items = pydicom.dcmread(written(folder, changed)).SegmentSequence
    assert [item.SegmentAlgorithmType for item in items] == ["SEMIAUTOMATIC", *["AUTOMATIC"] * (len(items) - 1)]
    for item in items:
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert MADE.model in algorithm.AlgorithmName
        assert algorithm.AlgorithmVersion == __version__
        assert MADE.weights_sha256 in algorithm.AlgorithmParameters
    (first, *_) = pydicom.dcmread(written(folder, made, origin=Origin())).SegmentSequence
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_the_source_is_referred_to_and_nothing_else_of_the_patient_is_added(folder):
    grid = read_image(folder).geometry
    data = pydicom.dcmread(written(folder, segmentation_on(grid)))
    sources = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    (series,) = data.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert data.SeriesInstanceUID != sources[0].SeriesInstanceUID
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced <= {source.SOPInstanceUID for source in sources}
    derived = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in data.PerFrameFunctionalGroupsSequence
    }
    assert derived <= {source.SOPInstanceUID for source in sources}
    assert derived
    # Nothing of group 0010 (patient) or of the institution that the source has not said.
    for element in data:
        if element.tag.group == 0x0010 and element.value:
            assert element.value == sources[0][element.tag].value
    assert "InstitutionName" not in data
    assert not data.get("ContentCreatorName")


def test_axes_that_run_otherwise_and_a_cropped_grid_lead_to_the_same_file(folder):
    grid = read_image(folder).geometry
    before = segmentation_on(grid)
    turn = Reorientation((1, 2, 0), (True, False, True))
    turned = Segmentation(
        tuple(turn.apply(layer).copy() for layer in before.layers), before.segments, turn.geometry(grid)
    )
    cropped = Segmentation(
        tuple(layer[1:, 2:, 3:] for layer in before.layers), before.segments, grid.cropped((1, 2, 3), grid.shape)
    )
    wanted = pydicom.dcmread(written(folder, before)).PixelData
    for other in (turned, cropped):
        assert pydicom.dcmread(written(folder, other)).PixelData == wanted


def test_a_segmentation_between_the_voxels_is_refused(folder):
    grid = read_image(folder).geometry
    shift = np.eye(4)
    shift[:3, 3] = (0.4, 0, 0)
    with pytest.raises(InputError, match="between its voxels"):
        written(folder, segmentation_on(grid.transformed(shift)))
    assert not (folder.parent / "seg.dcm").exists()


def test_an_empty_segmentation_is_refused(folder):
    grid = read_image(folder).geometry
    empty = Segmentation((np.zeros(grid.shape, np.uint8),), (Segment(VERTEBRA, 0, 1),), grid)
    with pytest.raises(InputError, match="no voxel is segmented"):
        written(folder, empty)


def test_a_source_that_is_no_series_of_slices_is_refused_in_one_line(folder, tmp_path):
    volume = tmp_path / "ct.nrrd"
    write_image(read_image(folder), volume)
    radiograph = save(film(np.arange(60, dtype=np.uint16).reshape(6, 10)), tmp_path / "film.dcm")
    for path, found in ((volume, "it is no DICOM"), (radiograph, "it is DX")):
        with pytest.raises(InputError, match=found) as caught:
            check_source(path)
        assert "\n" not in str(caught.value)


def test_a_slice_without_its_own_number_in_the_world_is_refused_in_one_line(folder):
    grid = read_image(folder).geometry
    path = sorted(folder.glob("*"))[0]
    slice_ = pydicom.dcmread(path)
    del slice_.SOPInstanceUID
    slice_.save_as(path)
    with pytest.raises(InputError, match="SOPInstanceUID") as caught:
        written(folder, segmentation_on(grid))
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "seg.dcm").exists()


def test_dciodvfy_has_no_error_to_report(folder):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    grid = read_image(folder).geometry
    for overlap in (True, False):
        path = written(folder, segmentation_on(grid, overlap=overlap))
        done = subprocess.run([program, path], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []
