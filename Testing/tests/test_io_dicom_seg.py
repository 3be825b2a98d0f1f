"""DICOM segmentations, written by highdicom (which knows nothing of our reader) on oblique series."""

import json

import numpy as np
import pydicom
import pytest
from dicom_writing import save, slice_of, write_series
from pydicom.sr.coding import Code
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from seg_writing import DESCRIBED, L1, L2, NEOPLASM, VERTEBRA, write_seg

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation import evaluate
from SpineSegLib.image import Geometry, Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_segmentation


@pytest.fixture
def stored(oblique):
    return np.random.default_rng(1).integers(0, 3000, oblique.shape).astype(np.uint16)


@pytest.fixture
def masks(oblique):
    """Two bodies, an overlapping part of the first, and something else; each in some slices only."""
    masks = np.zeros((4, *oblique.shape), bool)
    masks[0, 1:4, 2:9, 3:12] = True
    masks[1, 5:8, 3:11, 4:13] = True
    masks[2, 2:4, 6:12, 5:9] = True
    masks[3, 8, 1, 1] = True
    return masks


def in_the_world(segmentation, structure):
    """Return the centres of a structure's voxels, RAS, in a fixed order."""
    points = segmentation.geometry.to_world(np.argwhere(segmentation.mask(structure)))
    return points[np.lexsort(points.round(3).T)]


def expected(grid, mask):
    points = grid.to_world(np.argwhere(mask))
    return points[np.lexsort(points.round(3).T)]


def test_an_oblique_segmentation_comes_back_on_the_grid_of_its_series(oblique, stored, masks, tmp_path):
    write_series(tmp_path, oblique, stored)
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", oblique, stored, masks))
    image = read_image(tmp_path)
    assert found.geometry.same_as(image.geometry, 1e-6)
    # The grid of the fixture is left-handed, so a reader of slices turns its slices round.
    for structure, mask in zip(("L1", "lower one", "process", "finding"), masks, strict=True):
        assert np.array_equal(found.mask(structure), mask[::-1])


def test_codes_become_structures_and_unknown_ones_are_kept_as_other(oblique, stored, masks, tmp_path):
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", oblique, stored, masks))
    structures = {segment.name: segment.structure for segment in found.segments}
    assert structures == {
        "L1": Structure("vertebra", "L1"),
        "lower one": Structure("vertebra", "L2"),
        "process": Structure("spinous process", "L1"),
        "finding": Structure("other", label="finding"),
    }
    assert {segment.label for segment in found.segments} == {1, 2, 3, 4}
    assert len(found.layers) == 2  # only the process overlaps


@pytest.mark.parametrize(
    ("label", "code", "region", "structure"),
    [
        ("T13", VERTEBRA, None, Structure("vertebra", "T13")),
        ("bones", VERTEBRA, None, Structure("vertebrae")),
        ("Segment 7", VERTEBRA, L2, Structure("vertebra", "L2")),
        ("vertebrae_L3", Code("272673000", "SCT", "Bone"), None, Structure("vertebra", "L3")),
        ("L1", NEOPLASM, L1, Structure("other", label="L1")),
        ("x", Code("T-11650", "SRT", "C5 vertebra"), None, Structure("vertebra", "C5")),
        ("vertebrae_L4", Code("1", "99OWN", "mine"), None, Structure("vertebra", "L4")),
        ("x", Code("360499006", "SCT", "Intervertebral disc"), None, Structure("discs")),
        ("x", Code("84020006", "SCT", "L4/5 disc"), None, Structure("disc", "L4/L5")),
        ("x", Code("3572006", "SCT", "Vertebral body"), L1, Structure("body", "L1")),
        ("x", L1, Code("421060004", "SCT", "Spine"), Structure("vertebra", "L1")),
    ],
)
def test_what_a_segment_shows(oblique, stored, masks, tmp_path, label, code, region, structure):
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, masks[:1], [(label, code, region)])
    (segment,) = read_segmentation(path).segments
    assert segment.structure == structure
    assert segment.name == label


