"""Models, raters and times compared from tables and folders to tables and figures."""

import csv
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from mask_samples import plates

from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.model_comparison import compare_models
from SpineSegLib.evaluation.scores import read_scores
from SpineSegLib.evaluation.tables import BOLD, Grid, latex, markdown
from SpineSegLib.evaluation.times import read_times
from SpineSegLib.io import read_segmentation, write_segmentation


def write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def tables(tmp_path):
    """Three models on twelve cases: 'best' is always ahead of 'good', 'other' is as good on the average."""
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 0.01, 12)
    found = []
    for name, dice in (("good", 0.90 + hard), ("other", 0.90 + rng.permuted(hard)), ("best", 0.93 + hard * 1.1)):
        rows = [
            {"case": f"c{n}", "scope": "overall", "structure": "overall", "dice": value, "hd95_px": 9 - 8 * value}
            for n, value in enumerate(dice)
        ]
        found.append(write_table(tmp_path / f"{name}.csv", rows))
    return found


def test_the_better_model_is_found_whatever_the_sense_of_the_metric(tables, capsys):
    assert main(["compare", *map(str, tables), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["models"], found["reference"]) == (["good", "other", "best"], "best")
    for metric in ("dice", "hd95_px"):
        content = found["metrics"][metric]
        assert content["best"] == "best" and content["friedman"]["p"] < 0.01
        verdicts = {(test["a"], test["b"]): test["better"] for test in content["pairwise"]}
        assert verdicts == {
            ("good", "other"): "no significant difference",
            ("good", "best"): "best",
            ("other", "best"): "best",
        }
        assert [test["better"] for test in content["against"]] == ["best", "best"]
        assert {test["correction"] for test in content["against"]} == {"fdr_bh"}


def test_numbers_are_scipys_on_the_tables_columns(tables, capsys):
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    assert main(["compare", *map(str, tables), "--json", "--metrics", "dice"]) == 0
    content = json.loads(capsys.readouterr().out)["metrics"]["dice"]
    dice = {path.stem: [float(row["dice"]) for row in csv.DictReader(path.open())] for path in tables}
    assert content["friedman"]["p"] == pytest.approx(stats.friedmanchisquare(*dice.values()).pvalue)
    pairs = [("good", "other"), ("good", "best"), ("other", "best")]
    raw = [stats.wilcoxon(dice[a], dice[b]).pvalue for a, b in pairs]
    assert [test["p"] for test in content["pairwise"]] == pytest.approx(raw)
    assert [test["p_adjusted"] for test in content["pairwise"]] == pytest.approx(multipletests(raw, method="b")[1])
    assert content["models"]["good"]["sd"] == pytest.approx(np.std(dice["good"], ddof=1))


def test_one_family_of_corrections_spans_all_metrics(tables):
    scores = read_scores([(None, path) for path in tables])
    found = compare_models(scores, ["dice", "hd95_px"], resamples=50)
    tests = [test for one in found.metrics.values() for test in one.against]
    from statsmodels.stats.multitest import multipletests

    expected = multipletests([test.p for test in tests], method="fdr_bh")[1]
    assert [test.p_adjusted for test in tests] == pytest.approx(expected) and len(tests) == 4


def test_everything_is_written(tables, tmp_path, capsys):
    times = write_table(
        tmp_path / "times.csv",
        [{"who": who, "case": n, "seconds": s + n} for who, s in (("Ann", 200), ("net", 7)) for n in range(3)],
    )
    log = write_table(
        tmp_path / "log.csv", [{"epoch": n, "train_loss": 1 / n, "validation_dice": 1 - 1 / n} for n in (1, 2, 3)]
    )
    out = tmp_path / "new" / "out"
    arguments = ["compare", *map(str, tables), "--times", str(times), "--automatic", "net", "--log", f"run={log}"]
    arguments += ["--metrics", "dice"]
    assert main([*arguments, "--out", str(out), "--json", "--resamples", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found["files"]) == sorted(path.name for path in out.iterdir())
    pictures = {
        f"{name}.{suffix}" for name in ("box-dice", "intervals-dice", "times", "training") for suffix in ("png", "svg")
    }
    assert pictures | {"models.csv", "tests.csv", "tables.md", "tables.tex", "comparison.json"} <= set(found["files"])
    assert json.loads((out / "comparison.json").read_text("utf-8"))["metrics"] == found["metrics"]
    for picture in out.glob("*.png"):
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    texts = "".join(ElementTree.parse(out / "times.svg").getroot().itertext())
    assert "Ann" in (out / "times.svg").read_text("utf-8") or "Ann" in texts
    rows = list(csv.DictReader((out / "tests.csv").open(encoding="utf-8")))
    assert len(rows) == 3 + 2
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main([*arguments, "--out", str(out), "--json", "--resamples", "100"]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_figures_show_the_numbers_of_the_table(tables):
    from SpineSegLib.evaluation.figures import box_plot, interval_plot

    scores = read_scores([(None, path) for path in tables])
    one = compare_models(scores, ["dice"], resamples=200).metrics["dice"]
    axes = box_plot(one).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["good", "other", "best"]
    dots = sorted(value for line in axes.lines if line.get_marker() == "o" for value in line.get_ydata())
    assert dots == pytest.approx(sorted(value for cases in scores["dice"].values() for value in cases.values()))
    axes = interval_plot(one).axes[0]
    ends = {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
    assert (one.models["best"].t_low, one.models["best"].t_high) in ends
    assert (one.models["best"].bootstrap_low, one.models["best"].bootstrap_high) in ends


def test_evaluate_writes_what_compare_reads(tmp_path, oblique, capsys):
    for folder, longer in (("truth", 0), ("near", 1), ("far", 3)):
        (tmp_path / folder).mkdir()
        for n in range(3):
            segmentation = plates(oblique, T5=(1, 4), T6=(5 + n % 2, 8 + longer))
            write_segmentation(segmentation, tmp_path / folder / f"{n}.seg.nrrd")
    for name in ("near", "far"):
        table = str(tmp_path / f"{name}.csv")
        assert main(["evaluate", str(tmp_path / name), str(tmp_path / "truth"), "--csv", table]) == 0
    capsys.readouterr()
    files = [str(tmp_path / f"{name}.csv") for name in ("near", "far")]
    for structure, number in (("overall", 3), ("T6", 3)):
        assert main(["compare", *files, "--json", "--structure", structure]) == 0
        found = json.loads(capsys.readouterr().out)["metrics"]
        assert found["dice"]["best"] == "near" and found["dice"]["models"]["far"]["n"] == number
        assert found["hd95_mm"]["better"] == "lower"
    assert main(["compare", *files, "--structure", "L9"]) == 1
    assert "no rows of 'L9'; expected one of overall, T5, T6" in capsys.readouterr().err


def test_raters_are_compared_with_each_other_and_with_models(tmp_path, oblique, capsys):
    for name, longer in (("ann", 0), ("bob", 1), ("net", 2)):
        (tmp_path / name).mkdir()
        for n in range(2):
            write_segmentation(plates(oblique, T5=(1, 6 + longer + n)), tmp_path / name / f"{n}.nii.gz")
    folders = {name: f"{name}={tmp_path / name}" for name in ("ann", "bob", "net")}
    arguments = ["compare", "--rater", folders["ann"], "--rater", folders["bob"], "--model", folders["net"]]
    assert main([*arguments, "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)["raters"]
    assert [(one["a"], one["b"], one["kind"], one["cases"]) for one in found] == [
        ("ann", "bob", "rater by rater", 2),
        ("net", "ann", "model by rater", 2),
        ("net", "bob", "model by rater", 2),
    ]
    assert list(found[0]["metrics"]) == ["dice", "iou", "hd95_pooled_px", "ssim", "volumetric_similarity"]
    pairs = [[read_segmentation(tmp_path / name / f"{n}.nii.gz") for name in ("ann", "bob")] for n in range(2)]
    dice = [evaluate(*pair).overall["dice"] for pair in pairs]
    assert found[0]["metrics"]["dice"]["mean"] == pytest.approx(np.mean(dice))
    swapped = [evaluate(two, one).overall for one, two in pairs]
    for metric in ("iou", "hd95_pooled_px", "volumetric_similarity"):
        assert found[0]["metrics"][metric]["mean"] == pytest.approx(np.mean([one[metric] for one in swapped]))
    assert "ann – bob" in (tmp_path / "out" / "tables.md").read_text("utf-8")


def test_the_published_saving_comes_from_a_table_of_stages(tmp_path):
    # CervSpineNet, figure 9: tracing 46 to 98 s (mean 72), in all 210 s, against 7.5 s.
    rows = [
        {"who": who, "case": "1", "stage": stage, "seconds": seconds}
        for who, tracing in (("expert", 46), ("annotator 1", 98), ("annotator 2", 72))
        for stage, seconds in (("tracing", tracing), ("mask", 138))
    ]
    rows += [{"who": "CervSpineNet", "case": str(n), "stage": "", "seconds": s} for n, s in enumerate((5, 10))]
    found = read_times(write_table(tmp_path / "times.csv", rows), ["CervSpineNet"])
    assert [sum(found.totals[who]) for who in found.manual] == [184, 236, 210]
    assert round(found.saved()["CervSpineNet"], 2) == 96.43


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "a column case and a column a metric"),
        ("case,dice\n", "no rows"),
        ("case,dice\nc1,nan\n", "line 2, dice: 'nan'"),
        ("case,dice\nc1,high\n", "line 2, dice: 'high'"),
        ("case,dice\nc1,0.5\nc1,0.6\n", "'c1' stands there twice"),
        ("case,dice\nc1,0.5,7\n", "longer than the header"),
        ("case,model\nc1,a\n", "no numbers"),
    ],
)
def test_bad_tables_give_one_line(tmp_path, content, message, capsys):
    path = tmp_path / "scores.csv"
    path.write_text(content, "utf-8")
    assert main(["compare", str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "internal" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare"),
        (["missing.csv"], "it cannot be read"),
        (["TABLE", "--reference", "nobody"], "--reference: 'nobody'"),
        (["TABLE", "--metrics", "beauty"], "'beauty' is in no table"),
        (["TABLE", "good=TABLE"], "the model 'good' is also in"),
        (["--rater", "ann"], "NAME=PATH"),
        (["--rater", "ann=nowhere", "--rater", "bob=nowhere"], "there is no such folder"),
        (["--rater", "ann=nowhere"], "fewer than two"),
        (["--log", "a=b.csv"], "no place for the curves"),
        (["TABLE", "--resamples", "0"], "--resamples"),
    ],
)
def test_bad_arguments_give_one_line(tables, arguments, message, capsys):
    assert main(["compare", *(text.replace("TABLE", str(tables[0])) for text in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "internal" not in error


@pytest.mark.parametrize(
    ("content", "automatic", "message"),
    [
        ("who,seconds\nann,0\nnet,1\n", ["net"], "line 2: '0' seconds"),
        ("who,seconds\nann,1\n", ["net"], "'net' is not in the table"),
        ("who,seconds\nnet,1\n", ["net"], "expected some, but not all"),
        ("name,time\n", ["net"], "who and seconds"),
    ],
)
def test_bad_times_are_refused(tmp_path, content, automatic, message):
    path = tmp_path / "times.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        read_times(path, automatic)


def test_tables_escape_what_has_a_meaning():
    grid = Grid("x", "A_b & 5 %", ["Model", "n"], [["a|b_c", BOLD + "0.5 ± 0.1"], ["<i>*", "1"]])
    assert r"| a\|b_c | **0.5 ± 0.1** |" in markdown(grid) and r"\*" in markdown(grid)
    text = latex(grid)
    assert r"a|b\_c & \textbf{0.5 $\pm$ 0.1} \\" in text and r"\caption{A\_b \& 5 \%}" in text
    assert text.isascii() and text.count("{") == text.count("}")


def test_models_with_fewer_numbers_are_told(tables, tmp_path, capsys):
    rows = [{**row, "hd95_px": ""} if n == 0 else row for n, row in enumerate(csv.DictReader(tables[0].open()))]
    write_table(tables[0], rows)
    assert main(["compare", *map(str, tables), "--json", "--resamples", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "HD95: cases without a number (good 1 of 12)" in found["notes"][0]
    assert found["metrics"]["hd95_px"]["friedman"]["n"] == 11 and found["metrics"]["dice"]["friedman"]["n"] == 12
