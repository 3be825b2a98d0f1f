"""A folder that a machine without network installs from: weights, packages and the checksum of every file."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib import __version__
from SpineSegLib.errors import problem
from SpineSegLib.io import all_written_whole
from SpineSegLib.models.bundle_text import readme
from SpineSegLib.models.cards import card, registry
from SpineSegLib.models.places import make_folder
from SpineSegLib.models.store import (
    check_facts,
    file_sha256,
    installed_file,
    read_record,
    record_file,
    weights_file,
    weights_state,
    write_record,
)
from SpineSegLib.models.wheels import download_wheels, needed, pinned, requirement_lines
from SpineSegLib.progress import Progress, silent

MANIFEST = "bundle.json"
_LARGEST = 1 << 22  # bytes of a manifest that is read
_NAME = re.compile(r"(?:(?:weights|wheels)/)?[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What a file of a bundle may be called: in the folder itself or in one of two below; no way leads out of it."""


@dataclass(frozen=True)
class Entry:
    """A file of a bundle.

    Parameters
    ----------
    file : path in the bundle, with forward slashes
    sha256, bytes : of the file
    model : whose weights it holds, if any
    licence, source : of these, as far as known
    """

    file: str
    sha256: str
    bytes: int
    model: str | None = None
    licence: str | None = None
    source: str | None = None


