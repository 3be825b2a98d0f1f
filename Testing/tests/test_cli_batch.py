"""``batch``: many cases, some at fault, stopped, killed, gone on with; what is done stays, what is others' too."""

import csv
import dataclasses
import gc
import hashlib
import json
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from dicom_writing import write_series
from standins import CT_MODEL, FILM_MODEL, random_weights, small_ct, small_film

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.image import Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_image, write_segmentation
from SpineSegLib.models import card

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def real_weights(tmp_path_factory):
    return random_weights(FILM_MODEL, tmp_path_factory.mktemp("weights") / "film.safetensors")


@pytest.fixture
def weights(tmp_path):
    """A file that nothing reads but its checksum: the network is a stand-in."""
    path = tmp_path / "any.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def films(tmp_path):
    """Three films of different brightness in a folder."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        image = small_film()
        write_image(dataclasses.replace(image, array=image.array + np.uint16(number)), folder / f"{name}.nrrd")
    return folder


@pytest.fixture
def bright(monkeypatch):
    """Instead of a network, find what is bright; the list that is returned holds what was segmented and how."""
    from SpineSegLib import pipelines
    from SpineSegLib.cli import batch_work
    from SpineSegLib.pipelines import Result

    asked = []

    def segment(image, card, *, where, report, **how):
        report(0, 2, "segmenting")
        asked.append({"name": Path(where).name, "model": card.name, **how})
        mask = image.array > np.percentile(image.array, 80)
        report(1, 2, "segmenting")
        found = Segmentation.from_masks({Structure("body", "C5"): mask}, image.geometry)
        return Result(found, 0.5, ("a warning",), "cpu", "float32")

    monkeypatch.setattr(pipelines, "segment", segment)
    monkeypatch.setattr(batch_work, "load_network", lambda card, weights: asked.append({"load": card.name}))
    return asked


@pytest.fixture
def batch(tmp_path, weights, capsys):
    """Run the command on films; return its status, what it printed as JSON, and its errors."""

    def run(given, *options, model=FILM_MODEL, weights=weights):
        arguments = ["batch", str(given), "--out", str(tmp_path / "out"), "--modality", "XR", "--json"]
        arguments += ["--model", model, "--weights", str(weights)] if model else []
        status = main([*arguments, *map(str, options), "--progress", "none"])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if printed.out else None, printed.err

    return run


def names(asked) -> list[str]:
    return [one["name"] for one in asked if "name" in one]


def rows(path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table_of(folder, *lines) -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_film_of_a_folder_is_segmented_with_a_network_that_is_loaded_once(films, batch, bright, tmp_path):
    status, content, _ = batch(films, "--suffix", ".seg.nrrd", "--suffix", ".png", "--top-level", "c5")
    assert status == 0 and names(bright) == ["a.nrrd", "b.nrrd", "c.nrrd"]
    assert [one for one in bright if "load" in one] == [{"load": FILM_MODEL}]
    assert all(one["top_level"] == "C5" for one in bright if "name" in one)
    assert (content["done"], content["failed"], content["skipped"]) == (3, 0, 0)
    for row in rows(tmp_path / "out" / "batch.csv"):
        found = read_segmentation(tmp_path / "out" / f"{row['case']}.seg.nrrd")
        pixels = int(found.foreground.sum())
        assert (row["state"], row["found"], row["structures"]) == ("done", "1", Structure("body", "C5").name)
        assert int(row["pixels"]) == pixels and float(row["area_mm2"]) == pytest.approx(pixels * 0.16)
        assert row["warnings"] == "a warning" and (tmp_path / "out" / f"{row['case']}.png").is_file()


def test_a_foreign_file_where_the_labels_names_go_fails_its_case_before_the_work(films, batch, bright, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        (tmp_path / "out" / f"{name}.json").write_text("[1, 2]" if name == "b" else '{"mine": 1}')
    status, content, _ = batch(films, "--suffix", ".nii.gz")
    assert status == 1 and [row["state"] for row in content["cases"]] == ["done", "failed", "done"]
    assert names(bright) == ["a.nrrd", "c.nrrd"]
    assert "b.json: a file that is not ours" in content["cases"][1]["error"]
    assert (tmp_path / "out" / "b.json").read_text() == "[1, 2]"
    assert json.loads((tmp_path / "out" / "a.json").read_text())["mine"] == 1


def test_every_case_has_a_table_and_reports_that_say_what_made_it(films, batch, bright, weights, tmp_path):
    (films / "b.nrrd").rename(films / "doe-jane-1970.nrrd")
    (films / "c.nrrd").unlink()
    truths = tmp_path / "truths"
    truths.mkdir()
    image = small_film()
    mask = image.array > np.percentile(image.array, 80)
    write_segmentation(Segmentation.from_masks({Structure("body", "C5"): mask}, image.geometry), truths / "a.seg.nrrd")
    asked = [option for suffix in (".seg.nrrd", ".csv", ".html", ".pdf") for option in ("--suffix", suffix)]
    given = (films, "--truth", truths, "--date", "2026-03-31")
    status, content, _ = batch(*given, *asked)
    assert (status, content["done"]) == (0, 2)
    page = (tmp_path / "out" / "a.html").read_text(encoding="utf-8")
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    for said in ("2026-03-31", sha256[:12], "C5 body", "a warning", "Dice", card(FILM_MODEL).title):
        assert said in page, said
    other = (tmp_path / "out" / "doe-jane-1970.html").read_text(encoding="utf-8")
    # The name of a file may tell who the patient is.
    assert "It was not measured" in other and "doe-jane" not in other
    assert (tmp_path / "out" / "a.pdf").read_bytes().startswith(b"%PDF")
    (row,) = rows(tmp_path / "out" / "a.csv")
    assert row["name"] == "C5 body" and float(row["dice"]) == 1.0
    bright.clear()
    assert batch(*given, *asked, "--date", "2026-04-01")[1]["skipped"] == 2, "a date makes nothing anew"
    status, content, _ = batch(*given, "--suffix", ".html", "--case-names")
    assert (status, content["skipped"]) == (0, 0)
    assert "doe-jane-1970" in (tmp_path / "out" / "doe-jane-1970.html").read_text(encoding="utf-8")
    status, _, errors = batch(films, "--date", "yesterday")
    assert status == 1 and "--date" in errors and len(errors.splitlines()) == 1


def test_a_case_that_is_no_series_has_no_dicom_segmentation_and_the_others_have(batch, bright, oblique, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write_image(small_ct(oblique), folder / "a.nrrd")
    write_series(folder / "b", oblique, small_ct(oblique).array + np.int16(1024))
    status, content, _ = batch(folder, "--suffix", ".seg.nrrd", "--suffix", ".dcm", "--modality", "CT", model=CT_MODEL)
    assert status == 1 and [row["state"] for row in content["cases"]] == ["failed", "done"]
    assert "it is no DICOM" in content["cases"][0]["error"]
    assert names(bright) == ["b"], "what cannot be written is not segmented"
    found, expected = (read_segmentation(tmp_path / "out" / f"b{suffix}") for suffix in (".dcm", ".seg.nrrd"))
    assert expected.foreground.any() and np.array_equal(found.foreground, expected.foreground)
    assert found.geometry.same_as(expected.geometry)


def test_a_failing_case_in_the_middle_does_not_stop_the_rest(films, batch, bright, tmp_path):
    (films / "b.nrrd").write_text("this is no image")
    status, content, errors = batch(films)
    assert status == 1 and names(bright) == ["a.nrrd", "c.nrrd"]
    assert [row["state"] for row in content["cases"]] == ["done", "failed", "done"]
    assert "b.nrrd" in content["cases"][1]["error"]
    assert errors.count("\n") == 1 and "1 of 3 cases failed (b)" in errors
    assert not (tmp_path / "out" / "b.seg.nrrd").exists()
    write_image(small_film(), films / "b.nrrd")
    assert batch(films)[0] == 0 and names(bright)[2:] == ["b.nrrd"]


def test_an_internal_error_of_one_case_does_not_stop_the_rest(films, batch, bright, monkeypatch):
    from SpineSegLib import pipelines

    work = pipelines.segment

    def broken(image, card, *, where, **how):
        if Path(where).name == "a.nrrd":
            msg = "no such\nluck"
            raise RuntimeError(msg)
        return work(image, card, where=where, **how)

    monkeypatch.setattr(pipelines, "segment", broken)
    status, content, _ = batch(films)
    assert status == 1 and [row["state"] for row in content["cases"]] == ["failed", "done", "done"]
    assert content["cases"][0]["error"] == "internal error (RuntimeError: no such luck)"


def test_finished_cases_are_skipped_until_something_they_depend_on_changes(films, batch, bright, weights, tmp_path):
    batch(films)
    status, content, _ = batch(films)
    assert status == 0 and (content["done"], content["skipped"]) == (3, 3)
    assert names(bright) == ["a.nrrd", "b.nrrd", "c.nrrd"]
    image = small_film()
    write_image(dataclasses.replace(image, array=image.array + np.uint16(77)), films / "b.nrrd")
    batch(films)
    assert names(bright)[3:] == ["b.nrrd"]
    (tmp_path / "out" / "c.seg.nrrd").unlink()
    batch(films)
    assert names(bright)[4:] == ["c.nrrd"]
    batch(films, "--precision", "float32")
    assert names(bright)[5:] == ["a.nrrd", "b.nrrd", "c.nrrd"]
    weights.write_bytes(b"other weights")
    assert batch(films, "--precision", "float32")[1]["skipped"] == 0


def test_results_of_others_and_edited_ones_are_not_replaced(films, batch, bright, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.seg.nrrd").write_text("somebody's work of a day")
    status, content, _ = batch(films)
    assert status == 1 and content["cases"][0]["state"] == "failed" and "--overwrite" in content["cases"][0]["error"]
    assert (out / "a.seg.nrrd").read_text() == "somebody's work of a day"
    (out / "b.seg.nrrd").write_text("edited")
    status, content, _ = batch(films, "--top-level", "C4")
    assert [row["state"] for row in content["cases"]] == ["failed", "failed", "done"]
    assert (out / "b.seg.nrrd").read_text() == "edited"
    assert batch(films, "--overwrite")[0] == 0
    assert read_segmentation(out / "a.seg.nrrd").foreground.any()


def test_a_cancelled_batch_keeps_what_is_done_and_goes_on_from_there(films, batch, bright, tmp_path, monkeypatch):
    from SpineSegLib import pipelines

    work, cancel = pipelines.segment, tmp_path / "cancel"

    def cancelled_during_b(image, card, *, where, **how):
        if Path(where).name == "b.nrrd":
            cancel.touch()
        return work(image, card, where=where, **how)

    monkeypatch.setattr(pipelines, "segment", cancelled_during_b)
    status, content, errors = batch(films, "--cancel-file", cancel)
    assert status == 3 and content is None
    assert errors.startswith("cancelled: ") and "1 of 3 cases are finished and kept" in errors
    assert [row["state"] for row in rows(tmp_path / "out" / "batch.csv")] == ["done", "waiting", "waiting"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.seg.nrrd")) == ["a.seg.nrrd"]
    monkeypatch.setattr(pipelines, "segment", work)
    bright.clear()
    assert batch(films)[0] == 0 and names(bright) == ["b.nrrd", "c.nrrd"]


def test_a_killed_batch_goes_on_where_it_was_and_gives_what_segment_gives(films, real_weights, batch, tmp_path):
    """With a real network: a whole process is killed, not asked."""
    model = ["--model", FILM_MODEL, "--weights", real_weights]
    arguments = ["batch", films, *model, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "SpineSegLib", *map(str, arguments), "--modality", "XR", "--progress", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if "case 2 of 3" in line and "reading" in line:
                process.kill()
                break
    assert process.returncode not in (0, 1, 3)
    records = sorted(path.name for path in (tmp_path / "out" / "cases").iterdir())
    first = (tmp_path / "out" / "a.seg.nrrd").read_bytes()
    assert "a.json" in records and "c.json" not in records
    status, content, _ = batch(films, weights=real_weights)
    assert status == 0 and content["skipped"] >= 1 and content["done"] == 3
    assert (tmp_path / "out" / "a.seg.nrrd").read_bytes() == first
    alone = tmp_path / "b.seg.nrrd"
    arguments = ["segment", films / "b.nrrd", *model, "--modality", "XR", "--output", alone]
    assert main([str(one) for one in arguments]) == 0
    alone, many = (read_segmentation(path) for path in (alone, tmp_path / "out" / "b.seg.nrrd"))
    assert np.array_equal(alone.foreground, many.foreground) and alone.foreground.any()
    assert not [path.name for path in (tmp_path / "out").rglob(".*") if path.suffix == ".json"]


def test_a_batch_killed_while_it_wrote_replaces_its_own_half(films, batch, bright, tmp_path):
    """Results that are there beside a record 'running' are the batch's own, though no checksum is known."""
    batch(films)
    record = tmp_path / "out" / "cases" / "b.json"
    record.write_text(json.dumps({"case": "b", "state": "running"}), encoding="utf-8")
    status, content, _ = batch(films)
    assert status == 0 and content["skipped"] == 2 and names(bright)[3:] == ["b.nrrd"]
    record.write_text("{ damaged", encoding="utf-8")
    assert batch(films)[0] == 1  # whose the result is cannot be known any more


