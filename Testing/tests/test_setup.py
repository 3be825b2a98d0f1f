"""Testing/run.py: when it sets up anew, and what it says when it cannot."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import environment
import pytest
import run

ROOT = Path(run.__file__).resolve().parent.parent


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder that looks like a venv of ours, with the Python of this test environment."""
    folder = tmp_path / "venv"
    python = environment.venv_python(folder)
    python.parent.mkdir(parents=True)
    if os.name == "nt":
        python.write_bytes(Path(sys.executable).read_bytes())
    else:
        python.symlink_to(sys.executable)
    return folder


def test_pins_digest_changes_with_the_pins_and_the_python(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"numpy==2.0\n")
    first = environment.pins_digest((file,), (3, 11))
    assert first != environment.pins_digest((file,), (3, 12))
    file.write_bytes(b"numpy==2.0\r\n")
    assert first == environment.pins_digest((file,), (3, 11)), "a checkout with Windows line ends has the same pins"
    file.write_bytes(b"numpy==2.1\n")
    assert first != environment.pins_digest((file,), (3, 11))


def test_venv_is_ready_only_with_the_same_pins_and_after_the_checks(venv):
    for text, state in {
        "abc checked\n": "ready",
        "abc\n": "unchecked",
        "other checked\n": "outdated",
        "unfinished\n": "unfinished",
        "": "unfinished",
    }.items():
        (venv / environment.STAMP).write_text(text, encoding="utf-8")
        assert environment.venv_state(venv, "abc") == state


def test_a_venv_whose_python_is_gone_is_made_anew(venv):
    (venv / environment.STAMP).write_text("abc checked\n", encoding="utf-8")
    environment.venv_python(venv).unlink()
    assert environment.venv_state(venv, "abc") == "unfinished"


def test_a_venv_that_someone_else_made_is_never_touched(venv, monkeypatch):
    assert environment.venv_state(venv, "abc") == "foreign"
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "LOCK", venv.with_name("lock"))
    with pytest.raises(environment.Stop, match="was not made by this program"):
        environment.set_up()
    assert environment.venv_python(venv).exists()


def test_an_absent_or_empty_folder_counts_as_absent(tmp_path):
    assert environment.venv_state(tmp_path / "none", "abc") == "absent"
    assert environment.venv_state(tmp_path, "abc") == "absent"


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14), (4, 0)])
def test_a_python_outside_the_range_is_told_what_to_use(version):
    text = environment.python_problem(version)
    assert f"{version[0]}.{version[1]}" in text
    assert "3.11 to 3.13" in text
    assert "\n" not in text


def test_this_python_is_accepted():
    assert environment.python_problem(sys.version_info[:2]) is None


def test_an_old_python_can_at_least_read_the_script():
    for module in (run, environment):
        ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_main_says_in_one_line_that_the_python_is_too_old(monkeypatch, capsys):
    monkeypatch.setattr(run.sys, "version_info", (3, 10, 1))
    assert run.main(["test"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Python 3.10 is too old")
    assert error.count("\n") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="system libraries are a matter of Linux")
def test_missing_system_libraries_are_named_with_their_debian_packages():
    missing = environment.missing_libraries({"libno-such-thing.so.7": "libnothing7", "libc.so.6": "libc6"})
    assert missing == {"libno-such-thing.so.7": "libnothing7"}
    text = environment.library_message({"libEGL.so.1": "libegl1", "libGL.so.1": "libgl1"})
    assert "libEGL.so.1, libGL.so.1" in text
    assert "apt-get install libegl1 libgl1" in text


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("Qt", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
        ("Qt", "ImportError: libodd.so.3: cannot open shared object file: No such file", "libodd.so.3"),
        ("rendering without a screen", "AssertionError: the picture is empty\n", "libgl1-mesa-dri"),
        ("rendering without a screen", "", "status 139"),
        ("slicer-core", "AssertionError: /x/__init__.py is PyPI's unrelated package 'slicer'", "Remove the folder"),
        ("torch with torchvision", "Traceback\nRuntimeError: operator nms does not exist\n", "operator nms"),
    ],
)
def test_a_failed_check_is_explained_in_one_line(name, output, expected):
    text = environment.explain_check(name, 139, output)
    assert expected in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["WARNING: Retrying", "ERROR: Could not install: [Errno 28] No space left on device"], "disk is full"),
        (["... NewConnectionError(...): Temporary failure in name resolution"], "cannot reach its package index"),
        (["ERROR: No matching distribution found for torch==9"], "No matching distribution found for torch==9"),
        ([], "pip said nothing"),
    ],
)
def test_a_failed_pip_is_explained_in_one_line(lines, expected):
    assert expected in environment.explain_pip(lines)