def write_bundle(
    out: str | Path,
    models: Sequence[str] = (),
    report: Progress = silent,
    *,
    wheels: bool = False,
    platform: str | None = None,
    python: str | None = None,
    index: str | None = None,
    start: Callable | None = None,
) -> list[Entry]:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    out : folder to make; one that is there must be empty
    models : whose weights; all that are here unless named
    wheels : download the packages' wheels too, which needs the network; else they are listed only
    platform, python, index, start : as in `wheels.download_wheels`

    Returns
    -------
    Its files

    Raises
    ------
    InputError : the folder is in use or cannot be written, weights are absent or damaged, pip failed
    """
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise problem(out, "it is there already", "a new or empty folder", "Choose another name, or delete it")
    if index and not index.lower().startswith("https://"):
        raise problem("--index", f"the address {index}", "https", "Name a secure index")
    if not wheels and (platform or python or index):
        raise problem("weights bundle", "--platform, --python or --index alone", "--wheels with it", "Add --wheels")
    names = list(dict.fromkeys(models)) or [m.name for m in registry().values() if weights_state(m) != "absent"]
    files = {name: weights_file(card(name)) for name in names}
    # Another machine's packages need others in turn, which only pip can tell.
    pins = pinned(needed(), whole=not (platform or python), local=bool(index))
    make_folder(out.parent)
    made = out.with_name(f".{out.name}-{os.getpid()}")
    make_folder(made / "weights")
    try:
        entries = []
        for number, (name, path) in enumerate(files.items()):
            report(number, len(files) + 1, f"copying {name}")
            copy = made / "weights" / f"{name}.safetensors"
            shutil.copyfile(path, copy)
            record = read_record(path)
            licence = record.get("licence") or card(name).weights.licence
            entries.append(_entry(made, copy, name, licence, record.get("source")))
        found = []
        if wheels:
            make_folder(made / "wheels")
            extra = {"start": start} if start else {}
            found = download_wheels(
                pins, made / "wheels", report, platform=platform, python=python, index=index, **extra
            )
        _write(made / "requirements.txt", "\n".join(requirement_lines(pins, found)) + "\n")
        weights = [(entry.model, entry.bytes, entry.licence) for entry in entries]
        _write(made / "README.txt", readme(weights, wheels=wheels, platform=platform, python=python))
        entries += [_entry(made, path) for path in (*found, made / "requirements.txt", made / "README.txt")]
        content = [{key: value for key, value in vars(entry).items() if value is not None} for entry in entries]
        _write(made / MANIFEST, json.dumps({"spineseg": __version__, "files": content}, indent=2) + "\n")
        report(len(files) + 1, len(files) + 1, "moving the bundle to its place")
        if out.exists():
            out.rmdir()
        made.rename(out)
    except OSError as error:
        found = f"cannot be written ({error.strerror or error})"
        raise problem(out, found, "a folder with room that you may write to", "Choose another folder") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return entries


def _entry(
    folder: Path, path: Path, model: str | None = None, licence: str | None = None, source: str | None = None
) -> Entry:
    return Entry(path.relative_to(folder).as_posix(), file_sha256(path), path.stat().st_size, model, licence, source)


def _write(path: Path, text: str) -> None:
    # The same bytes on every system, for their checksum is written down.
    path.write_text(text, encoding="utf-8", newline="\n")


def read_bundle(folder: str | Path) -> list[Entry]:
    """Return the files of a bundle as its manifest lists them; nothing but the manifest is read.

    Raises
    ------
    InputError : no bundle, an entry that leads out of the folder or is listed twice, an unknown model
    """
    path = Path(folder) / MANIFEST
    step = "Copy the bundle again, or write it again: python -m SpineSegLib weights bundle"
    try:
        if path.stat().st_size > _LARGEST:
            raise problem(path, f"{path.stat().st_size} bytes", f"at most {_LARGEST}", step)
        listed = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = [Entry(**item) for item in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise problem(path, f"no list of a bundle's files ({error})", "a bundle's folder", step) from error
    seen = set()
    for entry in entries:
        if flaw := _flaw(entry, seen):
            raise problem(path, *flaw, step)
        seen |= {entry.file, entry.model}
    return entries


def _flaw(entry: Entry, seen: set[str | None]) -> tuple[str, str] | None:
    if not isinstance(entry.file, str) or not _NAME.fullmatch(entry.file) or ".." in entry.file:
        return f"the file name {entry.file!r}", "one in the bundle itself"
    if not isinstance(entry.sha256, str) or not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        return f"sha256 {entry.sha256!r} of {entry.file}", "64 hexadecimal digits"
    if type(entry.bytes) is not int or entry.bytes < 0:
        return f"{entry.bytes!r} bytes of {entry.file}", "a number"
    if any(not isinstance(text, str | None) for text in (entry.model, entry.licence, entry.source)):
        return f"model, licence or source of {entry.file} that is no text", "text"
    if entry.file in seen or (entry.model and entry.model in seen):
        return f"{entry.model or entry.file} twice", "each file once"
    if (entry.file.startswith("weights/")) != (entry.model is not None):
        return f"{entry.file} of model {entry.model}", "a model for each file of weights"
    if entry.model is not None and entry.model not in registry():
        return f"weights of {entry.model}", f"a model that SpineSeg {__version__} has"
    return None


def check_bundle(folder: str | Path, report: Progress = silent) -> list[Entry]:
    """Compare every file of a bundle with the manifest and return them.

    Raises
    ------
    InputError : as `read_bundle`; or a file is missing, another, a link, or not listed
    """
    folder = Path(folder)
    entries = read_bundle(folder)
    listed = {entry.file for entry in entries} | {MANIFEST}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise problem(path, "a link", "a file of the bundle", "Copy the bundle again")
        if path.is_file() and name not in listed:
            raise problem(path, f"it is not listed in {MANIFEST}", "the bundle's own files", "Move it elsewhere")
    for number, entry in enumerate(entries):
        report(number, len(entries), f"checking {entry.file}")
        path = folder / entry.file
        if not path.is_file():
            raise problem(path, "no such file", f"as {MANIFEST} says", "Copy the bundle again")
        _same(path, entry)
    return entries


def _same(path: Path, entry: Entry) -> None:
    check_facts(path, f"as {MANIFEST} says", sha256=entry.sha256, bytes=entry.bytes, step="Copy the bundle again")
    if entry.model:
        stated = card(entry.model).weights
        step = "Write the bundle with the version of SpineSeg that is installed here"
        check_facts(path, f"for {entry.model}", sha256=stated.sha256, bytes=stated.bytes, step=step)


def install_bundle(folder: str | Path, report: Progress = silent) -> tuple[list[Path], list[str]]:
    """Install a bundle's weights: all of them or, when anything is wrong with any file of it, none.

    Returns
    -------
    The installed files, and the models whose very weights were here already

    Raises
    ------
    InputError : as `check_bundle`, or the weights folder cannot be written
    """
    folder = Path(folder)
    entries = [entry for entry in check_bundle(folder, report) if entry.model]
    here = [entry for entry in entries if _is_here(entry)]
    new = [entry for entry in entries if entry not in here]
    targets = [installed_file(card(entry.model)) for entry in new]
    for target in targets:
        make_folder(target.parent)
    both = [path for target in targets for path in (target, record_file(target))]
    with all_written_whole(*both) as parts:
        for number, (entry, part, record) in enumerate(zip(new, parts[::2], parts[1::2], strict=True)):
            report(len(entries) + number, len(entries) + len(new), f"installing {entry.model}")
            shutil.copyfile(folder / entry.file, part)
            _same(part, entry)  # what is installed, not what lay there a moment ago
            write_record(record, part, licence=entry.licence, source=entry.source)
    return targets, [entry.model for entry in here]


def _is_here(entry: Entry) -> bool:
    model = card(entry.model)
    state = weights_state(model)
    if state == "bundled":
        return model.weights.sha256 == entry.sha256
    return state == "installed" and file_sha256(installed_file(model)) == entry.sha256
