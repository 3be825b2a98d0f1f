"""The Python packages that SpineSeg needs, pinned to what is installed here, and their wheels for a machine offline."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import SpineSegLib
from SpineSegLib.errors import problem
from SpineSegLib.models.store import file_sha256
from SpineSegLib.progress import Progress, silent

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOOK = 0.5  # seconds between two looks at whether the user cancelled


def requirements_file() -> Path:
    """Return the list of what the worker needs besides PyTorch, in the source tree or as it is installed."""
    beside = Path(SpineSegLib.__file__).resolve().parent.parent
    places = (beside / "SpineSeg" / "Resources" / "requirements.txt", beside / "Resources" / "requirements.txt")
    for place in places:
        if place.is_file():
            return place
    raise problem(places[0], "no such file", "the list of packages that comes with SpineSeg", "Install SpineSeg again")


def needed(file: Path | None = None) -> list[str]:
    """Return the names of the packages that a worker needs, PyTorch first."""
    lines = (file or requirements_file()).read_text(encoding="utf-8").splitlines()
    return ["torch", *(found[0] for line in lines if (found := _NAME.match(line.strip())))]


def pinned(names: Sequence[str], *, whole: bool = True, local: bool = False) -> dict[str, str]:
    """Return packages and the versions that are installed here, in the order of the alphabet.

    Parameters
    ----------
    names : packages
    whole : also what these need in turn, as far as it is installed here
    local : keep what follows a ``+``, such as in ``2.9.0+cpu``, which the usual index does not have

    Raises
    ------
    InputError : one of `names` is not installed
    """
    found: dict[str, str] = {}
    waiting = [(name, True) for name in names]
    while waiting:
        name, must = waiting.pop()
        key = canonical(name)
        if key in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if must:
                step = "Install it, or write the bundle with the Python that runs SpineSeg"
                raise problem(name, "it is not installed here", "the packages that SpineSeg needs", step) from None
            continue
        found[key] = package.version if local else package.version.partition("+")[0]
        if whole:
            wanted = (line for line in package.requires or () if "extra ==" not in line)
            waiting += [(match[0], False) for line in wanted if (match := _NAME.match(line))]
    return dict(sorted(found.items()))


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def download_wheels(
    pins: dict[str, str],
    folder: Path,
    report: Progress = silent,
    *,
    platform: str | None = None,
    python: str | None = None,
    index: str | None = None,
    start: Callable = subprocess.Popen,
) -> list[Path]:
    """Let pip download the wheels of pinned packages and of what these need; nothing is built, nothing installed.

    Parameters
    ----------
    pins : name -> version
    folder : that gets the wheels
    platform, python : of the machine that they are for, such as ``win_amd64`` and ``3.12``; this one's unless given
    index : address of an index to look in besides the usual one, such as PyTorch's
    start : starts the process; `subprocess.Popen` unless given

    Returns
    -------
    The wheels, by name

    Raises
    ------
    InputError : pip failed; the text has its last word
    """
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--only-binary", ":all:", "--dest", str(folder)]
    for option, value in (("--platform", platform), ("--python-version", python), ("--extra-index-url", index)):
        command += [option, value] if value else []
    command += [f"{name}=={version}" for name, version in pins.items()]
    said: deque[str] = deque(maxlen=200)
    process = start(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    )
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
            there = len(list(folder.glob("*.whl")))
            report(there, max(there, len(pins)), "downloading packages")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    reader.join()
    if process.returncode:
        errors = [line.strip() for line in said if line.startswith("ERROR")] or [line.strip() for line in said]
        found = f"pip could not download the packages ({(errors or ['it said nothing'])[-1][:300]})"
        raise problem("--wheels", found, "a wheel of each", "Check the network, --platform, --python and --index")
    return sorted(folder.glob("*.whl"))


def requirement_lines(pins: dict[str, str], wheels: Sequence[Path] = ()) -> list[str]:
    """Return the lines of a requirements file: every wheel with its version and sha256; the pins where there are none.

    With the checksums, ``pip install --require-hashes`` installs these very files and nothing else.
    """
    if not wheels:
        return [f"{name}=={version}" for name, version in pins.items()]
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{canonical(name)}=={version} --hash=sha256:{file_sha256(wheel)}")
    return lines
