"""``weights`` on the command line: what is shown before anything is installed, downloads, folder and bundles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from https_standin import open_local, serving
from standins import FILM_MODEL, left_in, random_weights

from SpineSegLib.cli import main
from SpineSegLib.models import cards
from SpineSegLib.models.store import file_sha256


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return random_weights(FILM_MODEL, tmp_path_factory.mktemp("good") / "good.safetensors")


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch) -> None:
    """One model whose card states no weights, a user without settings, and a network of this machine alone."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("SPINESEG_WEIGHTS", raising=False)
    plain = dataclasses.replace(cards.registry()[FILM_MODEL], weights=cards.Weights())
    for place in ("cards", "bundle"):
        monkeypatch.setattr(f"SpineSegLib.models.{place}.registry", lambda: {FILM_MODEL: plain})
    monkeypatch.setattr("SpineSegLib.models.registry", lambda: {FILM_MODEL: plain})
    monkeypatch.setattr("SpineSegLib.models.download.open_https", open_local)


def run(capsys, *arguments, status: int = 0) -> object:
    assert main(["weights", *map(str, arguments), "--json"]) == status
    printed = capsys.readouterr()
    if status:
        assert printed.out == "" and printed.err.count("\n") == 1
        return printed.err
    return json.loads(printed.out)


def test_install_shows_size_checksum_and_licence_and_waits_for_a_yes(good, capsys):
    asked = run(capsys, "install", FILM_MODEL, good, "--licence", "CC0-1.0", status=1)
    assert file_sha256(good) in asked and "MiB" in asked and "CC0-1.0" in asked and "--yes" in asked
    offer = run(capsys, "install", FILM_MODEL, good, "--dry-run")
    assert offer == {
        "name": FILM_MODEL,
        "source": str(good),
        "bytes": good.stat().st_size,
        "sha256": file_sha256(good),
        "licence": None,
        "replaces": False,
    }
    assert run(capsys, "list")[0]["weights"] == "absent"
    run(capsys, "install", FILM_MODEL, good, "--yes", "--sha256", offer["sha256"], "--licence", "CC0-1.0")
    (row,) = run(capsys, "list")
    assert row["weights"] == "installed" and row["sha256"] == offer["sha256"] and row["licence"] == "CC0-1.0"
    assert main(["weights", "list"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "weights", "size", "licence", "sha256", "file"]
    assert line.split()[-2:] == [offer["sha256"][:12], row["file"]]
    (checked,) = run(capsys, "verify", FILM_MODEL)
    assert checked == {"name": FILM_MODEL, "file": row["file"], "sha256": offer["sha256"]}


def test_download_needs_a_yes_and_an_untouched_file(good, capsys, tmp_path):
    with serving({"/w.safetensors": good.read_bytes()}) as (address, asked):
        question = run(capsys, "install", FILM_MODEL, f"{address}/w.safetensors", status=1)
        assert "4.1 MiB" in question and "licence not stated" in question
        assert asked == ["HEAD /w.safetensors"], "nothing is fetched before the yes"
        run(capsys, "install", FILM_MODEL, f"{address}/w.safetensors", "--yes", "--sha256", "0" * 64, status=1)
        assert left_in(tmp_path / "home") in ([], ["SpineSeg", "weights"]), "nothing but empty folders"
        done = run(capsys, "install", FILM_MODEL, f"{address}/w.safetensors", "--yes")
    assert Path(done["file"]).read_bytes() == good.read_bytes()
    run(capsys, "install", FILM_MODEL, "http://127.0.0.1/w.safetensors", "--yes", status=1)
    assert "no address" in run(capsys, "install", FILM_MODEL, "--yes", status=1)


def test_folder_is_chosen_shown_and_forgotten(capsys, tmp_path):
    before = run(capsys, "folder")
    assert before["writable"] is None, "it is not there yet"
    assert run(capsys, "folder", tmp_path / "mine") == {
        "folder": str(tmp_path / "mine"),
        "writable": True,
        "warnings": [],
    }
    assert run(capsys, "folder")["folder"] == str(tmp_path / "mine")
    assert run(capsys, "folder", "--default") == before


def test_bundle_goes_out_and_in(good, capsys, tmp_path, monkeypatch):
    run(capsys, "install", FILM_MODEL, good, "--yes")
    made = run(capsys, "bundle", tmp_path / "bundle")
    assert (made["weights"], made["wheels"]) == ([FILM_MODEL], 0)
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "offline"))
    (offer,) = run(capsys, "install-bundle", tmp_path / "bundle", "--dry-run")
    assert (offer["model"], offer["sha256"]) == (FILM_MODEL, file_sha256(good))
    assert offer["sha256"] in run(capsys, "install-bundle", tmp_path / "bundle", status=1)
    assert not (tmp_path / "offline").exists()
    done = run(capsys, "install-bundle", tmp_path / "bundle", "--yes")
    assert done == {"installed": [str(tmp_path / "offline" / f"{Path(offer['file']).name}")], "here": []}
    assert run(capsys, "install-bundle", tmp_path / "bundle", "--yes") == {"installed": [], "here": [FILM_MODEL]}
