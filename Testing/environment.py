"""The environment that SpineSeg is tested in: a venv with the pinned packages, made once and checked.

Standard library only; `set_up` is what the rest calls. Each thing that can go wrong ends in one line (`Stop`).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parent
ROOT = TESTING.parent
VENV = ROOT / ".venv"
LOCK = ROOT / ".venv.lock"
STAMP = "spineseg-setup.txt"
"""File in the venv: ``unfinished``, or the pins' digest, and ``checked`` once everything was seen to work."""
PINS = (TESTING / "requirements.txt", TESTING / "requirements-no-deps.txt")
OLDEST, NEWEST = (3, 11), (3, 13)
GIB = 2**30
SPACE = {"linux": 12 * GIB}
"""Room the set-up needs while it runs: PyPI's torch for Linux brings CUDA; the others do with `LITTLE_SPACE`."""
LITTLE_SPACE = 4 * GIB

DEBIAN_PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libzstd.so.1": "libzstd1",
    "libz.so.1": "zlib1g",
    "libstdc++.so.6": "libstdc++6",
}
"""What VTK's and Qt's wheels take from the system on Linux, and the Debian and Ubuntu package that has it."""
DRIVER_PACKAGES = "libegl1 libgl1-mesa-dri"

CHECKS = {
    "torch with torchvision": """
import torch, torchvision
assert torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5).tolist() == [0]
""",
    "slicer-core": """
import slicer
assert hasattr(slicer, "vtkMRMLScene"), f"{slicer.__file__} is PyPI's unrelated package 'slicer', not slicer-core"
slicer.vtkMRMLScene()
""",
    "Qt": """
from PySide6 import QtUiTools, QtWidgets
QtWidgets.QApplication([])
""",
    "rendering without a screen": """
import vtk
from vtk.util.numpy_support import vtk_to_numpy
source, mapper, actor, renderer = vtk.vtkSphereSource(), vtk.vtkPolyDataMapper(), vtk.vtkActor(), vtk.vtkRenderer()
mapper.SetInputConnection(source.GetOutputPort())
actor.SetMapper(mapper)
renderer.AddActor(actor)
window, grab = vtk.vtkRenderWindow(), vtk.vtkWindowToImageFilter()
window.SetOffScreenRendering(1)
window.SetSize(32, 32)
window.AddRenderer(renderer)
window.Render()
grab.SetInput(window)
grab.Update()
assert vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).max() > 0, "the picture is empty"
""",
}
"""Small programs that fail when the set-up does not work."""


class Stop(Exception):
    """The set-up cannot go on; the text says why and what to do, in one line."""


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def python_problem(version: tuple[int, int]) -> str | None:
    """Say why this Python cannot be used, or return None."""
    if OLDEST <= version <= NEWEST:
        return None
    old = "old" if version < OLDEST else "new (slicer-core has no wheel for it yet)"
    return (
        f"Python {version[0]}.{version[1]} is too {old}; SpineSeg needs {OLDEST[0]}.{OLDEST[1]} to "
        f"{NEWEST[0]}.{NEWEST[1]}. Run this with one of them, for instance: python3.12 Testing/run.py"
    )