def test_frames_in_any_order_and_of_any_segment(oblique, stored, masks, tmp_path):
    """The pixel data of a frame moves with its header; here 14 x 17 bits do not end on a whole byte."""
    write_series(tmp_path, oblique, stored)
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, masks)
    data = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    count, size = int(data.NumberOfFrames), data.Rows * data.Columns
    order = np.random.default_rng(3).permutation(count)
    frames = bits[: count * size].reshape(count, size)[order]
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[int(n)] for n in order]
    data.save_as(path)
    found = read_segmentation(path)
    for structure, mask in zip(("L1", "lower one", "process", "finding"), masks, strict=True):
        assert np.array_equal(found.mask(structure), mask[::-1])


def test_without_its_series_the_grid_reaches_over_the_planes_that_are_stored(oblique, stored, masks, tmp_path):
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", oblique, stored, masks))
    assert found.geometry.shape == (8, 14, 17)  # slices 1 to 8; the empty one between counts
    for structure, mask in zip(("L1", "lower one", "process", "finding"), masks, strict=True):
        assert np.allclose(in_the_world(found, structure), expected(oblique, mask), atol=1e-4)


def test_a_tilted_gantry_keeps_the_planes_in_their_places(oblique, masks, stored, tmp_path):
    matrix = oblique.ijk_to_ras.copy()
    matrix[:3, 2] += 0.4 * matrix[:3, 1]
    grid = Geometry(oblique.shape, matrix)
    path = write_seg(tmp_path / "seg.dcm", grid, stored, masks)
    alone = read_segmentation(path)
    write_series(tmp_path, grid, stored)
    beside = read_segmentation(path)
    assert beside.geometry.same_as(read_image(path.with_name("IM01000")).geometry, 1e-6)
    for found in (alone, beside):
        for structure, mask in zip(("L1", "lower one", "process", "finding"), masks, strict=True):
            assert np.allclose(in_the_world(found, structure), expected(grid, mask), atol=1e-3)


@pytest.mark.parametrize("turned", ["mirrored columns", "rows for columns", "sagittal planes"])
def test_frames_that_run_otherwise_than_the_images_come_to_the_same_places(oblique, stored, masks, tmp_path, turned):
    axes = {"mirrored columns": (0, 1, 2), "rows for columns": (0, 2, 1), "sagittal planes": (2, 0, 1)}[turned]
    columns = oblique.ijk_to_ras[:3, [2 - axis for axis in axes][::-1]]
    matrix = oblique.ijk_to_ras.copy()
    matrix[:3, :3] = columns
    part = np.transpose(masks, (0, *(axis + 1 for axis in axes)))
    if turned == "mirrored columns":
        matrix[:3, 3] += matrix[:3, 0] * (part.shape[-1] - 1)
        matrix[:3, 0] *= -1
        part = part[..., ::-1]
    grid = Geometry(part.shape[1:], matrix)
    folder = tmp_path / "study"
    write_series(folder, oblique, stored)
    path = write_seg(folder / "seg.dcm", grid, np.zeros(grid.shape, np.uint16), part)
    found = read_segmentation(path)
    assert found.geometry.same_as(read_image(folder).geometry, 1e-6)
    for structure, mask in zip(("L1", "lower one", "process", "finding"), masks, strict=True):
        assert np.array_equal(found.mask(structure), mask[::-1])


