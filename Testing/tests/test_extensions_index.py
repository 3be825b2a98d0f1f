"""What the Extensions Index asks of an extension (its check_description_files.py), checked without a network."""

import ast
import json
import re
import subprocess
from urllib.parse import urlsplit

import jsonschema
import pytest
from conftest import ROOT

CATALOGUE = ROOT / "Resources" / "SpineSeg.json"
FIELDS = {
    "$schema": {"pattern": r"^https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/.*-v1\.0\.2\.json#$"},
    "category": {"const": "Segmentation"},
    "scm_url": {"pattern": "^https://"},
    "scm_revision": {"type": "string"},
    "scm_type": {"enum": ["git", "local"]},
    "build_dependencies": {"type": "array", "items": {"type": "string"}},
    "dicom_support_rule": {"type": "string"},
    "build_subdirectory": {"type": "string"},
    "enabled": {"type": "boolean"},
    "tier": {"type": "integer", "minimum": 1, "maximum": 5},
}
"""Fields of the catalogue's entries, version 1.0.2, which allows no others."""
LARGEST = 100e6
"""Bytes of a clone."""


@pytest.fixture(scope="module")
def entry():
    return json.loads(CATALOGUE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cmake():
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_the_entry_has_the_catalogue_s_fields_and_no_others(entry):
    needed = ["$schema", "category", "scm_url"]
    schema = {"type": "object", "required": needed, "properties": FIELDS, "additionalProperties": False}
    jsonschema.validate(entry, schema)


def test_the_entry_is_named_as_the_project(cmake):
    assert re.search(r"project\s*\(\s*(\w+)", cmake).group(1) == CATALOGUE.stem


def test_the_repository_s_name_says_slicer_and_is_the_homepage(entry, cmake):
    assert "slicer" in urlsplit(entry["scm_url"]).path.rsplit("/", 1)[-1].lower()
    assert f'set(EXTENSION_HOMEPAGE "{entry["scm_url"]}")' in cmake


def test_what_must_be_built_first_is_what_the_project_depends_on(entry, cmake):
    depends = re.search(r'set\(EXTENSION_DEPENDS "([^"]*)"\)', cmake).group(1)
    assert depends.split() == entry["build_dependencies"]


def test_icon_and_screenshots_are_pictures_of_this_repository(entry, cmake):
    icon = re.search(r'set\(EXTENSION_ICONURL\s*"([^"]+)"\s*\)', cmake).group(1)
    screenshots = re.search(r'set\(EXTENSION_SCREENSHOTURLS\s*"([^"]+)"\s*\)', cmake).group(1).split()
    base = entry["scm_url"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert screenshots
    for url in [icon, *screenshots]:
        assert url.startswith(base)
        assert url.lower().endswith((".png", ".jpg", ".jpeg", ".gif"))
        assert (ROOT / url.removeprefix(base)).is_file(), url


def test_the_licence_is_a_permissive_one_in_the_root():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text


def test_dicom_is_claimed_for_kinds_that_models_read(entry):
    kinds = set(re.findall(r"'(\w+)'", entry["dicom_support_rule"]))
    modalities = set()
    for path in (ROOT / "Resources" / "Models").glob("[a-z]*.json"):
        modalities |= set(json.loads(path.read_text(encoding="utf-8"))["modality"])
    assert {"CR": "XR", "DX": "XR"}.keys() & kinds
    assert {{"CR": "XR", "DX": "XR"}.get(kind, kind) for kind in kinds} <= modalities


def test_a_clone_stays_small():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    # each object once: a clone that fetched again keeps some of them in two packs
    asked = ["git", "rev-list", "--objects", "--disk-usage", "HEAD"]
    assert int(subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout) < LARGEST


def test_the_readme_has_what_reviewers_ask_for():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for wanted in (
        "3D Slicer",
        "](Resources/Screenshots/",
        "## Citation",
        "## Licence",
        "Sample Data",
        "weights delete",
    ):
        assert wanted in text, wanted


def test_the_module_imports_nothing_heavy_when_slicer_starts():
    heavy = {"torch", "torchvision", "monai", "lightning", "SimpleITK", "skimage", "scipy", "timm", "highdicom"}
    for path in sorted((ROOT / "SpineSeg").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & heavy, path
