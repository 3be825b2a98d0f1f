"""Folders of cases: pairing, cases that fail, tables, and the memory of one pair at a time."""

import csv
import gc
import json
import statistics
import tracemalloc

import numpy as np
import pytest
from mask_samples import T5, T6, plates

from SpineSegLib.cli import main
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.cases import CasePair, evaluate_cases, pairs_by_name, pairs_in_table
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_segmentation, write_image, write_segmentation


@pytest.fixture
def folders(tmp_path, oblique):
    """Three pairs whose lower plate is 0, 1 and 2 rows too long."""
    found = [tmp_path / "predictions", tmp_path / "truths"]
    for folder in found:
        folder.mkdir()
    for n, name in enumerate("abc"):
        write_segmentation(plates(oblique, T5=(1, 4), T6=(5, 8 + n)), found[0] / f"{name}.seg.nrrd")
        write_segmentation(plates(oblique, T5=(1, 4), T6=(5, 8)), found[1] / f"{name}.nii.gz")
    return found


def test_folders_are_paired_by_name_and_summed_up(folders, tmp_path, capsys):
    table = tmp_path / "all.csv"
    assert main(["evaluate", *map(str, folders), "--json", "--csv", str(table)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["cases"]) == ["a", "b", "c"] and printed["failed"] == {}
    pair = read_segmentation(folders[0] / "c.seg.nrrd"), read_segmentation(folders[1] / "c.nii.gz")
    expected = evaluate(*pair).to_dict()
    del expected["definitions"]
    assert printed["cases"]["c"] == json.loads(json.dumps(expected))
    dice = [printed["cases"][name]["overall"]["dice"] for name in "abc"]
    summed = printed["summary"]["overall"]["dice"]
    assert (summed["mean"], summed["sd"]) == (pytest.approx(np.mean(dice)), pytest.approx(np.std(dice, ddof=1)))
    assert (summed["n"], summed["max"]) == (3, 1)
    assert list(printed["summary"]["structures"]) == list(printed["summary"]["levels"]) == ["T5", "T6"]
    assert printed["summary"]["instances"]["vertebra"]["average"]["count"] == 6
    with table.open(encoding="utf-8", newline="") as file:
        rows = {(row["case"], row["scope"], row["structure"]): row for row in csv.DictReader(file)}
    assert len(rows) == 3 * (1 + 2 + 2)
    assert float(rows["c", "structure", "T6"]["hausdorff_px"]) == 2


def test_the_table_for_people_holds_cases_means_and_identified_vertebrae(folders, capsys):
    assert main(["evaluate", *map(str, folders)]) == 0
    text = capsys.readouterr().out
    assert "T6, mean ± SD" in text and "3 cases measured, 0 failed" in text
    assert "vertebra: 100.0 % of 6 identified" in text


def test_cases_that_fail_are_reported_and_the_rest_go_on(folders, tmp_path, oblique, capsys):
    (folders[0] / "b.seg.nrrd").write_bytes(b"NRRD0005\n")
    write_segmentation(plates(oblique, T5=(1, 4)), folders[1] / "lonely.nii.gz")
    assert main(["evaluate", *map(str, folders), "--json", "--csv", str(tmp_path / "all.csv")]) == 1
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert list(printed["cases"]) == ["a", "c"]
    assert printed["failed"]["lonely"] == "there is no prediction of this name"
    assert "b.seg.nrrd" in printed["failed"]["b"] and "\n" not in printed["failed"]["b"]
    assert printed["summary"]["overall"]["dice"]["n"] == 2 and printed["summary"]["failed"] == 2
    assert "2 of 4 cases failed (b, lonely)" in err.strip().splitlines()[-1]
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        failed = [row for row in csv.DictReader(file) if row["scope"] == "failed"]
    assert [row["case"] for row in failed] == ["b", "lonely"]


def test_a_fault_of_ours_in_one_case_does_not_lose_the_others(folders):
    def measure(pair):
        if pair.name == "b":
            raise ZeroDivisionError("on\ntwo lines")
        return evaluate(read_segmentation(pair.prediction), read_segmentation(pair.truth))

    results = evaluate_cases(pairs_by_name(*folders), measure)
    assert list(results.cases) == ["a", "c"]
    assert results.failed == {"b": "internal error (ZeroDivisionError: on two lines)"}


def test_cancelling_stops_between_cases(folders):
    def report(step, _of, _what):
        if step == 1:
            raise Cancelled("stopped")

    seen = []
    with pytest.raises(Cancelled):
        evaluate_cases(pairs_by_name(*folders), lambda pair: seen.append(pair.name), report=report)
    assert seen == ["a"]


def test_progress_names_every_case(folders, capsys):
    assert main(["evaluate", *map(str, folders), "--progress", "json", "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()[:-1]]
    assert [(step["step"], step["of"], step["what"]) for step in steps] == [
        (0, 3, "a"),
        (1, 3, "b"),
        (2, 3, "c"),
        (3, 3, "done"),
    ]


def test_a_table_pairs_what_names_do_not(folders, tmp_path, capsys):
    table = tmp_path / "pairs.csv"
    table.write_text("case,prediction,truth\nfirst,c.seg.nrrd,a.nii.gz\nsecond,a.seg.nrrd,b.nii.gz\n", "utf-8")
    assert main(["evaluate", *map(str, folders), "--table", str(table), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["cases"]
    assert printed["first"]["structures"]["T6"]["hausdorff_px"] == 2 and printed["second"]["overall"]["dice"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prediction,truth\n../truths/a.nii.gz,a.nii.gz\n", "lies outside of"),
        ("prediction,truth\n/etc/hostname,a.nii.gz\n", "lies outside of"),
        ("ours,theirs\na,b\n", "columns prediction and truth"),
        ("prediction,truth\n", "no rows"),
        ("prediction,truth\na.seg.nrrd,a.nii.gz\na.seg.nrrd,b.nii.gz\n", "stands there twice"),
    ],
)
def test_bad_tables_are_refused(folders, tmp_path, text, message):
    table = tmp_path / "pairs.csv"
    table.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        pairs_in_table(table, *folders)


def test_folders_without_a_common_name_are_refused(folders):
    for path in list(folders[0].iterdir()):
        path.rename(path.with_name("other-" + path.name))
    with pytest.raises(InputError, match="no file has the name of one in"):
        pairs_by_name(*folders)


def test_a_doubled_name_is_refused(folders):
    (folders[1] / "a.nrrd").write_bytes(b"")
    with pytest.raises(InputError, match="has the same name"):
        pairs_by_name(*folders)


def test_probabilities_come_from_a_folder_of_their_own(folders, tmp_path, oblique, capsys):
    chances = tmp_path / "probabilities"
    chances.mkdir()
    values = np.full(oblique.shape, 0.25, np.float32)
    for name in "ab":
        write_image(Image(values, oblique), chances / f"{name}.nii.gz")
        values[0, 0, 0] = np.nan
    assert main(["evaluate", *map(str, folders), "--probability", str(chances), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["cases"]["a"]["overall"]["foreground_mae"] == pytest.approx(0.75)
    assert "1 of 2142 probabilities are not a number" in printed["failed"]["b"]
    assert "foreground_mae" not in printed["cases"]["c"]["overall"]


def test_a_probability_picture_runs_from_0_to_white(tmp_path, capsys):
    from PIL import Image as Picture

    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    Picture.fromarray(mask).save(tmp_path / "mask.png")
    Picture.fromarray(np.full((40, 50), 51, np.uint8)).save(tmp_path / "probability.png")
    arguments = [str(tmp_path / "mask.png")] * 2
    assert main(["evaluate", *arguments, "--probability", str(tmp_path / "probability.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["overall"]
    assert (found["foreground_mae"], found["global_mae"]) == (pytest.approx(0.8), pytest.approx(0.26))


def test_settings_are_options_and_bad_ones_refused(folders, capsys):
    files = [str(folders[0] / "c.seg.nrrd"), str(folders[1] / "c.nii.gz")]
    assert main(["evaluate", *files, "--json", "--tolerance-px", "2"]) == 0
    forgiving = json.loads(capsys.readouterr().out)
    assert main(["evaluate", *files, "--json", "--tolerance-px", "0.5"]) == 0
    strict = json.loads(capsys.readouterr().out)
    assert strict["overall"]["nsd_px"] < forgiving["overall"]["nsd_px"] == 1
    assert "0.5 px" in strict["definitions"]["nsd_px"]
    assert main(["evaluate", *files, "--tolerance-mm", "-1"]) == 1
    assert "error: --tolerance-mm: -1.0; expected a positive number" in capsys.readouterr().err


def test_many_pairs_need_the_memory_of_one(oblique):
    from SpineSegLib.image import Geometry

    geometry = Geometry((40, 120, 100), oblique.ijk_to_ras)

    def measure(_pair):
        labels = np.zeros(geometry.shape, np.uint8)
        labels[5:30, 20:90, 20:50], labels[5:30, 20:90, 50:80] = 1, 2
        return evaluate(*(Segmentation.from_labels(labels.copy(), {1: T5, 2: T6}, geometry) for _ in range(2)))

    def peak(count):
        gc.collect()
        tracemalloc.start()
        evaluate_cases([CasePair(str(n), "there", "there") for n in range(count)], measure)
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    measure(None)
    one, many = peak(1)[0], peak(6)[0]
    # A remembered pair would add 960 kB each; a dictionary of numbers adds a few.
    assert one > 960_000
    assert many - one < 400_000


def test_the_summary_of_a_single_case_has_no_spread(folders):
    pair = pairs_by_name(*folders)[:1]
    found = evaluate_cases(pair, lambda p: evaluate(read_segmentation(p.prediction), read_segmentation(p.truth)))
    summed = found.to_dict()["summary"]["overall"]["assd_mm"]
    assert (summed["sd"], summed["n"]) == (None, 1)
    assert summed["mean"] == statistics.fmean([found.cases["a"].overall["assd_mm"]])
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_folder_with_dicom_is_one_segmentation_whatever_lies_beside_it(folders, capsys):
    (folders[0] / "IM0001").write_bytes(b"no DICOM, but named like it")
    assert main(["evaluate", *map(str, folders)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folders[0]}") and "cases failed" not in error


def test_an_empty_folder_is_told(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(tmp_path / "empty"), str(folders[1])]) == 1
    assert "here 'nothing', there 'a'" in capsys.readouterr().err
