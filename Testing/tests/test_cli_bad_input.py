"""Bad input: exit status 1, one line that says what and what to do, and nothing left behind."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_writing import write_series
from standins import CT_MODEL, FILM_MODEL, left_in, random_weights, small_ct, small_film

from SpineSegLib.cli import main
from SpineSegLib.image import Geometry, Image
from SpineSegLib.io import write_image
from SpineSegLib.models import cards

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {name: str(random_weights(name, folder / f"{name}.safetensors")) for name in (CT_MODEL, FILM_MODEL)}


@pytest.fixture
def refused(tmp_path, weights, capfd):
    """Run ``segment`` on an image and return the one line that it prints; nothing else may be left."""

    def run(image, *options, model=FILM_MODEL, output="out/result.seg.nrrd"):
        (tmp_path / "out").mkdir(exist_ok=True)
        before = left_in(tmp_path)
        options = options or ("--weights", weights[model])
        arguments = ["segment", str(image), "--model", model, *options, "--output", str(tmp_path / output), "--json"]
        status = main([*arguments, "--progress", "none"])
        return _one_line(capfd, status, before, tmp_path)

    return run


def _one_line(capfd, status, before, folder):
    printed = capfd.readouterr()
    assert status == 1
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("error: "), printed.err
    assert "Traceback" not in printed.err and "internal error" not in printed.err
    assert left_in(folder) == before
    return printed.err


def test_a_file_that_is_no_image(tmp_path, refused):
    for name in ("notes.txt", "scan.nrrd", "scan.nii.gz", "film.png", "film.dcm"):
        (tmp_path / name).write_text("this is no image")
        assert name in refused(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path, refused):
    assert "absent.nrrd" in refused(tmp_path / "absent.nrrd")


def test_an_empty_dicom_folder(tmp_path, refused):
    (tmp_path / "scan").mkdir()
    assert "scan" in refused(tmp_path / "scan", model=CT_MODEL)


def test_a_series_with_a_missing_slice(tmp_path, refused, oblique):
    stored = (small_ct(oblique).array + 1024).astype(np.uint16)
    write_series(tmp_path / "scan", oblique, stored, leave_out=(4,))
    assert "missing" in refused(tmp_path / "scan", model=CT_MODEL)


def test_a_series_of_mixed_sizes(tmp_path, refused, oblique):
    stored = (small_ct(oblique).array + 1024).astype(np.uint16)
    write_series(tmp_path / "scan", oblique, stored, leave_out=range(4, 9))
    small = dataclasses.replace(oblique, shape=(9, 12, 17))
    for k in range(4, 9):
        from dicom_writing import save, slice_of

        save(slice_of(small, stored[:, :12], k), tmp_path / "scan" / f"S{k}")
    assert "size" in refused(tmp_path / "scan", model=CT_MODEL)


def test_a_colour_photograph(tmp_path, refused):
    from PIL import Image as Picture

    colours = np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    Picture.fromarray(colours).save(tmp_path / "cat.jpg")
    assert "colour" in refused(tmp_path / "cat.jpg")


@pytest.mark.parametrize(("value", "told"), [(np.nan, "not a number"), (7.0, "every voxel has the value 7")])
def test_voxels_without_meaning(tmp_path, refused, value, told):
    film = small_film()
    array = film.array.astype(np.float32)
    array[0, 0, :] = value
    array[...] = array if np.isnan(value) else value
    write_image(Image(array, film.geometry, "XR"), tmp_path / "film.nrrd")
    assert told in refused(tmp_path / "film.nrrd")


def test_a_ct_given_to_a_radiograph_model(tmp_path, refused, oblique):
    stored = (small_ct(oblique).array + 1024).astype(np.uint16)
    write_series(tmp_path / "scan", oblique, stored)
    assert "it is a CT and unet-xray-small takes a radiograph" in refused(tmp_path / "scan")


def test_a_model_that_does_not_exist(tmp_path, refused):
    write_image(small_film(), tmp_path / "film.nrrd")
    assert FILM_MODEL in refused(tmp_path / "film.nrrd", "--modality", "XR", model="unet-xray")


def test_weights_of_another_model(tmp_path, refused, weights):
    write_image(small_film(), tmp_path / "film.nrrd")
    assert CT_MODEL in refused(tmp_path / "film.nrrd", "--modality", "XR", "--weights", weights[CT_MODEL])


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x80\x04pickle"])
def test_weights_that_are_no_safetensors(tmp_path, refused, content):
    write_image(small_film(), tmp_path / "film.nrrd")
    (tmp_path / "w.safetensors").write_bytes(content)
    told = refused(tmp_path / "film.nrrd", "--modality", "XR", "--weights", str(tmp_path / "w.safetensors"))
    assert "w.safetensors" in told


@pytest.mark.parametrize("command", ["segment", "verify", "install"])
def test_weights_with_a_wrong_checksum(tmp_path, weights, capfd, monkeypatch, command):
    source = Path(weights[FILM_MODEL])
    known = cards.registry()
    facts = cards.Weights(file="w.safetensors", sha256="0" * 64, bytes=source.stat().st_size, licence="CC0-1.0")
    changed = {**known, FILM_MODEL: dataclasses.replace(known[FILM_MODEL], weights=facts)}
    monkeypatch.setattr(cards, "registry", lambda: changed)
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "installed"))
    (tmp_path / "installed").mkdir()
    if command != "install":
        (tmp_path / "installed" / "w.safetensors").write_bytes(source.read_bytes())
    film = tmp_path / "film.nrrd"
    write_image(small_film(), film)
    before = left_in(tmp_path)
    arguments = {
        "segment": ["segment", str(film), "--model", FILM_MODEL, "--output", str(tmp_path / "film.png")],
        "verify": ["weights", "verify", FILM_MODEL],
        "install": ["weights", "install", FILM_MODEL, str(source), "--yes"],
    }[command]
    assert "sha256" in _one_line(capfd, main(arguments), before, tmp_path)


def test_no_weights_at_all(tmp_path, capfd, monkeypatch):
    known = cards.registry()
    absent = dataclasses.replace(known[FILM_MODEL], weights=cards.Weights())
    monkeypatch.setattr(cards, "registry", lambda: {**known, FILM_MODEL: absent})
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "none"))
    write_image(small_film(), tmp_path / "film.nrrd")
    before = left_in(tmp_path)
    status = main(["segment", str(tmp_path / "film.nrrd"), "--model", FILM_MODEL, "--output", str(tmp_path / "a.png")])
    assert "--weights" in _one_line(capfd, status, before, tmp_path)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("out/result.stl", "suffix"),
        ("absent/result.png", "Make the folder first"),
        ("out", "suffix"),
        ("film.nrrd/result.png", "no such folder"),
        ("folder.png", "this is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path, refused, output, told, monkeypatch):
    monkeypatch.setattr("SpineSegLib.io.read_image", lambda *_, **__: pytest.fail("the work has started"))
    (tmp_path / "film.nrrd").touch()
    (tmp_path / "folder.png").mkdir()
    assert told in refused(tmp_path / "film.nrrd", output=output)


def test_the_input_is_never_overwritten(tmp_path, refused):
    from PIL import Image as Picture

    Picture.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30)).save(tmp_path / "film.png")
    content = (tmp_path / "film.png").read_bytes()
    assert "the output is the image itself" in refused(tmp_path / "film.png", output="film.png")
    assert (tmp_path / "film.png").read_bytes() == content


def test_a_read_only_output_folder(tmp_path, refused, monkeypatch):
    write_image(small_film(), tmp_path / "film.nrrd")
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o555)
    import os

    if os.access(tmp_path / "out", os.W_OK):  # an administrator may write everywhere: answer as the system would
        real = os.mkdir

        def mkdir(path, *arguments, **options):
            if Path(path).parent == tmp_path / "out":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "mkdir", mkdir)
    told = refused(tmp_path / "film.nrrd", "--modality", "XR")
    assert "nothing can be written here (Permission denied)" in told


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of a process's files")
@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".png", ".mrb"])
def test_a_full_disk(tmp_path, weights, suffix):
    # A limit on the size of files makes real writes fail half-way, as a full disk does.
    noise = np.random.default_rng(0).integers(0, 4000, (1, 300, 300), dtype=np.uint16)
    write_image(Image(noise, Geometry(noise.shape, np.diag([-0.4, -0.4, 1, 1])), "XR"), tmp_path / "film.nrrd")
    before = left_in(tmp_path)
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)); "
    program = limit + "from SpineSegLib.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["segment", str(tmp_path / "film.nrrd"), "--modality", "XR", "--model", FILM_MODEL]
    arguments += ["--weights", weights[FILM_MODEL], "--output", str(tmp_path / f"result{suffix}")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    assert "internal error" not in done.stderr
    assert left_in(tmp_path) == before


def test_an_unexpected_error_is_one_line_until_more_is_asked_for(tmp_path, capfd, monkeypatch):
    def broken(*_, **__):
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr("SpineSegLib.io.read_segmentation", broken)
    assert main(["evaluate", "a.nrrd", "b.nrrd"]) == 1
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "internal error (ValueError: first line second line)" in line
    assert main(["evaluate", "a.nrrd", "b.nrrd", "--debug"]) == 1
    assert "Traceback" in capfd.readouterr().err
