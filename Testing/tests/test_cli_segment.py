"""``segment`` end to end with stand-in weights: files, numbers, progress, cancelling."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standins import CT_MODEL, FILM_MODEL, left_in, random_weights, small_ct, small_film

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.image import Segmentation
from SpineSegLib.io import read_segmentation, write_image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {name: str(random_weights(name, folder / f"{name}.safetensors")) for name in (CT_MODEL, FILM_MODEL)}


@pytest.fixture
def ct(tmp_path, oblique):
    path = tmp_path / "ct.nrrd"
    write_image(small_ct(oblique), path)
    return str(path)


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.nrrd"
    write_image(small_film(), path)
    return str(path)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def test_the_result_is_the_last_line_after_the_progress(ct, weights, results, oblique, capsys):
    output = results / "ct.seg.nrrd"
    arguments = ["segment", ct, "--model", CT_MODEL, "--modality", "CT", "--weights", weights[CT_MODEL]]
    assert main([*arguments, "--output", str(output), "--json", "--progress", "json"]) == 0
    printed = capsys.readouterr()
    *progress, result = [json.loads(line) for line in printed.out.splitlines()]
    assert printed.err == ""
    assert all(set(line) == {"step", "of", "what"} for line in progress)
    steps = [line["step"] for line in progress]
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == progress[-1]["of"]
    assert set(result) >= {"output", "structures", "seconds", "warnings"}
    assert result["output"] == str(output)
    found = read_segmentation(output)
    assert found.geometry.same_as(oblique)
    (structure,) = result["structures"]
    assert (structure["name"], structure["level"], structure["code"]) == ("spine", None, "421060004")
    assert structure["pixels"] == found.foreground.sum()
    assert structure["volume_mm3"] == pytest.approx(found.foreground.sum() * oblique.voxel_volume)


def test_one_run_writes_every_kind_of_output(film, weights, results, capsys):
    names = ["film.seg.nrrd", "film.nii.gz", "film.mrb", "film.png"]
    outputs = [part for name in names for part in ("--output", str(results / name))]
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    assert main([*arguments, *outputs]) == 0
    printed = capsys.readouterr().out
    assert left_in(results) == sorted([*names, "film.json"])
    assert all(f"wrote {results / name}" in printed for name in names)
    assert "cm²" in printed
    first, second = (read_segmentation(results / name) for name in names[:2])
    assert np.array_equal(first.foreground, second.foreground)


def test_slicer_opens_an_oblique_result_without_a_voxel_of_difference(ct, weights, results, oblique, scene):
    import slicer

    from SpineSegLib.mrml import image_from_node, segmentation_from_node

    arguments = ["segment", ct, "--model", CT_MODEL, "--modality", "CT", "--weights", weights[CT_MODEL]]
    assert main([*arguments, "--output", str(results / "ct.mrb"), "--output", str(results / "ct.seg.nrrd")]) == 0
    saved = read_segmentation(results / "ct.seg.nrrd").foreground
    assert 0 < saved.mean() < 1
    slicer.util.loadScene(str(results / "ct.mrb"))
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    # Slicer turns the slices of a left-handed volume round when it reads one; the place of each voxel stays.
    image = image_from_node(volume).resampled(oblique, order=0)
    assert np.array_equal(image.array, small_ct(oblique).array)
    in_scene = segmentation_from_node(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"), volume)
    alone = segmentation_from_node(slicer.util.loadSegmentation(str(results / "ct.seg.nrrd")), volume)
    for found in (in_scene, alone):
        assert np.array_equal(found.resampled(oblique).foreground, saved)
        assert found.segments[0].structure == Structure("spine")


def test_a_radiograph_without_spacing_has_no_millimetres(tmp_path, weights, results, capsys):
    image = small_film()
    picture = tmp_path / "film.png"
    write_image(image, picture)
    arguments = ["segment", str(picture), "--model", FILM_MODEL, "--weights", weights[FILM_MODEL], "--json"]
    assert main([*arguments, "--output", str(results / "film.seg.nrrd")]) == 0
    (structure,) = json.loads(capsys.readouterr().out)["structures"]
    assert "pixels" in structure and not [key for key in structure if "mm" in key]


def test_a_foreign_file_where_the_labels_names_go_is_told_before_the_work(film, weights, results, capsys):
    (results / "film.json").write_text("[1, 2]")
    line = ["segment", film, "--model", FILM_MODEL, "--modality", "XR", "--weights", weights[FILM_MODEL]]
    assert main([*line, "--output", str(results / "film.nii.gz"), "--progress", "json"]) == 1
    printed = capsys.readouterr()
    assert "film.json: a file that is not ours" in printed.err and printed.out == ""
    assert left_in(results) == ["film.json"]


def test_existing_output_is_replaced_only_by_a_whole_one(film, weights, results, capsys, monkeypatch):
    old = results / "film.png"
    old.write_text("mine")
    other = results / "film.seg.nrrd"
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    arguments += ["--output", str(old), "--output", str(other)]

    def broken(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("SpineSegLib.io.write_segmentation", broken)
        assert main(arguments) == 1
    assert old.read_text() == "mine"
    assert left_in(results) == ["film.png"]
    assert "No space left" in capsys.readouterr().err
    assert main(arguments) == 0
    assert old.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("moment", ["read_image", "write_overlay"])
def test_a_cancelled_run_writes_nothing(film, weights, results, capsys, monkeypatch, tmp_path, moment):
    import SpineSegLib.io

    stop = tmp_path / "stop"
    work = getattr(SpineSegLib.io, moment)

    def and_cancel(*arguments, **options):
        stop.touch()
        return work(*arguments, **options)

    monkeypatch.setattr(SpineSegLib.io, moment, and_cancel)
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    outputs = ["--output", str(results / "film.png"), "--output", str(results / "film.seg.nrrd")]
    assert main([*arguments, *outputs, "--cancel-file", str(stop)]) == 3
    printed = capsys.readouterr()
    assert printed.err.startswith("cancelled: ") and printed.err.count("\n") == 1
    assert left_in(results) == []


def test_ctrl_c_is_a_cancelled_run(film, weights, results, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("SpineSegLib.io.read_image", interrupted)
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    assert main([*arguments, "--output", str(results / "film.png")]) == 3
    assert capsys.readouterr().err == "cancelled: interrupted; nothing was written\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_a_process_that_is_asked_to_end_cleans_up(film, weights, results):
    program = (
        "import os, runpy, signal, sys, SpineSegLib.io as io\n"
        "io.write_overlay = lambda *a: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.argv = ['SpineSegLib', *sys.argv[1:]]; runpy.run_module('SpineSegLib', run_name='__main__')"
    )
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    arguments += ["--output", str(results / "film.seg.nrrd"), "--output", str(results / "film.png")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "cancelled: interrupted; nothing was written\n")
    assert left_in(results) == []


def test_what_libraries_print_does_not_reach_the_results(film, weights, results):
    program = (
        "import sys, os, SpineSegLib.io as io; from SpineSegLib.cli import main; read = io.read_image\n"
        "def noisy(*a, **k): print('noise'); os.write(1, b'C noise\\n'); return read(*a, **k)\n"
        "io.read_image = noisy; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["segment", film, "--modality", "XR", "--model", FILM_MODEL, "--weights", weights[FILM_MODEL]]
    arguments += ["--output", str(results / "film.seg.nrrd"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["model"] == FILM_MODEL
    assert "noise" in done.stderr and "C noise" in done.stderr


def test_each_structure_is_listed_with_its_code(oblique):
    from SpineSegLib.cli.segment import structures_of

    mask = np.zeros(oblique.shape, bool)
    mask[2, 3:5, 6] = True
    process = Structure("spinous process", "C5")
    listed = structures_of(Segmentation.from_masks({process: mask}, oblique))
    expected = {"name": "C5 spinous process", "level": "C5", "kind": "spinous process", "code": "55678000", "pixels": 2}
    assert {key: listed[0][key] for key in expected} == expected
    flat = dataclasses.replace(oblique, shape=(1, 14, 17))
    assert structures_of(Segmentation.from_masks({process: mask[2:3]}, flat))[0]["area_mm2"] == pytest.approx(2 * 0.63)
