"""CTSpine1K, sets in BIDS form, folders of volumes, and DICOM with segmentations."""

import numpy as np
import pytest
import SimpleITK as sitk
from dataset_volumes import affine_towards, save_mha, save_nifti, toy_spine
from dicom_writing import save, slice_of, write_series
from seg_writing import DESCRIBED, write_seg, write_study

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import READERS, read_cases
from SpineSegLib.datasets.bids import entities
from SpineSegLib.datasets.splits import split_cases
from SpineSegLib.errors import InputError
from SpineSegLib.io import read_image, write_segmentation

SPINE = toy_spine("LAS", (1.0, 1.0, 2.0))


def kji(array):
    return array.transpose(2, 1, 0)


# --- CTSpine1K


def write_ctspine1k(folder, names):
    ct, whole, _ = SPINE.arrays()
    whole = np.where(whole == 28, 19, whole)  # the set has no T13
    for name in names:
        save_nifti(folder / "volumes" / "SET" / f"{name}.nii.gz", ct, SPINE.affine)
        save_nifti(folder / "labels" / "SET" / f"{name}_seg.nii.gz", whole, SPINE.affine)
    return ct, whole


COVID = ("volume-covid19-A-0202_0_ct", "volume-covid19-A-0202_1_ct", "volume-covid19-A-0003_ct")


def test_ctspine1k_is_found_in_its_folders_with_its_levels(tmp_path):
    ct, whole = write_ctspine1k(tmp_path, ("liver_1", "1.3.6.1.4.1.9328.50.4.0001", *COVID))
    found = {case.name: case for case in read_cases("ctspine1k", tmp_path)}
    assert found["liver_1"].patient == "liver_1"
    assert found[COVID[0]].patient == found[COVID[1]].patient != found[COVID[2]].patient
    image, labels = found["1.3.6.1.4.1.9328.50.4.0001"].load()
    assert image.modality == "CT"
    assert np.array_equal(image.array, kji(ct))
    assert np.array_equal(labels.mask("T12"), kji(whole) == 19)
    assert np.array_equal(labels.mask("L6"), kji(whole) == 25)


def test_parts_of_ctspine1k_come_from_its_own_file(tmp_path):
    write_ctspine1k(tmp_path, ("liver_1", "liver_2", "HN_P001"))
    (tmp_path / "data_split.txt").write_text(
        "trainset:\nliver_1.nii.gz\n\ntest_public:\nHN_P001.nii.gz\n\ntest_private:\nliver_2.nii.gz\n"
    )
    assert [case.name for case in read_cases("ctspine1k", tmp_path, part="test_public")] == ["HN_P001"]
    with pytest.raises(InputError, match="one of trainset, test_public, test_private"):
        read_cases("ctspine1k", tmp_path, part="training")


def test_what_ctspine1k_lacks_is_told(tmp_path):
    with pytest.raises(InputError, match="no mask"):
        read_cases("ctspine1k", tmp_path)
    write_ctspine1k(tmp_path, ("liver_1",))
    with pytest.raises(InputError, match=r"no data_split\.txt"):
        read_cases("ctspine1k", tmp_path, part="trainset")
    (tmp_path / "volumes" / "SET" / "liver_1.nii.gz").rename(tmp_path / "other.nii.gz")
    with pytest.raises(InputError, match=r"liver_1_seg\.nii\.gz: its image is not there"):
        read_cases("ctspine1k", tmp_path)


# --- BIDS


def test_names_are_taken_apart():
    assert entities("sub-ct_seg-vert_label-22_msk.nii.gz") == ({"sub": "ct", "seg": "vert", "label": "22"}, "msk")
    assert entities("ses-1_ct.nii.gz") is None
    assert entities("README.md") is None


