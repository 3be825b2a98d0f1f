"""Folders of images and masks: pairs by name, any depth, and every mistake in a folder is one line."""

from __future__ import annotations

import json
from dataclasses import replace

import dicom_writing
import numpy as np
import pytest
from dataset_copies import film, write_picture
from PIL import Image as Pillow

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import read_cases
from SpineSegLib.errors import InputError
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import write_image, write_segmentation
from SpineSegLib.io.pictures import picture_geometry

MASK = np.zeros((40, 30), bool)
MASK[10:25, 5:20] = True


def _folder(tmp_path, image="a.png", mask="a.png", picture=None, labels=None):
    write_picture(tmp_path / "images" / image, film() if picture is None else picture)
    write_picture(tmp_path / "masks" / mask, (MASK * 255).astype(np.uint8) if labels is None else labels)
    return tmp_path


def _load(folder, **options):
    (case,) = read_cases("image-mask-folder", folder, **options)
    return case.load()


def test_a_pair_is_read_and_a_mask_of_one_value_is_all_vertebrae(tmp_path):
    image, labels = _load(_folder(tmp_path))
    assert np.array_equal(image.array[0], film())
    assert image.modality == "XR"
    assert image.geometry.spacing is None
    assert [segment.name for segment in labels.segments] == ["vertebrae"]
    assert np.array_equal(labels.mask("vertebrae")[0], MASK)


@pytest.mark.parametrize("value", [1, 7, 255])
def test_a_mask_of_two_values_is_the_structure_named(tmp_path, value):
    (case,) = read_cases(
        "image-mask-folder", _folder(tmp_path, labels=(MASK * value).astype(np.uint8)), structures="spinous processes"
    )
    assert case.labelled == {"spinous processes"}
    assert np.array_equal(case.load()[1].mask("spinous processes")[0], MASK)


