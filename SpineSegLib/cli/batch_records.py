"""What a batch remembers of each case, so that it can be killed and goes on where it was.

Every case has a small JSON file in the folder ``cases`` of the results, which is replaced as a whole: ``running``
before its results are written, then ``done`` or ``failed``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.io import written_whole
from SpineSegLib.io.suffixes import DICOM, suffix_of
from SpineSegLib.models.weights import file_sha256

FOLDER = "cases"
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
_DETACHED = (".nhdr", ".mhd")


def content_of(path: Path | None) -> list[list[object]] | None:
    """Return name, bytes and time of change of every file that makes up an image or a truth.

    Of a DICOM file, or a header whose voxels lie apart, its neighbours may be part.
    """
    if path is None:
        return None
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file() and _has_neighbours(path):
        files = sorted(file for file in path.parent.iterdir() if file.is_file() and not file.name.startswith("."))
    else:
        files = [path] if path.is_file() else []
    states = [(file, file.stat()) for file in files]
    return [[file.name, state.st_size, state.st_mtime_ns] for file, state in states]


def _has_neighbours(path: Path) -> bool:
    from SpineSegLib.datasets.files import IMAGES

    suffix = suffix_of(path)
    return suffix in (*DICOM, *_DETACHED) or suffix not in IMAGES


class Records:
    """The records of a folder of results.

    Parameters
    ----------
    out : folder of the results; it exists
    """

    def __init__(self, out: Path):
        self._out, self._folder = out, out / FOLDER
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            found = f"nothing can be written here ({error.strerror})"
            raise problem(out, found, "a folder that you may write to", "Choose another --out") from error

    def read(self, name: str) -> dict:
        """Return a case's record; empty where there is none that can be read."""
        try:
            found = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, record: dict) -> None:
        """Replace a case's record."""
        with written_whole(self._folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")

    def is_done(self, name: str, asked: dict, outputs: Sequence[Path]) -> bool:
        """Tell whether a case is finished with the same image, truth, model, weights and settings, and still there."""
        record = self.read(name)
        same = record.get("state") == DONE and record.get("asked") == json.loads(json.dumps(asked))
        return same and all(path.is_file() for path in outputs)

    def ours(self, name: str, outputs: Sequence[Path]) -> dict[str, str]:
        """Return name and sha256 of the results that the batch left in the place of a case's."""
        record = self.read(name)
        if record.get("state") == RUNNING:
            # It was killed while it wrote, and before that it had made sure that nothing of others' was there.
            return {path.name: file_sha256(path) for path in outputs if path.is_file()}
        known = record.get("outputs")
        return known if isinstance(known, dict) else {}

    def foreign(self, name: str, outputs: Sequence[Path]) -> Iterator[Path]:
        """Yield the files in the place of a case's results that others made, or that were edited since."""
        known = self.ours(name, outputs)
        for path in outputs:
            if path.exists() and known.get(path.name) != file_sha256(path):
                yield path
