"""Progress and cancelling, shared by every long piece of work.

A `Progress` is any callable ``report(step, of, what)``. It may raise `Cancelled`, which is how a run is stopped:
long work calls it between steps and writes nothing before its last one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from SpineSegLib.errors import Cancelled

Progress = Callable[[int, int, str], None]


def silent(step: int, of: int, what: str) -> None:
    """Report nothing."""


def part(report: Progress, start: int, of: int) -> Progress:
    """Return a progress for one part of a longer run: its steps count from `start` in a total of `of`."""
    return lambda step, _of, what: report(start + step, of, what)


class Reporter:
    """Progress for the command line: JSON lines for programs or one line for people, and a cancel file.

    Parameters
    ----------
    style : ``"json"`` (one object a line on `stream`), ``"text"`` or ``"none"``
    cancel_file : when this file comes to exist, the next report raises `Cancelled`
    stream : where the lines go; standard output for JSON, standard error for people, unless given
    """

    def __init__(self, style: str = "none", cancel_file: str | Path | None = None, stream: IO[str] | None = None):
        if style not in ("json", "text", "none"):
            msg = f"progress style is {style!r}, expected 'json', 'text' or 'none'"
            raise ValueError(msg)
        self.style = style
        self.cancel_file = Path(cancel_file) if cancel_file else None
        self.stream = stream or (sys.stdout if style == "json" else sys.stderr)

    def __call__(self, step: int, of: int, what: str) -> None:
        if self.cancel_file and self.cancel_file.exists():
            raise Cancelled(f"stopped at step {step} of {of} ({what})")
        if self.style == "json":
            self.stream.write(json.dumps({"step": step, "of": of, "what": what}) + "\n")
        elif self.style == "text":
            self.stream.write(f"[{step}/{of}] {what}\n")
        if self.style != "none":
            self.stream.flush()