def test_a_mask_with_a_palette_counts_by_its_numbers(tmp_path):
    _folder(tmp_path)
    picture = Pillow.fromarray(MASK.astype(np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(tmp_path / "masks" / "a.png")
    found = _load(tmp_path, structures="bodies")[1].mask("bodies")[0]
    assert np.array_equal(found, MASK)


def test_a_mask_blurred_by_jpeg_or_soft_edges_is_cut_at_half(tmp_path):
    _folder(tmp_path / "jpeg", mask="a.jpg")
    soft = (MASK * 255).astype(np.uint8)
    soft[9, 5:20], soft[25, 5:20] = 100, 140
    _folder(tmp_path / "soft", labels=soft)
    found = _load(tmp_path / "jpeg", structures="bodies")[1].mask("bodies")[0]
    assert np.array_equal(found, MASK)
    found = _load(tmp_path / "soft", structures="bodies")[1].mask("bodies")[0]
    assert np.array_equal(found, soft > 127)


def test_an_empty_mask_is_a_case_without_structures(tmp_path):
    _image, labels = _load(_folder(tmp_path, labels=np.zeros((40, 30), np.uint8)), structures="bodies")
    assert labels.segments == ()


def test_label_numbers_become_the_structures_of_the_mapping(tmp_path):
    values = np.zeros((40, 30), np.uint16)
    values[:10], values[10:20], values[20:30] = 300, 2, 9
    (case,) = read_cases(
        "image-mask-folder", _folder(tmp_path, labels=values), structures={300: "L5", 2: "L4 body", 4: "sacrum"}
    )
    assert case.labelled == {"vertebra", "body", "sacrum"}
    labels = case.load()[1]
    assert {segment.name for segment in labels.segments} == {"L5", "L4 body"}
    assert np.array_equal(labels.mask("L5")[0], values == 300)


def test_a_sidecar_names_the_labels(tmp_path):
    _folder(tmp_path, labels=np.where(MASK, 3, 1).astype(np.uint8))
    (tmp_path / "masks" / "a.json").write_text(json.dumps({"labels": {"1": "C3", "3": "C4"}}), encoding="utf-8")
    assert [segment.name for segment in _load(tmp_path)[1].segments] == ["C3", "C4"]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    deep = film().astype(np.uint16) * 200
    image, _labels = _load(_folder(tmp_path, image=f"a{suffix}", picture=deep))
    assert np.array_equal(image.array[0], deep)


def test_a_dicom_film_gives_its_spacing_to_the_mask(tmp_path):
    _folder(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    data = dicom_writing.film(film().astype(np.uint16))
    data.ImagerPixelSpacing = ["0.2", "0.3"]
    dicom_writing.save(data, tmp_path / "images" / "a.dcm")
    image, labels = _load(tmp_path, structures="bodies")
    assert image.geometry.spacing[1:] == pytest.approx((0.2, 0.3))
    assert labels.geometry.same_as(image.geometry)
    assert np.array_equal(labels.mask("bodies")[0], MASK)


def test_overlapping_structures_in_a_seg_nrrd_stay_whole(tmp_path):
    write_picture(tmp_path / "images" / "a.png", film())
    (tmp_path / "masks").mkdir()
    geometry = picture_geometry(40, 30)
    masks = {Structure("body", "C3"): MASK[None], Structure("body", "C4"): np.roll(MASK, 5, axis=0)[None]}
    write_segmentation(Segmentation.from_masks(masks, geometry), tmp_path / "masks" / "a.seg.nrrd")
    labels = _load(tmp_path)[1]
    for structure, mask in masks.items():
        assert np.array_equal(labels.mask(structure), mask)
    union = _load(tmp_path, structures="bodies")[1].mask("bodies")
    assert np.array_equal(union, np.logical_or(*masks.values()))


def test_volumes_need_one_place_in_the_world(tmp_path, oblique):
    rng = np.random.default_rng(0)
    image = Image(rng.normal(size=oblique.shape).astype(np.float32), oblique, "MR")
    mask = rng.random(oblique.shape) > 0.5
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    write_image(image, tmp_path / "images" / "v.nrrd")
    labels = Segmentation.from_masks({Structure("vertebra", "L3"): mask}, oblique)
    write_segmentation(labels, tmp_path / "masks" / "v.seg.nrrd")
    found, labels = _load(tmp_path, modality="MR")
    assert found.geometry.same_as(oblique)
    assert np.array_equal(labels.mask("L3"), mask)
    moved = replace(oblique, ijk_to_ras=oblique.ijk_to_ras + np.eye(4, k=3) * 5)
    write_segmentation(
        Segmentation.from_masks({Structure("vertebra", "L3"): mask}, moved), tmp_path / "masks" / "v.seg.nrrd"
    )
    with pytest.raises(InputError, match=r"v\.seg\.nrrd: its voxels lie elsewhere"):
        _load(tmp_path)


def test_masks_may_lie_beside_their_images(tmp_path):
    for name in ("b", "a"):
        write_picture(tmp_path / f"{name}.png", film())
        write_picture(tmp_path / f"{name}_seg.png", (MASK * 255).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("left out", encoding="utf-8")
    (tmp_path / ".DS_Store.png").write_bytes(b"left out")
    found = read_cases("image-mask-folder", tmp_path, mask_suffix="_seg")
    assert [case.name for case in found] == ["a", "b"]
    assert np.array_equal(found[0].load()[1].mask("vertebrae")[0], MASK)


def test_patients_are_told_by_expression_mapping_or_table(tmp_path):
    names = ("p1_a", "p1_b", "p22_a")
    for name in names:
        _folder(tmp_path, image=f"{name}.png", mask=f"{name}.png")
    (tmp_path / "who.csv").write_text("name,patient\n" + "".join(f"{n},{n[:2]}\n" for n in names), encoding="utf-8")

    def patients(patient):
        return [case.patient for case in read_cases("image-mask-folder", tmp_path, patient=patient)]

    assert patients(None) == list(names)
    assert patients(r"^p\d+") == ["p1", "p1", "p22"]
    assert patients(r"^p(\d+)_") == ["1", "1", "22"]
    assert patients({"p1_a": "x", "p1_b": "x", "p22_a": "y"}) == ["x", "x", "y"]
    assert patients("who.csv") == ["p1", "p1", "p2"]
    twice = f"name,patient\n{names[0]},p1\n{names[1]},p1\n{names[0]},p2\n"
    (tmp_path / "twice.csv").write_text(twice, encoding="utf-8")
    with pytest.raises(InputError, match=rf"twice\.csv: line 4 gives '{names[0]}' another patient"):
        patients("twice.csv")
    for wrong in ("(", r"^q\d", {"p1_a": "x"}, "none.csv"):
        with pytest.raises(InputError):
            patients(wrong)


def test_a_mask_of_another_size_is_one_line_on_loading(tmp_path):
    _folder(tmp_path, labels=np.ones((40, 31), np.uint8))
    with pytest.raises(InputError, match=r"a\.png: labels of 31 x 40; expected 30 x 40 as a\.png"):
        _load(tmp_path, structures="bodies")


@pytest.mark.parametrize(
    ("files", "options", "complaint"),
    [
        (["images/a.png"], {}, "a folder 'images' but no 'masks'"),
        (["images/a.png", "masks/b.png"], {}, "it has no mask"),
        (["images/a.png", "masks/a.png", "masks/b.png"], {}, "it has no image"),
        (["images/a.png", "masks/b.png"], {"skip_unlabelled": True}, "it has no image"),
        (["images/a.png", "images/a.tif", "masks/a.png"], {}, "has the same name"),
        (["images/a.png", "masks/a.png", "masks/a_mask.png"], {}, "has another mask"),
        (["other/a.png"], {}, "no image with a mask"),
        (["images/a.png", "masks/a.png"], {"structures": {"one": "L5"}}, "structures"),
        (["images/a.png", "masks/a.png"], {"structure": "bodies"}, "unexpected keyword"),
    ],
)
def test_a_folder_that_is_no_set_is_one_line(tmp_path, files, options, complaint):
    for name in files:
        write_picture(tmp_path / name, film())
    with pytest.raises(InputError, match=complaint):
        read_cases("image-mask-folder", tmp_path, **options)


def test_images_without_masks_can_be_left_out(tmp_path):
    _folder(tmp_path)
    write_picture(tmp_path / "images" / "b.png", film())
    assert [case.name for case in read_cases("image-mask-folder", tmp_path, skip_unlabelled=True)] == ["a"]


@pytest.mark.parametrize("reader", ["image-mask-folder", "phantom-folder", "spider-slices"])
def test_a_missing_folder_is_one_line(tmp_path, reader):
    with pytest.raises(InputError, match="no such folder"):
        read_cases(reader, tmp_path / "nowhere")