def test_probabilities_are_kept_and_cut_at_a_half(oblique, stored, tmp_path):
    values = np.zeros((1, *oblique.shape), np.float32)
    values[0, 2:5, 3:9, 4:10] = np.linspace(0, 1, 108, dtype=np.float32).reshape(3, 6, 6)
    write_series(tmp_path, oblique, stored)
    described = [("L1", L1, None)]
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, values, described, kind="FRACTIONAL")
    (segment,) = (found := read_segmentation(path)).segments
    assert np.abs(segment.probability[::-1] - values[0]).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(found.mask(segment), segment.probability >= 0.5)
    path = write_seg(
        path,
        oblique,
        stored,
        values,
        described,
        kind="FRACTIONAL",
        fractional_type="OCCUPANCY",
        max_fractional_value=100,
    )
    (segment,) = (found := read_segmentation(path)).segments
    assert segment.probability is None
    assert np.array_equal(found.mask(segment)[::-1], np.rint(values[0] * 100) >= 50)


def test_a_label_map_segmentation_gives_its_numbers(oblique, stored, masks, tmp_path):
    numbers = np.zeros(oblique.shape, np.uint8)
    numbers[masks[0]], numbers[masks[1]] = 1, 2
    write_series(tmp_path, oblique, stored)
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, numbers, DESCRIBED[:2], kind="LABELMAP")
    found = read_segmentation(path)
    assert np.array_equal(found.mask("L1")[::-1], masks[0])
    assert np.array_equal(found.mask("lower one")[::-1], masks[1])


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames(oblique, stored, masks, tmp_path, syntax):
    write_series(tmp_path, oblique, stored)
    described = DESCRIBED[:2]
    path = write_seg(
        tmp_path / "seg.dcm", oblique, stored, masks[:2], described, kind="FRACTIONAL", transfer_syntax_uid=syntax
    )
    found = read_segmentation(path)
    assert np.array_equal(found.mask("L1")[::-1], masks[0])
    assert np.array_equal(found.mask("lower one")[::-1], masks[1])


def test_a_deflated_file(oblique, stored, masks, tmp_path):
    data = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", oblique, stored, masks))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "seg.dcm")
    found = read_segmentation(tmp_path / "seg.dcm")
    assert np.allclose(in_the_world(found, "L1"), expected(oblique, masks[0]), atol=1e-4)


def test_a_segmentation_can_be_the_truth(oblique, stored, masks, tmp_path):
    write_series(tmp_path, oblique, stored)
    truth = read_segmentation(write_seg(tmp_path / "seg.dcm", oblique, stored, masks[:2], DESCRIBED[:2]))
    smaller = masks[0] & (np.arange(17) > 5)
    prediction = Segmentation.from_masks({Structure("vertebra", "L1"): smaller}, oblique)
    found = evaluate(prediction, truth)
    by_hand = 2 * smaller.sum() / (smaller.sum() + masks[0].sum())
    assert found.structures["L1"]["dice"] == pytest.approx(by_hand)


def test_a_study_folder_is_searched_for_the_segmentation_and_its_series(oblique, stored, masks, tmp_path):
    (tmp_path / "SEG").mkdir()
    write_series(tmp_path / "CT", oblique, stored)
    write_series(tmp_path / "other", oblique, stored, series=2)
    write_seg(tmp_path / "SEG" / "1-1.dcm", oblique, stored, masks)
    found = read_segmentation(tmp_path)
    assert found.geometry.same_as(read_image(tmp_path / "CT").geometry, 1e-6)
    write_seg(tmp_path / "SEG" / "1-2.dcm", oblique, stored, masks)
    with pytest.raises(InputError, match=r"2 segmentations \(1-1.dcm, 1-2.dcm\); expected one DICOM segmentation"):
        read_segmentation(tmp_path)


def test_a_series_that_is_named_only_by_the_frames_is_found(oblique, stored, masks, tmp_path):
    write_series(tmp_path, oblique, stored)
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, masks)
    data = pydicom.dcmread(path)
    del data.ReferencedSeriesSequence
    data.save_as(path)
    assert read_segmentation(path).geometry.shape == oblique.shape


def test_numbers_of_segments_can_be_named_otherwise(oblique, stored, masks, tmp_path):
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, masks)
    found = read_segmentation(path, structures={2: "T12"})
    assert [segment.structure for segment in found.segments] == [Structure("vertebra", "T12")]


