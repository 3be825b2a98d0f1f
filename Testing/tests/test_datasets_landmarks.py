"""Films with landmarks: CSXA, AASCE, BUU-LSPINE and NHANES II, each from an exact copy of what lies on disk."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from dataset_copies import (
    AASCE_LEVELS,
    film,
    nhanes_points,
    write_aasce,
    write_buu,
    write_csxa,
    write_nhanes,
    write_picture,
)
from scipy.io import savemat
from skimage.measure import grid_points_in_poly

from SpineSegLib.datasets import read_cases
from SpineSegLib.errors import InputError
from SpineSegLib.image import SpacingSource


def _check_bodies(labels, truth):
    """Every body is the polygon inside its corners, by scikit-image's rule."""
    whole = {level: points for level, points in truth.items() if len(points) > 2}
    assert [segment.name for segment in labels.segments] == [f"{level} body" for level in whole]
    for level, points in whole.items():
        outline = points[[0, 1, 3, 2]] if len(points) == 4 else points
        expected = grid_points_in_poly(labels.geometry.shape[1:], outline[:, ::-1])
        different = labels.mask(f"{level} body")[0] ^ expected
        # The two rules differ only for centres that lie on an edge.
        assert different.sum() <= 0.02 * expected.sum()


def _check_landmarks(found, truth):
    assert list(found) == list(truth)
    for level, points in truth.items():
        assert found[level] == pytest.approx(points, abs=1e-4)


@pytest.mark.parametrize("flat", [False, True])
def test_csxa_has_bodies_inside_the_corners_and_c2_s_lower_endplate(tmp_path, flat):
    truth = write_csxa(tmp_path, flat=flat)
    (case,) = read_cases("csxa", tmp_path)
    image, labels = case.load()
    assert (case.name, case.patient) == ("0012345", "0012345")
    assert image.array.shape == (1, 150, 180)
    assert image.geometry.spacing is None
    _check_landmarks(case.landmarks(), truth)
    _check_bodies(labels, truth)


def test_csxa_films_with_dark_bone_are_turned_over(tmp_path):
    write_csxa(tmp_path, "0000001")
    write_csxa(tmp_path, "0000002", inverted=True)
    plain, dark = (case.load()[0].array for case in read_cases("csxa", tmp_path))
    bodies = read_cases("csxa", tmp_path)[0].load()[1].foreground
    for array in (plain, dark):
        assert np.median(array[bodies]) > np.median(array[~bodies]) + 50
    assert np.corrcoef(plain.ravel(), dark.ravel())[0, 1] > 0.999
    as_stored = read_cases("csxa", tmp_path, inverted=False)[1].load()[0].array
    assert np.median(as_stored[bodies]) < np.median(as_stored[~bodies])


def test_csxa_takes_its_spacing_from_the_json_or_from_a_table(tmp_path):
    write_csxa(tmp_path, "0000001", extra={"pixel equivalent": 0.14})
    write_csxa(tmp_path, "0000002")
    write_csxa(tmp_path, "0000003")
    (tmp_path / "sizes.csv").write_text("name,spacing\n0000001,0.9\n0000002,0.2\n", encoding="utf-8")
    geometries = [case.load()[0].geometry for case in read_cases("csxa", tmp_path, spacing="sizes.csv")]
    assert geometries[0].spacing[1:] == pytest.approx((0.14, 0.14))
    assert geometries[1].spacing[1:] == pytest.approx((0.2, 0.2))
    assert geometries[1].spacing_source is SpacingSource.IMAGER_PIXEL_SPACING
    assert geometries[2].spacing is None


def test_csxa_understands_other_words_for_the_corners(tmp_path):
    truth = write_csxa(tmp_path)
    path = tmp_path / "0012345.json"
    text = path.read_text(encoding="utf-8")
    for old, new in {
        "top left": "superior_anterior",
        "bottom right": "posterior-inferior",
        "C4 top": "c4 upper",
    }.items():
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    _check_landmarks(read_cases("csxa", tmp_path)[0].landmarks(), truth)