@pytest.mark.parametrize("flat", [True, False])
def test_discs_and_parts_of_vertebrae_come_with_their_levels(tmp_path, flat):
    ct, whole, bodies = SPINE.arrays()
    vertebrae = whole.astype(np.uint8)
    free = np.argwhere(vertebrae == 0)
    vertebrae[tuple(free[:5].T)] = 128  # the disc under T13
    vertebrae[tuple(free[5:8].T)] = 125  # under L6
    vertebrae[tuple(free[8:9].T)] = 228  # an end plate
    regions = np.where(bodies > 0, 50, np.where(whole > 0, 42, 0)).astype(np.uint8)
    regions[tuple(free[20:30].T)], regions[tuple(free[30:50].T)] = 60, 61
    raw, derived = (
        (tmp_path, tmp_path) if flat else (tmp_path / "rawdata" / "sub-a", tmp_path / "derivatives" / "sub-a")
    )
    save_nifti(raw / "sub-a_label-1_ct.nii.gz", ct, SPINE.affine)
    save_nifti(derived / "sub-a_seg-vert_label-1_msk.nii.gz", vertebrae, SPINE.affine)
    save_nifti(derived / "sub-a_seg-subreg_label-1_msk.nii.gz", regions, SPINE.affine)
    (case,) = read_cases("bids", tmp_path)
    assert (case.name, case.patient) == ("sub-a_label-1_ct", "sub-a")
    _, labels = case.load()
    for number, level in ((28, "T13"), (20, "L1"), (25, "L6")):
        assert np.array_equal(labels.mask(level), kji(whole) == number)
        assert np.array_equal(labels.mask(Structure("body", level)), kji(bodies) == number)
        spinous = (kji(whole) == number) & (kji(bodies) != number)
        assert np.array_equal(labels.mask(Structure("spinous process", level)), spinous)
    assert labels.mask("T13/L1 disc").sum() == 5
    assert labels.mask("L6/S1 disc").sum() == 3
    assert labels.mask("spinal cord").sum() == 10
    assert labels.mask("spinal canal").sum() == 30  # the canal holds the cord
    assert "label 228" not in {segment.name for segment in labels.segments}
    _, plain = read_cases("bids", tmp_path, parts=False)[0].load()
    assert len(plain.layers) == 1


def test_which_disc_lies_under_t12_depends_on_t13(tmp_path):
    values = np.zeros(SPINE.shape, np.uint8)
    values[2, 2, 2], values[3, 3, 3], values[4, 4, 4] = 19, 119, 124
    save_nifti(tmp_path / "sub-a_ct.nii.gz", values.astype(np.int16), SPINE.affine)
    save_nifti(tmp_path / "sub-a_seg-vert_msk.nii.gz", values, SPINE.affine)
    assert [s.name for s in read_cases("bids", tmp_path)[0].load()[1].segments] == ["T12", "T12/L1 disc", "L5/S1 disc"]
    values[5, 5, 5] = 28
    save_nifti(tmp_path / "sub-a_seg-vert_msk.nii.gz", values, SPINE.affine)
    assert "T12/T13 disc" in {s.name for s in read_cases("bids", tmp_path)[0].load()[1].segments}


def test_each_contrast_of_a_subject_takes_the_mask_made_on_it(tmp_path):
    ct, whole, _ = SPINE.arrays()
    for contrast, shift in (("T1w", 0), ("T2w", 1)):
        save_nifti(tmp_path / "rawdata" / f"sub-a_{contrast}.nii.gz", ct, SPINE.affine)
        values = np.where(whole == 20, 20 + shift, 0).astype(np.uint8)
        save_nifti(tmp_path / "derivatives" / f"sub-a_mod-{contrast}_seg-vert_msk.nii.gz", values, SPINE.affine)
    first, second = read_cases("bids", tmp_path)
    assert first.patient == second.patient == "sub-a"
    assert [case.load()[1].segments[0].name for case in (first, second)] == ["L1", "L2"]
    assert first.load()[0].modality == "MR"
    save_nifti(tmp_path / "derivatives" / "sub-a_seg-vert_msk.nii.gz", whole, SPINE.affine)
    with pytest.raises(InputError, match="its image is not there, or not clear"):
        read_cases("bids", tmp_path)


def test_an_image_without_a_mask_is_told_or_left_out(tmp_path):
    ct, whole, _ = SPINE.arrays()
    save_nifti(tmp_path / "sub-a_ct.nii.gz", ct, SPINE.affine)
    with pytest.raises(InputError, match="it has no mask of vertebrae"):
        read_cases("bids", tmp_path)
    save_nifti(tmp_path / "sub-b_ct.nii.gz", ct, SPINE.affine)
    save_nifti(tmp_path / "sub-b_seg-vert_msk.nii.gz", whole, SPINE.affine)
    assert [case.patient for case in read_cases("bids", tmp_path, skip_unlabelled=True)] == ["sub-b"]


def test_real_ct_and_mr_of_tptbox(shared):
    folder = shared / "data" / "tptbox-samples"
    ct, mr = read_cases("bids", folder)
    image, labels = ct.load()
    raw = {
        kind: sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"sub-ct_seg-{kind}_label-22_msk.nii.gz")))
        for kind in ("vert", "subreg")
    }
    assert image.modality == "CT"
    assert [s.name for s in labels.segments if s.structure.kind == "vertebra"] == ["L2", "L3", "L4"]
    body = labels.mask(Structure("body", "L3"))
    assert np.array_equal(body, (raw["vert"] == 22) & np.isin(raw["subreg"], (49, 50)))
    transverse = labels.mask(Structure("transverse process", "L3"))
    assert np.array_equal(transverse, (raw["vert"] == 22) & np.isin(raw["subreg"], (43, 44)))
    behind = [labels.geometry.to_world(np.argwhere(m))[:, 1].mean() for m in (body, labels.mask("L3 spinous process"))]
    assert behind[0] - behind[1] > 20
    assert image.array[body].mean() > image.array[~labels.foreground].mean() + 100
    image, labels = read_cases("bids", folder, instances=True)[1].load()
    assert mr.name == "sub-mri_label-6_T2w"
    assert image.modality == "MR"
    names = {segment.name for segment in labels.segments}
    assert names == {"vertebrae", "discs", "bodies", "spinous processes", "spinal canal", "spinal cord"}
    canal, cord = labels.mask("spinal canal"), labels.mask("spinal cord")
    assert (canal & cord).sum() == cord.sum() > 0


