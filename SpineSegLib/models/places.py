"""Where installed weights lie: a folder of the user's choice, which the panel and the command line share."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.io import written_whole

_KEY = "weights_folder"


def weights_folder() -> Path:
    """Return the folder of installed weights.

    It is ``SPINESEG_WEIGHTS`` if that is set, else the folder that was chosen (`choose_folder`), else one in the user's
    data folder.

    Raises
    ------
    InputError : the file of settings cannot be read
    """
    if os.environ.get("SPINESEG_WEIGHTS"):
        return Path(os.environ["SPINESEG_WEIGHTS"])
    chosen = _settings().get(_KEY)
    return Path(str(chosen)) if chosen else default_folder()


def default_folder() -> Path:
    """Return the folder of installed weights where none was chosen."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "SpineSeg" / "weights"


def settings_file() -> Path:
    """Return the file that keeps the choice: JSON in the user's folder of settings, as each system has it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Preferences"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "SpineSeg" / "settings.json"


def choose_folder(folder: str | Path | None) -> Path:
    """Keep a folder as the one of installed weights and return it; nothing is moved.

    Parameters
    ----------
    folder : made where it is missing; one that can be read only will do, its weights are then used; None goes back to
        `default_folder`

    Raises
    ------
    InputError : it is a file or cannot be made, the setting cannot be written, or ``SPINESEG_WEIGHTS`` overrules it
    """
    if os.environ.get("SPINESEG_WEIGHTS"):
        raise problem(
            "SPINESEG_WEIGHTS",
            f"the environment says {os.environ['SPINESEG_WEIGHTS']}, which goes before any choice",
            "no such variable",
            "Unset it, then choose again",
        )
    settings = {key: value for key, value in _settings().items() if key != _KEY}
    if folder is not None:
        # Relative to where this was said, for the next program is started elsewhere.
        folder = Path(folder).expanduser().absolute()
        make_folder(folder)
        settings[_KEY] = str(folder)
    make_folder(settings_file().parent)
    with written_whole(settings_file()) as part:
        part.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return weights_folder()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; InputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"the folder cannot be made ({error.strerror})"
        step = "Choose another: python -m SpineSegLib weights folder DIR"
        raise problem(folder, found, "a folder that can be written", step) from error


def writable(folder: Path) -> bool:
    """Return whether a file can be made in a folder; permissions alone do not tell, on Windows or on a network disk."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _settings() -> dict[str, object]:
    path = settings_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise problem(path, f"cannot be read ({error})", "SpineSeg's settings in JSON", "Delete the file") from error
    if not isinstance(found, dict):
        raise problem(path, f"a {type(found).__name__}", "a JSON object", "Delete the file")
    return found
