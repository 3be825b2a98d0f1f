"""Grad-CAM against gradients written out by hand; hooks leave the network as it was."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from standins import FILM_MODEL, random_weights, small_film
from torch import nn

from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation.explain.gradcam import feature_layer, grad_cam
from SpineSegLib.evaluation.explain.looking import look_at
from SpineSegLib.evaluation.explain.maps import explain_gradcam
from SpineSegLib.io import read_image, write_image
from SpineSegLib.models import card, registry
from SpineSegLib.networks import build


class Small(nn.Module):
    """Features, ReLU, a weighted sum: small enough for gradients by hand."""

    stride = 1

    def __init__(self, *, inplace: bool = False):
        super().__init__()
        self.features = nn.Conv2d(2, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=inplace)
        self.last = nn.Conv2d(5, 2, 1)

    def forward(self, x):
        return self.last(self.relu(self.features(x)))


@pytest.fixture
def small():
    torch.manual_seed(4)
    return Small().eval(), torch.randn(1, 2, 9, 7)


def by_hand(network, x, *, kind, score, used):
    """Equations 1 and 2 of Grad-CAM for `Small`, in numpy."""
    with torch.no_grad():
        maps = network.features(x)[0].numpy().astype(float)
    weight, bias = network.last.weight[:, :, 0, 0].detach().numpy(), network.last.bias.detach().numpy()
    logits = np.einsum("ck,khw->chw", weight, np.maximum(maps, 0)) + bias[:, None, None]
    probability = 1 / (1 + np.exp(-logits))
    inside = np.zeros_like(probability, bool)
    inside[slice(None) if kind is None else slice(kind, kind + 1), : used[0], : used[1]] = True
    chosen = inside & (probability > 0.5)
    chosen = chosen if chosen.any() else inside
    slope = (probability * (1 - probability) if score == "probability" else 1) * chosen / chosen.sum()
    gradient = np.einsum("ck,chw->khw", weight, slope) * (maps > 0)
    found = np.maximum(np.einsum("k,khw->hw", gradient.mean(axis=(1, 2)), maps), 0)
    return found / found.max()


@pytest.mark.parametrize("kind", [None, 0, 1])
@pytest.mark.parametrize("score", ["probability", "logit"])
def test_grad_cam_is_what_its_equations_give_by_hand(small, kind, score):
    network, x = small
    found = grad_cam(network, "features", lambda: network(x), score=score, kind=kind, used=(8, 6))
    assert found.map.max() == 1
    assert np.allclose(found.map, by_hand(network, x, kind=kind, score=score, used=(8, 6)), atol=1e-5)


def test_where_nothing_is_found_all_pixels_speak(small):
    network, x = small
    with torch.no_grad():
        network.last.bias -= 100
    found = grad_cam(network, "features", lambda: network(x), score="logit")
    assert np.allclose(found.map, by_hand(network, x, kind=None, score="logit", used=(9, 7)), atol=1e-5)


def test_a_next_layer_that_works_in_place_changes_nothing(small):
    network, x = small
    hasty = Small(inplace=True).eval()
    hasty.load_state_dict(network.state_dict())
    one, two = (grad_cam(each, "features", lambda each=each: each(x)).map for each in (network, hasty))
    assert np.array_equal(one, two)


def test_the_network_is_left_as_it_was(small):
    network, x = small
    network.last.bias.requires_grad_(False)
    before = network(x).detach()
    grad_cam(network, "features", lambda: network(x))
    with pytest.raises(RuntimeError, match="stop"):
        grad_cam(network, "features", lambda: (network(x), (_ for _ in ()).throw(RuntimeError("stop")))[0])
    assert torch.equal(network(x), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["last.bias"]
    assert torch.is_grad_enabled()


def test_the_layer_is_the_cards_then_the_encoder_then_the_deepest():
    network = build("unet", {"width": 4, "channels": 1}).eval()
    run = lambda: network(torch.zeros(1, 1, 32, 32))  # noqa: E731
    assert feature_layer(network, "down.1", run) == "down.1"
    assert feature_layer(network, None, run) == "down.3"
    linknet = build("linknet", {"width": 4, "depth": 18, "channels": 1})
    assert feature_layer(linknet, None, run) == "encoder"
    with pytest.raises(InputError, match="no module 'middle'"):
        feature_layer(network, "middle", run)


def test_maps_with_channels_last_are_weighed_like_others(small):
    network, x = small

    class Last(nn.Module):
        stride = 1

        def __init__(self):
            super().__init__()
            self.norm, self.same = nn.LayerNorm(2), nn.Identity()
            self.rest = network

        def forward(self, x):
            return self.rest(self.same(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))

    both = Last().eval()
    one, two = (grad_cam(both, layer, lambda: both(x)).map for layer in ("norm", "same"))
    assert one.shape == two.shape == (9, 7) and np.allclose(one, two, atol=1e-6)


def test_a_layer_that_no_run_reaches_is_told(small):
    network, x = small
    network.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(InputError, match="gave no map"):
        grad_cam(network, "spare", lambda: network(x))


NETWORKS = {
    model.network["name"]: model
    for model in registry().values()
    # Networks of several parts make no map of the whole picture; `explain gradcam` refuses them.
    if model.dimension == 2 and model.network["name"] != "spinefm"
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_every_network_of_pictures_has_a_layer_to_look_at(model):
    with torch.device("meta"):
        network = build(model.network["name"], model.network["arguments"]).eval()
        side = 8 * network.stride
        run = lambda: network(torch.zeros(1, int(model.input["channels"]), side, side))  # noqa: E731
        layer = feature_layer(network, model.network.get("features"), run)
        seen = []
        network.get_submodule(layer).register_forward_hook(lambda _, __, out: seen.append(out))
        with torch.no_grad():
            run()
    maps = seen[-1][-1] if isinstance(seen[-1], (list, tuple)) else seen[-1]
    assert maps.ndim == 4 and maps.shape[-2] in (8, 16), f"{layer}: {tuple(maps.shape)}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(random_weights(FILM_MODEL, tmp_path_factory.mktemp("weights") / "w.safetensors"))


@pytest.mark.parametrize("more", [{}, {"mirror": False}, {"mirror": True, "size": 128}])
def test_the_map_lies_on_the_image_and_the_prediction_is_the_pipelines(weights, more):
    from SpineSegLib.pipelines import segment

    image = small_film()
    model = card(FILM_MODEL)
    model = replace(model, pipeline={**model.pipeline, "arguments": {**model.pipeline["arguments"], **more}})
    found = explain_gradcam(look_at(image, model, weights=weights))
    assert found.maps[0].values.shape == image.array.shape
    assert found.maps[0].values.min() >= 0 and found.maps[0].values.max() <= 1 + 1e-6
    usual = segment(image, model, weights=weights, device="cpu", precision="float32").segmentation
    assert np.mean(found.segmentation.foreground != usual.foreground) < 1e-3


def test_a_maps_place_is_that_of_the_square(weights):
    look = look_at(small_film(), card(FILM_MODEL), weights=weights)
    grid = np.zeros((10, 10))
    # The film is 64 rows by 48 columns of square pixels: the square's lower right tile has no image.
    grid[0, 0], grid[9, 9] = 1, 5
    found = look.on_image(grid)[0]
    assert np.unravel_index(found.argmax(), found.shape) < (4, 4)
    assert found[-8:, :20].max() == 0 and found.max() <= 1


def test_the_command_writes_picture_and_numbers(weights, tmp_path, capsys):
    write_image(small_film(), tmp_path / "film.nrrd")
    arguments = ["explain", "gradcam", str(tmp_path / "film.nrrd"), "--modality", "XR", "--model", FILM_MODEL]
    arguments += ["--weights", weights, "--out", str(tmp_path / "cam.png"), "--out", str(tmp_path / "cam.nrrd")]
    assert main([*arguments, "--json"]) == 0
    assert "down.3" in json.loads(capsys.readouterr().out)["maps"][0]
    assert read_image(tmp_path / "cam.nrrd").geometry.same_as(small_film().geometry)
    assert (tmp_path / "cam.png").read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--structure", "ribs"]) == 1
    assert capsys.readouterr().err.startswith("error: --structure: 'ribs'; expected one of vertebrae")


def test_a_model_of_volumes_is_refused_in_one_line(tmp_path, capsys):
    write_image(small_film(), tmp_path / "film.nrrd")
    arguments = ["explain", "gradcam", str(tmp_path / "film.nrrd"), "--model", "linknet34-ct-small"]
    assert main([*arguments, "--out", str(tmp_path / "cam.png")]) == 1
    printed = capsys.readouterr().err
    assert "slice by slice" in printed and printed.count("\n") == 1