def test_ctrl_c_is_a_cancel(films, batch, bright, monkeypatch):
    from SpineSegLib import pipelines

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipelines, "segment", interrupted)
    before = signal.getsignal(signal.SIGINT)
    status, _, errors = batch(films)
    assert status == 3 and "0 of 3 cases are finished" in errors
    assert signal.getsignal(signal.SIGINT) is before


def test_an_oblique_volume_keeps_its_grid_and_is_measured_on_it(batch, bright, oblique, tmp_path):
    folder, truths = tmp_path / "cts", tmp_path / "truths"
    folder.mkdir()
    truths.mkdir()
    image = small_ct(oblique)
    write_image(image, folder / "ct.nii.gz")
    write_image(image, folder / "other.nii.gz")
    mask = np.zeros(oblique.shape, bool)
    mask[2:7, 5:9, 6:11] = True
    write_segmentation(Segmentation.from_masks({Structure("body", "C5"): mask}, oblique), truths / "ct.seg.nrrd")
    status, content, _ = batch(folder, "--truth", truths, "--modality", "CT", model=CT_MODEL)
    assert status == 0
    found = read_segmentation(tmp_path / "out" / "ct.seg.nrrd")
    assert found.geometry.same_as(read_image(folder / "ct.nii.gz").geometry)
    both = int((found.foreground & mask).sum())
    dice = 2 * both / int(found.foreground.sum() + mask.sum())
    measured, unmeasured = content["cases"]
    assert measured["dice"] == pytest.approx(dice) and 0 < dice < 1
    assert measured["volume_mm3"] == pytest.approx(found.foreground.sum() * oblique.voxel_volume)
    assert unmeasured["dice"] is None and "no truth of this name" in unmeasured["warnings"]
    metrics = rows(tmp_path / "out" / "metrics.csv")
    assert {row["scope"] for row in metrics} == {"overall", "structure", "level"}
    assert main(["compare", str(tmp_path / "out" / "metrics.csv"), "--out", str(tmp_path / "compared")]) == 0


