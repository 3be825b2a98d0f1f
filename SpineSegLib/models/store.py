"""The files of weights on this machine: which are here, where they came from, and coming and going.

Bundled weights lie in ``Resources/Models``; installed ones in the user's folder (`weights_folder`), each with a small
record of what it is beside it. Nothing is fetched unless `install_weights` or `offered` is called with an address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.io import all_written_whole
from SpineSegLib.models import cards
from SpineSegLib.models.cards import Card, card
from SpineSegLib.models.checkpoints import FOREIGN, read_tensors
from SpineSegLib.models.download import fetch, is_address, remote_size
from SpineSegLib.models.places import make_folder, weights_folder
from SpineSegLib.progress import Progress, silent
from SpineSegLib.resources import resource

_STALE = 3600.0
"""Seconds without a byte after which a temporary file is nobody's any more."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed_file(model: Card) -> Path:
    """Return where a model's installed weights lie, or would."""
    return weights_folder() / (model.weights.file or f"{model.name}.safetensors")


def record_file(path: Path) -> Path:
    """Return the record beside a file of installed weights: JSON with sha256, bytes, licence and source."""
    return path.with_name(f"{path.name}.json")


def weights_state(model: Card) -> str:
    """Return ``"bundled"``, ``"installed"`` or ``"absent"``; files are looked for, not read."""
    if installed_file(model).is_file():
        return "installed"
    if model.weights.bundled and resource("Models", model.weights.file).is_file():
        return "bundled"
    return "absent"


def weights_place(model: Card) -> Path | None:
    """Return the file whose weights are used, unchecked; installed ones go before bundled ones; None where none is."""
    state = weights_state(model)
    if state == "absent":
        return None
    return installed_file(model) if state == "installed" else resource("Models", model.weights.file)


def weights_file(model: Card, override: str | Path | None = None) -> Path:
    """Return the file whose weights to use; installed ones go before bundled ones.

    Parameters
    ----------
    override : a file of the user's own, used as it is

    Raises
    ------
    InputError : there is none, or a file that the card or its record has a checksum for is another
    """
    if override is not None:
        path = Path(override)
        if not path.is_file():
            raise problem(path, "no such file", "a safetensors file", "Check --weights")
        return path
    path = weights_place(model)
    if path is None:
        raise problem(
            model.name,
            "no weights",
            "trained or installed ones",
            f"Train them, name a file with --weights, or: python -m SpineSegLib weights install {model.name} FILE",
        )
    check_file(path, model)
    return path


def check_file(path: Path, model: Card) -> None:
    """Raise InputError when a file has not the size or checksum that the card, or the record beside it, states."""
    stated = {"bytes": model.weights.bytes, "sha256": model.weights.sha256}
    record = read_record(path)
    check_facts(path, f"for {model.name}", **{key: stated[key] or record.get(key) for key in stated})


def check_facts(
    path: Path,
    about: str,
    *,
    sha256: str | None = None,
    bytes: int | None = None,
    step: str = "Delete the file and install it again",
) -> None:
    """Raise InputError when a file has not this size or this checksum; None of either is not looked at."""
    if bytes is not None and path.stat().st_size != bytes:
        raise problem(path, f"{path.stat().st_size} bytes", f"{bytes} bytes {about}", step)
    if sha256 is not None and (found := file_sha256(path)) != sha256.lower():
        raise problem(path, f"sha256 {found[:12]}…", f"sha256 {sha256[:12]}… {about}", step)