def pins_digest(pins: tuple[Path, ...] = PINS, version: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return a digest of the pinned packages, the Python version and the machine's kind."""
    digest = hashlib.sha256(f"{version[0]}.{version[1]} {sys.platform} {platform.machine()}".encode())
    for path in pins:
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def venv_python(venv: Path = VENV) -> Path:
    """Return the venv's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_state(venv: Path, digest: str) -> str:
    """Return ``absent``, ``foreign`` (not ours), ``unfinished``, ``outdated``, ``unchecked`` or ``ready``."""
    if not venv.exists():
        return "absent"
    stamp = venv / STAMP
    if not stamp.is_file():
        return "foreign" if any(venv.iterdir()) else "absent"
    words = stamp.read_text(encoding="utf-8").split()
    if not words or words[0] == "unfinished" or not runs(venv_python(venv)):
        return "unfinished"
    if words[0] != digest:
        return "outdated"
    return "ready" if "checked" in words[1:] else "unchecked"


def runs(python: Path) -> bool:
    """Tell whether this Python starts; a moved or removed base installation leaves a dead link."""
    try:
        return subprocess.run([str(python), "-c", "pass"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def missing_libraries(names: dict[str, str] = DEBIAN_PACKAGES, load=ctypes.CDLL) -> dict[str, str]:
    """Return the system libraries that cannot be loaded, each with its Debian package (Linux only)."""
    missing = {}
    for name, package in names.items() if sys.platform.startswith("linux") else ():
        try:
            load(name)
        except OSError:
            missing[name] = package
    return missing


def library_message(missing: dict[str, str]) -> str:
    """Return the line that names missing libraries and how to get them."""
    packages = " ".join(dict.fromkeys(missing.values()))
    return (
        f"missing system libraries: {', '.join(missing)}. On Debian or Ubuntu: sudo apt-get install {packages} "
        f"{DRIVER_PACKAGES}; elsewhere install the packages that hold them."
    )


def explain_check(name: str, returncode: int, output: str) -> str:
    """Return one line on why a check failed."""
    library = re.search(r"(lib[\w.+-]+\.so(?:\.\d+)*): cannot open shared object file", output)
    if library:
        return library_message({library[1]: DEBIAN_PACKAGES.get(library[1], f"(the package with {library[1]})")})
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with status {returncode}"
    if "render" in name:
        return f"{name} does not work ({last}). On Debian or Ubuntu: sudo apt-get install {DRIVER_PACKAGES}"
    if "unrelated package 'slicer'" in output:
        return f"{last}. Remove the folder {VENV} and whatever pulls 'slicer' in, and run this again."
    return f"{name} does not work: {last}"


def explain_pip(lines: list[str]) -> str:
    """Return one line on why pip failed, from what it printed."""
    text = "\n".join(lines)
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["pip said nothing"]
    if re.search(r"No space left|Errno 28|disk full", text, re.IGNORECASE):
        return f"the disk is full. Make room (about {space_needed() // GIB} GB) and run this again."
    network = (
        r"NewConnectionError|name resolution|Max retries|ConnectTimeout|ReadTimeout|ProxyError|SSLError|getaddrinfo"
    )
    if re.search(network, text):
        return "pip cannot reach its package index. Check the network, the proxy (HTTPS_PROXY) or pip's index setting."
    return f"pip failed: {errors[0][:300]}"


def space_needed() -> int:
    """Return the free bytes that the set-up needs on this platform."""
    return SPACE.get(sys.platform, LITTLE_SPACE)


def pip_install(python: Path, arguments: list[str], scratch: Path) -> None:
    """Run pip, telling the large downloads and every error; pip's own remarks stay out."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--only-binary", ":all:", *arguments]
    environment = {**os.environ, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "TMPDIR": str(scratch)}
    environment.pop("PYTHONPATH", None)
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            told = worth_telling(lines[-1])
            if told:
                say(told)
    if process.returncode:
        raise Stop(explain_pip(lines))


def worth_telling(line: str) -> str | None:
    """Return what to print for a line of pip's, or None: large downloads and errors."""
    download = re.match(r"\s*Downloading (\S+?)-\d\S* \((\d+)(?:\.\d+)? ([MG])B\)", line)
    if download and (download[3] == "G" or int(download[2]) >= 50):
        return f"    {download[1].rpartition('/')[2]}, {download[2]} {download[3]}B"
    if line.startswith("Installing collected packages:"):
        count = line.count(",") + 1
        return f"    unpacking {count} package{'s' if count > 1 else ''}"
    return f"    {line}" if line.lower().startswith("error") else None


def make_venv(digest: str) -> None:
    """Make the venv anew with the pinned packages."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        major, minor = sys.version_info[:2]
        raise Stop(
            f"this Python has no venv module. On Debian or Ubuntu: sudo apt-get install python{major}.{minor}-venv"
        )
    free = shutil.disk_usage(ROOT).free
    if free < space_needed():
        raise Stop(f"{free / GIB:.1f} GB are free at {ROOT}, the set-up needs {space_needed() // GIB} GB. Make room.")
    began = time.monotonic()
    say(f"Setting up {VENV} (once; PyPI's packages take some minutes) …")
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    (VENV / STAMP).write_text("unfinished\n", encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    if made.returncode:
        words = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
        raise Stop(f"python -m venv failed: {words[-1]}")
    scratch = VENV / "scratch"
    scratch.mkdir()
    for number, (path, options) in enumerate(zip(PINS, ([], ["--no-deps"]), strict=True), start=1):
        step = time.monotonic()
        say(f"  {number}/3 installing {path.relative_to(ROOT).as_posix()}")
        pip_install(venv_python(), [*options, "-r", str(path)], scratch)
        say(f"    done in {time.monotonic() - step:.0f} s")
    shutil.rmtree(scratch, ignore_errors=True)
    (VENV / STAMP).write_text(f"{digest}\n", encoding="utf-8")
    say(f"  installed in {time.monotonic() - began:.0f} s")


def check_venv(digest: str) -> None:
    """Try everything that a missing system library or a wrong package would break, once."""
    began = time.monotonic()
    say("  3/3 checking torch, slicer-core, Qt and rendering")
    for name, program in CHECKS.items():
        result = subprocess.run(
            [str(venv_python()), "-c", program],
            env=variables(screenless=True),
            text=True,
            encoding="utf-8",
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if result.returncode:
            raise Stop(explain_check(name, result.returncode, result.stdout))
    (VENV / STAMP).write_text(f"{digest} checked\n", encoding="utf-8")
    say(f"    done in {time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def only_one(path: Path):
    """Hold a lock file while the block runs; another process waits. The system frees it if this one dies."""
    with path.open("w", encoding="utf-8") as file:
        told = False
        while not _locked(file):
            if not told:
                say("Another set-up is running; waiting for it …")
                told = True
            time.sleep(0.5)
        yield


def _locked(file) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def set_up() -> None:
    """Make sure that the venv is there, holds the pinned packages and works."""
    digest = pins_digest()
    if venv_state(VENV, digest) != "ready":
        with only_one(LOCK):
            _set_up(digest)


def _set_up(digest: str) -> None:
    state = venv_state(VENV, digest)
    if state == "ready":
        return
    if state == "foreign":
        raise Stop(f"{VENV} was not made by this program. Move or remove it, and run this again.")
    missing = missing_libraries()
    if missing:
        raise Stop(library_message(missing))
    reason = {"unfinished": "an earlier set-up was interrupted", "outdated": "the pins have changed"}.get(state)
    if reason:
        say(f"Making {VENV.name} anew: {reason}.")
    if state != "unchecked":
        make_venv(digest)
    check_venv(digest)


def variables(*, screenless: bool = False) -> dict[str, str]:
    """Return the environment of what runs in the venv: the repository on its path, as many threads as cores."""
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), found.get("PYTHONPATH")]))
    found["PYTHONNOUSERSITE"] = "1"
    found.setdefault("OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 8)))
    if screenless and sys.platform.startswith("linux"):
        found.setdefault("QT_QPA_PLATFORM", "offscreen")
    return found
