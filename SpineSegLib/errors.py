"""What can go wrong for a user's reason, told in one line."""

from __future__ import annotations


class InputError(Exception):
    """The input is at fault; the text says what, where, what was expected and what to do, in one line.

    The command line prints the text and exits with status 1; the panel shows it. Build it with `problem`.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class Cancelled(Exception):
    """The user asked to stop; nothing was written, unless `kept` says otherwise. The command line exits with status 3.

    Parameters
    ----------
    message : where the work stopped
    kept : what is there all the same, in words
    """

    def __init__(self, message: str = "", kept: str = "nothing was written"):
        super().__init__(message)
        self.kept = kept


def problem(where: object, found: str, expected: str, next_step: str) -> InputError:
    """Return the one-line error for bad input.

    Parameters
    ----------
    where : the file, argument or node at fault
    found : what was found there
    expected : what was expected instead
    next_step : what the user can do
    """
    return InputError(f"{where}: {found}; expected {expected}. {next_step.rstrip('.')}.")