def _change(path, name, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    for shape in content["shapes"]:
        if shape["label"] == name:
            shape |= change
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"label": "C4 middle left"}, "an unknown point 'C4 middle left'"),
        ({"label": "T1 top left"}, "an unknown point 'T1 top left'"),
        ({"label": "Dens"}, "an unknown point 'Dens'"),
        ({"label": "C4 top right"}, "'C4 top right' is there twice"),
        ({"label": "C2 centroid"}, "C4 has 1 upper corners"),
        ({"points": [[1, 2], [3, 4]]}, "is at"),
        ({"points": [[None, 2]]}, "is at"),
        ({"points": [[70, 500]]}, "the outline of C4 crosses itself"),
    ],
)
def test_a_csxa_point_that_cannot_be_meant_is_one_line(tmp_path, change, complaint):
    write_csxa(tmp_path)
    _change(tmp_path / "0012345.json", "C4 top left", change)
    (case,) = read_cases("csxa", tmp_path)
    with pytest.raises(InputError, match=complaint) as error:
        case.load()
    assert "0012345.json" in str(error.value)


def test_csxa_files_that_do_not_belong_together_are_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    write_csxa(tmp_path / "a")
    write_picture(tmp_path / "a" / "0012345.png", film())
    with pytest.raises(InputError, match="points on a film of 180 x 150; expected 30 x 40"):
        read_cases("csxa", tmp_path / "a")[0].load()
    write_picture(tmp_path / "a" / "0000009.png", film())
    with pytest.raises(InputError, match="it has no landmarks"):
        read_cases("csxa", tmp_path / "a")
    assert len(read_cases("csxa", tmp_path / "a", skip_unlabelled=True)) == 1
    (tmp_path / "a" / "0012345.png").unlink()
    with pytest.raises(InputError, match="it has no film"):
        read_cases("csxa", tmp_path / "a", skip_unlabelled=True)
    for content in ("{", "[1]", "{}"):
        write_csxa(tmp_path)
        (tmp_path / "0012345.json").write_text(content, encoding="utf-8")
        (tmp_path / "a" / "0012345.json").unlink(missing_ok=True)
        (tmp_path / "a" / "0000009.png").unlink(missing_ok=True)
        with pytest.raises(InputError, match=r"0012345\.json"):
            read_cases("csxa", tmp_path)[0].load()


@pytest.mark.parametrize("source", ["mat", "csv"])
def test_aasce_has_seventeen_bodies_in_pixels_from_either_file(tmp_path, source):
    truth = write_aasce(tmp_path, mats=source == "mat")
    found = read_cases("aasce", tmp_path)
    assert [case.name for case in found] == [
        "training-sunhl-1th-03-Jan-2017-162 A AP",
        "test-sunhl-1th-03-Jan-2017-162 A AP",
    ]
    image, labels = found[0].load()
    assert image.geometry.spacing is None
    assert image.metadata["ViewPosition"] == "AP"
    assert list(truth) == list(AASCE_LEVELS)
    _check_landmarks(found[0].landmarks(), truth)
    _check_bodies(labels, truth)


def test_aasce_can_be_told_the_part_the_source_and_the_patient(tmp_path):
    names = ("a-1 AP.jpg", "a-2 AP.jpg")
    truth = write_aasce(tmp_path, names=names)
    root = tmp_path / "boostnet_labeldata"
    found = read_cases("aasce", root, part="test", landmarks="csv", patient=r"^\w+-a")
    assert [case.name for case in found] == ["test-a-1 AP", "test-a-2 AP"]
    assert {case.patient for case in found} == {"test-a"}
    _check_landmarks(found[1].landmarks(), truth)


def test_aasce_that_is_incomplete_or_damaged_is_one_line(tmp_path):
    write_aasce(tmp_path)
    labels = tmp_path / "boostnet_labeldata" / "labels" / "training"
    (mat,) = labels.glob("*.mat")
    case = read_cases("aasce", tmp_path)[0]
    for content, complaint in (({"p2": np.zeros((67, 2))}, "shape"), ({"p1": np.zeros((68, 2))}, "no variable p2")):
        savemat(mat, content)
        with pytest.raises(InputError, match=complaint):
            case.load()
    for damaged in (b"", b"no MATLAB file at all" * 20, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"):
        mat.write_bytes(damaged)
        with pytest.raises(InputError, match=r"\.mat: "):
            case.load()
    table = read_cases("aasce", tmp_path, landmarks="csv")[0]
    row = (labels / "landmarks.csv").read_text(encoding="utf-8")
    for content, complaint in ((row.replace(",", ";"), "numbers"), ("12," * 135 + "7\n", "goes from 7 to 12")):
        (labels / "landmarks.csv").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=complaint):
            table.load()
    (labels / "landmarks.csv").write_text(row * 2, encoding="utf-8")
    with pytest.raises(InputError, match="2 rows; expected 1"):
        read_cases("aasce", tmp_path, landmarks="csv")
    mat.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_cases("aasce", tmp_path, landmarks="mat")
    (labels / "filenames.csv").write_text("other.jpg\n", encoding="utf-8")
    with pytest.raises(InputError, match="no such film"):
        read_cases("aasce", tmp_path)
    with pytest.raises(InputError, match="another layout"):
        read_cases("aasce", labels)


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_buu_has_ten_and_eleven_endplates_with_or_without_header(tmp_path, header, labels):
    truth = write_buu(tmp_path, header=header, labels=labels)
    found = read_cases("buu-lspine", tmp_path)
    assert [case.name for case in found] == ["0001-F-037Y0", "0001-F-037Y1"]
    assert {case.patient for case in found} == {"0001-F-037"}
    for case, (view, quads) in zip(found, truth.items(), strict=True):
        image, segmentation = case.load()
        assert image.metadata["ViewPosition"] == {"AP": "AP", "LA": "LL"}[view]
        assert image.geometry.spacing is None
        _check_landmarks(case.landmarks(), quads)
        _check_bodies(segmentation, quads)


