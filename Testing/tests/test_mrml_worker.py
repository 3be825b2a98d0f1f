"""The worker's protocol with real processes, good and bad ones, on Qt's event loop."""

import sys
from pathlib import Path

import psutil
import pytest

from SpineSegLib.mrml import CANCELLED, DONE, FAILED, Worker
from SpineSegLib.mrml.processes import end_tree
from SpineSegLib.mrml.worker import GRACE, environment, launch, python_executable

STUB = Path(__file__).with_name("worker_stub.py")


class Watch:
    """A worker that runs the stub, and what it called back."""

    def __init__(self, mode: str, cancel_file: Path, **how):
        self.progress, self.log, self.ended = [], [], []
        self.worker = Worker(start=self.start, **how)
        self.mode, self.cancel_file = mode, cancel_file
        self.worker.run(
            ["segment"],
            cancelFile=cancel_file,
            onProgress=lambda *line: self.progress.append(line),
            onLog=self.log.append,
            onDone=self.ended.append,
        )

    def start(self, arguments, variables, onLine, onDone):
        assert arguments[1:] == ["-m", "SpineSegLib", "segment"]
        self.process = launch([sys.executable, str(STUB), self.mode, str(self.cancel_file)], variables, onLine, onDone)
        return self.process


@pytest.fixture
def run(scene, slicer_host, tmp_path):
    """Run the stub to its end; return the watch and the outcome."""

    def run(mode: str):
        watch = Watch(mode, tmp_path / "cancel")
        slicer_host.wait_until(lambda: watch.ended)
        assert not watch.worker.busy
        (outcome,) = watch.ended
        return watch, outcome

    return run


def test_progress_result_and_messages_are_told_apart(run):
    watch, outcome = run("good")
    assert watch.progress == [(1, 3, "reading"), (3, 3, "done")]
    assert outcome.state == DONE
    assert outcome.payload == {"output": "x", "warnings": ["one"]}
    assert watch.log[0] == "a library says something"
    assert "a library says something" in outcome.log


def test_garbage_is_survived_and_the_result_found_in_it(run):
    watch, outcome = run("garbage")
    assert watch.progress == [(1, 3, "reading")]
    assert outcome.state == DONE
    assert outcome.payload == {"fine": True}


def test_error_line_is_what_the_user_sees(run):
    _, outcome = run("input")
    assert outcome.state == FAILED
    assert outcome.error == "film.png: it is a photograph; expected a radiograph. Choose another."


def test_crash_is_told_with_the_last_words(run):
    _, outcome = run("crash")
    assert outcome.state == FAILED
    assert "status 139" in outcome.error
    assert "Fatal: the last words" in outcome.error


def test_cancelled_worker_stops_by_itself(scene, slicer_host, tmp_path):
    watch = Watch("polite", tmp_path / "cancel")
    slicer_host.wait_until(lambda: len(watch.progress) > 3)
    watch.worker.cancel()
    watch.worker.cancel()
    slicer_host.wait_until(lambda: watch.ended)
    assert [outcome.state for outcome in watch.ended] == [CANCELLED]
    assert watch.process.returncode == 3


def test_deaf_worker_and_its_child_are_ended(scene, slicer_host, tmp_path):
    """The clock is injected: the grace is over at once."""
    waits = []

    def later(seconds, function):
        waits.append(seconds)
        function()

    watch = Watch("deaf", tmp_path / "cancel", later=later)
    slicer_host.wait_until(lambda: len(watch.progress) == 2)
    child = psutil.Process(int(watch.progress[1][2]))
    watch.worker.cancel()
    slicer_host.wait_until(lambda: watch.ended)
    assert watch.ended[0].state == CANCELLED
    assert waits == [GRACE]
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_killed_worker_calls_nobody_and_another_can_start(scene, slicer_host, tmp_path):
    watch = Watch("deaf", tmp_path / "cancel")
    slicer_host.wait_until(lambda: len(watch.progress) == 2)
    watch.worker.kill()
    assert not watch.worker.busy
    second = []
    watch.mode = "good"
    watch.worker.run(["segment"], onDone=second.append)
    slicer_host.wait_until(lambda: second)
    assert second[0].state == DONE
    assert watch.ended == []


def test_second_run_at_a_time_is_refused(scene, slicer_host, tmp_path):
    watch = Watch("polite", tmp_path / "cancel")
    with pytest.raises(RuntimeError, match="running already"):
        watch.worker.run(["segment"])
    watch.worker.cancel()
    slicer_host.wait_until(lambda: watch.ended)


def test_process_that_cannot_start_leaves_the_worker_free():
    def start(*_):
        raise OSError("no such program")

    worker = Worker(start=start)
    with pytest.raises(OSError, match="no such program"):
        worker.run(["segment"])
    assert not worker.busy


def test_ending_a_process_that_has_ended_does_nothing():
    process = psutil.Popen([sys.executable, "-c", "pass"])
    process.wait()
    end_tree(process.pid)


def test_worker_finds_this_very_library_wherever_it_is_started(tmp_path):
    import os
    import subprocess

    (tmp_path / "SpineSegLib.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "SpineSegLib", "--version"],
        cwd=tmp_path,
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SpineSeg ")


def test_slicers_own_python_is_preferred(monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "which", lambda name: f"/slicer/bin/{name}")
    assert python_executable() == "/slicer/bin/PythonSlicer"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert python_executable() == sys.executable
    monkeypatch.setattr(sys, "executable", "/slicer/bin/SlicerApp-real")
    with pytest.raises(Exception, match="PythonSlicer: it is not on the PATH"):
        python_executable()
