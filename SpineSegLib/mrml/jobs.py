"""What every run of the worker for the scene shares: a temporary folder, a cancel file, one run at a time, one end."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from SpineSegLib.errors import InputError
from SpineSegLib.mrml.worker import CANCELLED, DONE, FAILED, Outcome, Worker

FOLDER_PREFIX = "SpineSeg-run-"
"""How the names of the runs' temporary folders begin."""

LARGE = 4_000_000
"""Voxels from which on files are written and read beside the event loop; fewer take no time that anybody sees."""

GLANCE = 0.02
"""Seconds between two looks at whether that is done."""


def temporary_folder() -> str:
    """Return the folder that temporary files go to: the one in Slicer's settings."""
    import slicer

    return getattr(getattr(slicer, "app", None), "temporaryPath", None) or tempfile.gettempdir()


def still_there(node):
    """Return a node, or None when it was deleted during the run."""
    return node if node is not None and node.GetScene() is not None else None


class Jobs:
    """One run at a time; the scene changes only when all of it is done.

    Parameters
    ----------
    result : ``result(state, error="", **content)`` makes what ``onDone`` gets
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(
        self, result: Callable, worker: Worker | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_result, self._worker, self._now = result, worker or Worker(), now
        self._folder: Path | None = None
        self._future: Future | None = None
        self.result = None

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self._folder is not None

    def cancel(self) -> None:
        """Stop the run; ``onDone`` follows when its process has ended, and the scene stays as it was."""
        if self._future is None:
            self._worker.cancel()
        else:
            self._finish(self._make_result(CANCELLED))

    def abort(self) -> bool:
        """Stop the run at once, without ``onDone``; return whether there was one."""
        if not self.busy:
            return False
        self._worker.kill()
        self._onDone = lambda *_: None
        self._finish(self._make_result(CANCELLED))
        return True

    def _begin(self, prepare: Callable[[Path], None], onProgress: Callable, onLog: Callable, onDone: Callable) -> None:
        """Make the folder and let `prepare` fill it and start the first process; leave nothing when that fails."""
        if self.busy:
            msg = "SpineSeg is running already: wait for it, or cancel it."
            raise RuntimeError(msg)
        self._started, self.result = self._now(), None
        self._onProgress, self._onLog, self._onDone = onProgress, onLog, onDone
        folder = self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=temporary_folder()))
        try:
            prepare(folder)
        except BaseException:
            self._folder = None
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _aside(self, work: Callable[[], object], then: Callable[[object], None], *, voxels: int) -> None:
        """Do what `work` does, then go on with what it returned, while Slicer goes on drawing and answering.

        `work` touches files and arrays only, neither the scene nor Qt: where there are many voxels it runs in a thread.
        """
        if voxels < LARGE:
            then(work())
            return
        pool = ThreadPoolExecutor(1)
        future = self._future = pool.submit(work)
        pool.shutdown(wait=False)

        def look() -> None:
            if future is not self._future:
                return  # given up meanwhile
            if not future.done():
                self._worker.later(GLANCE, look)
                return
            self._future = None
            self._guarded(lambda: then(future.result()))

        self._worker.later(GLANCE, look)

    def _work(self, arguments: list[str], then: Callable[[Outcome], None], about: str = "") -> None:
        """Run the worker with a cancel file; `then` is called unless it was cancelled."""
        cancelFile = self._folder / "cancel"

        def ended(outcome: Outcome) -> None:
            if outcome.state == CANCELLED:
                self._finish(self._make_result(CANCELLED))
            else:
                self._guarded(lambda: then(outcome))

        self._worker.run(
            [*arguments, "--progress", "json", "--cancel-file", str(cancelFile)],
            cancelFile=cancelFile,
            onProgress=lambda step, of, what: self._onProgress(step, of, f"{about}{what}"),
            onLog=self._onLog,
            onDone=ended,
        )

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step of a run; whatever goes wrong, the run has ended and the panel does not wait for it for ever."""
        try:
            step()
        except InputError as failure:
            self._fail(str(failure))
        except MemoryError:
            self._fail("There is not enough memory for the result. Close other data first.")
        except Exception as failure:
            if not self.busy:
                raise  # whoever was told the result failed, not the run
            logging.exception("SpineSeg: the result could not be shown")
            self._fail(f"The result could not be shown ({failure}). Please report it.")

    def _fail(self, error: str) -> None:
        self._finish(self._make_result(FAILED, error=error))

    def _succeed(self, **content) -> None:
        self._finish(self._make_result(DONE, seconds=self._now() - self._started, **content))

    def _finish(self, result) -> None:
        folder, future = self._folder, self._future
        self._folder, self._future, self.result = None, None, result
        if future is None:
            self._discard(folder)
        else:
            # Its files are removed when the thread has closed the last of them.
            future.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))
        self._onDone(result)

    def _discard(self, folder: Path) -> None:
        """Remove a run's folder; what an ended process still held open is removed a little later."""
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            self._worker.later(1.0, lambda: shutil.rmtree(folder, ignore_errors=True))
