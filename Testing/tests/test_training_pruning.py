"""Pruning: the sensitivity of paper 003, filters at zero, filters taken out, and networks that were made smaller."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from network_checks import NARROW, distinct, made
from torch import nn

from SpineSegLib.errors import InputError
from SpineSegLib.models import card, load_network
from SpineSegLib.models.describe import count
from SpineSegLib.models.weights import initial_network, save_weights
from SpineSegLib.networks import build
from SpineSegLib.training.pruning import (
    choose,
    filter_masks,
    hold,
    removed,
    sensitivity,
    structure_of,
    unit_masks,
    zero,
)
from SpineSegLib.training.pruning.measure import example_for


def measured(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return sensitivities for the mean square of the output."""
    return sensitivity(network, [x], lambda batch: network(batch).square().mean())


def stirred(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode with normalisations that do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def linknet():
    torch.manual_seed(0)
    network = stirred(build("linknet", {"width": 8, "depth": 18, "channels": 1}))
    x = example_for(network, 1)
    return network, x, structure_of(network, x), measured(network, x)


class TestSensitivity:
    def test_is_the_mean_of_the_absolute_gradients_of_a_filter(self):
        layer = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
        x = torch.tensor([2.0, -6.0]).view(2, 1, 1, 1)
        # The loss of a batch of one x is x·(w1 + 3·w2): the gradients are x and 3·x.
        weights = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
        found = sensitivity(layer, [x[:1], x[1:]], lambda each: (layer(each) * weights).sum())
        assert torch.equal(found["0.weight"], torch.tensor([4.0, 12.0]))
        summed = sensitivity(layer, [x[:1], x[1:]], lambda each: (layer(each) * weights).sum(), gradients="sum")
        assert torch.equal(summed["0.weight"], torch.tensor([2.0, 6.0]))

    def test_of_a_filter_is_divided_by_its_number_of_weights(self):
        layer = nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False))
        found = sensitivity(layer, [torch.ones(1, 2, 4, 4)], lambda x: layer(x)[:, 1].sum())
        # Each of the 2·2·2 weights of filter 1 has met 16 ones; the others have no part in the loss.
        assert torch.equal(found["0.weight"], torch.tensor([0.0, 16.0, 0.0]))

    def test_needs_data(self):
        with pytest.raises(ValueError, match="no batch"):
            sensitivity(nn.Conv2d(1, 1, 1), [], lambda x: x)


class TestZeroing:
    def test_a_quarter_of_64_filters_is_16_and_they_stay_at_zero_in_training(self):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1))
        x = torch.rand(2, 1, 8, 8)
        found = measured(network, x)
        masks = filter_masks(network, structure_of(network, x), found, 0.25)
        assert set(masks) == {"0.weight", "0.bias"}
        zero(network, masks)
        gone = ~masks["0.bias"]
        assert int(gone.sum()) == 16
        assert found["0.weight"][gone].max() <= found["0.weight"][~gone].min()
        hold(network, masks, strength=1e-4)
        optimiser = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            (network(x) - 1).square().mean().backward()
            optimiser.step()
        assert not network[0].weight[gone].any()
        assert not network[0].bias[gone].any()
        assert network[0].weight[~gone].abs().min() > 0

    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_regularisation_adds_the_gradient_of_its_term(self, norm):
        network = nn.Linear(3, 2)
        wanted = copy.deepcopy(network)
        hold(network, {}, strength=0.3, norm=norm)
        x = torch.rand(4, 3)
        network(x).sum().backward()
        term = wanted.weight.square().sum() if norm == "l2" else wanted.weight.abs().sum()
        (wanted(x).sum() + 0.3 * term).backward()
        torch.testing.assert_close(network.weight.grad, wanted.weight.grad)
        torch.testing.assert_close(network.bias.grad, wanted.bias.grad)


