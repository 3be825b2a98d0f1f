"""Every network that a card names: its size against the paper's, its shapes, its training, its weights, its use."""

import pytest
import torch
from network_checks import (
    NARROW,
    ONE_BY_ONE,
    as_paper_004_counts,
    batch_of,
    dice_of,
    distinct,
    image_for,
    loss_of,
    made,
)

from SpineSegLib.models import card, load_network, registry
from SpineSegLib.models.describe import count
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.pipelines import segment

CARDS = sorted(registry())
WITH_NUMBERS = [name for name in CARDS if (card(name).paper or {}).get("reported")]
TOLERANCE = {**dict.fromkeys(("dense-unet", "md-unet", "trans-unet", "condseg", "cvm-unet"), 0.05), "lightm-unet": 0.1}
"""How far parameters may differ from the paper's: by 1 %, but more where much is left open or one digit is printed."""
SMALL = [
    pytest.param(name, marks=[] if model.network["name"] in NARROW else pytest.mark.slow)
    for name, model in distinct().items()
]


@pytest.mark.parametrize("name", CARDS)
def test_parameters_on_the_card_are_those_of_its_network(name):
    network = card(name).network
    assert network.get("counts"), "write them: python3 Testing/run.py python Testing/count_networks.py"
    with torch.device("meta"):
        made_of = build(network["name"], network["arguments"])
    assert network["counts"]["parameters"] == sum(parameter.numel() for parameter in made_of.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_counts_on_the_card_are_those_of_its_network(name):
    counts = card(name).network["counts"]
    assert (counts["parameters"], counts["multiply_adds"]) == count(card(name))


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_parameters_are_those_that_the_paper_prints_or_the_card_says_how_it_counted(name):
    reported, counts = card(name).paper["reported"], card(name).network["counts"]
    wanted = pytest.approx(reported["parameters"], rel=TOLERANCE.get(name, 0.01))
    if counts["parameters"] != wanted:
        assert len(reported.get("note", "")) > 40
        assert as_paper_004_counts(card(name))[0] == wanted


@pytest.mark.parametrize("name", [name for name in WITH_NUMBERS if "multiply_adds" in card(name).paper["reported"]])
def test_multiply_adds_are_those_that_the_paper_prints_or_the_card_says_how_it_counted(name):
    reported, counts = card(name).paper["reported"], card(name).network["counts"]
    wanted = pytest.approx(reported["multiply_adds"], rel=0.1)
    if counts["multiply_adds"] != wanted:
        assert len(reported.get("note", "")) > 40
        assert as_paper_004_counts(card(name))[1] == wanted


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_the_size_of_the_picture_at_the_smallest_and_at_another_multiple(name):
    model = distinct()[name]
    network = made(model).eval()
    channels, classes, stride = model.input["channels"], len(model.structures), network.stride
    slices = [stride] * (len(model.input["size"]) - 2)
    for height, width in ((stride, stride), (2 * stride, 3 * stride)):
        pictures = torch.rand(2, channels, *slices, height, width)
        with torch.no_grad():
            logits = network(pictures if slices else pictures.to(memory_format=torch.channels_last))
        assert logits.shape == (2, classes, *slices, height, width)
        assert logits.isfinite().all()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_training_with_one_picture_reaches_every_parameter_and_leaves_numbers(name, precision):
    model = distinct()[name]
    network, (images, masks) = made(model).train(), batch_of(model)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = loss_of(network, images, masks)
        loss.backward()
        optimiser.step()
        assert loss.isfinite()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert [name for name, value in network.state_dict().items() if not value.isfinite().all()] == []


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_back_whole_from_safetensors(name, tmp_path):
    model = distinct()[name]
    network = made(model).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())  # what the file holds
    save_weights(network, tmp_path / "w.safetensors")
    again = load_network(model, tmp_path / "w.safetensors")
    images, _ = batch_of(model)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


def random_weights(model, folder):
    path = folder / f"{model.name}.safetensors"
    save_weights(made(model), path)
    return path


def segmented_at_its_own_size(model, folder, shape):
    image, weights = image_for(model, *shape), random_weights(model, folder)
    points = [(shape[1] / 2, shape[0] / 2)] if model.pipeline["name"] == "prompted" else []
    result = segment(image, model, weights=weights, device="cpu", precision="float32", points=points)
    assert result.segmentation.geometry.shape == image.geometry.shape
    assert all(layer.shape == image.array.shape for layer in result.segmentation.layers)
    if model.pipeline["name"] not in ONE_BY_ONE:
        assert {found.name for found in result.segmentation.segments} == {wanted.name for wanted in model.structures}


@pytest.mark.parametrize("name", SMALL)
def test_an_image_of_odd_size_is_segmented_at_its_own_size(name, tmp_path):
    segmented_at_its_own_size(distinct()[name], tmp_path, (151, 97))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CARDS)
def test_the_network_at_full_size_segments_an_image_of_odd_size(name, tmp_path):
    # A volume's slices go through one by one in up to three planes.
    segmented_at_its_own_size(card(name), tmp_path, (31, 23) if card(name).dimension == 3 else (701, 433))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", list(distinct()))
def test_network_learns_one_picture_by_heart(name):
    model = distinct()[name]
    # Twice the side, so that networks which enlarge their logits by 4 can follow the edges of the mask.
    network, (images, masks) = made(model), batch_of(model, times=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(1, 401):
        optimiser.zero_grad()
        loss_of(network.train(), images, masks).backward()
        optimiser.step()
        if step % 25 == 0 and dice_of(network.eval(), images, masks) > 0.98:
            return
    assert dice_of(network.eval(), images, masks) > 0.98
