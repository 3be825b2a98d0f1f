"""Bundles for machines without network: whole or not at all, every checksum compared, no way out of the folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from standins import left_in

from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import registry, weights_folder, weights_state
from SpineSegLib.models.bundle import MANIFEST, check_bundle, install_bundle, read_bundle, write_bundle
from SpineSegLib.models.store import file_sha256, installed_file, read_record
from SpineSegLib.models.wheels import canonical, needed, pinned, requirement_lines, requirements_file

MODEL = "unet-512"
"""A model whose card states no weights; a bundle's checksums are compared without loading them."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """One installed file of weights."""
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / f"{MODEL}.safetensors").write_bytes(b"tensors of the clinic" * 100)
    (tmp_path / "here" / f"{MODEL}.safetensors.json").write_text('{"licence": "internal", "source": "own.safetensors"}')
    return tmp_path / "here"


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    """Call to become the other machine, whose weights folder does not exist yet."""
    return lambda: monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "offline"))


@pytest.fixture
def bundle(tmp_path) -> Path:
    write_bundle(tmp_path / "bundle", [MODEL])
    return tmp_path / "bundle"


def rewrite(bundle: Path, change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    change(manifest["files"])
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_bundle_carries_weights_to_another_machine(bundle, offline, folder):
    assert left_in(bundle) == ["README.txt", MANIFEST, "requirements.txt", f"{MODEL}.safetensors", "weights"]
    offline()
    (path,), here = install_bundle(bundle)
    assert here == [] and path.read_bytes() == (folder / f"{MODEL}.safetensors").read_bytes()
    assert read_record(path) == {
        "sha256": file_sha256(path),
        "bytes": 2100,
        "licence": "internal",
        "source": "own.safetensors",
    }
    assert weights_state(registry()[MODEL]) == "installed"
    assert install_bundle(bundle) == ([], [MODEL]), "a second time there is nothing to do"


def test_readme_holds_the_two_commands(bundle):
    text = (bundle / "README.txt").read_text(encoding="utf-8")
    assert '"install-bundle", r"FOLDER"' in text and "pip install -r FOLDER/requirements.txt" in text
    assert f"- {MODEL}: 0.0 MiB, licence internal" in text


def test_bundle_without_names_has_all_weights_and_skips_what_comes_with_spineseg(tmp_path, offline):
    entries = write_bundle(tmp_path / "all")
    names = {entry.model for entry in entries} - {None}
    bundled = {model.name for model in registry().values() if weights_state(model) == "bundled"}
    assert names == bundled | {MODEL} and bundled
    offline()
    installed, here = install_bundle(tmp_path / "all")
    assert installed == [installed_file(registry()[MODEL])] and set(here) == bundled


def test_requirements_are_what_runs_here(bundle):
    from importlib.metadata import version

    lines = dict(line.split("==") for line in (bundle / "requirements.txt").read_text(encoding="utf-8").splitlines())
    assert {canonical(name) for name in needed()} <= lines.keys()
    assert lines["numpy"] == version("numpy") and "+" not in lines["torch"]
    assert "sympy" in lines, "what PyTorch needs in turn"
    assert "pytest" not in lines
    assert requirements_file().parent.parent.name == "SpineSeg"


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(InputError, match="no-such-package: it is not installed here"):
        pinned(["no-such-package"])


def test_a_folder_in_use_is_left_alone(bundle, tmp_path):
    before = left_in(tmp_path)
    with pytest.raises(InputError, match="there already"):
        write_bundle(bundle)
    with pytest.raises(InputError, match="there already"):
        write_bundle(bundle / MANIFEST)
    assert left_in(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert write_bundle(tmp_path / "empty", [MODEL])


def test_a_cancelled_bundle_leaves_nothing(tmp_path):
    def report(step, of, what):
        if step:
            raise Cancelled("enough")

    before = left_in(tmp_path)
    with pytest.raises(Cancelled):
        write_bundle(tmp_path / "bundle", [MODEL], report)
    with pytest.raises(InputError, match="no weights"):
        write_bundle(tmp_path / "bundle", ["cervspinenet"])
    assert left_in(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "../evil.safetensors",
        "weights/../../evil.safetensors",
        "/etc/passwd",
        "C:\\evil.safetensors",
        "weights\\..\\evil",
        "C:evil",
        "weights/a/b",
        "elsewhere/a",
        "weights/",
        ".hidden",
        "",
        "weights/a\n",
        "weights/a:stream",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(bundle, offline, name):
    (bundle.parent / "evil.safetensors").write_bytes(b"tensors of the clinic" * 100)
    offline()
    rewrite(bundle, lambda files: files[0].update(file=name))
    with pytest.raises(InputError, match="expected one in the bundle itself"):
        install_bundle(bundle)
    assert not weights_folder().exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files.append(dict(files[0])), "twice"),
        (lambda files: files[0].update(model="no-such-model"), "a model that SpineSeg"),
        (lambda files: files[0].update(model="../../evil"), "a model that SpineSeg"),
        (lambda files: files[0].update(model=None), "a model for each file"),
        (lambda files: files[0].update(model=["unet"]), "text"),
        (lambda files: files[0].update(sha256="abc"), "64 hexadecimal digits"),
        (lambda files: files[0].update(sha256=None), "64 hexadecimal digits"),
        (lambda files: files[0].update(bytes="many"), "a number"),
        (lambda files: files[0].update(more=1), "a bundle's folder"),
        (lambda files: files[0].update(sha256="0" * 64), "sha256"),
        (lambda files: files[0].update(bytes=1), "expected 1 bytes"),
        (lambda files: files.pop(0), "not listed"),
        (lambda files: files[0].update(file="weights/other.safetensors"), "not listed|no such file"),
    ],
)
def test_a_manifest_that_is_wrong_installs_nothing(bundle, offline, change, reason):
    offline()
    rewrite(bundle, change)
    with pytest.raises(InputError, match=reason) as caught:
        install_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert not weights_folder().exists()