def read_record(path: Path) -> dict[str, object]:
    """Return the record beside a file of weights; empty where there is none or it is none."""
    try:
        found = json.loads(record_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    kinds = {"sha256": str, "bytes": int, "licence": str, "source": str}
    if not isinstance(found, dict):
        return {}
    return {key: found[key] for key, kind in kinds.items() if isinstance(found.get(key), kind)}


def weights_list() -> list[dict[str, object]]:
    """Return what is known of every model's weights, quickly: no file is hashed, nothing is asked for elsewhere.

    Returns
    -------
    A mapping a model: name, title, weights (`weights_state`), bytes, licence, sha256 (as the card or the record of the
    installed file states it), url (of the card), file (where it lies), source (where an installed one came from)
    """
    rows = []
    for model in cards.registry().values():
        facts, path = model.weights, weights_place(model)
        record = read_record(path) if path else {}
        rows.append(
            {
                "name": model.name,
                "title": model.title,
                "weights": weights_state(model),
                "bytes": path.stat().st_size if path else facts.bytes,
                "licence": record.get("licence") or facts.licence,
                "sha256": facts.sha256 or record.get("sha256"),
                "url": facts.url,
                "file": str(path) if path else None,
                "source": record.get("source"),
            }
        )
    return rows


@dataclass(frozen=True)
class Offer:
    """What would be installed, for the user to agree to.

    Parameters
    ----------
    name : of the model
    source : file or address
    bytes, sha256 : of the source; None where they are not known before it is fetched
    licence : of the weights; None where nobody states it
    replaces : whether weights are installed already
    """

    name: str
    source: str
    bytes: int | None
    sha256: str | None
    licence: str | None
    replaces: bool


def offered(
    name: str,
    source: str | Path | None = None,
    *,
    sha256: str | None = None,
    licence: str | None = None,
    open_: Callable | None = None,
) -> Offer:
    """Return what `install_weights` would install. An address is asked for the size; nothing is fetched.

    Parameters
    ----------
    source : the address in the model's card unless given
    sha256 : that the user knows of the source
    licence : that the user knows, where neither the card nor ``card.json`` beside the file (as ``train`` writes it)
        states one

    Raises
    ------
    InputError : no such model or file, an address that is not https or cannot be reached
    """
    model = card(name)
    source = str(source or model.weights.url or "")
    if not source:
        raise problem(name, "its card has no address", "a file or an address", "Name one after the model")
    licence = model.weights.licence or licence
    replaces = installed_file(model).is_file()
    if is_address(source):
        # A file of PyTorch's is rewritten, and the card's checksum is that of the rewritten one.
        of_card = model.weights.sha256 if Path(source).suffix.lower() not in FOREIGN else None
        return Offer(name, source, remote_size(source, open_), sha256 or of_card, licence, replaces)
    path = Path(source)
    if not path.is_file():
        raise problem(path, "no such file", "a safetensors file or an https address", "Check the name")
    licence = licence or _licence_beside(path)
    return Offer(name, source, path.stat().st_size, file_sha256(path), licence, replaces)


def _licence_beside(path: Path) -> str | None:
    try:
        stated = json.loads((path.parent / "card.json").read_text(encoding="utf-8"))["weights"]["licence"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stated if isinstance(stated, str) else None


def install_weights(
    name: str,
    source: str | Path,
    report: Progress = silent,
    *,
    sha256: str | None = None,
    licence: str | None = None,
    open_: Callable | None = None,
) -> Path:
    """Copy or fetch a model's weights into the weights folder, whole or not at all.

    Parameters
    ----------
    source : a file, of PyTorch's format too (such as ``sam_vit_b_01ec64.pth`` for ``sam``), which is then rewritten as
        safetensors, or an address (https) that is fetched because the user asked
    sha256 : of the source, as the user knows it or agreed to it
    licence : as in `offered`
    open_ : as in `fetch`

    Raises
    ------
    InputError : no such file, a failed download, another checksum, or weights that are not this model's
    """
    from SpineSegLib.models.weights import read_network

    model, text = card(name), str(source)
    target, remote = installed_file(model), is_address(source)
    if not remote and not Path(source).is_file():
        raise problem(source, "no such file", "a safetensors file or an https address", "Check the name")
    make_folder(target.parent)
    _sweep(target)
    with all_written_whole(target, record_file(target)) as (part, record):
        suffix = Path(text).suffix.lower()
        if remote:
            limit = model.weights.bytes if suffix not in FOREIGN else None
            fetch(text, part, report, limit=limit, open_=open_)
        else:
            shutil.copyfile(source, part)
        if sha256 is not None and (found := file_sha256(part)) != sha256.lower():
            raise problem(text, f"sha256 {found[:12]}…", f"sha256 {sha256[:12]}…", "Check the source; it is another")
        if suffix in FOREIGN:
            from safetensors.torch import save_file

            save_file(read_tensors(part, model.name, suffix), str(part))
        report(0, 0, f"checking {name}")
        check_file(part, model)
        read_network(part, model)
        licence = model.weights.licence or licence or (None if remote else _licence_beside(Path(source)))
        # Only a file's name: its folder may tell more than others should know.
        write_record(record, part, licence=licence, source=text if remote else Path(source).name)
    return target


def _sweep(target: Path) -> None:
    """Delete what an earlier run left beside a file because the power failed or its process was ended by force."""
    for path in (target, record_file(target)):
        for left in path.parent.glob(f".{path.stem[:80]}-*-*{path.suffix}"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE:
                    left.unlink()


def write_record(record: Path, path: Path, *, licence: str | None, source: str | None) -> None:
    """Write the record of a file of weights."""
    facts: Mapping[str, object] = {
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "licence": licence,
        "source": source,
    }
    text = json.dumps({key: value for key, value in facts.items() if value is not None}, indent=2)
    record.write_text(text + "\n", encoding="utf-8")


def delete_weights(name: str) -> Path:
    """Delete a model's installed weights and return where they were; bundled ones stay."""
    path = installed_file(card(name))
    if not path.is_file():
        raise problem(name, "no installed weights", "some to delete", "See: python -m SpineSegLib weights list")
    try:
        path.unlink()
        record_file(path).unlink(missing_ok=True)
    except OSError as error:
        found = f"it cannot be deleted ({error.strerror})"
        raise problem(path, found, "a file that may be deleted", "Check the folder's permissions") from error
    return path
