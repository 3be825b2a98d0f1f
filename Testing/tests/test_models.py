"""Cards, their registry, and weights that are checked before they are used."""

import importlib
import json
import shutil

import jsonschema
import numpy as np
import pytest
import torch
from bundle import card_text

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.models import (
    card,
    delete_weights,
    describe,
    install_weights,
    load_network,
    registry,
    verify_weights,
    weights_file,
    weights_state,
)
from SpineSegLib.models import cards as cards_module
from SpineSegLib.models.weights import file_sha256, save_weights
from SpineSegLib.networks import build
from SpineSegLib.pipelines.run import _pipelines
from SpineSegLib.resources import resource


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of installed weights."""
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def small(tmp_path):
    """Weights of `unet` at full width would be large; this file fits `unet-xray-small`."""
    network = build("unet", card("unet-xray-small").network["arguments"])
    path = tmp_path / "mine.safetensors"
    save_weights(network, path)
    return path


@pytest.fixture
def uncarded(monkeypatch):
    """`unet-xray-small` without bundled weights, as before anyone trained it."""
    plain = cards_module.Card(**{**vars(card("unet-xray-small")), "weights": cards_module.Weights()})
    monkeypatch.setattr(cards_module, "registry", lambda: {**registry(), plain.name: plain})
    return plain


@pytest.mark.parametrize("name", sorted(registry()))
def test_card_keeps_the_schema_and_its_network_and_pipeline_exist(name):
    schema = json.loads(resource("Models", "_schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(resource("Models", f"{name}.json").read_text(encoding="utf-8")), schema)
    model = card(name)
    assert model.pipeline["name"] in _pipelines()
    with torch.device("meta"):
        network = build(model.network["name"], model.network["arguments"])
    assert all(size % network.stride == 0 for size in model.input["size"])
    arguments = model.network["arguments"]
    parts = [arguments] if "channels" in arguments else [arguments["detector"], arguments["segmenter"]]
    assert all(each["channels"] == model.input["channels"] for each in parts)
    assert parts[-1]["classes"] == len(model.structures)


@pytest.mark.parametrize("name", [name for name, model in registry().items() if model.weights.bundled])
def test_bundled_weights_are_the_ones_on_the_card_and_small_enough(name, folder):
    path = verify_weights(name)
    assert path == resource("Models", f"{name}.safetensors")
    assert path.stat().st_size <= 8 * 2**20
    assert card(name).weights.scores, "a bundled model states what it was measured to reach"


def test_a_card_is_written_with_a_list_of_numbers_or_words_in_one_line():
    content = {"size": [64, 64], "none": [], "words": ["a [b", "c"], "rows": [[1, 2], [3]], "deep": {"x": [1.5, -2]}}
    text = card_text(content)
    assert json.loads(text) == content
    assert '"size": [64, 64],' in text and '"x": [1.5, -2]' in text and "[1, 2],\n" in text


def test_described_model_has_what_other_programs_rely_on(folder):
    found = describe(card("unet-xray-small"))
    json.dumps(found)
    wanted = {"name", "paper", "modality", "view", "structures", "input_size", "parameters", "multiply_adds", "weights"}
    assert wanted <= set(found)
    assert found["parameters"] == sum(p.numel() for p in build("unet", {"width": 16, "channels": 1}).parameters())


def test_multiply_adds_are_those_of_a_convolution_counted_by_hand(monkeypatch):
    module = importlib.import_module("SpineSegLib.models.describe")

    class One(torch.nn.Conv2d):
        def __init__(self):
            super().__init__(3, 7, 5, padding=2)

    monkeypatch.setattr("SpineSegLib.networks.build", lambda *_: One())
    parameters, multiply_adds = module.count(card("linknet34"))
    assert parameters == 3 * 7 * 25 + 7
    assert multiply_adds == 3 * 7 * 25 * 256 * 256


def test_an_unknown_model_names_its_neighbours():
    with pytest.raises(InputError, match="unet-xray-small"):
        card("unet-xray-smal")


def test_a_card_with_a_key_twice_is_refused_with_key_and_line(tmp_path):
    lines = resource("Models", "unet.json").read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith('  "network"'))
    inside = lines[at + 1].rstrip(",") + ","
    path = tmp_path / "unet.json"
    path.write_text("\n".join([*lines[: at + 1], inside, *lines[at + 1 :]]), encoding="utf-8")
    with pytest.raises(InputError, match=rf"unet\.json: line {at + 3} has the key 'name' a second time"):
        cards_module.read_card(path)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert cards_module.read_card(path).name == "unet", "the name of the network is no second name of the card"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"modality": ["PET"]}, "modality"),
        ({"dimension": 4}, "dimension"),
        ({"structures": ["liver"]}, "structures"),
        ({"colour": 1}, "fields"),
        ({"weights": {"file": "../../x.safetensors"}}, "bare file name"),
        ({"weights": {"file": "x.safetensors", "bundled": True}}, "sha256"),
        ({"name": "other"}, "name"),
    ],
)
def test_a_wrong_card_is_refused_with_its_field(tmp_path, change, says):
    good = json.loads(resource("Models", "unet.json").read_text(encoding="utf-8"))
    path = tmp_path / "unet.json"
    path.write_text(json.dumps({**good, **change}), encoding="utf-8")
    with pytest.raises(InputError, match=says) as error:
        cards_module.read_card(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def image(shape, modality, source=SpacingSource.HEADER):
    array = np.zeros(shape, np.float32)
    array.flat[0] = 1
    return Image(array, Geometry(shape, np.eye(4), source), modality)


@pytest.mark.parametrize(
    ("model", "picture", "says"),
    [
        ("unet-xray-small", image((1, 8, 8), "CT"), "a CT and unet-xray-small takes a radiograph"),
        ("unet-xray-small", image((3, 8, 8), "XR"), "3 slices"),
        ("linknet34-ct-small", image((1, 8, 8), "XR"), "a radiograph and linknet34-ct-small takes a CT"),
        ("linknet34-ct-small", image((4, 8, 8), None), "--modality"),
        ("linknet34-ct-small", image((4, 8, 8), "CT", SpacingSource.UNKNOWN), "spacing is unknown"),
    ],
)
def test_an_image_that_the_model_is_not_for_is_told_apart(model, picture, says):
    assert says in card(model).misfit(picture)


def test_an_image_that_the_model_is_for_fits():
    assert card("unet-xray-small").misfit(image((1, 8, 8), "XR", SpacingSource.UNKNOWN)) is None
    assert card("linknet34-ct-small").misfit(image((4, 8, 8), "CT")) is None
    assert card("linknet34-ct-small").misfit(image((1, 8, 8), "CT")) is None, "a slice is a thin volume"


def test_installed_weights_are_found_used_and_deleted(folder, small, uncarded):
    assert weights_state(uncarded) == "absent"
    with pytest.raises(InputError, match="weights install unet-xray-small"):
        weights_file(uncarded)
    installed = install_weights(uncarded.name, small)
    assert installed.parent == folder
    assert weights_state(uncarded) == "installed"
    assert weights_file(uncarded) == installed
    assert delete_weights(uncarded.name) == installed
    assert weights_state(uncarded) == "absent"


def test_weights_of_another_network_are_refused_and_the_installed_ones_stay(folder, small, uncarded, tmp_path):
    installed = install_weights(uncarded.name, small)
    before = file_sha256(installed)
    other = tmp_path / "other.safetensors"
    save_weights(build("unet", {"width": 4, "channels": 1}), other)
    with pytest.raises(InputError, match="name or shape"):
        install_weights(uncarded.name, other)
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not tensors at all")
    with pytest.raises(InputError, match="no safetensors file"):
        install_weights(uncarded.name, garbage)
    assert file_sha256(installed) == before
    assert sorted(path.name for path in folder.iterdir()) == [installed.name, f"{installed.name}.json"]


def test_a_wrong_checksum_is_refused(folder, small, monkeypatch):
    model = card("unet-xray-small")
    stated = cards_module.Weights(file="x.safetensors", sha256="0" * 64, bytes=small.stat().st_size)
    model = cards_module.Card(**{**vars(model), "weights": stated})
    folder.mkdir()
    shutil.copyfile(small, folder / "x.safetensors")
    with pytest.raises(InputError, match=r"sha256 .* expected sha256 000000000000"):
        load_network(model)
    stated = cards_module.Weights(file="x.safetensors", sha256="0" * 64, bytes=5)
    with pytest.raises(InputError, match="expected 5 bytes"):
        load_network(cards_module.Card(**{**vars(model), "weights": stated}))


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    network = build("unet", card("unet-xray-small").network["arguments"])
    network.last.bias.data.fill_(float("nan"))
    path = tmp_path / "nan.safetensors"
    save_weights(network, path)
    with pytest.raises(InputError, match=r"last\.bias"):
        load_network(card("unet-xray-small"), path)


def test_an_insecure_address_is_refused_without_a_connection(folder):
    with pytest.raises(InputError, match="not https"):
        install_weights("unet-xray-small", "http://example.invalid/w.safetensors")


def test_float16_weights_give_the_same_mask(tmp_path):
    torch.manual_seed(0)
    network = build("unet", card("unet-xray-small").network["arguments"]).eval()
    path = tmp_path / "w.safetensors"
    facts = save_weights(network, path)
    assert facts == {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    again = load_network(card("unet-xray-small"), path)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x), atol=5e-3, rtol=5e-2)
