"""The other commands: help, models, evaluate, weights, train; wrong usage."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standins import FILM_MODEL, left_in, random_weights

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.evaluation import evaluate
from SpineSegLib.image import Segmentation
from SpineSegLib.io import write_segmentation

ROOT = Path(__file__).parents[2]
T5, T6 = Structure("vertebra", "T5"), Structure("vertebra", "T6")


def boxes(geometry, *rows):
    masks = {}
    for structure, (start, stop) in zip((T5, T6), rows, strict=False):
        masks[structure] = np.zeros(geometry.shape, bool)
        masks[structure][2:7, start:stop, 3:12] = True
    return Segmentation.from_masks(masks, geometry)


def test_help_is_quick_and_loads_no_heavy_library():
    heavy = "('torch', 'SimpleITK', 'pydicom', 'scipy', 'skimage', 'slicer', 'vtk')"
    program = (
        "import sys\nfrom SpineSegLib.cli import main\ntry: main(['segment', '--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--cancel-file" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["draw"], ["segment", "a.nrrd"], ["models", "--colour"], ["weights"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_models_lists_what_other_programs_rely_on(capsys):
    assert main(["models", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"linknet34-ct-small", "unet-xray-small"} <= set(listed)
    keys = {"name", "paper", "modality", "view", "structures", "input_size", "parameters", "multiply_adds", "weights"}
    assert all(keys <= set(entry) for entry in listed.values())
    assert all(entry["weights"] in ("bundled", "installed", "absent") for entry in listed.values())
    assert all(entry["parameters"] > 0 < entry["multiply_adds"] for entry in listed.values())


def test_models_for_people_is_a_table(capsys):
    assert main(["models"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    column = first.index("structures")
    assert "multiply-adds" in first
    assert all(line[column - 1] == " " and line[column] != " " for line in rest)


def test_evaluate_prints_what_the_library_measures(tmp_path, oblique, capsys):
    prediction, truth = boxes(oblique, (1, 4), (5, 9)), boxes(oblique, (1, 4), (5, 8))
    paths = [str(tmp_path / name) for name in ("prediction.nii.gz", "truth.seg.nrrd")]
    for segmentation, path in zip((prediction, truth), paths, strict=True):
        write_segmentation(segmentation, path)
    assert main(["evaluate", *paths, "--json", "--csv", str(tmp_path / "all.csv")]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = evaluate(prediction, truth).to_dict()
    assert printed["overall"] == pytest.approx(expected["overall"], rel=1e-4)
    assert printed["structures"]["T6"] == pytest.approx(expected["structures"]["T6"], rel=1e-4)
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["structure"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["overall", "T5", "T6"]
    assert float(rows["T6"]["hd95_mm"]) == pytest.approx(expected["structures"]["T6"]["hd95_mm"], rel=1e-4)
    assert main(["evaluate", *paths]) == 0
    text = capsys.readouterr().out
    assert "HD95 mm" in text and f"{expected['overall']['dice']:.4f}" in text and "as MONAI" in text


def test_evaluate_knows_other_peoples_numbers(tmp_path, oblique, capsys):
    import SimpleITK as sitk

    truth = boxes(oblique, (1, 4), (5, 8))
    write_segmentation(truth, tmp_path / "prediction.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "prediction.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    renumbered = np.select([array == 12, array == 13], [39, 38], 0).astype(np.uint8)
    image_out = sitk.GetImageFromArray(renumbered)
    image_out.CopyInformation(image)
    sitk.WriteImage(image_out, str(tmp_path / "totalsegmentator.nii.gz"))
    paths = [str(tmp_path / "prediction.nii.gz"), str(tmp_path / "totalsegmentator.nii.gz")]
    assert main(["evaluate", *paths, "--truth-labels", "totalsegmentator", "--json"]) == 0
    assert {name: found["dice"] for name, found in json.loads(capsys.readouterr().out)["structures"].items()} == {
        "T5": 1,
        "T6": 1,
    }
    names = tmp_path / "names.json"
    names.write_text('{"39": "T6", "38": "T5"}')
    assert main(["evaluate", *paths, "--truth-labels", str(names), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["structures"]["T5"]["dice"] == 0
    names.write_text("[1, 2]")
    assert main(["evaluate", *paths, "--truth-labels", str(names)]) == 1
    assert "no names of labels" in capsys.readouterr().err


def test_evaluate_says_so_when_the_truth_is_on_another_grid(tmp_path, oblique, capsys):
    write_segmentation(boxes(oblique, (1, 4)), tmp_path / "prediction.seg.nrrd")
    coarse = boxes(oblique, (1, 4)).resampled(oblique.cropped((0, 0, 0), (9, 10, 17)))
    write_segmentation(coarse, tmp_path / "truth.seg.nrrd")
    assert main(["evaluate", str(tmp_path / "prediction.seg.nrrd"), str(tmp_path / "truth.seg.nrrd")]) == 0
    assert "warning: the truth is on another grid" in capsys.readouterr().err


def test_evaluate_refuses_a_truth_somewhere_else(tmp_path, oblique, capsys):
    away = oblique.transformed(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    write_segmentation(boxes(oblique, (1, 4)), tmp_path / "prediction.seg.nrrd")
    write_segmentation(boxes(away, (1, 4)), tmp_path / "truth.seg.nrrd")
    before = left_in(tmp_path)
    arguments = [str(tmp_path / "prediction.seg.nrrd"), str(tmp_path / "truth.seg.nrrd")]
    assert main(["evaluate", *arguments, "--csv", str(tmp_path / "all.csv")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "does not overlap" in printed.err
    assert left_in(tmp_path) == before


def test_weights_are_installed_verified_and_deleted(tmp_path, capsys, monkeypatch):
    import dataclasses

    from SpineSegLib.models import cards

    known = cards.registry()
    absent = dataclasses.replace(known[FILM_MODEL], weights=cards.Weights(licence="CC0-1.0"))
    monkeypatch.setattr(cards, "registry", lambda: {FILM_MODEL: absent})
    monkeypatch.setattr("SpineSegLib.models.registry", lambda: {FILM_MODEL: absent})
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "installed"))
    source = random_weights(FILM_MODEL, tmp_path / "mine.safetensors")

    def state():
        assert main(["weights", "list", "--json"]) == 0
        return json.loads(capsys.readouterr().out)[0]["weights"]

    assert state() == "absent"
    assert main(["weights", "install", FILM_MODEL, str(source)]) == 1  # nobody at a terminal to agree
    asked = capsys.readouterr().err
    assert "CC0-1.0" in asked and "MiB" in asked and "--yes" in asked
    assert state() == "absent"
    assert main(["weights", "install", FILM_MODEL, str(source), "--yes"]) == 0
    assert str(tmp_path / "installed") in capsys.readouterr().out
    assert state() == "installed"
    assert main(["weights", "verify"]) == 0
    assert f"{FILM_MODEL}: good" in capsys.readouterr().out
    assert main(["weights", "delete", FILM_MODEL]) == 0
    capsys.readouterr()
    assert state() == "absent"
    assert main(["weights", "delete", FILM_MODEL]) == 1
    assert main(["weights", "folder"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'installed'}\n"


def test_train_names_what_is_wrong_with_its_arguments(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["train", "no-such-recipe", *arguments]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "no-such-recipe" in line
    assert main(["train", "unet-xray-small", *arguments]) == 1
    assert capsys.readouterr().err.count("\n") == 1