class TestRemoval:
    @pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
    def test_without_filters_a_network_does_what_it_does_with_them_at_zero(self, linknet, share):
        network, x, structure, found = linknet
        choice = choose(structure, found, share, multiple=2)
        zeroed, small = zero(copy.deepcopy(network), unit_masks(network, choice)), removed(network, choice)
        with torch.no_grad():
            torch.testing.assert_close(small(x), zeroed(x))
            assert (small(x) - network(x)).abs().max() > 1e-3
        assert sum(p.numel() for p in small.parameters()) < (1.2 - share) * sum(p.numel() for p in network.parameters())

    def test_every_layer_but_the_last_loses_filters_and_as_many_as_asked(self, linknet):
        network, _, structure, found = linknet
        assert structure.kept == {"tail.4": "it makes the output"}
        small = dict(removed(network, choose(structure, found, 0.5, multiple=1)).named_modules())
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and name != "tail.4":
                assert small[name].out_channels == layer.out_channels / 2

    def test_those_that_go_matter_least(self, linknet):
        _, _, structure, found = linknet
        group = next(group for group in structure.groups if group.layer == "encoder.layer1.0.conv1")
        ((_, units),) = [pair for pair in choose(structure, found, 0.5, multiple=1) if pair[0] is group]
        kept = [unit for unit in range(group.units) if unit not in units.tolist()]
        assert found["encoder.layer1.0.conv1.weight"][units].max() <= found["encoder.layer1.0.conv1.weight"][kept].min()

    @pytest.mark.parametrize("multiple", [1, 4, 16])
    def test_channels_that_stay_are_a_multiple(self, linknet, multiple):
        network, _, structure, found = linknet
        small = removed(network, choose(structure, found, 0.4, multiple=multiple))
        for (name, before), (_, layer) in zip(network.named_modules(), small.named_modules(), strict=True):
            if isinstance(layer, nn.Conv2d) and layer.out_channels != before.out_channels:
                assert layer.out_channels % multiple == 0, name
                assert layer.out_channels <= 0.6 * before.out_channels or layer.out_channels == multiple

    def test_one_threshold_for_all_takes_most_where_it_matters_least(self, linknet):
        _, _, structure, found = linknet
        choice = choose(structure, found, 0.3, multiple=1, scope="network")
        shares = {group.layer: len(units) / group.units for group, units in choice}
        assert min(shares.values()) < 0.2 < 0.5 < max(shares.values())

    def test_nothing_goes_at_share_zero(self, linknet):
        network, x, structure, found = linknet
        assert choose(structure, found, 0.0) == []
        with torch.no_grad():
            assert torch.equal(removed(network, [])(x), network(x))

    def test_grouped_convolutions_lose_the_same_channels_of_each_group(self):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3, groups=3), nn.Conv2d(12, 1, 1)
        ).eval()
        x = torch.rand(1, 3, 9, 9)
        structure = structure_of(network, x)
        assert {group.layer: (group.units, group.width) for group in structure.groups} == {"0": (4, 3), "3": (4, 3)}
        small = removed(network, choose(structure, measured(network, x), 0.5, multiple=1))
        assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (6, 6, 3)
        assert small(x).shape == network(x).shape

    def test_depthwise_convolutions_lose_the_filters_of_lost_channels(self):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 1, 1)).eval()
        x = torch.rand(1, 3, 9, 9)
        structure = structure_of(network, x)
        choice = choose(structure, measured(network, x), 0.5, multiple=1)
        small = removed(network, choice)
        assert (small[1].in_channels, small[1].groups) == (4, 4)
        torch.testing.assert_close(small(x), zero(copy.deepcopy(network), unit_masks(network, choice))(x))

    def test_attention_heads_lose_the_same_dimensions_of_queries_keys_and_values(self):
        network = stirred(made(distinct()["cervspinenet-vit-basic"]))
        x = torch.rand(1, 3, 64, 64)
        structure = structure_of(network, x)
        (group,) = [group for group in structure.groups if group.layer == "encoder.blocks.0.attn.qkv"]
        assert (group.units, group.width) == (32, 2), "64 channels in 2 heads"
        small = removed(network, choose(structure, measured(network, x), 0.5, multiple=1))
        attention = small.encoder.blocks[0].attn
        assert attention.qkv.out_features == 3 * attention.proj.in_features == 96
        assert attention.rel_pos_h.shape[1] == 16
        with torch.no_grad():
            plain = small(x)
        torch.testing.assert_close(small(x), plain, rtol=1e-3, atol=1e-4)  # as in training

    def test_a_network_that_counts_on_its_channels_keeps_them(self):
        class Tenths(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Conv2d(1, 10, 1), nn.Conv2d(10, 1, 1)

            def forward(self, x):
                return self.last(nn.functional.group_norm(self.first(x), 10))

        structure = structure_of(Tenths(), torch.rand(1, 1, 8, 8))
        assert not structure.groups
        assert structure.kept["first"] == "the network counts on its number"


NARROWED = [
    pytest.param(name, marks=[] if name in ("linknet34", "unet", "swin-unet") else pytest.mark.slow)
    for name, model in distinct().items()
    if model.network["name"] in NARROW
]


MOSTLY_KEPT = {"unext", "vm-unet-v2"}
"""Networks whose channels mostly have places of their own: shifted fifths, states, patches merged by slices."""


@pytest.mark.parametrize("name", NARROWED)
def test_every_network_runs_trains_and_loads_with_filters_removed(name, tmp_path):
    model = distinct()[name]
    network = stirred(made(model))
    x = torch.rand(1, int(model.input["channels"]), *model.input["size"])
    structure = structure_of(network, x)
    assert structure.groups
    found = measured(network, x)
    small = removed(network, choose(structure, found, 0.5, multiple=1))
    before, after = (sum(p.numel() for p in each.parameters()) for each in (network, small))
    assert after < (1.0 if model.network["name"] in MOSTLY_KEPT else 0.8) * before, structure.kept
    with torch.no_grad():
        wanted = small(x)
    assert wanted.shape == network(x).shape
    small.train()(x).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in small.parameters() if p.grad is not None)
    save_weights(small.eval(), tmp_path / "w.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(load_network(model, tmp_path / "w.safetensors")(x), small(x), rtol=0.05, atol=0.05)


def _with(model, small):
    return {**model.network["arguments"], "pruned": small.pruned}


class TestFiles:
    @pytest.fixture
    def pruned(self, tmp_path):
        """Return the card of a narrow network, the network without some filters, and its weights file."""
        model = card("linknet34-ct-small")
        model = replace(model, network={"name": "linknet", "arguments": {"width": 8, "depth": 18, "channels": 3}})
        network = stirred(build("linknet", model.network["arguments"]))
        x = example_for(network, 3)
        small = removed(network, choose(structure_of(network, x), measured(network, x), 0.5, multiple=2))
        with torch.no_grad():
            for parameter in small.parameters():
                parameter.copy_(parameter.half().float())  # as it is written
        save_weights(small, tmp_path / "pruned.safetensors")
        return model, small, tmp_path / "pruned.safetensors"

    def test_a_pruned_file_loads_with_the_card_of_the_whole_network(self, pruned):
        model, small, file = pruned
        x = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(load_network(model, file)(x), small(x))
            assert torch.equal(initial_network(model, file)(x), small(x))

    def test_it_can_be_saved_again_and_pruned_again(self, pruned, tmp_path):
        model, small, file = pruned
        again = load_network(model, file)
        x = torch.rand(1, 3, 64, 64)
        less = removed(again, choose(structure_of(again, x), measured(again, x), 0.5, multiple=1))
        save_weights(less, tmp_path / "less.safetensors")
        loaded = load_network(model, tmp_path / "less.safetensors")
        assert sum(p.numel() for p in loaded.parameters()) < sum(p.numel() for p in small.parameters())
        with torch.no_grad():
            torch.testing.assert_close(loaded(x), less(x), rtol=0.01, atol=0.01)

    def test_a_card_of_the_pruned_network_counts_and_loads_it(self, pruned):
        model, small, file = pruned
        arguments = {**model.network["arguments"], "pruned": json.loads(json.dumps(small.pruned))}
        own = replace(model, network={"name": "linknet", "arguments": arguments})
        assert count(own)[0] == sum(p.numel() for p in small.parameters())
        assert count(own)[1] < 0.5 * count(model)[1]
        x = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(load_network(own, file)(x), small(x))

    def test_a_card_of_the_pruned_network_can_be_trained_from_random_weights(self, pruned):
        model, small, _ = pruned
        torch.manual_seed(0)
        network = build("linknet", {**model.network["arguments"], "pruned": small.pruned})
        assert all(p.isfinite().all() for p in network.parameters())
        assert float(network.encoder.layer1[0].conv1.weight.detach().std()) > 0.01

    def test_a_pruned_file_of_another_network_is_refused(self, pruned):
        _, _, file = pruned
        with pytest.raises(InputError, match="pruned layers of another network"):
            load_network(card("unet"), file)

    def test_unpruned_weights_are_not_those_of_a_pruned_card(self, pruned, tmp_path):
        model, small, _ = pruned
        save_weights(build("linknet", model.network["arguments"]), tmp_path / "whole.safetensors")
        own = replace(model, network={"name": "linknet", "arguments": _with(model, small)})
        with pytest.raises(InputError, match="differ in name or shape"):
            load_network(own, tmp_path / "whole.safetensors")

    @pytest.mark.parametrize(
        "said", ["no JSON", "[1]", '{"a": 3}', '{"no.such": [1]}', '{"encoder.conv1.weight": [8, 3, 7, 900]}']
    )
    def test_a_note_that_makes_no_sense_is_refused_in_one_line(self, pruned, tmp_path, said):
        from safetensors.torch import save_file

        model, small, _ = pruned
        save_file(small.state_dict(), tmp_path / "odd.safetensors", {"pruned": said})
        with pytest.raises(InputError):
            load_network(model, tmp_path / "odd.safetensors")