def test_pip_s_remarks_are_hidden_and_its_errors_and_large_downloads_are_told():
    assert environment.worth_telling("WARNING: Location '/x' is ignored: it is either a non-existing path") is None
    assert environment.worth_telling("  Downloading small-1.0-py3-none-any.whl (12 kB)") is None
    assert environment.worth_telling("  Downloading vtk-9.6.2-cp311.whl (146.2 MB)").strip() == "vtk, 146 MB"
    assert (
        environment.worth_telling("Downloading https://x.org/a/torch-2.14.1-cp311.whl (1.2 GB)").strip()
        == "torch, 1 GB"
    )
    assert "ERROR: bad" in environment.worth_telling("ERROR: bad")


def test_pip_is_run_for_real_and_its_failure_stops_the_set_up(tmp_path):
    wish = tmp_path / "requirements.txt"
    wish.write_text("no-such-package-of-ours==1.0\n", encoding="utf-8")
    empty = tmp_path / "wheels"
    empty.mkdir()
    with pytest.raises(environment.Stop, match="no-such-package-of-ours"):
        environment.pip_install(
            Path(sys.executable), ["--no-index", "--find-links", str(empty), "-r", str(wish)], tmp_path
        )


def test_too_little_disk_stops_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    monkeypatch.setattr(environment, "space_needed", lambda: 2**60)
    with pytest.raises(environment.Stop, match="are free at"):
        environment.make_venv("abc")
    assert not (tmp_path / "venv").exists()


def test_an_interrupted_set_up_is_seen_as_unfinished(tmp_path, monkeypatch):
    """Whatever happens after the first file, the next run starts anew."""
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    monkeypatch.setattr(environment, "space_needed", lambda: 0)

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "pip_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.make_venv("abc")
    assert environment.venv_state(environment.VENV, "abc") == "unfinished"


def test_a_second_set_up_waits_for_the_first(tmp_path):
    lock, order = tmp_path / "lock", []
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import environment; from pathlib import Path\n"
        "with environment.only_one(Path(sys.argv[2])): print('in', flush=True)"
    )
    with environment.only_one(lock):
        second = subprocess.Popen(
            [sys.executable, "-c", program, str(ROOT / "Testing"), str(lock)], stdout=subprocess.PIPE, text=True
        )
        assert "waiting" in second.stdout.readline()
        order.append("first done")
    rest, _ = second.communicate(timeout=30)
    order.append(rest.strip())
    assert order == ["first done", "in"]


def test_what_runs_in_the_venv_finds_the_library_and_gets_its_exit_status(monkeypatch, capfd):
    monkeypatch.setattr(run, "venv_python", lambda: Path(sys.executable))
    program = "import SpineSegLib, sys; print('found'); sys.exit(7)"
    assert run.run("-c", program) == 7
    assert "found" in capfd.readouterr().out


def test_help_needs_no_set_up():
    result = subprocess.run(
        [sys.executable, run.__file__, "--help"], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    for command in ("demo", "test", "python", "lint", "files"):
        assert command in result.stdout
