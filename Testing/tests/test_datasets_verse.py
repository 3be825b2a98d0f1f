"""VerSe in its three layouts: centroids inside their bodies whatever the axes, patients, masks, and what is refused."""

import json

import nibabel as nib
import numpy as np
import pytest
from dataset_volumes import (
    ToySpine,
    affine_towards,
    save_json,
    save_nifti,
    toy_spine,
    write_verse_bids,
    write_verse_miccai,
)
from simple_body import simple_body

from SpineSegLib.datasets import read_cases
from SpineSegLib.datasets.verse import centroids
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry
from SpineSegLib.io import read_geometry, read_segmentation
from SpineSegLib.phantom.cases import Order, image_of
from SpineSegLib.phantom.write import write_case

LEVELS = {28: "T13", 20: "L1", 25: "L6"}
STEPS = {"LAS": (0.4, 0.4, 2.0), "PIR": (0.4, 0.4, 2.0), "RAS": (0.9, 0.7, 1.3), "ASL": (1.0, 1.0, 1.0)}


def bodies_of(spine, image):
    """Return the labels of the bodies alone as k, j, i."""
    return spine.arrays()[2].transpose(2, 1, 0)


def assert_inside(points, spine, geometry, within=1.0):
    """Each point lies in the body with its label, and no more than `within` voxels from its centre."""
    bodies = bodies_of(spine, geometry)
    assert set(points) == {LEVELS[label] for label in spine.labels}
    for label in spine.labels:
        point = points[LEVELS[label]]
        assert point.shape == (1, 3)
        index = geometry.to_index(point[0])
        assert bodies[tuple(np.rint(index).astype(int))] == label
        assert np.abs(index - geometry.to_index(spine.centres[label])).max() < within + 1e-3


@pytest.mark.parametrize("codes", STEPS)
def test_centroids_of_bids_lie_inside_their_bodies(tmp_path, codes):
    spine = toy_spine(codes, STEPS[codes])
    write_verse_bids(tmp_path, "sub-verse004_dir-sag", spine)
    (case,) = read_cases("verse", tmp_path)
    image, _ = case.load()
    assert nib.aff2axcodes(spine.affine) == tuple(codes)
    assert_inside(case.landmarks(), spine, image.geometry, within=0.0)


@pytest.mark.parametrize("direction", ["PIR", "LPS", "SRA", "RAI"])
def test_centroids_along_other_axes_than_the_images_are_turned_as_the_authors_do(tmp_path, direction):
    spine = toy_spine("LAS")
    write_verse_bids(tmp_path, "sub-verse004_dir-ax", spine, direction)
    (case,) = read_cases("verse", tmp_path)
    geometry = case.load()[0].geometry
    assert_inside(case.landmarks(), spine, geometry, within=0.0)


def test_a_flipped_axis_is_counted_from_the_size_of_the_image(tmp_path):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    path = save_json(tmp_path / "a_ctd.json", [{"direction": ["L", "A", "I"]}, {"label": 8, "X": 2, "Y": 3, "Z": 4}])
    points = centroids(path, Geometry((30, 20, 10), affine))
    assert np.array_equal(points["T1"], [[10 - 2, 3, 30 - 4]])


@pytest.mark.parametrize("codes", STEPS)
@pytest.mark.parametrize("year", [2019, 2020])
def test_centroids_of_the_challenges_lie_inside_their_bodies(tmp_path, codes, year):
    spine = toy_spine(codes, STEPS[codes])
    write_verse_miccai(tmp_path / "01_training" / "verse014", "verse014", spine, year=year)
    (case,) = read_cases("verse", tmp_path)
    assert_inside(case.landmarks(), spine, case.load()[0].geometry, within=0.0)