def test_buu_s_endplates_may_run_from_right_to_left(tmp_path):
    truth = write_buu(tmp_path)
    path = tmp_path / "LA" / "0001-F-037Y1.csv"
    turned = re.sub(r"(?m)^([^,]+,[^,]+),([^,]+,[^,]+),", r"\2,\1,", path.read_text(encoding="utf-8"))
    path.write_text(turned, encoding="utf-8")
    _check_landmarks(read_cases("buu-lspine", tmp_path, view="LA")[0].landmarks(), truth["LA"])


def test_buu_has_the_spacing_it_is_told(tmp_path):
    write_buu(tmp_path)
    image, _ = read_cases("buu-lspine", tmp_path, spacing=0.175)[0].load()
    assert image.geometry.spacing[1:] == pytest.approx((0.175, 0.175))
    for wrong in (0, -1, "none.csv", "wide"):
        with pytest.raises(InputError):
            read_cases("buu-lspine", tmp_path, spacing=wrong)


def test_buu_that_is_incomplete_or_damaged_is_one_line(tmp_path):
    write_buu(tmp_path)
    lateral = tmp_path / "LA" / "0001-F-037Y1.csv"
    rows = lateral.read_text(encoding="utf-8").splitlines()
    case = read_cases("buu-lspine", tmp_path, view="LA")[0]
    for content, complaint in (
        (rows[:10], "10 endplates; expected 11"),
        ([*rows[:4], "1,2,3", *rows[5:]], "row 5 is '1,2,3'"),
        ([*rows[:4], "1,2,x,3,0", *rows[5:]], "row 5 is"),
    ):
        lateral.write_text("\n".join(content) + "\n", encoding="utf-8")
        with pytest.raises(InputError, match=complaint):
            case.load()
    (tmp_path / "LA" / "0002-M-050Y0.jpg").write_bytes((tmp_path / "LA" / "0001-F-037Y1.jpg").read_bytes())
    with pytest.raises(InputError, match="0002-M-050Y0 has no CSV"):
        read_cases("buu-lspine", tmp_path)
    (tmp_path / "LA" / "0002-M-050Y0.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match="an unknown name; expected such as 0001-F-037Y1 in LA"):
        read_cases("buu-lspine", tmp_path)
    with pytest.raises(InputError, match="another layout"):
        read_cases("buu-lspine", tmp_path / "LA")


@pytest.mark.parametrize(("name", "order", "form"), [("C02213", "<u2", "line"), ("L00047", ">u2", "block")])
def test_nhanes_raw_films_are_told_by_size_and_byte_order(tmp_path, name, order, form):
    truth = write_nhanes(tmp_path, name, order=order, form=form)
    picture = truth.pop("film")
    (case,) = read_cases("nhanes", tmp_path)
    image, labels = case.load()
    assert case.patient == name[1:]
    assert np.array_equal(image.array[0], picture)
    assert image.geometry.spacing[1:] == pytest.approx((0.17397, 0.17397), abs=1e-5)
    assert image.geometry.spacing_source is SpacingSource.IMAGER_PIXEL_SPACING
    _check_landmarks(case.landmarks(), truth)
    _check_bodies(labels, truth)


def test_nhanes_marks_are_alike_in_every_form_and_both_films_are_one_patient(tmp_path):
    points = nhanes_points(("C3", "C4", "C5"), scale=2.0)
    (tmp_path / "marks").mkdir()
    lines = {"C00001": [], "C00002": [], "C00003": [], "L00003": []}
    for level, outline in points.items():
        lines["C00001"].append(f"{level}; " + "; ".join(f"{x},{y}" for x, y in outline) + "  # a remark")
        lines["C00002"] += [level.replace("C", "c0"), *(f"{x} {y}" for x, y in outline)]
        lines["C00003"] += [f"{level} {n} {x} {y}" for n, (x, y) in list(enumerate(outline))[::-1]]
        lines["L00003"] += [f"{level.replace('C', 'L')} " + " ".join(f"{y} {x}" for x, y in outline)]
    for name, content in lines.items():
        (tmp_path / "marks" / f"{name}.mrk").write_text("\r\n".join(content), encoding="ascii")
        write_picture(tmp_path / "jpg" / f"{name}.jpg", film(200, 260))
    found = {case.name: case for case in read_cases("nhanes", tmp_path)}
    for name in ("C00001", "C00002", "C00003"):
        _check_landmarks(found[name].landmarks(), points)
    turned = {case.name: case for case in read_cases("nhanes", tmp_path, rows_first=True)}
    _check_landmarks(turned["L00003"].landmarks(), {f"L{level[1]}": outline for level, outline in points.items()})
    assert found["C00003"].patient == found["L00003"].patient != found["C00002"].patient
    assert found["C00001"].load()[0].array.shape == (1, 200, 260)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("C3 1 2 3 4 5\n", "line 1"),
        ("12 13\n", "line 1"),
        ("C3 " + "1 2 " * 7 + "\nV4 " + "1 2 " * 7, "line 2 is 'V4"),
        ("C3 " + "1 2 " * 6, "C3 has 6 points; expected 7"),
        ("C3 " + "1 2 " * 7 + "\nC3 " + "1 2 " * 7, "C3 has 14 points"),
        ("".join(f"C3 {n} 5 6\n" for n in (1, 2, 3, 3, 4, 5, 6)), "numbered"),
        ("# nothing\n", "no landmarks"),
        ("C3 nan " + "1 " * 13, "line 1"),
        ("C3 \u00e4", "no ASCII text"),
    ],
)
def test_nhanes_marks_that_cannot_be_read_name_the_line(tmp_path, text, complaint):
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "C00001.txt").write_text(text, encoding="utf-8")
    write_picture(tmp_path / "tif8" / "C00001.tif", film())
    (case,) = read_cases("nhanes", tmp_path)
    with pytest.raises(InputError, match=complaint):
        case.load()


