"""What every command shares: standard output for results only, progress, tables, and the common options."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from SpineSegLib.errors import InputError
from SpineSegLib.progress import Progress, Reporter


def common_options(*, json_of: str | None) -> argparse.ArgumentParser:
    """Return the options of every command, to be a parent of its parser; `json_of` describes what --json prints."""
    parser = argparse.ArgumentParser(add_help=False)
    if json_of:
        parser.add_argument("--json", action="store_true", help=f"print {json_of} as JSON")
    else:
        parser.set_defaults(json=False)
    parser.add_argument(
        "--progress", choices=("json", "text", "none"), help="json: one object a line; text where there is a terminal"
    )
    parser.add_argument("--cancel-file", metavar="FILE", help="stop at the next step once this file exists")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


class Console:
    """Where a command reports to.

    Parameters
    ----------
    options : parsed options, with `common_options`
    stream : standard output
    """

    def __init__(self, options: argparse.Namespace, stream: IO[str]):
        self._json, self._results = options.json, stream
        style = options.progress or ("text" if sys.stderr and sys.stderr.isatty() else "none")
        # Programs that read progress from standard output must find nothing else there than JSON.
        self._text = sys.stderr if style == "json" else stream
        self.report: Progress = Reporter(style, options.cancel_file, stream if style == "json" else None)

    def result(self, content: object, text: str, warnings: Sequence[str] = ()) -> None:
        """Print a command's result, once and last: as one line of JSON if that was asked, else as text."""
        if self._json:
            print(json.dumps(content, allow_nan=False), file=self._results, flush=True)
            return
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(text, file=self._text, flush=True)


def scaled(report: Progress, start: int, stop: int, of: int = 100) -> Progress:
    """Return a progress whose whole run lies between two steps of a longer one."""
    return lambda step, total, what: report(start + (stop - start) * min(step, total) // max(total, 1), of, what)


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return rows of text as an aligned table; the columns numbered in `right` are aligned on their right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.rjust(width) if n in right else cell.ljust(width) for n, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def results_only() -> Iterator[IO[str]]:
    """Yield standard output for results alone: meanwhile what others print, C code too, goes to standard error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is sys.__stdout__ or stream is sys.__stderr__:
            # A name that the terminal's code page lacks must not end the program; programs expect UTF-8.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    with contextlib.ExitStack() as stack:
        results = sys.stdout
        if sys.stdout is sys.__stdout__:
            sys.stdout.flush()
            kept = os.dup(1)
            results = stack.enter_context(os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors="backslashreplace"))
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield results


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back what C code prints on standard error; it is dropped when the block raises an InputError that says it.

    ITK and VTK print a page for a full disk, which would bury the one line that is meant for the user.
    """
    if sys.stderr is not sys.__stderr__:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as pages:
        os.dup2(pages.fileno(), 2)
        told = False
        try:
            yield
        except InputError:
            told = True
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if not told:
                pages.seek(0)
                sys.stderr.write(pages.read().decode("utf-8", "replace"))
