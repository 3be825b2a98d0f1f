"""``export``, ``report`` and what ``segment`` writes beside the labels: DICOM SEG, table, one-page report."""

import base64
import csv
import io
import json
import re
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from dicom_writing import film, save, write_series
from PIL import Image as Pillow
from standins import CT_MODEL, left_in, random_weights

from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation.report import make_report
from SpineSegLib.evaluation.report.pdf_page import page
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource
from SpineSegLib.io import read_image, read_segmentation, write_image, write_segmentation
from SpineSegLib.io.origin import Origin
from SpineSegLib.models.weights import file_sha256


@pytest.fixture
def radiograph(tmp_path):
    """A DICOM film with a patient's name, in a file of that name."""
    data = film(np.random.default_rng(0).integers(0, 4000, (90, 60)).astype(np.uint16))
    data.ImagerPixelSpacing = ["0.5", "0.5"]
    return save(data, tmp_path / "Doe Jane.dcm")


@pytest.fixture
def labels(radiograph, tmp_path):
    """Two vertebral bodies on the film, and a truth in which the lower one is larger."""
    grid = read_image(radiograph).geometry
    files = []
    for name, bottom in (("Doe.seg.nrrd", 60), ("Doe truth.seg.nrrd", 70)):
        masks = {Structure("body", level): np.zeros(grid.shape, bool) for level in ("C5", "C6")}
        masks[Structure("body", "C5")][0, 20:40, 10:40] = True
        masks[Structure("body", "C6")][0, 45:bottom, 12:42] = True
        write_segmentation(Segmentation.from_masks(masks, grid), tmp_path / name)
        files.append(tmp_path / name)
    return files


