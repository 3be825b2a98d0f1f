"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from SpineSegLib.errors import InputError, problem
from SpineSegLib.io.suffixes import split_suffix

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "writing there is not permitted",
    errno.EPERM: "writing there is not permitted",
    errno.EIO: "the disk failed",
    errno.ENAMETOOLONG: "the name is too long",
}


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place when the block ends well.

    Parameters
    ----------
    path : the file to write; its folder must exist

    Yields
    ------
    Path in the same folder with the same suffix, to be written by the block

    Raises
    ------
    InputError : the folder is missing or cannot be written, or the disk is full; `path` is then as it was
    """
    with all_written_whole(path) as (temporary,):
        yield temporary


@contextmanager
def all_written_whole(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Yield temporary siblings of several files that all take their places when the block ends well, or none does."""
    targets = [Path(path) for path in paths]
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_claim(target))
        try:
            yield tuple(temporaries)
        except InputError as error:
            text = str(error)
            for temporary, target in zip(temporaries, targets, strict=True):
                text = text.replace(str(temporary), str(target))
            raise InputError(text) from error
        except OSError as error:
            # Only what the disk refused is the output's fault; a file that the block failed to read is not.
            if error.errno in _REASONS and not _elsewhere(error, temporaries):
                raise _refusal(targets[0], error) from error
            raise
        _put_in_place(temporaries, targets)
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _claim(target: Path) -> Path:
    """Make an empty temporary sibling, which shows at once whether the folder can be written."""
    if target.is_dir():
        raise problem(target, "this is a folder", "the name of a file", "Add a file name")
    if not target.parent.is_dir():
        raise problem(target, "its folder does not exist", "a file in an existing folder", "Make the folder first")
    stem, suffix = split_suffix(target)
    for attempt in range(1000):
        temporary = target.with_name(f".{stem[:80]}-{os.getpid()}-{attempt}{suffix}")
        try:
            temporary.open("xb").close()
        except FileExistsError:
            continue
        except OSError as error:
            raise _refusal(target, error) from error
        return temporary
    raise problem(target, "temporary files of many earlier runs lie beside it", "none", "Delete them")


def _put_in_place(temporaries: list[Path], targets: list[Path]) -> None:
    """Move every temporary to its target; when a later move fails, the earlier targets get their old content back."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for temporary in temporaries:
            # A disk may report only here that it has no room left.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for number, (temporary, target) in enumerate(zip(temporaries, targets, strict=True)):
            backup = None
            if number < len(targets) - 1 and target.exists():
                backup = _claim(target)
                target.replace(backup)
            done.append((target, backup))
            temporary.replace(target)
    except OSError as error:
        for target, backup in done:
            with suppress(OSError):
                if backup is None and target is not done[-1][0]:
                    target.unlink(missing_ok=True)
                elif backup is not None:
                    backup.replace(target)
        raise _refusal(targets[0], error) from error
    for _, backup in done:
        if backup is not None:
            with suppress(OSError):
                backup.unlink()


def _elsewhere(error: OSError, temporaries: list[Path]) -> bool:
    return error.filename is not None and Path(os.fsdecode(error.filename)) not in temporaries


def _refusal(target: Path, error: OSError) -> InputError:
    why = _REASONS.get(error.errno, error.strerror or str(error))
    return problem(
        target, f"cannot be written: {why}", "a folder with room that you may write to", "Choose another folder"
    )
