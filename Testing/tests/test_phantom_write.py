"""Cases as files, read back by our own readers and by others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from simple_body import HEIGHT, simple_body

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, SpacingSource
from SpineSegLib.io import read_image, read_segmentation, write_segmentation
from SpineSegLib.phantom import batch, cases
from SpineSegLib.phantom.cases import Case, Order, image_of
from SpineSegLib.phantom.sheet import write_sheet
from SpineSegLib.phantom.write import axis_letters, finished, write_case


def case_of(kind: str, number: int = 0, **options) -> Case:
    body = simple_body(1.0)
    return image_of(body, Order(kind, size=options.pop("size", 96), **options), number, image_seed=7)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    case = case_of("lateral-cervical", inverted=True, size=160)
    out = tmp_path_factory.mktemp("films")
    write_case(case, out, write_segmentation)
    return case, out


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    case = case_of("ct", rotation=8.0, size=64)
    out = tmp_path_factory.mktemp("ct")
    write_case(case, out, write_segmentation)
    return case, out


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    case = case_of("mr", rotation=5.0, size=64)
    out = tmp_path_factory.mktemp("mr")
    write_case(case, out, write_segmentation)
    return case, out


def test_film_is_read_back_from_dicom_with_bright_bone_and_its_spacing(film):
    case, out = film
    image = read_image(out / "dicom" / "phantom0001.dcm")
    assert image.modality == "XR"
    assert image.geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING
    assert image.geometry.same_as(case.image.geometry)
    assert np.abs(image.array / 4095 - case.image.array).max() < 2 / 4095
    assert float(image.metadata["EstimatedRadiographicMagnificationFactor"]) == pytest.approx(
        case.truth["magnification"]["centre"], rel=1e-4
    )


def test_film_is_a_digital_x_ray_object_of_nobody(film):
    import pydicom

    ds = pydicom.dcmread(film[1] / "dicom" / "phantom0001.dcm")
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1" and ds.Modality == "DX"
    assert ds.PhotometricInterpretation == "MONOCHROME1" and ds.PresentationLUTShape == "INVERSE"
    assert ds.PatientIdentityRemoved == "YES" and ds.PatientBirthDate == ""
    assert ds.PatientOrientation == ["A" if film[0].parameters["image"]["mirrored"] else "P", "F"]


def test_film_is_a_pair_of_pictures_of_the_same_name(film):
    case, out = film
    picture, mask = read_image(out / "images" / "phantom0001.png"), read_image(out / "masks" / "phantom0001.png")
    assert picture.array.shape == mask.array.shape == case.image.array.shape
    assert np.abs(picture.array / 255 - case.image.array).max() < 1 / 255
    vertebrae = np.logical_or.reduce([case.masks.mask(level) for level in ("C3", "C4", "C5", "C6")])
    assert ((mask.array == 255) == vertebrae).all()


def test_labels_of_a_film_have_the_numbers_of_verse(film):
    case, out = film
    bodies = read_image(out / "labels" / "bodies" / "phantom0001.png").array
    assert set(np.unique(bodies)) == {0, 3, 4, 5, 6}
    assert (bodies[case.masks.mask("C6 body")] == 6).all()
    discs = read_image(out / "labels" / "discs" / "phantom0001.png").array
    assert set(np.unique(discs)) == {0, 3, 4, 5}


def test_layers_of_a_film_keep_every_structure_whole(film):
    case, out = film
    back = read_segmentation(out / "segmentations" / "phantom0001.seg.nrrd")
    assert {s.name for s in back.segments} == {s.name for s in case.masks.segments}
    for segment in case.masks.segments:
        assert (back.mask(segment.name) == case.masks.mask(segment)).all()


def test_truth_of_a_film_says_units_frames_and_what_is_in_it(film):
    case, out = film
    truth = json.loads((out / "truth" / "phantom0001.json").read_text(encoding="utf-8"))
    assert truth["units"]["points"] == "pixels" and "RAS" in truth["frames"]["body"]
    row, column = truth["points"]["C4"]["centroid"]
    assert case.masks.mask("C4 body")[0, round(row), round(column)]
    height = truth["film"]["height"]["C4"]["anterior"] / truth["magnification"]["C4"]
    assert height == pytest.approx(HEIGHT, rel=0.03)


def test_parameters_say_what_made_the_case(film):
    made = json.loads((film[1] / "parameters" / "phantom0001.json").read_text(encoding="utf-8"))
    assert made["order"]["kind"] == "lateral-cervical" and made["image"]["view"]["azimuth"]
    assert made["image_seed"] == 7 and made["shapes"] == ["built-in"]


def test_ct_lies_in_verse_s_layout_on_its_oblique_grid(ct):
    import nibabel

    case, out = ct
    raw = out / "rawdata" / "sub-phantom0001" / "sub-phantom0001_dir-ax_ct.nii.gz"
    image = read_image(raw, modality="CT")
    assert image.geometry.same_as(case.image.geometry) and (image.array == case.image.array).all()
    other = nibabel.load(raw)
    assert other.affine == pytest.approx(case.image.geometry.ijk_to_ras, abs=1e-3)
    assert (case.image.array == np.asarray(other.dataobj).T).all()
    derived = out / "derivatives" / "sub-phantom0001"
    masks = read_segmentation(derived / "sub-phantom0001_dir-ax_seg-vert_msk.nii.gz")
    assert [s.name for s in masks.segments] == ["C3", "C4", "C5", "C6"]
    assert (masks.mask("C5") == case.masks.mask("C5")).all()
    assert (derived / "sub-phantom0001_dir-ax_seg-vert_snp.png").stat().st_size > 1000


def test_centroids_of_verse_lie_in_the_bodies(ct):
    case, out = ct
    rows = json.loads(
        (out / "derivatives/sub-phantom0001/sub-phantom0001_dir-ax_seg-subreg_ctd.json").read_text(encoding="utf-8")
    )
    assert rows[0] == {"direction": ["L", "P", "S"]}
    assert [row["label"] for row in rows[1:]] == [3, 4, 5, 6]
    for row, level in zip(rows[1:], ("C3", "C4", "C5", "C6"), strict=True):
        assert case.masks.mask(f"{level} body")[round(row["Z"]), round(row["Y"]), round(row["X"])]


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_series_is_read_back_from_dicom(kind, request):
    import SimpleITK as sitk

    case, out = request.getfixturevalue(kind)
    image = read_image(out / "dicom" / "phantom0001")
    assert image.modality == case.image.modality
    assert image.geometry.same_as(case.image.geometry, tolerance=0.01)
    assert (image.array == case.image.array).all()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(out / "dicom" / "phantom0001")))
    assert (
        np.sort(sitk.GetArrayFromImage(reader.Execute()).ravel()).tolist() == np.sort(case.image.array.ravel()).tolist()
    )


def test_mr_slices_are_sagittal_and_thick(mr):
    case, out = mr
    assert axis_letters(case.image.geometry) == ("P", "I", "R")
    assert case.image.geometry.step[0] > 2 * case.image.geometry.step[1]
    assert (out / "rawdata" / "sub-phantom0001" / "sub-phantom0001_dir-sag_T2w.nii.gz").is_file()


def test_axis_letters_are_those_of_nibabel(oblique):
    import nibabel

    assert axis_letters(oblique) == nibabel.aff2axcodes(oblique.ijk_to_ras)
    for axes in ([[0, 0, -1], [-1, 0, 0], [0, -1, 0]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]):
        matrix = np.eye(4)
        matrix[:3, :3] = axes
        assert axis_letters(Geometry((3, 3, 3), matrix)) == nibabel.aff2axcodes(matrix)


def test_no_case_is_left_half_written(tmp_path):
    case = case_of("lateral-cervical")

    def full_disk(segmentation, path):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        write_case(case, tmp_path, full_disk)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not finished(tmp_path, "phantom0001")


def test_finished_cases_are_kept_and_missing_ones_made(tmp_path, monkeypatch):
    made = []

    def make(order, number):
        made.append(number)
        return case_of(order.kind, number)

    monkeypatch.setattr(batch, "make_case", make)
    order = Order("lateral-cervical", size=96)
    assert batch.generate(order, tmp_path, count=2) == (2, 0)
    stamp = (tmp_path / "images" / "phantom0001.png").stat().st_mtime_ns
    (tmp_path / "parameters" / "phantom0002.json").unlink()
    reports = []
    result = batch.generate(order, tmp_path, count=3, report=lambda *step: reports.append(step))
    assert result == (2, 1) and made == [0, 1, 1, 2]
    assert (tmp_path / "images" / "phantom0001.png").stat().st_mtime_ns == stamp
    assert [step[:2] for step in reports] == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_of_another_order_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "make_case", lambda order, number: case_of(order.kind, number))
    batch.generate(Order("lateral-cervical", size=96), tmp_path)
    # The stand-in's own parameters are those of seed 0.
    with pytest.raises(InputError, match="another order"):
        batch.generate(Order("lateral-cervical", size=96, seed=5), tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "oblique"}, "--kind"),
        ({"kind": "ct", "seed": -1}, "--seed"),
        ({"kind": "ct", "size": 7}, "--size"),
        ({"kind": "ap", "rotation": 200.0}, "--rotation"),
    ],
)
def test_a_bad_order_is_one_clear_line(options, words):
    with pytest.raises(InputError, match=words) as caught:
        Order(**options)
    assert "\n" not in str(caught.value)


def test_seeds_of_cases_differ_and_do_not_depend_on_the_count():
    seeds = {cases.case_seeds(3, number) for number in range(50)}
    assert len(seeds) == 50
    assert cases.case_seeds(3, 7) == cases.case_seeds(3, 7) != cases.case_seeds(4, 7)


def test_sheet_shows_every_kind_with_and_without_outlines(tmp_path):
    from PIL import Image as Pillow

    shown = [case_of(kind, size=64) for kind in ("lateral-cervical", "ct", "mr")]
    write_sheet([("built-in", shown), ("mesh", shown[:1])], tmp_path / "sheet.png", height=100)
    picture = np.asarray(Pillow.open(tmp_path / "sheet.png"))
    assert picture.shape[0] == 2 * (132 + 106) and picture.shape[1] > 250
    assert (np.ptp(picture.astype(int), axis=-1) > 60).any()
