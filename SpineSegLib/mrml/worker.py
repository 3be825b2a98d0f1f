"""The worker process (``python -m SpineSegLib …``) as Slicer sees it: starting, progress, errors, cancelling.

The process and the clock are injected, so that the protocol is tested without either.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.processes import end_tree

GRACE = 1.2
"""Seconds that a cancelled worker has to stop by itself before its processes are ended.

It looks at its cancel file between steps; loading PyTorch, or a large picture in one go, is one long step.
"""

LAST_WORDS = 3
"""Lines of a worker that crashed which the user is shown."""

MAX_LINES = 5000
"""Lines of log that are kept; the first ones of a longer log are dropped."""

DONE, CANCELLED, FAILED = "done", "cancelled", "failed"
_EXIT_CANCELLED = 3
_KILLED = 9


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    error : for the user, when it failed: one line, and after a crash the last lines that it wrote
    payload : the JSON that the worker printed, if it printed one
    log : everything it wrote except progress
    """

    state: str
    error: str = ""
    payload: object = None
    log: str = ""


class Worker:
    """One worker process at a time.

    Parameters
    ----------
    start : ``start(arguments, environment, onLine, onDone) -> process``: starts a process and returns at once;
        ``onLine(text)`` is called for each line it writes and ``onDone(exit status)`` once, both on the main thread;
        what it returns has a ``pid``. Slicer's own (`launch`) unless given.
    later : ``later(seconds, function)`` calls a function after a while, on the main thread; Qt's timer unless given
    end : ``end(pid)`` ends a process and its children
    """

    def __init__(
        self,
        start: Callable | None = None,
        later: Callable[[float, Callable[[], None]], None] | None = None,
        end: Callable[[int], None] = end_tree,
    ):
        self._start = start or launch
        self.later = later or call_later
        self._end = end
        self._job: _Job | None = None

    @property
    def busy(self) -> bool:
        """True while a process runs."""
        return self._job is not None

    def run(
        self,
        arguments: list[str],
        *,
        cancelFile: Path | None = None,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = lambda *_: None,
        onDone: Callable[[Outcome], None] = lambda *_: None,
    ) -> None:
        """Start ``python -m SpineSegLib ARGUMENTS`` and return at once.

        Raises
        ------
        RuntimeError : a process runs already
        InputError : there is no Python to run
        """
        if self.busy:
            msg = "a worker is running already"
            raise RuntimeError(msg)
        job = self._job = _Job(cancelFile, onProgress, onLog, onDone)
        command = [python_executable(), "-m", "SpineSegLib", *arguments]
        try:
            variables = environment(cancelFile.parent if cancelFile else None)
            job.process = self._start(command, variables, job.line, lambda status: self._finished(job, status))
        except BaseException:
            self._job = None
            raise

    def cancel(self) -> None:
        """Ask the worker to stop; end its processes when it has not done so after a while."""
        job = self._job
        if job is None or job.cancelled:
            return
        job.cancelled = True
        if job.cancelFile is None:
            self._end(job.process.pid)
            return
        job.cancelFile.touch()
        self.later(GRACE, lambda: self._end(job.process.pid) if job is self._job else None)

    def kill(self) -> None:
        """End the worker's processes now and forget the run: nothing is called back any more."""
        job, self._job = self._job, None
        if job is not None:
            job.mute()
            self._end(job.process.pid)

    def _finished(self, job: _Job, status: int) -> None:
        # A run that was killed may report its end when another one runs already.
        if job is self._job:
            self._job = None
            job.onDone(job.outcome(status))


class _Job:
    """One run of the worker: what it wrote, and who wants to know."""

    def __init__(self, cancelFile: Path | None, onProgress: Callable, onLog: Callable, onDone: Callable):
        self.process = None
        self.cancelFile, self.cancelled = cancelFile, False
        self.onProgress, self.onLog, self.onDone = onProgress, onLog, onDone
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._error = ""

    def mute(self) -> None:
        self.onProgress = self.onLog = self.onDone = lambda *_: None

    def line(self, text: str) -> None:
        """Take a line that the process wrote."""
        progress = _progress(text)
        if progress is not None:
            self.onProgress(*progress)
            return
        self._lines.append(text)
        if text.startswith("error: "):
            self._error = text.removeprefix("error: ")
        self.onLog(text)

    def outcome(self, status: int) -> Outcome:
        log = "\n".join(self._lines)
        if self.cancelled or status == _EXIT_CANCELLED:
            return Outcome(CANCELLED, log=log)
        if status == 0:
            return Outcome(DONE, payload=_payload(list(self._lines)), log=log)
        if self._error:
            return Outcome(FAILED, self._error, log=log)
        said = [line.strip() for line in self._lines if line.strip()][-LAST_WORDS:] or ["nothing was printed"]
        first = f"The worker stopped unexpectedly (status {status}). {_next_step(status, log)} It said last:"
        return Outcome(FAILED, "\n".join([first, *said]), log=log)


def _next_step(status: int, log: str) -> str:
    """Say what the user can do after a crash."""
    if abs(status) in (_KILLED, 128 + _KILLED) or "MemoryError" in log or "bad_alloc" in log:
        return "There was probably not enough memory: close other programs, or choose a smaller model."
    if "No module named" in log:
        return "A Python package is missing: click Apply again and let it be installed."
    return "Try again with 'Run on: Processor (CPU)' under Advanced; if it stops again, report it with the log."


def _progress(text: str) -> tuple[int, int, str] | None:
    """Return (step, of, what) when a line is a progress line."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
        return int(found["step"]), int(found["of"]), str(found["what"])
    except (ValueError, KeyError, TypeError):
        return None


def _payload(lines: list[str]) -> object:
    """Return the last JSON object or list that starts a line: results are printed once, and last."""
    decoder = json.JSONDecoder()
    for number, line in reversed(list(enumerate(lines))):
        if line.startswith(("{", "[")):
            try:
                return decoder.raw_decode("\n".join(lines[number:]))[0]
            except ValueError:
                continue
    return None


def python_executable() -> str:
    """Return the Python that runs the worker: Slicer's PythonSlicer, else the running one.

    Raises
    ------
    InputError : neither is there
    """
    found = shutil.which("PythonSlicer")
    if found:
        return found
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    raise problem("PythonSlicer", "it is not on the PATH", "Slicer's Python beside Slicer", "Install Slicer again")


def environment(folder: Path | None = None) -> dict[str, str]:
    """Return the environment variables that let the worker find this very SpineSegLib, and nothing in its folder.

    Parameters
    ----------
    folder : of the run; the worker's temporary files go there, so that none is left when it had to be ended
    """
    own = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)) if folder else {}
    library = str(Path(__file__).resolve().parents[2])
    rest = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != library]
    path = os.pathsep.join([library, *rest])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **own}


def launch(
    arguments: list[str],
    variables: dict[str, str],
    onLine: Callable[[str], None],
    onDone: Callable[[int], None],
):
    """Start a process with Slicer's own launchConsoleProcess; callbacks come on the main thread."""
    import slicer.util

    return slicer.util.launchConsoleProcess(
        arguments,
        useStartupEnvironment=False,
        updateEnvironment=variables,
        blocking=False,
        logCallback=onLine,
        completedCallback=onDone,
    )


def call_later(seconds: float, function: Callable[[], None]) -> None:
    """Call a function after some seconds, on the main thread."""
    import qt

    qt.QTimer.singleShot(int(1000 * seconds), function)