def coarser(grid):
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 0] *= 2
    return Geometry((9, 14, 9), matrix)


def shifted(grid):
    return grid.transformed(np.array([[1, 0, 0, 0.3], [0, 1, 0, 0.2], [0, 0, 1, 0.2], [0, 0, 0, 1]]))


def beyond(grid):
    return grid.cropped((3, 0, 0), (12, 14, 17))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (coarser, "its frames have other axes or another pixel spacing (9 x 14 pixels)"),
        (shifted, "lies between the voxels (17 x 14 pixels)"),
        (beyond, "reaches beyond the images (17 x 14 pixels)"),
    ],
)
def test_frames_on_another_grid_are_refused_with_both_grids(oblique, stored, tmp_path, change, said):
    other = change(oblique)
    write_series(tmp_path, oblique, stored)
    masks = np.ones((1, *other.shape), bool)
    path = write_seg(tmp_path / "seg.dcm", other, np.zeros(other.shape, np.uint16), masks, [("L1", L1, None)])
    with pytest.raises(InputError) as error:
        read_segmentation(path)
    assert said in str(error.value)
    assert "the grid of the images, 17 x 14 x 9 voxels of 0.7 x 0.9 x 2.3 mm" in str(error.value)


def without(keyword):
    def change(data):
        delattr(data, keyword)

    return change


def cut(data):
    data.PixelData = data.PixelData[:10]


def of_no_segment(data):
    data.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77


def unplaced(data):
    del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("SegmentSequence"), "it has no segments or no frames"),
        (without("SegmentationType"), "its type is missing"),
        (cut, "its pixels are damaged or cut off"),
        (of_no_segment, "frames show segment 77"),
        (unplaced, "no position, orientation or pixel spacing"),
    ],
)
def test_a_damaged_segmentation_is_refused_in_one_line(oblique, stored, masks, tmp_path, change, said):
    path = write_seg(tmp_path / "seg.dcm", oblique, stored, masks)
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    with pytest.raises(InputError) as error:
        read_segmentation(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_files_that_are_cut_off_or_scrambled_never_break_the_reader(oblique, stored, masks, tmp_path, kind):
    """Each is read, or refused in one line; what is read has the right shape."""
    whole = write_seg(tmp_path / "seg.dcm", oblique, stored, masks, kind=kind).read_bytes()
    rng, path, refused = np.random.default_rng(5), tmp_path / "bad.dcm", 0
    (tmp_path / "seg.dcm").unlink()
    for trial in range(60):
        damaged = bytearray(whole[: rng.integers(200, len(whole))] if trial % 2 else whole)
        for place in rng.integers(132, len(damaged), 12):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            found = read_segmentation(path)
            assert all(layer.shape == found.geometry.shape for layer in found.layers)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_the_command_evaluate_takes_a_segmentation_as_the_truth(oblique, stored, masks, tmp_path, capsys):
    write_series(tmp_path, oblique, stored)
    truth = write_seg(tmp_path / "seg.dcm", oblique, stored, masks[:2], DESCRIBED[:2])
    write_segmentation(read_segmentation(truth), tmp_path / "same.seg.nrrd")
    assert main(["evaluate", str(tmp_path / "same.seg.nrrd"), str(truth), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overall"]["dice"] == 1.0


def test_images_are_no_segmentation(oblique, stored, tmp_path):
    path = save(slice_of(oblique, stored, 0), tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"this is DICOM \(CT\); expected a segmentation"):
        read_segmentation(path)


def test_nothing_of_the_patient_is_carried_along(oblique, stored, masks, tmp_path):
    found = read_segmentation(write_seg(tmp_path / "seg.dcm", oblique, stored, masks))
    assert "Doe" not in repr(found)
    assert "4711" not in repr(found)