@pytest.mark.parametrize("year", [2019, 2020])
@pytest.mark.parametrize("codes", ["LPS", "PIR", "RAS"])
def test_centroids_of_the_challenges_agree_with_the_winners_formula(tmp_path, codes, year):
    """Payer et al. (MedicalDataAugmentationTool-VerSe, preprocess_landmarks.py) place them in an image towards LPS.

    On other axes the authors' rule for flips is off by a voxel, so that is how far both may lie apart.
    """
    spine = toy_spine(codes, (0.6, 0.5, 1.5))
    write_verse_miccai(tmp_path, "verse014", spine, year=year)
    (case,) = read_cases("verse", tmp_path)
    found = case.landmarks()
    to_lps = nib.orientations.ornt_transform(nib.io_orientation(spine.affine), nib.orientations.axcodes2ornt("LPS"))
    image = nib.Nifti1Image(np.zeros(spine.shape, np.uint8), spine.affine).as_reoriented(to_lps)
    size, step = np.array(image.shape), nib.affines.voxel_sizes(image.affine)
    (file,) = tmp_path.glob("*ctd.json")
    for row in json.loads(file.read_text()):
        x, y, z = row["X"], row["Y"], row["Z"]
        extent = size * step
        mm = [z, y, extent[2] - x] if year == 2019 else [extent[0] - z, x, extent[2] - y]
        theirs = image.affine[:3, :3] @ (mm / step) + image.affine[:3, 3]
        ours = found[LEVELS[row["label"]]][0]
        apart = np.linalg.inv(image.affine[:3, :3]) @ (ours - theirs)
        assert np.abs(apart).max() < (1e-4 if codes == "LPS" else 1 + 1e-4)