def test_a_raw_film_of_another_size_or_depth_is_one_line(tmp_path):
    write_nhanes(tmp_path)
    path = tmp_path / "fullres" / "C02213.nh2"
    (case,) = read_cases("nhanes", tmp_path)
    path.write_bytes(np.full((1755, 1463), 0x1FFF, np.uint16).tobytes())
    with pytest.raises(InputError, match="more than 12 bits"):
        case.load()
    path.write_bytes(b"\0" * 1000)
    with pytest.raises(InputError, match=r"1000 bytes; expected 5135130 \(1463 x 1755\) or 10186752 \(2048 x 2487\)"):
        case.load()


def test_nhanes_folders_that_do_not_fit_are_one_line(tmp_path):
    write_nhanes(tmp_path)
    (tmp_path / "tif8roi").mkdir()
    with pytest.raises(InputError, match="cropped films"):
        read_cases("nhanes", tmp_path, films="tif8roi")
    with pytest.raises(InputError, match="another layout"):
        read_cases("nhanes", tmp_path, films="jpg")
    (tmp_path / "marks" / "C00009.txt").write_text("C3", encoding="ascii")
    with pytest.raises(InputError, match="no film C00009 in fullres"):
        read_cases("nhanes", tmp_path)
    assert [case.name for case in read_cases("nhanes", tmp_path, skip_missing=True)] == ["C02213"]
    (tmp_path / "marks" / "C00009.txt").unlink()
    (tmp_path / "marks" / "readme.txt").write_text("C3", encoding="ascii")
    with pytest.raises(InputError, match="an unknown name"):
        read_cases("nhanes", tmp_path)


@pytest.mark.parametrize("reader", ["csxa", "aasce", "buu-lspine", "nhanes", "cervspinenet"])
def test_a_missing_or_empty_folder_is_one_line(tmp_path, reader):
    with pytest.raises(InputError, match="no such folder"):
        read_cases(reader, tmp_path / "nowhere")
    with pytest.raises(InputError):
        read_cases(reader, tmp_path)
