"""Public .pth files: Segment Anything's weights install, start a training, and never run what a file says."""

import pytest
import torch
from safetensors.torch import load_file

from SpineSegLib.errors import InputError
from SpineSegLib.models import card, cards, initial_network, install_weights, load_network, verify_weights
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build

VIT = {"size": 64, "width": 32, "depth": 2, "heads": 2, "window": 3, "global_blocks": [1], "outputs": 32}


@pytest.fixture
def narrow(monkeypatch, tmp_path):
    """`sam` and `cervspinenet` with narrow networks and an empty folder of installed weights."""
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "weights"))
    small = {
        name: cards.Card(
            **{
                **vars(card(name)),
                "network": {"name": name, "arguments": {**VIT, **more}},
                "input": {**card(name).input, "size": [64, 64]},
            }
        )
        for name, more in (("sam", {"hidden": 64}), ("cervspinenet", {"channels": 3, "classes": 1}))
    }
    monkeypatch.setattr(cards, "registry", lambda: small)
    return small


@pytest.fixture
def checkpoint(narrow, tmp_path):
    """A file like sam_vit_b_01ec64.pth, of the narrow network."""
    torch.manual_seed(5)
    network = build("sam", narrow["sam"].network["arguments"])
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(network.state_dict(), path)
    return path, network.state_dict()


def test_segment_anythings_file_installs_as_safetensors(narrow, checkpoint):
    path, tensors = checkpoint
    installed = install_weights("sam", path)
    assert installed.suffix == ".safetensors"
    assert verify_weights("sam") == installed
    found = load_file(installed)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_segment_anythings_file_is_used_as_it_is(narrow, checkpoint):
    path, tensors = checkpoint
    found = load_network(narrow["sam"], path).state_dict()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_cervspinenet_starts_from_the_encoder_of_segment_anything(narrow, checkpoint):
    path, tensors = checkpoint
    network = initial_network(narrow["cervspinenet"], path)
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, tensors[f"image_encoder.{name}"]), name
    with pytest.raises(InputError, match="differ in name or shape"):
        load_network(narrow["cervspinenet"], path)


def test_a_training_starts_from_all_weights_where_the_file_has_them(narrow, tmp_path):
    network = build("cervspinenet", narrow["cervspinenet"].network["arguments"])
    save_weights(network, tmp_path / "mine.safetensors")
    again = initial_network(narrow["cervspinenet"], tmp_path / "mine.safetensors").state_dict()
    assert all(torch.equal(again[name], value.half().float()) for name, value in network.state_dict().items())


def test_a_residual_encoder_of_torchvision_starts_linknet():
    torchvision = pytest.importorskip("torchvision")
    from SpineSegLib.models.checkpoints import encoder_among

    theirs = torchvision.models.resnet34(weights=None).state_dict()
    own = build("linknet").state_dict()
    found = encoder_among(theirs, own)
    assert found.keys() == {name for name in own if name.startswith("encoder.")}
    assert torch.equal(found["encoder.conv1.weight"], theirs["conv1.weight"])
    assert encoder_among({name: value for name, value in theirs.items() if "layer3" not in name}, own) == {}


class Harmful:
    """Unpickling it would run a function."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [Harmful(), {"a": 1}, {}, [torch.zeros(1)]])
def test_a_file_of_anything_else_than_tensors_is_refused_in_one_line(narrow, tmp_path, content, capsys):
    path = tmp_path / "bad.pth"
    torch.save(content, path)
    with pytest.raises(InputError) as error:
        install_weights("sam", path)
    assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out
    assert not (tmp_path / "weights" / "sam.safetensors").exists()


def test_weights_that_are_not_finite_do_not_start_a_training(narrow, checkpoint, tmp_path):
    path, tensors = checkpoint
    tensors = {**tensors, "image_encoder.pos_embed": tensors["image_encoder.pos_embed"] * float("nan")}
    torch.save(tensors, path)
    with pytest.raises(InputError, match="not finite"):
        initial_network(narrow["cervspinenet"], path)
