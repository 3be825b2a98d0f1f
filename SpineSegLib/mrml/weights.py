"""Weights as the panel manages them: what is here is looked up at once, the rest is done by the worker process."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from SpineSegLib.mrml.jobs import Jobs
from SpineSegLib.mrml.worker import DONE, Outcome, Worker


@dataclass(frozen=True)
class Managed:
    """How a piece of work on weights ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    error : one line for the user, when it failed
    content : what ``python -m SpineSegLib weights … --json`` printed
    seconds : from start to end
    """

    state: str
    error: str = ""
    content: object = None
    seconds: float = 0.0


def _nobody(*_) -> None:
    """Listen to nothing."""


class WeightsKeeper(Jobs):
    """Runs one ``python -m SpineSegLib weights …`` at a time; the scene has no part in it.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(Managed, worker, now)

    def run(
        self,
        action: str,
        *arguments: str,
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Managed], None] = _nobody,
    ) -> None:
        """Start an action and return at once.

        Parameters
        ----------
        action : install, verify, delete, folder, bundle or install-bundle
        arguments : as on the command line; nobody is asked there, so those that change something need ``--yes``
        onDone : gets the `Managed`

        Raises
        ------
        RuntimeError : an action is in progress already
        """

        def prepare(folder: Path) -> None:
            self._work(["weights", action, *arguments, "--json"], self._ended)

        self._begin(prepare, onProgress, onLog, onDone)

    def _ended(self, outcome: Outcome) -> None:
        if outcome.state == DONE:
            self._succeed(content=outcome.payload)
        else:
            self._fail(outcome.error)

    def leave(self) -> bool:
        """Let the action stop and clean up by itself, and hear no more of it; return whether there was one.

        Ending the process at once, as `abort` does, would leave half a download in the folder.
        """
        if not self.busy:
            return False
        self._onProgress = self._onLog = self._onDone = _nobody
        self.cancel()
        return True


def weights_rows() -> list[dict[str, object]]:
    """Return what is known of every model's weights (`SpineSegLib.models.weights_list`); those that are here first."""
    from SpineSegLib.models import weights_list

    order = ("installed", "bundled", "absent")
    return sorted(weights_list(), key=lambda row: (order.index(row["weights"]), row["name"]))


def current_folder() -> str:
    """Return the folder of installed weights."""
    from SpineSegLib.models import weights_folder

    return str(weights_folder())


def missing_packages(requirementsFile: str) -> list[str]:
    """Return the packages that the models need and that are not installed; nothing is imported for it.

    Parameters
    ----------
    requirementsFile : what the worker needs besides PyTorch
    """
    from SpineSegLib.models.wheels import needed

    missing = []
    for name in needed(Path(requirementsFile)):
        if name == "torch":
            missing += [] if importlib.util.find_spec("torch") else ["PyTorch"]
            continue
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    return missing
