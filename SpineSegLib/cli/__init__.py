"""The command line, one file per command; the panel's worker is this very program.

Exit status: 0 done, 1 the input is at fault (one line on standard error says what and what to do), 2 wrong usage,
3 cancelled. Standard output holds results only; what libraries print goes to standard error.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from SpineSegLib import __version__
from SpineSegLib.cli import (
    batch,
    bench,
    compare,
    edit,
    evaluate,
    explain,
    export,
    masks,
    models,
    phantom,
    prune,
    report,
    segment,
    train,
    weights,
)
from SpineSegLib.cli.console import Console, results_only
from SpineSegLib.errors import Cancelled, InputError

COMMANDS = (
    models,
    segment,
    batch,
    edit,
    export,
    report,
    evaluate,
    compare,
    explain,
    phantom,
    masks,
    train,
    prune,
    weights,
    bench,
)
DONE, INPUT_AT_FAULT, CANCELLED = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Raises
    ------
    SystemExit : by argparse, with status 2 on wrong usage and 0 after ``--help``
    """
    options = _parser().parse_args(arguments)
    debug = options.debug or bool(os.environ.get("SPINESEG_DEBUG"))
    if not debug:
        # Libraries' advice to programmers would bury the one line that is meant for the user.
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        with results_only() as stream:
            options.run(options, Console(options, stream))
        return DONE
    except BrokenPipeError:
        # Whoever read the output has left (… | head); say nothing, and keep Python from trying again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return INPUT_AT_FAULT
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error, file=sys.stderr)
        status, line = _told(error)
        print(" ".join(line.split()), file=sys.stderr)
        return status


def _told(error: BaseException) -> tuple[int, str]:
    """Return the exit status and the one line for what stopped a command."""
    if isinstance(error, InputError):
        return INPUT_AT_FAULT, f"error: {error}"
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return CANCELLED, f"cancelled: {str(error) or 'interrupted'}; {getattr(error, 'kept', 'nothing was written')}"
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text.lower():
        return INPUT_AT_FAULT, "error: there is not enough memory for this. Close other programs, or crop the image."
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return INPUT_AT_FAULT, f"error: {place}{error.strerror or error}. Check the disk and its permissions."
    return INPUT_AT_FAULT, f"error: internal error ({text[:300]}). Please report it; --debug shows where it happened."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m SpineSegLib",
        description="Spine segmentation in CT and radiographs. Not for diagnostic use.",
        epilog="Exit status: 0 done, 1 the input is at fault, 2 wrong usage, 3 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"SpineSeg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser
