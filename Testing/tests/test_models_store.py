"""The files of weights: the folder of the user's choice, downloads, records, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from https_standin import open_local, serving
from standins import FILM_MODEL, left_in, random_weights

from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import (
    cards,
    choose_folder,
    delete_weights,
    install_weights,
    offered,
    verify_weights,
    weights_file,
    weights_folder,
    weights_list,
    weights_state,
)
from SpineSegLib.models.download import SecureRedirects, fetch, is_address
from SpineSegLib.models.places import default_folder, settings_file
from SpineSegLib.models.store import file_sha256, read_record


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return random_weights(FILM_MODEL, tmp_path_factory.mktemp("good") / "good.safetensors")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user without settings and without installed weights, on whichever system."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("SPINESEG_WEIGHTS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def model(home, monkeypatch):
    """A model whose card states no weights."""
    plain = dataclasses.replace(cards.registry()[FILM_MODEL], weights=cards.Weights())
    monkeypatch.setattr(cards, "registry", lambda: {FILM_MODEL: plain})
    return plain


def download(model, address: str, **options) -> Path:
    return install_weights(model.name, address, open_=open_local, **options)


def test_folder_is_the_default_the_chosen_or_the_environments(home, tmp_path, monkeypatch):
    assert weights_folder() == default_folder() and home in default_folder().parents
    assert not home.exists(), "asking makes nothing"
    chosen = choose_folder(tmp_path / "new" / "folder with spaces")
    assert weights_folder() == chosen == tmp_path / "new" / "folder with spaces" and chosen.is_dir()
    assert json.loads(settings_file().read_text(encoding="utf-8")) == {"weights_folder": str(chosen)}
    monkeypatch.chdir(tmp_path)
    assert choose_folder("relative") == tmp_path / "relative"
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "environment"))
    assert weights_folder() == tmp_path / "environment"
    with pytest.raises(InputError, match="SPINESEG_WEIGHTS"):
        choose_folder(chosen)
    monkeypatch.delenv("SPINESEG_WEIGHTS")
    assert choose_folder(None) == default_folder()


def test_other_settings_stay_and_damaged_ones_are_told(home, tmp_path):
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text('{"of": "another version"}', encoding="utf-8")
    choose_folder(tmp_path / "chosen")
    assert json.loads(settings_file().read_text(encoding="utf-8"))["of"] == "another version"
    for damaged in ("[1]", "{"):
        settings_file().write_text(damaged, encoding="utf-8")
        with pytest.raises(InputError, match=r"settings\.json: .* Delete the file\.$"):
            weights_folder()


def test_a_file_is_no_folder(home, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be made"):
            choose_folder(folder)
    assert weights_folder() == default_folder()


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="permissions as POSIX has them")
def test_a_folder_that_can_only_be_read_gives_its_weights_and_one_line(model, good, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    folder = choose_folder(tmp_path / "shared")
    install_weights(model.name, good)
    folder.chmod(0o555)
    try:
        assert choose_folder(folder) == folder
        assert verify_weights(model.name).parent == folder
        with pytest.raises(InputError, match="not permitted"):
            install_weights(model.name, good)
        with pytest.raises(InputError, match="cannot be deleted"):
            delete_weights(model.name)
    finally:
        folder.chmod(0o755)


def test_installing_says_what_it_is_and_where_it_came_from(model, good):
    offer = offered(model.name, good)
    assert (offer.bytes, offer.sha256, offer.licence) == (good.stat().st_size, file_sha256(good), None)
    assert not offer.replaces
    assert left_in(good.parent) == [good.name] and weights_state(model) == "absent", "an offer installs nothing"
    (row,) = weights_list()
    assert (row["weights"], row["file"], row["sha256"]) == ("absent", None, None)
    path = install_weights(model.name, good, sha256=offer.sha256.upper(), licence="CC BY 4.0")
    (row,) = weights_list()
    assert row["weights"] == "installed" and row["file"] == str(path) and row["bytes"] == offer.bytes
    assert (row["sha256"], row["licence"], row["source"]) == (offer.sha256, "CC BY 4.0", good.name)
    assert offered(model.name, good).replaces
    assert left_in(path.parent) == [path.name, f"{path.name}.json"]
    delete_weights(model.name)
    assert left_in(path.parent) == []


def test_licence_comes_from_the_card_that_training_wrote_beside(model, good, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(good.read_bytes())
    (tmp_path / "card.json").write_text('{"weights": {"licence": "internal"}}', encoding="utf-8")
    assert offered(model.name, tmp_path / "weights.safetensors").licence == "internal"
    install_weights(model.name, tmp_path / "weights.safetensors")
    assert weights_list()[0]["licence"] == "internal"


def test_another_checksum_than_agreed_to_changes_nothing(model, good):
    path = install_weights(model.name, good)
    before = {name: (path.parent / name).read_bytes() for name in left_in(path.parent)}
    with pytest.raises(InputError, match="it is another"):
        install_weights(model.name, good, sha256="0" * 64)
    assert {name: (path.parent / name).read_bytes() for name in left_in(path.parent)} == before


def test_leftovers_of_a_power_cut_are_swept_up_but_not_those_of_a_run(model, good):
    folder = weights_folder()
    folder.mkdir(parents=True)
    names = [f".{model.name}-77-0.safetensors", f".{model.name}-78-0.safetensors", ".other-77-0.safetensors"]
    for name in names:
        (folder / name).write_bytes(b"half")
        if name != names[1]:
            os.utime(folder / name, (1, 1))
    path = install_weights(model.name, good)
    assert left_in(folder) == sorted([*names[1:], path.name, f"{path.name}.json"])


def test_a_changed_byte_is_found_by_the_record(model, good):
    path = install_weights(model.name, good)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for use in (lambda: verify_weights(model.name), lambda: weights_file(model)):
        with pytest.raises(InputError, match=r"sha256 .* install it again"):
            use()
    path.with_name(f"{path.name}.json").write_text("damaged", encoding="utf-8")
    assert read_record(path) == {} and weights_list()[0]["weights"] == "installed"


def test_download_follows_secure_redirects(model, good):
    with serving({"/a": "ADDRESS/b.safetensors", "/b.safetensors": good.read_bytes()}) as (address, asked):
        offer = offered(model.name, f"{address}/a", open_=open_local)
        assert (offer.bytes, offer.sha256) == (good.stat().st_size, None)
        assert asked == ["HEAD /a", "HEAD /b.safetensors"], "an offer fetches nothing"
        path = download(model, f"{address}/a", sha256=file_sha256(good))
    assert path.read_bytes() == good.read_bytes()
    assert read_record(path)["source"] == f"{address}/a"
    assert verify_weights(model.name) == path


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_redirect_to_an_insecure_address_is_refused_before_it_is_asked(model, scheme):
    with serving({"/a": f"{scheme}://127.0.0.1/b"}) as (address, _asked):
        for step in (
            lambda: download(model, f"{address}/a"),
            lambda: offered(model.name, f"{address}/a", open_=open_local),
        ):
            with pytest.raises(InputError, match=r"insecure|not allowed"):
                step()
    assert left_in(weights_folder()) == []


def test_real_opener_refuses_insecure_redirects():
    """The one of the program, not of the tests, has the same guard."""
    request = urllib.request.Request("https://example.invalid/a")
    with pytest.raises(InputError, match="insecure"):
        SecureRedirects().redirect_request(request, None, 302, "Found", {}, "HTTP://example.invalid/a")
    kept = SecureRedirects().redirect_request(request, None, 302, "Found", {}, "https://example.invalid/b")
    assert kept.full_url == "https://example.invalid/b"


@pytest.mark.parametrize("address", ["http://x.invalid/w", "ftp://x.invalid/w", "file:///etc/passwd", "HTTP://x/w"])
def test_only_https_is_an_address(address):
    with pytest.raises(InputError, match="not https"):
        is_address(address)


def test_what_is_wrong_with_a_download_leaves_nothing(model, good):
    whole = good.read_bytes()
    answers = {"/short": (whole[:-100], len(whole)), "/other": b"no weights", "/large": whole + b"x"}
    with serving(answers) as (address, _asked):
        for path, reason in (("short", "ended after"), ("other", "no safetensors"), ("gone", "404"), ("large", ".")):
            with pytest.raises(InputError, match=reason) as caught:
                download(model, f"{address}/{path}")
            assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match=f"expected {len(whole)} bytes"):
            fetch(f"{address}/large", weights_folder() / "x", lambda *_: None, limit=len(whole), open_=open_local)
        (weights_folder() / "x").unlink()
        with pytest.raises(InputError, match="it is another"):
            download(model, f"{address}/other", sha256=file_sha256(good))
    assert left_in(weights_folder()) == []


def test_cancelling_a_download_that_stands_still_leaves_nothing(model):
    silence, seen = threading.Event(), []

    def report(step, of, what):
        seen.append(what)
        if time.monotonic() > begun + 0.5:
            raise Cancelled("enough")

    with serving({"/slow.safetensors": silence}) as (address, _asked):
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            install_weights(model.name, f"{address}/slow.safetensors", report, open_=open_local)
        assert seen[0] == "downloading slow.safetensors"
        assert left_in(weights_folder()) == []
        assert not silence.is_set(), "the server was still silent"
        silence.set()


def test_a_server_that_is_not_there_is_told_in_one_line(model):
    with pytest.raises(InputError, match="download failed"):
        download(model, "https://127.0.0.1:1/w.safetensors")
