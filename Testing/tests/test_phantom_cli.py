"""The phantom command: same seed, same bytes; one clear line for what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from SpineSegLib.cli import main

SMALL = ["--size", "128", "--progress", "none"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_makes_the_same_bytes_whatever_the_number_of_processes(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    common = ["phantom", "--kind", "lateral-cervical", "--count", "2", "--seed", "11", *SMALL]
    assert main([*common, "--out", str(one), "--jobs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 2
    assert main([*common, "--out", str(two), "--jobs", "2"]) == 0
    first, second = contents(one), contents(two)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert first["images/phantom0001.png"] != first["images/phantom0002.png"]
    # A second run finds everything done.
    assert main([*common, "--out", str(one), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "output": str(one), "kind": "lateral-cervical", "seed": 11, "made": 0, "kept": 2
    }  # fmt: skip


def test_one_command_makes_every_kind_of_image_with_its_truth(tmp_path, capsys):
    arguments = ["--kind", "all", "--size", "64", "--seed", "3", "--progress", "json"]
    assert main(["phantom", "--out", str(tmp_path), *arguments]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["step"] for line in steps] == sorted(line["step"] for line in steps)
    assert {line["of"] for line in steps} == {5}
    for kind in ("ct", "lateral-cervical", "lateral-lumbar", "ap", "mr"):
        truths = [path for path in (tmp_path / kind).rglob("*.json") if "truth" in path.as_posix()]
        assert truths and any((tmp_path / kind).rglob("*.dcm")), kind


def test_chosen_lordosis_is_in_the_truth_and_in_the_parameters(tmp_path):
    arguments = ["--lordosis", "-8", "--rotation", "0", "--monochrome", "1", "--no-noise", *SMALL]
    assert main(["phantom", "--out", str(tmp_path), *arguments]) == 0
    truth = json.loads((tmp_path / "truth" / "phantom0001.json").read_text(encoding="utf-8"))
    tilt = truth["body"]["tilt"]
    chosen = tilt["C2"]["inferior sagittal"] - tilt["C7"]["inferior sagittal"]
    assert chosen == pytest.approx(-8, abs=0.05)
    shown = truth["film"]["tilt"]["C2"]["inferior"] - truth["film"]["tilt"]["C7"]["inferior"]
    assert shown == pytest.approx(-8, abs=1.5)
    made = json.loads((tmp_path / "parameters" / "phantom0001.json").read_text(encoding="utf-8"))
    assert made["order"]["body"] == {"cervical_lordosis": -8.0} and made["image"]["inverted"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cobb", "200"],
        ["--slip", "C9:20"],
        ["--slip", "L4"],
        ["--fracture", "T12:shattered:20"],
        ["--fracture", "T12:wedge:much"],
        ["--plate", "C5"],
        ["--curve", "T5:T11:30:right", "--cobb", "20"],
        ["--age", "7"],
        ["--shapes", "no-such-folder"],
        ["--size", "5"],
        ["--count", "0"],
        ["--jobs", "0"],
        ["--sheet", "sheet.png"],
    ],
)
def test_bad_parameters_are_one_clear_line(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "--out", str(tmp_path / "out"), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and "internal error" not in lines[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_open_surface_is_one_clear_line(tmp_path, capsys):
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    # A tetrahedron without its fourth side.
    (shapes / "C4.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 3\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0\n10 0 0\n0 10 0\n0 0 10\n3 0 1 2\n3 0 1 3\n3 0 2 3\n",
        encoding="ascii",
    )
    assert main(["phantom", "--out", str(tmp_path / "out"), "--shapes", str(shapes)]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line and "C4" in line and "internal error" not in line


def test_neither_folder_nor_sheet_is_refused(capsys):
    assert main(["phantom"]) == 1
    assert "--out" in capsys.readouterr().err


def test_a_run_can_be_cancelled_before_a_case_is_written(tmp_path, capsys):
    stop = tmp_path / "stop"
    stop.touch()
    out = tmp_path / "out"
    assert main(["phantom", "--out", str(out), "--cancel-file", str(stop), "--progress", "none"]) == 3
    assert not [path for path in out.rglob("*") if path.is_file()]
