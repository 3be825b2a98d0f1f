"""Label maps with and without names, label pictures, masks."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Segmentation, SpacingSource
from SpineSegLib.io import read_segmentation, write_segmentation
from SpineSegLib.io.label_tables import TOTALSEGMENTATOR, VERSE
from SpineSegLib.io.nrrd import write_nrrd


def vertebra(level):
    return Structure("vertebra", level)


@pytest.fixture
def stacked(oblique):
    """Vertebrae, sacrum and a structure of no standard number; nothing overlaps."""
    structures = [vertebra("T12"), vertebra("T13"), vertebra("L1"), Structure("sacrum"), Structure("disc", "L4/L5")]
    masks = {}
    for n, structure in enumerate(structures):
        mask = np.zeros(oblique.shape, bool)
        mask[2 * n : 2 * n + 1, 3:9, 2:12] = True
        masks[structure] = mask
    return Segmentation.from_masks(masks, oblique)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_map_comes_back_with_its_names_and_verse_numbers(stacked, tmp_path, suffix):
    assert write_segmentation(stacked, tmp_path / f"spine{suffix}") == ()
    names = json.loads((tmp_path / "spine.json").read_text(encoding="utf-8"))["labels"]
    assert names == {"19": "T12", "20": "L1", "26": "sacrum", "28": "T13", "101": "L4/L5 disc"}
    found = read_segmentation(tmp_path / f"spine{suffix}")
    assert found.geometry.same_as(stacked.geometry, 1e-4)
    assert {segment.structure for segment in found.segments} == {segment.structure for segment in stacked.segments}
    for segment in stacked.segments:
        assert np.array_equal(found.mask(segment.structure), stacked.mask(segment))


def test_nibabel_reads_the_numbers(stacked, tmp_path):
    write_segmentation(stacked, tmp_path / "spine.nii.gz")
    other = nibabel.load(tmp_path / "spine.nii.gz")
    assert np.array_equal(np.asarray(other.dataobj).T == 28, stacked.mask("T13"))
    assert np.abs(other.affine - stacked.geometry.ijk_to_ras).max() < 2e-5


def test_overlaps_are_told_and_the_smaller_structure_is_kept(oblique, tmp_path):
    whole, part = np.zeros((2, *oblique.shape), bool)
    whole[2:7, 2:10, 2:10] = True
    part[3:5, 3:6, 3:6] = True
    truth = Segmentation.from_masks({Structure("spinous process", "C5"): part, vertebra("C5"): whole}, oblique)
    (warning,) = write_segmentation(truth, tmp_path / "spine.nrrd")
    assert "18 voxels of C5 went to smaller structures" in warning
    found = read_segmentation(tmp_path / "spine.nrrd")
    assert np.array_equal(found.mask("C5 spinous process"), part)
    assert np.array_equal(found.mask("C5"), whole & ~part)


def test_without_names_the_numbers_are_verse_s_even_as_floating_point(oblique, tmp_path):
    labels = np.zeros(oblique.shape)
    labels[1], labels[3], labels[5] = 1, 28, 77
    nibabel.save(nibabel.Nifti1Image(labels.T, oblique.ijk_to_ras), tmp_path / "seg.nii.gz")
    found = read_segmentation(tmp_path / "seg.nii.gz")
    assert [segment.name for segment in found.segments] == ["label 77", "C1", "T13"]
    assert np.array_equal(found.mask(vertebra("T13")), labels == 28)
    assert found.layers[0].dtype == np.uint8


def test_the_numbers_of_totalsegmentator_and_verse_are_those_published():
    assert {n: TOTALSEGMENTATOR[n].name for n in (25, 26, 27, 31, 32, 43, 44, 50)} == {
        **{25: "sacrum", 26: "S1", 27: "L5", 31: "L1"},
        **{32: "T12", 43: "T1", 44: "C7", 50: "C1"},
    }
    assert {n: VERSE[n].name for n in (1, 7, 8, 19, 20, 25, 26, 27, 28)} == {
        **{1: "C1", 7: "C7", 8: "T1", 19: "T12", 20: "L1", 25: "L6"},
        **{26: "sacrum", 27: "coccyx", 28: "T13"},
    }


def test_a_mapping_given_names_the_numbers_and_leaves_the_rest_out(oblique, tmp_path):
    labels = np.zeros(oblique.shape, np.uint8)
    labels[1], labels[2], labels[3] = 5, 31, 50
    write_nrrd(tmp_path / "total.nrrd", labels, oblique)
    found = read_segmentation(tmp_path / "total.nrrd", structures=TOTALSEGMENTATOR)
    assert [segment.name for segment in found.segments] == ["C1", "L1"]
    assert not found.foreground[1].any()
    named = read_segmentation(tmp_path / "total.nrrd", structures={5: "vertebrae_T5"})
    assert named.segments[0].structure == vertebra("T5")
    with pytest.raises(InputError, match=r"none of its labels \(5, 31, 50\) is among those named"):
        read_segmentation(tmp_path / "total.nrrd", structures={1: "C1"})


def test_a_mapping_given_selects_among_a_slicer_segmentation_s_labels(stacked, tmp_path):
    write_segmentation(stacked, tmp_path / "spine.seg.nrrd")
    found = read_segmentation(tmp_path / "spine.seg.nrrd", structures={2: "L5"})
    assert [segment.structure for segment in found.segments] == [vertebra("L5")]
    assert np.array_equal(found.foreground, stacked.mask("T13"))


def test_more_than_255_numbers_take_two_bytes(tmp_path):
    geometry = Geometry((1, 20, 20), np.diag([-1.0, -1, 1, 1]))
    labels = np.arange(400, dtype=np.uint16).reshape(geometry.shape)
    structures = {n: Structure("other", label=f"thing {n}") for n in range(1, 400)}
    truth = Segmentation.from_labels(labels, structures, geometry)
    write_segmentation(truth, tmp_path / "a.nii.gz")
    found = read_segmentation(tmp_path / "a.nii.gz")
    assert len(found.segments) == 399
    assert np.array_equal(found.mask("thing 399"), labels == 399)
    with pytest.raises(InputError, match="more than 255"):
        write_segmentation(truth, tmp_path / "a.png")


@pytest.fixture
def film():
    geometry = Geometry((1, 30, 20), np.diag([-0.2, -0.3, 1, 1]), SpacingSource.UNKNOWN)
    labels = np.zeros(geometry.shape, np.uint8)
    labels[0, 4:10, 5:15], labels[0, 12:20, 5:15] = 3, 4
    return Segmentation.from_labels(labels, {3: vertebra("C3"), 4: vertebra("C4")}, geometry)


def test_what_another_program_keeps_in_the_sidecar_stays(film, tmp_path):
    (tmp_path / "film.json").write_text('{"EchoTime": 0.1, "labels": {"9": "T2"}}')
    write_segmentation(film, tmp_path / "film.png")
    content = json.loads((tmp_path / "film.json").read_text())
    assert content == {"EchoTime": 0.1, "labels": {"3": "C3", "4": "C4"}, "spacing_source": "unknown"}
    for text in ("precious", "[1]"):
        (tmp_path / "film.json").write_text(text)
        with pytest.raises(InputError, match=r"film\.json: a file that is not ours"):
            write_segmentation(film, tmp_path / "film.nii.gz")
        assert (tmp_path / "film.json").read_text() == text
    assert not (tmp_path / "film.nii.gz").exists()


@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".mha"])
def test_a_radiograph_s_labels_and_unknown_spacing_survive(film, tmp_path, suffix):
    write_segmentation(film, tmp_path / f"film{suffix}")
    found = read_segmentation(tmp_path / f"film{suffix}")
    assert found.geometry.spacing is None
    assert [segment.name for segment in found.segments] == ["C3", "C4"]
    assert np.array_equal(found.mask("C4"), film.mask("C4"))


def test_a_label_picture_shows_the_colours_of_the_structures(film, tmp_path):
    write_segmentation(film, tmp_path / "film.png")
    with Pillow.open(tmp_path / "film.png") as picture:
        assert picture.convert("RGB").getpixel((8, 6)) == vertebra("C3").colour
        assert picture.convert("RGB").getpixel((0, 0)) == (0, 0, 0)
        assert picture.getpixel((8, 6)) == 3


def test_a_volume_is_no_label_picture(stacked, tmp_path):
    with pytest.raises(InputError, match="the segmentation has 9 slices"):
        write_segmentation(stacked, tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_mask_picture_shows_vertebrae(tmp_path, mode):
    mask = np.zeros((12, 10), np.uint8)
    mask[3:7, 2:8] = 255
    Pillow.fromarray(mask).convert(mode).save(tmp_path / "mask.png")
    found = read_segmentation(tmp_path / "mask.png")
    assert found.segments[0].structure == Structure("vertebrae")
    assert np.array_equal(found.foreground[0], mask > 0)
    assert read_segmentation(tmp_path / "mask.png", structures={255: "C5"}).segments[0].name == "C5"


def test_an_empty_label_map_has_no_segments(oblique, tmp_path):
    write_nrrd(tmp_path / "empty.nrrd", np.zeros(oblique.shape, np.uint8), oblique)
    for structures in (None, TOTALSEGMENTATOR):
        assert read_segmentation(tmp_path / "empty.nrrd", structures=structures).segments == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.5, "no whole numbers"), (np.nan, "no whole numbers"), (-3, "from -3 to 0"), (1e6, "from 0 to 1e")],
)
def test_what_is_no_label_map_is_refused(oblique, tmp_path, value, said):
    values = np.zeros(oblique.shape)
    values[0, 0, 0] = value
    write_nrrd(tmp_path / "a.nrrd", values, oblique)
    with pytest.raises(InputError, match=said):
        read_segmentation(tmp_path / "a.nrrd")


def test_a_jpeg_of_labels_is_refused(tmp_path):
    Pillow.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "mask.jpg")
    with pytest.raises(InputError, match="JPEG changes the numbers"):
        read_segmentation(tmp_path / "mask.jpg")


def test_a_picture_with_labels_as_colours_is_refused(tmp_path):
    colours = np.zeros((9, 9, 3), np.uint8)
    colours[2:4, :, 0], colours[5:7, :, 1] = 255, 255
    Pillow.fromarray(colours).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="its labels are colours; expected numbers in grey or a palette"):
        read_segmentation(tmp_path / "mask.png")


def test_a_sidecar_of_another_program_is_left_alone_and_a_broken_one_refused(oblique, tmp_path):
    labels = np.full(oblique.shape, 8, np.uint8)
    write_nrrd(tmp_path / "ct.nrrd", labels, oblique)
    (tmp_path / "ct.json").write_text('{"Manufacturer": "x"}')
    assert read_segmentation(tmp_path / "ct.nrrd").segments[0].name == "T1"
    for text in ("{", '{"labels": ["T1"]}', '{"labels": {"x": "T1"}}', '{"labels": {"8": 3}}'):
        (tmp_path / "ct.json").write_text(text)
        with pytest.raises(InputError, match=r"ct\.json"):
            read_segmentation(tmp_path / "ct.nrrd")


def test_the_verse_sample_holds_the_levels_it_should(shared):
    found = read_segmentation(shared / "data" / "verse-sample" / "sub-verse004_seg-vert_msk.nii.gz")
    assert {"T9", "L4"} <= {segment.name for segment in found.segments}
    assert all(segment.structure.kind in ("vertebra", "sacrum", "coccyx") for segment in found.segments)
