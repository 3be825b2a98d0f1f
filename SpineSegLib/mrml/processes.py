"""Ending a process with all its children.

Slicer starts Python through a launcher: ending that one leaves the real worker running.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress


def end_tree(pid: int) -> None:
    """End a process and everything it started; nothing happens when it has ended already."""
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(pid)],
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    with suppress(ProcessLookupError, PermissionError):
        # Stopped, it cannot start another child while its children are looked for.
        os.kill(pid, signal.SIGSTOP)
    for process in [*_descendants(pid), pid]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Return the IDs of all processes below `pid`, as ``ps`` lists them."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False, encoding="ascii"
    )
    children: dict[int, list[int]] = {}
    for line in listing.stdout.splitlines():
        child, parent = (int(word) for word in line.split())
        children.setdefault(parent, []).append(child)
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
