"""A worker that misbehaves on purpose: ``python worker_stub.py MODE [CANCEL FILE]``; see test_mrml_worker.py.

In two modes it behaves: ``python worker_stub.py copy RESULT OUTPUT``, and ``work RESULT OUTPUT CANCEL_FILE SECONDS``,
which takes its time; see test_panel_alive.py.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def progress(step: int, of: int, what: str) -> None:
    print(json.dumps({"step": step, "of": of, "what": what}), flush=True)


def work(result: str, output: str, cancel_file: str = "", seconds: str = "0") -> int:
    """Tell what is done 20 times a second, as a run of many patches does; look at the cancel file before each."""
    start, steps = time.monotonic(), int(20 * float(seconds))
    for step in range(steps):
        if Path(cancel_file).exists():
            print("cancelled: stopped; nothing was written", file=sys.stderr)
            return 3
        progress(step, steps, "segmenting")
        print(f"patch {step}", flush=True)
        time.sleep(max(0.0, start + (step + 1) / 20 - time.monotonic()))
    shutil.copy(result, output)
    print(json.dumps({"structures": [], "warnings": []}))
    return 0


def main(mode: str, cancel_file: str = "", *more: str) -> int:
    progress(1, 3, "reading")
    if mode in ("copy", "work"):
        return work(cancel_file, *more)
    if mode == "good":
        print("a library says something", file=sys.stderr, flush=True)
        progress(3, 3, "done")
        print(json.dumps({"output": "x", "warnings": ["one"]}, indent=1))
        return 0
    if mode == "garbage":
        sys.stdout.flush()
        # Slicer drops what it reads in one go (8 KiB at most) with bytes that are no text: keep them from other lines.
        sys.stdout.buffer.write(b"." * 9000 + b"\n")
        sys.stdout.buffer.write(b"\xff\xfe\x00 no text\n{\n{]}\n" + b"{" + b"a" * 100_000 + b'\n[1, 2\n{"step": "x"}\n')
        sys.stdout.buffer.write(b'{"step": 2, "of": 3}\n\n{"fine": true} and more\n')
        sys.stdout.buffer.flush()
        return 0
    if mode == "input":
        print("warning: this is not the reason", file=sys.stderr)
        print("error: film.png: it is a photograph; expected a radiograph. Choose another.", file=sys.stderr)
        return 1
    if mode == "crash":
        print("Fatal: the last words", file=sys.stderr, flush=True)
        os._exit(139)
    if mode == "polite":
        while not Path(cancel_file).exists():
            progress(2, 3, "working")
            time.sleep(0.02)
        print("cancelled: stopped; nothing was written", file=sys.stderr)
        return 3
    if mode == "deaf":
        # A launcher with a child that does the work, as Slicer's own: neither looks at the cancel file.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        progress(2, 3, str(child.pid))
        return child.wait()
    msg = f"no mode {mode!r}"
    raise ValueError(msg)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
