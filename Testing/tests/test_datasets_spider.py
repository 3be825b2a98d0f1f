"""SPIDER's series and masks, and sagittal slices out of them that keep their place in the world."""

import numpy as np
import pytest
from dataset_volumes import save_mha, spider_grid, spider_mask, write_spider

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import read_cases
from SpineSegLib.datasets.cases import Case
from SpineSegLib.datasets.sagittal import middle_slice, sagittal_cases, sagittal_slice
from SpineSegLib.datasets.spider import label_table
from SpineSegLib.errors import InputError
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.training.sources import PictureSource, targets_of


@pytest.fixture
def grid():
    return spider_grid()


def test_labels_count_upwards_from_the_lowest_lumbar_vertebra():
    table = label_table()
    assert [table[n].name for n in range(1, 8)] == ["L5", "L4", "L3", "L2", "L1", "T12", "T11"]
    assert table[17].name == "T1"
    assert table[24].name == "C1"
    assert [table[n].name for n in (101, 106)] == ["L5", "T12"]
    assert [table[n].name for n in (201, 202, 206)] == ["L5/S1 disc", "L4/L5 disc", "T12/L1 disc"]
    assert table[100] == Structure("spinal canal")
    six = label_table("L6")
    assert [six[n].name for n in (1, 2, 6, 7, 201, 202)] == ["L6", "L5", "L1", "T12", "L6/S1 disc", "L5/L6 disc"]


def test_series_of_a_patient_stay_together(tmp_path, grid):
    write_spider(tmp_path, grid)
    found = read_cases("spider", tmp_path)
    assert [(case.name, case.patient) for case in found] == [
        ("1_t1", "1"),
        ("1_t2", "1"),
        ("22_t2", "22"),
        ("107_t2_SPACE", "107"),
    ]
    assert [case.name for case in read_cases("spider", tmp_path, series="t2")] == ["1_t2", "22_t2"]


def test_an_oblique_series_comes_with_its_structures(tmp_path, grid):
    stored = write_spider(tmp_path, grid)
    image, labels = read_cases("spider", tmp_path)[0].load()
    assert image.modality == "MR"
    assert np.array_equal(image.array, stored)
    assert image.geometry.same_as(grid)
    expected = spider_mask(grid)
    assert np.array_equal(labels.mask("L5"), expected == 1)
    assert np.array_equal(labels.mask("L4/L5 disc"), expected == 202)
    assert np.array_equal(labels.mask("spinal canal"), expected == 100)
    assert np.array_equal(labels.mask("T12"), expected == 106)
    _, without = read_cases("spider", tmp_path, partly_visible=False)[0].load()
    assert "T12" not in {segment.name for segment in without.segments}


def test_parts_come_from_the_overview(tmp_path, grid):
    write_spider(tmp_path, grid)
    rows = ["new_file_name,subset,sex", "1_t1,training,F", "1_t2,training,F", "22_t2,validation,M"]
    (tmp_path / "overview.csv").write_text("\n".join(rows))
    assert [case.name for case in read_cases("spider", tmp_path, part="validation")] == ["22_t2"]
    with pytest.raises(InputError, match="one of training, validation"):
        read_cases("spider", tmp_path, part="test")
    (tmp_path / "overview.csv").unlink()
    with pytest.raises(InputError, match=r"overview\.csv: it cannot be read"):
        read_cases("spider", tmp_path, part="training")


def test_the_middle_slice_follows_the_spinal_canal(tmp_path, grid):
    write_spider(tmp_path, grid, ("1_t2",))
    (case,) = read_cases("spider", tmp_path, slices="mid")
    assert (case.name, case.patient) == ("1_t2_mid", "1")
    image, labels = case.load()
    # Slices 5 to 7 of 11 hold the canal; the left of the patient lies towards slice 0.
    assert image.geometry.shape == (1, 60, 24)
    assert image.modality == "MR"
    assert labels.geometry is image.geometry
    expected = spider_mask(grid)[6]
    assert np.array_equal(labels.mask("L5")[0], expected == 1)
    assert np.array_equal(labels.mask("spinal canal")[0], expected == 100)