def test_a_truth_at_fault_costs_the_metrics_and_not_the_result(films, batch, bright, tmp_path):
    truths = tmp_path / "truths"
    truths.mkdir()
    (truths / "b.seg.nrrd").write_text("this is no segmentation")
    status, content, _ = batch(films, "--truth", truths)
    assert status == 1 and [row["state"] for row in content["cases"]] == ["done", "failed", "done"]
    assert "not measured" in content["cases"][1]["error"] and (tmp_path / "out" / "b.seg.nrrd").is_file()


def test_sub_folders_are_dicom_series_named_by_the_folder(films, weights, bright, oblique):
    (films / "series 1").mkdir()
    write_series(films / "series 1", oblique, small_ct(oblique).array + np.int16(1024))
    arguments = ["batch", str(films), "--model", CT_MODEL, "--out", str(films / "out"), "--json"]
    assert main([*arguments, "--weights", str(weights)]) == 0
    assert (films / "out" / "series 1.seg.nrrd").is_file()
    assert names(bright) == ["a.nrrd", "b.nrrd", "c.nrrd", "series 1"]
    assert main([*arguments, "--weights", str(weights)]) == 0
    assert len(names(bright)) == 4, "the results within the folder are no case"


def test_the_slices_of_a_series_in_the_folder_itself_are_one_case(batch, bright, oblique, tmp_path):
    folder = tmp_path / "ct"
    folder.mkdir()
    write_series(folder, oblique, small_ct(oblique).array + np.int16(1024))
    status, content, _ = batch(folder, model=CT_MODEL)
    assert status == 0 and len(content["cases"]) == 1
    (output,) = (tmp_path / "out").glob("*.seg.nrrd")
    assert read_segmentation(output).geometry.shape == oblique.shape