def test_any_changed_file_stops_all(bundle, offline):
    offline()
    for name in ("README.txt", "requirements.txt", f"weights/{MODEL}.safetensors"):
        path = bundle / name
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(InputError, match="sha256"):
            install_bundle(bundle)
        path.unlink()
        with pytest.raises(InputError, match="no such file"):
            install_bundle(bundle)
        path.write_bytes(kept)
    (bundle / "wheels").mkdir()
    (bundle / "wheels" / "extra.whl").touch()
    with pytest.raises(InputError, match="not listed"):
        check_bundle(bundle)
    assert not weights_folder().exists()


def test_a_link_out_of_the_bundle_is_refused(bundle, offline, tmp_path):
    path = bundle / "weights" / f"{MODEL}.safetensors"
    path.replace(tmp_path / "outside.safetensors")
    try:
        path.symlink_to(tmp_path / "outside.safetensors")
    except OSError:
        pytest.skip("no links here")
    offline()
    with pytest.raises(InputError, match="a link"):
        install_bundle(bundle)


def test_weights_of_another_version_of_a_bundled_model_are_refused(bundle, offline):
    """The card's own checksum stands above the manifest's."""
    offline()
    rewrite(bundle, lambda files: files[0].update(model="unet-xray-small"))
    with pytest.raises(InputError, match="version of SpineSeg that is installed here"):
        install_bundle(bundle)


def test_no_bundle_is_told_in_one_line(tmp_path):
    for content in (None, "{", "[]", '{"files": 3}', '{"files": [3]}'):
        if content is not None:
            (tmp_path / MANIFEST).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="no list of a bundle's files"):
            read_bundle(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b" " * (5 << 20))
    with pytest.raises(InputError, match="at most"):
        read_bundle(tmp_path)


def pip_that(code: str, commands: list):
    """Stand in for pip: a process of its own that runs `code`, in which ``dest`` is the folder for the wheels."""

    def start(command, **options):
        commands.append(command)
        dest = command[command.index("--dest") + 1]
        return subprocess.Popen(
            [sys.executable, "-c", f"import pathlib, sys; dest = pathlib.Path({dest!r})\n{code}"], **options
        )

    return start


def test_wheels_are_pinned_by_their_checksums(tmp_path):
    commands: list = []
    code = "(dest / 'Foo_Bar-1.2+cpu-py3-none-any.whl').write_bytes(b'wheel')"
    options = {"platform": "win_amd64", "python": "3.12", "index": "https://example.invalid/whl/cpu"}
    entries = write_bundle(tmp_path / "bundle", [MODEL], wheels=True, start=pip_that(code, commands), **options)
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[command.index("--platform") + 1] == "win_amd64"
    assert command[command.index("--python-version") + 1] == "3.12"
    assert command[command.index("--extra-index-url") + 1] == "https://example.invalid/whl/cpu"
    assert command[command.index("--only-binary") + 1] == ":all:"
    digest = hashlib.sha256(b"wheel").hexdigest()
    text = (tmp_path / "bundle" / "requirements.txt").read_text(encoding="utf-8")
    assert text == f"foo-bar==1.2+cpu --hash=sha256:{digest}\n"
    assert ("wheels/Foo_Bar-1.2+cpu-py3-none-any.whl", digest) in {(entry.file, entry.sha256) for entry in entries}
    readme = (tmp_path / "bundle" / "README.txt").read_text(encoding="utf-8")
    assert "--require-hashes" in readme and "Python 3.12 on win_amd64" in readme
    assert len(check_bundle(tmp_path / "bundle")) == 4


def test_pip_installs_from_such_lines_without_network(tmp_path):
    """The real pip takes them."""
    from zipfile import ZipFile

    wheel = tmp_path / "spineseg_probe-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as file:
        file.writestr("spineseg_probe.py", "")
        file.writestr(
            "spineseg_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: spineseg-probe\nVersion: 1.0\n"
        )
        file.writestr(
            "spineseg_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("spineseg_probe-1.0.dist-info/RECORD", "")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(requirement_lines({}, [wheel])), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", tmp_path, "--require-hashes"]
    command += ["--disable-pip-version-check", "-r", requirements, "--target", tmp_path / "site"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "spineseg_probe.py").is_file()


def test_pip_that_fails_or_is_cancelled_leaves_nothing(tmp_path):
    before = left_in(tmp_path)
    failing = pip_that("print('ERROR: No matching distribution found for torch'); sys.exit(1)", [])
    with pytest.raises(InputError, match="No matching distribution found for torch") as caught:
        write_bundle(tmp_path / "bundle", [MODEL], wheels=True, start=failing)
    assert "\n" not in str(caught.value)

    def report(step, of, what):
        if what == "downloading packages":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        write_bundle(
            tmp_path / "bundle", [MODEL], report, wheels=True, start=pip_that("import time; time.sleep(600)", [])
        )
    with pytest.raises(InputError, match="secure index"):
        write_bundle(tmp_path / "bundle", [MODEL], wheels=True, index="http://example.invalid")
    with pytest.raises(InputError, match="Add --wheels"):
        write_bundle(tmp_path / "bundle", [MODEL], python="3.12")
    assert left_in(tmp_path) == before
