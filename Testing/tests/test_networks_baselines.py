"""The baselines' own parts against independent implementations and cases worked out by hand."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional

from SpineSegLib.networks import build
from SpineSegLib.networks.attention_unet import AttentionGate
from SpineSegLib.networks.channel_unet import GlobalAttentionUpsample
from SpineSegLib.networks.condseg import ConDSeg, ContrastDrivenAggregation
from SpineSegLib.networks.dense_unet import DenseUNet
from SpineSegLib.networks.meta_unet import Attention, MultiscaleAttention
from SpineSegLib.networks.swin_unet import PatchExpanding
from SpineSegLib.networks.trans_unet import TransUNet
from SpineSegLib.networks.unet import UNet
from SpineSegLib.networks.unext import shifted


def shuffled(network):
    """Return the network with random normalisation as well, so that no factor of 1 hides a wrong place."""
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5 * ("var" in name))
    return network.eval()


def copied(values, order, network):
    """Load values, in the order given, into a network whose tensors stand in another order."""
    own = network.state_dict()
    assert [values[name].shape for name in order] == [value.shape for value in own.values()]
    network.load_state_dict(dict(zip(own, (values[name] for name in order), strict=True)))
    return network.eval()


@pytest.mark.parametrize(("name", "kind"), [("fpn", smp.FPN), ("pspnet", smp.PSPNet)])
def test_network_computes_what_segmentation_models_does_with_the_same_weights(name, kind):
    theirs = shuffled(kind("resnet34", encoder_weights=None))
    values, ours = theirs.state_dict(), build(name)
    order = [f"encoder.{part.removeprefix('encoder.')}" for part in ours.state_dict() if part.startswith("encoder.")]
    rest = [part for part in values if not part.startswith("encoder.")]
    if name == "fpn":  # theirs go from the lowest level up, ours from the highest down
        starts = [f"decoder.p{level}." for level in (2, 3, 4, 5)]
        starts += [f"decoder.seg_blocks.{number}." for number in (3, 2, 1, 0)] + ["segmentation_head."]
        rest = [part for start in starts for part in rest if part.startswith(start)]
    ours = copied(values, order + rest, ours)
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_encoder_of_the_dense_unet_is_densenet_121():
    torchvision = pytest.importorskip("torchvision")
    features = shuffled(torchvision.models.densenet121(weights=None).features)
    ours = DenseUNet().eval()
    parts = [ours.stem, *(part for pair in zip(ours.down, ours.transitions, strict=True) for part in pair), ours.bottom]
    own = [value for part in parts for value in part.state_dict().values()]
    theirs = [value for name, value in features.state_dict().items() if not name.startswith("norm5")]
    assert [value.shape for value in own] == [value.shape for value in theirs]
    for value, other in zip(own, theirs, strict=True):
        value.copy_(other)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = features[:-1](x)
        y = ours.stem(x)
        for block, transition in zip(ours.down, ours.transitions, strict=True):
            y = functional.avg_pool2d(transition(block(y)), 2)
        torch.testing.assert_close(ours.bottom(y), expected)


def test_residual_unet_without_its_shortcuts_is_the_unet():
    torch.manual_seed(0)
    plain, residual = UNet(width=4).eval(), build("residual-unet", {"width": 4}).eval()
    kept = {name: value for name, value in residual.state_dict().items() if "shortcut" not in name}
    assert [value.shape for value in kept.values()] == [value.shape for value in plain.state_dict().values()]
    residual.load_state_dict(dict(zip(kept, plain.state_dict().values(), strict=True)), strict=False)
    for name, parameter in residual.named_parameters():
        if "shortcut" in name:
            parameter.data.zero_()
    x = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(residual(x), plain(x))


def test_attention_gate_passes_the_share_that_the_gating_signal_decides():
    gate = AttentionGate(2).eval()
    for parameter in gate.parameters():
        parameter.data.zero_()
    skip = torch.rand(1, 2, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(gate(skip, torch.rand(1, 2, 3, 4)), skip / 2)  # sigmoid(0)
        for part in (gate.of_gate, gate.weight):
            part[0].weight.fill_(1)
            part[1].weight.fill_(1)
        signal = torch.zeros(1, 2, 3, 4)
        signal[..., 0] = 50
        passed = gate(skip, signal)
    torch.testing.assert_close(passed[..., 0], skip[..., 0])
    torch.testing.assert_close(passed[..., 1:], skip[..., 1:] / 2)


def test_global_attention_weighs_the_channels_of_the_skip_by_the_mean_from_below():
    upsample = GlobalAttentionUpsample(1, 2).eval()
    for parameter in upsample.parameters():
        parameter.data.zero_()
    upsample.skip[0].weight.data[[0, 1], [0, 1], 1, 1] = 1  # the identity
    upsample.skip[1].weight.data.fill_(1)
    upsample.weight.weight.data[:] = torch.tensor([2.0, 0.5])[:, None, None, None]
    below, skip = torch.tensor([[[[1.0, 5.0]]]]), torch.rand(1, 2, 2, 4)
    with torch.no_grad():
        found = upsample(below, skip)
    torch.testing.assert_close(found, skip * torch.tensor([6.0, 1.5])[None, :, None, None], rtol=1e-4, atol=0)


@pytest.mark.parametrize("axis", [1, 2])
def test_fifths_of_the_channels_move_by_up_to_two_tokens_and_zeros_come_in(axis):
    x = torch.rand(2, 6, 7, 10) + 1
    found = shifted(x, axis)
    for group, reach in enumerate((-2, -1, 0, 1, 2)):
        channels = slice(2 * group, 2 * group + 2)
        rolled = x[..., channels].roll(reach, axis)
        edge = torch.arange(x.shape[axis]).roll(reach) != torch.arange(x.shape[axis]) - reach
        rolled[(slice(None),) * axis + (edge,)] = 0
        assert torch.equal(found[..., channels], rolled)


def test_windows_of_the_local_branch_do_not_see_each_other():
    torch.manual_seed(0)
    join = MultiscaleAttention(8, 4, window=4, reduction=2).eval()
    for name, parameter in join.everywhere.named_parameters():
        if name.startswith(("project", "mlp.2")):
            parameter.data.zero_()  # the global branch then passes its input on
    before = torch.rand(1, 8, 10, 6)
    after = before.clone()
    after[0, 0, 5, 1] += 1  # in the window of rows 4 to 7 and columns 0 to 3
    with torch.no_grad():
        changed = (join(before) != join(after)).any(1)[0]
    assert changed[4:8, :4].all()
    changed[4:8, :4] = False
    assert not changed.any()


def test_attention_with_reduced_keys_equals_pytorchs_attention():
    torch.manual_seed(0)
    attention = Attention(8, 2, reduction=2).eval()
    x = torch.rand(1, 24, 8)
    y = attention.norm1(x)
    key, value = attention.key_value(y).chunk(2, dim=-1)
    picture = lambda part: part.transpose(1, 2).reshape(1, 8, 4, 6)  # noqa: E731
    key = attention.reduce_key(picture(key)).flatten(2).transpose(1, 2)
    value = attention.reduce_value(picture(value)).flatten(2).transpose(1, 2)
    split = lambda part: part.reshape(1, -1, 2, 4).transpose(1, 2)  # noqa: E731
    query, key, value = split(attention.query(y)), attention.norm_key(split(key)), attention.norm_value(split(value))
    weights = (query @ key.transpose(-1, -2) / 2).softmax(-1)
    middle = x + attention.project((weights @ value).transpose(1, 2).reshape(1, 24, 8))
    expected = middle + attention.mlp(attention.norm2(middle))
    torch.testing.assert_close(attention(x, (4, 6)), expected)


def test_aggregation_with_equal_weights_is_twice_a_mean_over_neighbours():
    aggregate = ContrastDrivenAggregation(4, 4, heads=2)
    x = torch.rand(2, 4, 5, 6)
    found = aggregate._attended(x, torch.zeros(2, 2 * 81, 5, 6))
    mean = functional.avg_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(found, 9 * functional.avg_pool2d(mean, 3, stride=1, padding=1))


def test_uncertainty_pulls_the_decoupled_odds_to_a_half():
    network = ConDSeg(width=4, joined=8).eval()
    heads = [3.0, -1.0, -40.0]

    def says(value):
        return lambda _module, _inputs, output: torch.full_like(output, value)

    for head, value in zip(network.auxiliary, heads, strict=True):
        head.register_forward_hook(says(value))
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        sure = network.training_outputs(x)[1]
        network.auxiliary[2].register_forward_hook(says(60.0))
        unsure = network.training_outputs(x)[1]
    torch.testing.assert_close(sure, torch.full_like(sure, 4.0))  # ln(e^3 / e^-1)
    torch.testing.assert_close(unsure, torch.zeros_like(unsure), atol=1e-6, rtol=0)


def test_expanded_patches_lie_where_their_token_was():
    expand = PatchExpanding(1, 2, factor=2)
    expand.expand.weight.data = torch.arange(8.0)[:, None]
    expand.norm = torch.nn.Identity()
    found = expand(torch.tensor([1.0, 10.0]).reshape(1, 1, 2, 1))
    assert found.shape == (1, 2, 4, 2)
    assert found[0, :, :2].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert torch.equal(found[:, :, 2:], 10 * found[:, :, :2])


def test_positions_follow_the_size_of_the_image():
    network = TransUNet(width=16, layers=1, mlp=8, image_size=64).eval()
    network.transformer.positions.data.fill_(0.25)  # the same everywhere, whatever the size
    for size in (64, 48, 96):
        with torch.no_grad():
            assert network(torch.rand(1, 3, size, 32)).shape == (1, 1, size, 32)
    assert network.transformer.positions.shape == (1, 128, 4, 4)