class Page(HTMLParser):
    """What a page loads, and what it says."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data.strip())


def test_a_page_tells_all_of_a_result_and_nothing_of_the_patient(radiograph, labels, tmp_path, capsys):
    out = tmp_path / "page.html"
    about = ["--truth", str(labels[1]), "--case", "Case <17>", "--date", "2026-03-31"]
    weights = ["--model", CT_MODEL, "--weights-sha256", "ab" * 32]
    assert main(["report", str(radiograph), str(labels[0]), "--out", str(out), *about, *weights]) == 0
    text = out.read_text(encoding="utf-8")
    found = Page(text)
    words = [word for word in found.words if word]
    assert {"Not for diagnostic use", "Case <17>", "2026-03-31", f"sha256 {'ab' * 32}", "C5 body", "C6 body"} <= set(
        words
    )
    assert any(CT_MODEL in word for word in words)
    # Areas of 600 and 450 pixels of 0.25 mm²; Dice of the lower body 2 * 450 / (450 + 750).
    assert [words[words.index(name) + 1] for name in ("C5 body", "C6 body")] == ["1.50", "1.12"]
    assert words[words.index("C6 body") + 2] == "0.750"
    assert any("shadow on the detector" in word for word in words)
    # Only the picture is loaded, out of the page itself.
    (picture,) = found.loaded
    assert picture.startswith("data:image/png;base64,")
    with Pillow.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as decoded:
        assert np.ptp(np.asarray(decoded)) > 100
    for name in ("Doe", "Jane", "4711", "General Hospital", str(tmp_path)):
        assert name not in text.replace(picture, "")


def test_numbers_of_a_truth_are_named_by_the_set_that_they_come_from(tmp_path, capsys):
    geometry = Geometry((6, 5, 4), np.diag([2.0, 2.0, 3.0, 1.0]))
    values = np.zeros(geometry.shape, np.uint8)
    values[1:3, 1:4, 1:3] = 29  # vertebrae_L3 of TotalSegmentator's list
    write_image(Image(values, geometry, "CT"), tmp_path / "scan.nii.gz")
    found = Segmentation.from_masks({Structure("vertebra", "L3"): values > 0}, geometry)
    write_segmentation(found, tmp_path / "found.seg.nrrd")
    files = [str(tmp_path / name) for name in ("scan.nii.gz", "found.seg.nrrd")]
    truth = ["--truth", files[0], "--truth-labels", "totalsegmentator", "--modality", "CT"]
    assert main(["export", *files, "--output", str(tmp_path / "table.csv"), *truth]) == 0
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert "L3" in text
    assert "1.0" in next(line for line in text.splitlines() if "L3" in line)


def test_the_same_report_gives_the_same_pdf_of_one_page(radiograph, labels, tmp_path):
    outs = [tmp_path / "a.pdf", tmp_path / "b.pdf"]
    for out in outs:
        arguments = ["report", str(radiograph), str(labels[0]), "--out", str(out), "--date", "2026-03-31"]
        assert main(arguments) == 0
    first, second = (out.read_bytes() for out in outs)
    assert first.startswith(b"%PDF-") and first == second
    assert len(re.findall(rb"/Type\s*/Page\b", first)) == 1
    assert b"Doe Jane" not in first


@pytest.mark.parametrize("count", [1, 26, 78])
def test_every_text_of_a_pdf_lies_on_the_page_however_many_structures_there_are(count):
    structures = [Structure(kind, level) for kind in ("vertebra", "body", "spinous process") for level in LEVELS]
    grid = Geometry((1, 400, 300), np.eye(4), SpacingSource.UNKNOWN)
    labels = np.zeros(grid.shape, np.uint8)
    labels[0, :count, :20] = np.arange(1, count + 1)[:, None]
    segmentation = Segmentation.from_labels(labels, dict(enumerate(structures[:count], start=1)), grid)
    rows = [
        {"name": each.name, "level": each.structure.level, "pixels": 20, "confidence": 0.5, "dice": 0.5}
        for each in segmentation.segments
    ]
    from SpineSegLib.image import Image

    image = Image(labels.astype(np.int16), grid, "XR")
    report = make_report(image, segmentation, rows, origin=Origin("m", "Most " * 30, "0" * 64), date="2026-03-31")
    figure = page(report)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.bbox.size
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    assert all(box.x0 > 0 and box.x1 < width and box.y0 > 0 and box.y1 < height for box in boxes)
    written = [text.get_text() for text in figure.texts]
    assert {segment.name for segment in segmentation.segments} <= set(written)
    # No cell runs into the next one of its line.
    lines = {}
    for box in boxes:
        lines.setdefault(round(box.y0), []).append((box.x0, box.x1))
    for line in lines.values():
        line.sort()
        assert all(left[1] <= right[0] for left, right in pairwise(line))


def test_a_table_holds_what_json_says_and_the_metrics_of_a_truth(radiograph, labels, tmp_path, capsys):
    out = tmp_path / "table.csv"
    arguments = ["export", str(radiograph), str(labels[0]), "--truth", str(labels[1]), "--output", str(out), "--json"]
    assert main(arguments) == 0
    listed = json.loads(capsys.readouterr().out)["structures"]
    assert main(["evaluate", str(labels[0]), str(labels[1]), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["structures"]
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["C5 body", "C6 body"]
    for row, entry in zip(rows, listed, strict=True):
        assert (row["level"], row["code"]) == (entry["level"], entry["code"])
        assert float(row["area_mm2"]) == entry["area_mm2"]
        assert float(row["dice"]) == measured[row["name"]]["dice"]
        assert float(row["hd95_mm"]) == measured[row["name"]]["hd95_mm"]


def test_one_run_leaves_with_a_dicom_segmentation_a_table_and_a_report(oblique, tmp_path, capsys):
    stored = np.zeros(oblique.shape, np.uint16)
    stored[:, 4:10, 5:12] = 2000
    series = tmp_path / "series"
    write_series(series, oblique, stored)
    weights = random_weights(CT_MODEL, tmp_path / "weights.safetensors")
    results = tmp_path / "results"
    results.mkdir()
    files = {name: str(results / name) for name in ("a.dcm", "a.seg.nrrd", "a.csv", "a.html")}
    arguments = ["segment", str(series), "--model", CT_MODEL, "--weights", str(weights), "--json"]
    outputs = ["--output", files["a.dcm"], "--output", files["a.seg.nrrd"]]
    assert main([*arguments, *outputs, "--csv", files["a.csv"], "--report", files["a.html"]]) == 0
    result = json.loads(capsys.readouterr().out)
    assert left_in(results) == sorted(files)
    assert result["outputs"] == [files[name] for name in ("a.dcm", "a.seg.nrrd", "a.csv", "a.html")]
    assert result["weights_sha256"] == file_sha256(weights)
    text = (results / "a.html").read_text(encoding="utf-8")
    assert file_sha256(weights) in text and date.today().isoformat() in text
    (results / "a.dcm").rename(series / "a.dcm")
    dicom, kept = read_segmentation(series / "a.dcm"), read_segmentation(files["a.seg.nrrd"])
    assert dicom.geometry.same_as(kept.geometry)
    assert np.array_equal(dicom.mask("spine"), kept.mask("spine")) and kept.foreground.any()


def test_a_copy_of_a_series_is_exported_with_the_series_beside_it(oblique, tmp_path):
    series, copy = tmp_path / "series", tmp_path / "copy.nrrd"
    write_series(
        series, oblique, np.arange(oblique.shape[0], dtype=np.uint16)[:, None, None] * np.ones(oblique.shape, np.uint16)
    )
    image = read_image(series)
    write_image(image, copy)
    mask = np.zeros(image.geometry.shape, bool)
    mask[2:5, 3:9, 4:11] = True
    labels = tmp_path / "labels.seg.nrrd"
    write_segmentation(Segmentation.from_masks({Structure("vertebra", "L1"): mask}, image.geometry), labels)
    out = tmp_path / "out.dcm"
    assert main(["export", str(copy), str(labels), "--output", str(out)]) == 1
    assert not out.exists()
    assert main(["export", str(copy), str(labels), "--output", str(out), "--dicom", str(series)]) == 0
    assert np.array_equal(read_segmentation(out).foreground.sum(), mask.sum())


def test_what_another_program_keeps_beside_an_output_stays(radiograph, labels, tmp_path):
    names = ("spine.nii.gz", "spine.labels.png", "other.seg.nrrd")
    beside = [tmp_path / name for name in ("spine.json", "spine.labels.json", "other.json")]
    for file in beside:
        file.write_text('{"EchoTime": 0.1}', encoding="utf-8")
    outputs = [word for name in names for word in ("--output", str(tmp_path / name))]
    assert main(["export", str(radiograph), str(labels[0]), *outputs]) == 0
    found = [json.loads(file.read_text(encoding="utf-8")) for file in beside]
    assert [each["EchoTime"] for each in found] == [0.1] * 3
    assert [set(each.get("labels", {}).values()) for each in found] == [{"C5 body", "C6 body"}] * 2 + [set()]


def test_what_cannot_be_written_is_told_before_the_work(radiograph, labels, tmp_path, capsys):
    inputs = [str(radiograph), str(labels[0])]
    before = left_in(tmp_path)
    for arguments, found in (
        (["segment", inputs[0], "--model", CT_MODEL, "--output", str(tmp_path / "x.dcm")], "it is DX"),
        (["export", *inputs, "--output", str(tmp_path / "x.dcm")], "it is DX"),
        (["export", *inputs, "--output", str(tmp_path / "x.docx")], "unknown kind"),
        (["export", *inputs, "--output", inputs[1]], "the output is an input"),
        (["report", *inputs, "--out", str(tmp_path / "x.png")], "unknown kind"),
        (["report", *inputs, "--out", str(tmp_path / "x.pdf"), "--date", "31 March"], "'31 March'"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert found in error and error.count("\n") == 1
    assert left_in(tmp_path) == before


def test_a_segmentation_elsewhere_is_refused(radiograph, labels):
    image, segmentation = read_image(radiograph), read_segmentation(labels[0])
    far = np.eye(4)
    far[:3, 3] = 1e4
    moved = Segmentation(segmentation.layers, segmentation.segments, segmentation.geometry.transformed(far))
    with pytest.raises(InputError, match="outside the image"):
        make_report(image, moved, [], origin=Origin(), date="2026-03-31")