# --- folders of volumes


def test_patterns_pair_volumes_of_different_suffixes(tmp_path, oblique):
    values = np.random.default_rng(2).integers(-900, 900, oblique.shape).astype(np.int16)
    mask = (values > 500).astype(np.uint8)
    save_mha(tmp_path / "images" / "p1_a.mha", values, oblique)
    save_mha(tmp_path / "images" / "p1_b.mha", values, oblique)
    save_mha(tmp_path / "masks" / "p1_a.mha", mask, oblique)
    save_mha(tmp_path / "masks" / "p1_b.mha", 2 * mask, oblique)
    first, second = read_cases("volume-folder", tmp_path, labels={1: "L1", 2: "L2"}, modality="CT", patient=r"^p\d+")
    assert (first.name, first.patient, second.patient) == ("p1_a", "p1", "p1")
    assert first.labelled == {"vertebra"}
    image, labels = first.load()
    assert image.modality == "CT"
    assert np.array_equal(image.array, values)
    assert np.array_equal(labels.mask("L1"), values > 500)
    assert second.load()[1].segments[0].name == "L2"
    write_segmentation(labels, tmp_path / "masks" / "p1_c.seg.nrrd")
    save_mha(tmp_path / "images" / "p1_c.mha", values, oblique)
    third = read_cases("volume-folder", tmp_path)[2]
    assert np.array_equal(third.load()[1].mask("L1"), values > 500)


def test_names_may_differ_at_both_ends(tmp_path):
    ct, whole, _ = SPINE.arrays()
    save_nifti(tmp_path / "imagesTr" / "case_07_0000.nii.gz", ct, SPINE.affine)
    save_nifti(tmp_path / "labelsTr" / "case_07.nii.gz", whole, SPINE.affine)
    (case,) = read_cases("volume-folder", tmp_path, images="imagesTr/*_0000.nii.gz", masks="labelsTr/*.nii.gz")
    assert case.name == "case_07"
    assert {s.name for s in case.load()[1].segments} == {"T13", "L1", "L6"}
    save_nifti(tmp_path / "a.nii.gz", ct, SPINE.affine)
    save_nifti(tmp_path / "a_seg.nii.gz", whole, SPINE.affine)
    (case,) = read_cases("volume-folder", tmp_path, images="*.nii.gz", masks="*_seg.nii.gz", labels="verse")
    assert case.name == "a"


def test_an_image_may_be_a_folder_with_a_dicom_series(tmp_path, oblique):
    stored = np.random.default_rng(1).integers(0, 3000, oblique.shape).astype(np.uint16)
    (tmp_path / "dicom").mkdir()
    write_series(tmp_path / "dicom" / "one", oblique, stored)
    image = read_image(tmp_path / "dicom" / "one")
    save_mha(tmp_path / "masks" / "one.mha", (image.array > 900).astype(np.uint8), image.geometry)
    (case,) = read_cases("volume-folder", tmp_path, images="dicom/*", labels={1: "spine"})
    found, labels = case.load()
    assert np.array_equal(labels.mask("spine"), found.array > 900)


def test_the_real_crop_of_a_vertebra_and_its_materials(shared):
    labels = {n: f"material {n}" for n in range(1, 7)}
    (case,) = read_cases(
        "volume-folder",
        shared / "data" / "spinefe-verse-l2",
        images="*_im.nii.gz",
        masks="*_seg.nii.gz",
        labels=labels,
        patient=r"sub-verse\d+",
        modality="CT",
    )
    assert case.patient == "sub-verse004"
    image, found = case.load()
    assert image.array.shape == (74, 89, 100)
    assert [segment.name for segment in found.segments] == list(labels.values())


@pytest.mark.parametrize("pattern", ["images", "images/**", "*/a*", "../*", "/tmp/*", ""])
def test_patterns_that_name_no_files_below_the_folder_are_refused(tmp_path, pattern):
    with pytest.raises(InputError, match="pattern: "):
        read_cases("volume-folder", tmp_path, images=pattern)