def test_a_slice_shows_the_head_above_and_the_front_at_the_left_at_its_place_in_the_world(oblique):
    """Whatever the order of the volume's axes, each pixel of the slice is a voxel at the same place."""
    values = np.random.default_rng(1).integers(0, 900, oblique.shape).astype(np.int16)
    labels = Segmentation.from_masks(
        {Structure("vertebra", "L1"): values > 500, Structure("vertebra", "L2"): values > 880}, oblique
    )
    image, cut = sagittal_slice(Image(values, oblique, "MR"), labels, 8)
    points = image.geometry.to_world(np.argwhere(np.ones(image.array.shape, bool)))
    index = oblique.to_index(points)
    assert np.abs(index - np.rint(index)).max() < 1e-9
    where = tuple(np.rint(index).astype(int).T)
    assert np.array_equal(image.array.ravel(), values[where])
    assert np.array_equal(cut.mask("L1").ravel(), (values > 500)[where])
    assert np.array_equal(cut.mask("L2").ravel(), (values > 880)[where])
    rows, columns = image.geometry.ijk_to_ras[:3, 1], image.geometry.ijk_to_ras[:3, 0]
    assert rows[2] < -0.7 * np.linalg.norm(rows)
    assert columns[1] < -0.7 * np.linalg.norm(columns)
    assert image.geometry.spacing == pytest.approx((0.7, 2.3, 0.9))


def test_several_slices_go_from_right_to_left(tmp_path, grid):
    write_spider(tmp_path, grid, ("1_t2",))
    found = read_cases("spider", tmp_path, slices=4)
    assert [case.name for case in found] == ["1_t2_right1", "1_t2_mid", "1_t2_left1", "1_t2_left2"]
    assert {case.patient for case in found} == {"1"}
    right = [case.load()[0].geometry.to_world([0, 30, 12])[0] for case in found]
    assert np.all(np.diff(right) < -2.5)


def test_without_a_canal_the_middle_is_that_of_the_labels(grid):
    mask = np.zeros(grid.shape, bool)
    mask[1:4] = True
    labels = Segmentation.from_masks({Structure("vertebra", "L1"): mask}, grid)
    towards_left = grid.to_world([1, 0, 0])[0] < grid.to_world([0, 0, 0])[0]
    assert middle_slice(labels) == (2 if towards_left else 8)
    assert middle_slice(Segmentation.from_masks({}, grid)) == 5


def test_more_slices_than_there_are_is_told(tmp_path, grid):
    write_spider(tmp_path, grid, ("1_t2",))
    found = read_cases("spider", tmp_path, slices=25)
    with pytest.raises(InputError, match="of 11 sagittal slices"):
        found[0].load()


@pytest.mark.parametrize("slices", [0, -1, 2.5, "all", True])
def test_slices_that_are_no_number_are_refused(slices):
    with pytest.raises(InputError, match=r'slices: .*; expected "mid" or a number from 1'):
        sagittal_cases(Case("a", "a", lambda: None), slices)


def test_networks_for_pictures_can_train_on_the_slices(tmp_path, grid):
    write_spider(tmp_path, grid)
    structures = [Structure("vertebrae"), Structure("discs")]
    card_input = {"size": [64, 64], "channels": 1, "intensity": {"kind": "percentile", "low": 1, "high": 99}}
    source = PictureSource(read_cases("spider", tmp_path, slices=3), targets_of(structures), card_input, seed=1)
    source.set_epoch(0)
    picture, masks = source[0]
    assert len(source) == 12
    assert picture.shape == (1, 64, 64)
    assert masks.shape == (2, 64, 64)
    assert masks[0].sum() > masks[1].sum() > 0


def test_missing_files_and_other_layouts_are_told(tmp_path, grid):
    with pytest.raises(InputError, match="no series of SPIDER"):
        read_cases("spider", tmp_path)
    write_spider(tmp_path, grid, ("1_t2",))
    (tmp_path / "masks" / "1_t2.mha").unlink()
    with pytest.raises(InputError, match=r"1_t2\.mha: it has no mask"):
        read_cases("spider", tmp_path)
    for option, said in (({"lowest": "L4"}, "lowest: 'L4'"), ({"series": "flair"}, "series: 'flair'")):
        with pytest.raises(InputError, match=said):
            read_cases("spider", tmp_path, **option)


def test_a_mask_on_another_grid_is_refused_with_both_grids(tmp_path, grid):
    write_spider(tmp_path, grid, ("1_t2",))
    save_mha(tmp_path / "masks" / "1_t2.mha", spider_mask(grid)[:10], grid.cropped((0, 0, 0), (10, 60, 24)))
    with pytest.raises(InputError) as error:
        read_cases("spider", tmp_path)[0].load()
    assert "its grid is 24 x 60 x 10 voxels of 0.6 x 0.7 x 3.3 mm" in str(error.value)
    assert "that of its image, 24 x 60 x 11 voxels of 0.6 x 0.7 x 3.3 mm" in str(error.value)