def test_a_table_names_models_levels_truths_and_results(films, batch, bright, tmp_path):
    truth = Segmentation.from_masks({Structure("body", "C5"): small_film().array > 900}, small_film().geometry)
    write_segmentation(truth, films / "truth_b.seg.nrrd")
    lines = ["image,Model,Top level,truth,Output name", "a.nrrd,,c3,,one", f"b.nrrd,{CT_MODEL},,truth_b.seg.nrrd,two"]
    status, content, _ = batch(table_of(films, *lines, f"c.nrrd,{FILM_MODEL},,,three"))
    assert status == 0
    found = [(one["name"], one["model"], one["top_level"]) for one in bright if "name" in one]
    # Cases of one model follow each other, so that each network is loaded once.
    assert found == [("a.nrrd", FILM_MODEL, "C3"), ("c.nrrd", FILM_MODEL, None), ("b.nrrd", CT_MODEL, None)]
    assert [one["load"] for one in bright if "load" in one] == [FILM_MODEL, CT_MODEL]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nrrd")) == [
        f"{name}.seg.nrrd" for name in ("one", "three", "two")
    ]
    assert [row["case"] for row in content["cases"] if row["dice"] is not None] == ["two"]


def refused(answer, tmp_path) -> str:
    status, content, errors = answer
    assert (status, content) == (1, None) and errors.count("\n") == 1 and "internal error" not in errors
    assert not list((tmp_path / "out").glob("*")), "nothing may be written"
    return errors