def test_halves_of_pairs_are_told(tmp_path):
    ct, whole, _ = SPINE.arrays()
    with pytest.raises(InputError, match=r"nothing like images/\*"):
        read_cases("volume-folder", tmp_path)
    save_nifti(tmp_path / "images" / "a.nii.gz", ct, SPINE.affine)
    save_nifti(tmp_path / "masks" / "b.nii.gz", whole, SPINE.affine)
    with pytest.raises(InputError, match=r"b\.nii\.gz: it has no image; expected an image images/b"):
        read_cases("volume-folder", tmp_path)
    save_nifti(tmp_path / "images" / "b.nii.gz", ct, SPINE.affine)
    with pytest.raises(InputError, match=r"a\.nii\.gz: it has no mask; expected a mask masks/a"):
        read_cases("volume-folder", tmp_path)
    assert [case.name for case in read_cases("volume-folder", tmp_path, skip_unlabelled=True)] == ["b"]
    with pytest.raises(InputError, match="labels: 'kidney'"):
        read_cases("volume-folder", tmp_path, labels="kidney")


def test_slices_of_any_volume_make_cases(tmp_path):
    spine = toy_spine("PIR", (1.0, 1.0, 2.0))
    ct, whole, _ = spine.arrays()
    save_nifti(tmp_path / "images" / "a.nii.gz", ct, spine.affine)
    save_nifti(tmp_path / "masks" / "a.nii.gz", whole, spine.affine)
    image, labels = read_cases("volume-folder", tmp_path, slices="mid")[0].load()
    assert image.geometry.is_2d
    heights = [image.geometry.to_world(np.argwhere(labels.mask(n)))[:, 2].mean() for n in ("T13", "L1", "L6")]
    rows = [np.argwhere(labels.mask(n))[:, 1].mean() for n in ("T13", "L1", "L6")]
    assert heights == sorted(heights, reverse=True)
    assert rows == sorted(rows)


# --- DICOM with segmentations


def test_segmentations_find_their_series_and_keep_patients_together_without_naming_them(tmp_path, oblique):
    masks = [
        write_study(tmp_path, oblique, patient=patient, number=number)
        for number, patient in ((1, "4711"), (2, "0815"), (3, "4711"))
    ]
    found = read_cases("dicom-seg", tmp_path)
    assert len({case.name for case in found}) == 3
    assert len({case.patient for case in found}) == 2
    told = " ".join(f"{case.name} {case.patient}" for case in found)
    assert not any(word in told for word in ("4711", "0815", "Doe"))
    voxels = set()
    for case in found:
        image, labels = case.load()
        assert image.modality == "CT"
        assert labels.geometry.same_as(image.geometry)
        voxels.add(int(labels.mask("L1").sum()))
    assert voxels == {int(mask.sum()) for mask in masks}
    again = read_cases("dicom-seg", tmp_path)
    assert [case.name for case in again] == [case.name for case in found]
    assert read_cases("dicom-seg", tmp_path, modality="CT")[0].name == found[0].name
    with pytest.raises(InputError, match="modality: 'MR'"):
        read_cases("dicom-seg", tmp_path, modality="MR")
    split = split_cases(found, {"folds": 2}, seed=1, fold=0)
    assert len(split.training) + len(split.test) == 3


def test_a_segmentation_without_its_series_is_told(tmp_path, oblique):
    stored = np.zeros(oblique.shape, np.uint16)
    with pytest.raises(InputError, match="the folder is empty"):
        read_cases("dicom-seg", tmp_path)
    save(slice_of(oblique, stored, 0), tmp_path / "a.dcm")
    with pytest.raises(InputError, match="no DICOM segmentation"):
        read_cases("dicom-seg", tmp_path)
    (tmp_path / "a.dcm").unlink()
    write_seg(tmp_path / "seg.dcm", oblique, stored, np.ones((1, *oblique.shape), bool), DESCRIBED[:1])
    with pytest.raises(InputError, match="the series it was made on is not there"):
        read_cases("dicom-seg", tmp_path)


@pytest.mark.parametrize("reader", ["verse", "bids", "spider", "ctspine1k", "volume-folder", "dicom-seg"])
def test_every_reader_tells_a_missing_folder_and_an_unknown_option(reader, tmp_path):
    assert reader in READERS
    with pytest.raises(InputError, match="no such folder"):
        read_cases(reader, tmp_path / "nothing")
    with pytest.raises(InputError, match="options of the reader"):
        read_cases(reader, tmp_path, colour="red")


def test_a_grid_is_described_by_its_size_steps_and_directions():
    from SpineSegLib.datasets.grids import described
    from SpineSegLib.image import Geometry

    geometry = Geometry((5, 6, 7), affine_towards("PIR", (0.5, 0.7, 2.0), (1.0, -2.0, 3.0)))
    assert described(geometry) == "7 x 6 x 5 voxels of 0.5 x 0.7 x 2 mm towards PIR from (1.0, -2.0, 3.0)"
