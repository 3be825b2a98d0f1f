"""The extension as CMake packages it: nothing forgotten, nothing broken where only the installed files are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import package_files
import pytest

ROOT = Path(package_files.__file__).resolve().parent.parent
STUB = Path(__file__).parent / "cmake_stub"
RESOURCE_FOLDERS = ("Docs", "Models", "Recipes", "Terminology")
DOCS_PICTURES = ("states-*.png", "tutorial-*.png")


def tool(name: str) -> str:
    """Return the executable of the PyPI wheel, or the one on the path."""
    here = Path(sys.executable).parent
    found = shutil.which(name, path=str(here)) or shutil.which(name)
    assert found, f"{name} is missing, expected the pinned wheel"
    return found


def cmake(*arguments: object) -> str:
    result = subprocess.run(
        [tool("cmake"), *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension configured and built against the stand-in for Slicer."""
    folder = tmp_path_factory.mktemp("build")
    options = [f"-DSlicer_DIR={STUB}", "-DBUILD_TESTING=ON", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    for language in ("C", "CXX"):
        # As Slicer's template has it, project() enables both; nothing is compiled, and a machine may have no compiler.
        options.append(f"-DCMAKE_{language}_COMPILER={tool('cmake')}")
        options += [f"-DCMAKE_{language}_COMPILER_{fact}=TRUE" for fact in ("ID_RUN", "FORCED", "WORKS")]
    cmake("-S", ROOT, "-B", folder, "-G", "Ninja", *options)
    cmake("--build", folder)
    return folder


@pytest.fixture(scope="module")
def modules(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed folder of scripted modules."""
    prefix = tmp_path_factory.mktemp("install")
    cmake("--install", build, "--prefix", prefix)
    (found,) = prefix.rglob("qt-scripted-modules")
    return found


def test_every_packaged_file_is_listed():
    assert not package_files.differences(), "run: python3 Testing/run.py files"


def test_a_forgotten_and_a_vanished_file_are_named(tmp_path):
    for module in package_files.MODULES:
        (tmp_path / module).mkdir()
        shutil.copy(ROOT / module / "CMakeLists.txt", tmp_path / module)
    library = tmp_path / "SpineSegLib"
    for name in package_files.files_listed((library / "CMakeLists.txt").read_text(), "MODULE_PYTHON_SCRIPTS"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).touch()
    (library / "errors.py").unlink()
    (library / "networks" / "forgotten.py").touch()
    found = [line for line in package_files.differences(tmp_path) if line.startswith("SpineSegLib")]
    assert len([line for line in found if ".py is" in line]) == 2
    assert "SpineSegLib/networks/forgotten.py is not listed in SpineSegLib/CMakeLists.txt" in found
    assert "SpineSegLib/errors.py is listed in SpineSegLib/CMakeLists.txt and not there" in found


def test_a_list_is_rewritten_sorted_and_the_rest_is_kept():
    text = "set(MODULE_NAME A)\n\nset(MODULE_PYTHON_SCRIPTS\n  z.py\n  )\nother(${MODULE_PYTHON_SCRIPTS})\n"
    changed = package_files.with_files(text, "MODULE_PYTHON_SCRIPTS", ["a.py", "b/c.py"])
    assert changed == text.replace("  z.py\n", "  a.py\n  b/c.py\n")


def test_the_installed_tree_holds_every_file(modules):
    expected = {f"SpineSegLib/{name}" for name in package_files.files_in_tree(ROOT / "SpineSegLib", lambda _: True)}
    expected |= set(package_files.files_in_tree(ROOT / "SpineSeg", lambda _: True))
    for folder in RESOURCE_FOLDERS:
        files = package_files.files_in_tree(ROOT / "Resources" / folder, lambda _: True)
        assert files, f"Resources/{folder} is empty"
        expected |= {f"SpineSegLib/Resources/{folder}/{name}" for name in files}
    for pattern in DOCS_PICTURES:
        pictures = list((ROOT / "Resources" / "Screenshots").glob(pattern))
        assert pictures, f"no {pattern}"
        expected |= {f"SpineSegLib/Resources/Screenshots/{picture.name}" for picture in pictures}
    there = {path.relative_to(modules).as_posix() for path in modules.rglob("*") if path.is_file()}
    assert there == expected


def test_installed_files_are_equal_to_the_tree(modules):
    for path in modules.rglob("*.py"):
        name = path.relative_to(modules)
        source = ROOT / name if name.parts[0] == "SpineSegLib" else ROOT / "SpineSeg" / name
        assert path.read_bytes() == source.read_bytes(), name


@pytest.mark.parametrize("where", ["build", "install"])
def test_the_library_works_with_nothing_but_the_packaged_files(where, build, modules, tmp_path):
    folder = modules if where == "install" else next(build.rglob("qt-scripted-modules"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(ROOT / "Testing" / "Python" / "SpineSegPackageTest.py"), "-v"],
        env={**environment, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Ran 2 tests" in result.stderr


def test_tests_are_registered_under_bare_names(build):
    listed = subprocess.run(
        [Path(tool("cmake")).with_name("ctest"), "-N"], cwd=build, capture_output=True, text=True, check=True
    ).stdout
    names = set(re.findall(r"Test\s+#\d+: (\S+)", listed))
    assert {"py_SpineSeg", "py_SpineSegPackageTest", "py_nomainwindow_qSlicerSpineSegModuleGenericTest"} <= names


def test_the_description_names_pictures_that_exist(build):
    lines = (build / "SpineSeg.s4ext").read_text(encoding="utf-8").splitlines()
    description = dict(line.split(" ", 1) for line in lines)
    assert description["DEPENDS"] == "PyTorch"
    base = description["HOMEPAGE"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    for url in [description["ICONURL"], *description["SCREENSHOTURLS"].split()]:
        assert url.startswith(base)
        assert (ROOT / url.removeprefix(base)).is_file(), url


def test_icons_are_pictures_of_the_catalogue_s_size():
    from PIL import Image

    for path in (ROOT / "Resources/Icons/SpineSeg.png", ROOT / "SpineSeg/Resources/Icons/SpineSeg.png"):
        with Image.open(path) as picture:
            assert picture.size == (128, 128)
            assert picture.mode == "RGBA"