def test_the_real_sample_has_its_centroids_in_its_vertebrae_in_front_of_the_whole_mask(shared):
    folder = shared / "data" / "verse-sample"
    mask = read_segmentation(folder / "sub-verse004_seg-vert_msk.nii.gz")
    geometry = read_geometry(folder / "sub-verse004_seg-vert_msk.nii.gz")
    assert geometry.same_as(mask.geometry, 1e-6)
    points = centroids(folder / "sub-verse004_seg-subreg_ctd.json", geometry)
    assert list(points) == ["T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    for level, point in points.items():
        inside = mask.mask(level)
        assert inside[tuple(np.rint(geometry.to_index(point[0])).astype(int))]
        whole = geometry.to_world(np.argwhere(inside)).mean(axis=0)
        assert 5 < point[0, 1] - whole[1] < 25  # in front
        assert abs(point[0, 0] - whole[0]) < 6
    gaps = np.linalg.norm(np.diff(np.concatenate(list(points.values())), axis=0), axis=1)
    assert gaps.min() > 20
    assert gaps.max() < 45


def test_the_real_sample_without_its_ct_is_refused(shared):
    with pytest.raises(InputError, match=r"its image is not there, or not clear; expected one image"):
        read_cases("verse", shared / "data" / "verse-sample")


def test_masks_come_on_the_grid_of_the_image_with_their_levels(tmp_path):
    spine = toy_spine("PIR")
    write_verse_bids(tmp_path, "sub-verse004_dir-sag", spine)
    (case,) = read_cases("verse", tmp_path)
    image, labels = case.load()
    ct, whole, _ = spine.arrays()
    assert image.modality == "CT"
    assert labels.geometry.same_as(image.geometry)
    assert np.allclose(image.geometry.ijk_to_ras, spine.affine, atol=1e-4)
    assert np.array_equal(image.array, ct.transpose(2, 1, 0))
    assert labels.layers[0].dtype == np.uint8
    for label, level in LEVELS.items():
        assert np.array_equal(labels.mask(level), whole.transpose(2, 1, 0) == label)


def test_every_label_is_its_level(tmp_path):
    numbers = [*range(1, 26), 28]
    rows = [{"direction": ["R", "A", "S"]}] + [{"label": n, "X": n, "Y": 1, "Z": 1} for n in numbers]
    points = centroids(save_json(tmp_path / "a_ctd.json", rows), Geometry((9, 9, 99), np.eye(4)))
    cervical, thoracic = [f"C{n}" for n in range(1, 8)], [f"T{n}" for n in range(1, 13)]
    expected = [*cervical, *thoracic, *(f"L{n}" for n in range(1, 7)), "T13"]
    assert {level: int(point[0, 0]) for level, point in points.items()} == dict(zip(expected, numbers, strict=True))


def test_splits_of_a_patient_are_one_patient(tmp_path):
    spine = toy_spine(spacing=(2.0, 2.0, 3.0))
    for name in ("sub-verse400_split-verse090_dir-iso", "sub-verse400_split-verse155_dir-iso", "sub-verse500_dir-ax"):
        write_verse_bids(tmp_path, name, spine)
    found = {case.name: case.patient for case in read_cases("verse", tmp_path)}
    assert found == {
        "sub-verse400_split-verse090_dir-iso_ct": "sub-verse400",
        "sub-verse400_split-verse155_dir-iso_ct": "sub-verse400",
        "sub-verse500_dir-ax_ct": "sub-verse500",
    }


def test_names_of_the_challenge_of_2020_tell_the_patient(tmp_path):
    spine = toy_spine(spacing=(2.0, 2.0, 3.0))
    for name in ("verse400_verse090_CT-iso", "verse400_verse155_CT-iso", "GL018-GL016", "GL018-GL017", "GL124_CT_ax"):
        write_verse_miccai(tmp_path / name, name, spine, year=2020)
    (tmp_path / "GL124_CT_ax" / "GL124_CT_ax_iso-ctd.json").rename(
        tmp_path / "GL124_CT_ax" / "GL124_CT_ax-iso-ctd.json"
    )
    found = read_cases("verse", tmp_path)
    assert [case.patient for case in found] == ["gl018", "gl018", "gl124", "verse400", "verse400"]
    for case in found:
        assert_inside(case.landmarks(), spine, case.load()[0].geometry, within=0.0)


def test_parts_of_the_set_are_told_by_their_folders(tmp_path):
    spine = toy_spine(spacing=(2.0, 2.0, 3.0))
    write_verse_bids(tmp_path / "dataset-verse19training", "sub-verse004_dir-ax", spine)
    write_verse_bids(tmp_path / "dataset-verse20test", "sub-verse500_dir-ax", spine)
    (case,) = read_cases("verse", tmp_path, part="test")
    assert case.patient == "sub-verse500"
    with pytest.raises(InputError, match="part: 'nothing'"):
        read_cases("verse", tmp_path, part="nothing")


def test_one_scan_in_two_releases_gets_two_names_and_one_patient(tmp_path):
    spine = toy_spine(spacing=(2.0, 2.0, 3.0))
    for release in ("dataset-verse19training", "dataset-verse20training"):
        write_verse_bids(tmp_path / release, "sub-verse004_dir-ax", spine)
    first, second = read_cases("verse", tmp_path)
    assert first.name == "dataset-verse19training-sub-verse004_dir-ax_ct"
    assert second.name == "dataset-verse20training-sub-verse004_dir-ax_ct"
    assert first.patient == second.patient == "sub-verse004"
    assert second.load()[1].foreground.any()


def test_a_mask_whose_axes_run_otherwise_is_turned(tmp_path):
    """verse201 of 2019: the mask covers the same voxels in another order."""
    spine = toy_spine("LAS", (0.8, 0.8, 2.0))
    write_verse_miccai(tmp_path, "verse201", spine, year=2019)
    mask = nib.load(tmp_path / "verse201_seg.nii.gz")
    move = nib.orientations.ornt_transform(nib.io_orientation(mask.affine), nib.orientations.axcodes2ornt("PIR"))
    turned = mask.as_reoriented(move)
    save_nifti(tmp_path / "verse201_seg.nii.gz", np.asarray(turned.dataobj), turned.affine)
    _, labels = read_cases("verse", tmp_path)[0].load()
    assert np.array_equal(labels.mask("L1"), spine.arrays()[1].transpose(2, 1, 0) == 20)


def test_a_mask_on_another_grid_is_refused_with_both_grids(tmp_path):
    spine = toy_spine("LAS", (1.0, 1.0, 2.0))
    write_verse_miccai(tmp_path, "verse014", spine, year=2019)
    other = ToySpine((30, 46, 50), affine_towards("LAS", (1.0, 1.0, 1.0)), (20,))
    save_nifti(tmp_path / "verse014_seg.nii.gz", other.arrays()[1], other.affine)
    with pytest.raises(InputError) as error:
        read_cases("verse", tmp_path)[0].load()
    assert "verse014_seg.nii.gz: its grid is 30 x 46 x 50 voxels of 1 x 1 x 1 mm towards LAS from" in str(error.value)
    assert "that of its image, 30 x 46 x 25 voxels of 1 x 1 x 2 mm towards LAS from" in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"label": 1}, "this is no list of centroids"),
        ([{"label": 40, "X": 1, "Y": 1, "Z": 1}], "the label 40, which VerSe does not have"),
        ([{"label": 8, "X": 1, "Y": 1, "Z": 1}] * 2, "the label 8, twice"),
        ([{"label": 8, "X": 1, "Y": 1}], "the row {'label': 8"),
        ([{"direction": ["P", "I", "A"]}], "the direction ('P', 'I', 'A')"),
        ([{"direction": ["P", "I", "Q"]}], "the direction ('P', 'I', 'Q')"),
    ],
)
def test_a_wrong_file_of_centroids_is_refused_in_one_line(tmp_path, content, said):
    path = save_json(tmp_path / "a_ctd.json", content)
    with pytest.raises(InputError) as error:
        centroids(path, Geometry((9, 9, 9), np.eye(4)))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_of_nan_are_skipped_however_they_are_written(tmp_path):
    rows = '[{"label": 8, "X": NaN, "Y": NaN, "Z": NaN}, {"label": 9, "X": "nan", "Y": "nan", "Z": "nan"}]'
    (tmp_path / "a_ctd.json").write_text(rows)
    assert centroids(tmp_path / "a_ctd.json", Geometry((9, 9, 9), np.eye(4))) == {}


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_volumes_of_the_digital_spine_are_read_as_they_were_made(tmp_path, kind):
    """Other code than that of the toy spines writes them in VerSe's BIDS form, on a grid turned by 8 degrees."""
    made = image_of(simple_body(1.0), Order(kind, size=64, rotation=8.0), 0, image_seed=7)
    write_case(made, tmp_path)
    (case,) = read_cases("verse", tmp_path)
    image, labels = case.load()
    assert image.modality == made.image.modality
    assert np.array_equal(image.array, made.image.array)
    levels = {"C3", "C4", "C5", "C6"}
    assert {segment.name for segment in labels.segments} == set(case.landmarks()) == levels
    for level, point in case.landmarks().items():
        assert np.array_equal(labels.mask(level), made.masks.mask(level))
        index = tuple(np.rint(made.image.geometry.to_index(point[0])).astype(int))
        assert made.masks.mask(f"{level} body")[index]


