"""Keep the lists of packaged files in the CMakeLists.txt files equal to the tree: ``Testing/run.py files``.

CMake packages exactly the files that are listed, so a forgotten one is missing in Slicer and nowhere else.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("SpineSegLib", "SpineSeg")
LISTS = {
    "MODULE_PYTHON_SCRIPTS": lambda path: path.suffix == ".py",
    "MODULE_PYTHON_RESOURCES": lambda path: path.suffix != ".py",
}
"""Variable of a module's CMakeLists.txt -> which files belong there."""
LEFT_OUT = ("CMakeLists.txt", "__pycache__", ".DS_Store")


def files_in_tree(folder: Path, wanted) -> list[str]:
    """Return the files under `folder` that are to be packaged, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and wanted(path)
        and not any(part in LEFT_OUT or part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix not in (".pyc", ".pyo", ".tmp")
    )


def _list_pattern(variable: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({variable}\n)(.*?)(^\s*\))", re.DOTALL | re.MULTILINE)


def files_listed(cmake: str, variable: str) -> list[str]:
    """Return the files in the list `variable` of a CMakeLists.txt's text."""
    found = _list_pattern(variable).search(cmake)
    if not found:
        msg = f"no list {variable}, expected set({variable} … ), one file a line"
        raise ValueError(msg)
    return found[2].split()


def with_files(cmake: str, variable: str, files: list[str]) -> str:
    """Return a CMakeLists.txt's text with the list replaced."""
    files_listed(cmake, variable)
    lines = "".join(f"  {name}\n" for name in files)
    return _list_pattern(variable).sub(lambda found: found[1] + lines + found[3], cmake)


def differences(root: Path = ROOT) -> list[str]:
    """Return a line for every file that is packaged and does not exist, or exists and is not packaged."""
    found = []
    for module in MODULES:
        cmake = (root / module / "CMakeLists.txt").read_text(encoding="utf-8")
        for variable, wanted in LISTS.items():
            listed, there = files_listed(cmake, variable), files_in_tree(root / module, wanted)
            found += [
                f"{module}/{name} is not listed in {module}/CMakeLists.txt" for name in there if name not in listed
            ]
            found += [
                f"{module}/{name} is listed in {module}/CMakeLists.txt and not there"
                for name in listed
                if name not in there
            ]
            if not found and listed != there:
                found.append(f"{variable} in {module}/CMakeLists.txt is not sorted or lists a file twice")
    return found


def main() -> int:
    """Write every list anew and say what changed."""
    for line in differences() or ["every packaged file is listed"]:
        print(line)
    for module in MODULES:
        path = ROOT / module / "CMakeLists.txt"
        text = path.read_text(encoding="utf-8")
        changed = text
        for variable, wanted in LISTS.items():
            changed = with_files(changed, variable, files_in_tree(ROOT / module, wanted))
        if changed != text:
            path.write_text(changed, encoding="utf-8", newline="\n")
            print(f"wrote {path.relative_to(ROOT).as_posix()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