def test_what_cannot_work_is_refused_before_anything_runs(films, batch, bright, tmp_path):
    write_image(small_film(), films / "A.mha")
    assert "would both be written" in refused(batch(films), tmp_path)
    (films / "A.mha").unlink()
    for lines, expected in (
        (["image,output", "a.nrrd,x", "b.nrrd,X"], "would both be written to X"),
        (["image,output", "a.nrrd,../x"], "'../x'"),
        (["image,output", "a.nrrd,batch"], "'batch'"),
        (["image", "../other.nrrd"], "lies outside of"),
        (["picture", "a.nrrd"], "the columns picture"),
        (["image,top level", "a.nrrd,X9"], "X9"),
        (["image,model", "a.nrrd,no-such-model"], "no-such-model"),
        (["image,truth", "a.nrrd,/etc/passwd"], "lies outside of"),
    ):
        assert expected in refused(batch(table_of(films, *lines)), tmp_path), lines
    (films / "cases.csv").unlink()
    assert "no such folder" in refused(batch(films, "--truth", tmp_path / "none"), tmp_path)
    assert "--model" in refused(batch(films, model=None), tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no image is in it" in refused(batch(empty), tmp_path)
    assert names(bright) == []


def test_a_result_never_takes_the_place_of_an_image(tmp_path, bright, capsys, weights):
    write_image(small_film(), tmp_path / "film.png")
    arguments = ["batch", str(tmp_path), "--out", str(tmp_path), "--model", FILM_MODEL, "--suffix", ".png"]
    before = (tmp_path / "film.png").read_bytes()
    assert main([*arguments, "--weights", str(weights)]) == 1
    assert "replace an image" in capsys.readouterr().err and (tmp_path / "film.png").read_bytes() == before


def test_progress_counts_the_cases_and_tells_the_time_left(films, weights, bright, tmp_path, capsys):
    arguments = ["batch", str(films), "--model", FILM_MODEL, "--weights", str(weights)]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--progress", "json", "--json"]) == 0
    *progress, result = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [line["step"] for line in progress if line["of"] == 300]
    assert steps == sorted(steps) and steps[-1] == 300 and result["done"] == 3
    assert any(line["what"].startswith("case 2 of 3, b: segmenting (about ") for line in progress)
    assert "left" not in next(line["what"] for line in progress if "case 1 of 3" in line["what"])


def test_nothing_of_a_case_but_its_numbers_stays_in_memory(films, batch, bright, monkeypatch):
    import SpineSegLib.io

    alive, most = [], []

    def watched(*arguments, **options):
        most.append(sum(one() is not None for one in alive))
        image = read_image(*arguments, **options)
        alive.append(weakref.ref(image))
        return image

    for number in range(10):
        (films / f"film{number}.nrrd").write_bytes((films / "a.nrrd").read_bytes())
    monkeypatch.setattr(SpineSegLib.io, "read_image", watched)
    gc.disable()
    try:
        assert batch(films)[0] == 0
    finally:
        gc.enable()
    assert len(most) == 13 and max(most) == 0