def test_unknown_layouts_and_missing_halves_are_told(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_cases("verse", tmp_path / "nothing")
    with pytest.raises(InputError, match="no scan of VerSe"):
        read_cases("verse", tmp_path)
    spine = toy_spine(spacing=(2.0, 2.0, 3.0))
    write_verse_miccai(tmp_path, "verse014", spine, year=2019)
    (tmp_path / "verse014_seg.nii.gz").rename(tmp_path / "verse015_seg.nii.gz")
    with pytest.raises(InputError, match=r"verse015_seg\.nii\.gz: its image is not there"):
        read_cases("verse", tmp_path)
    (tmp_path / "verse015_seg.nii.gz").unlink()
    with pytest.raises(InputError, match=r"verse014\.nii\.gz: it has no mask"):
        read_cases("verse", tmp_path)


def test_listing_reads_no_pixel(tmp_path):
    write_verse_bids(tmp_path, "sub-verse004_dir-sag", toy_spine(spacing=(2.0, 2.0, 3.0)))
    for path in tmp_path.rglob("*.nii.gz"):
        path.write_bytes(b"not a volume")
    (case,) = read_cases("verse", tmp_path)
    with pytest.raises(InputError, match="not a NIfTI file"):
        case.load()
    with pytest.raises(InputError, match="not a NIfTI file"):
        case.landmarks()
