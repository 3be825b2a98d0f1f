"""The networks of paper 004 with state spaces, and their parts, against loops, torchvision and the paper."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.benchmarks.scan import reference_scan
from SpineSegLib.models import card
from SpineSegLib.models.describe import count
from SpineSegLib.networks import build
from SpineSegLib.networks.attention import ECA, SCSA
from SpineSegLib.networks.convnext import ConvNeXtEncoder
from SpineSegLib.networks.cvm_unet import ResReLU, VSSBlock
from SpineSegLib.networks.lightm_unet import Mamba
from SpineSegLib.networks.state_space import DIRECTIONS, SS2D, in_direction
from SpineSegLib.networks.vm_unet_v2 import SDI, PatchMerging


@pytest.fixture
def scan():
    """An SS2D in float64 whose directions and channels all differ."""
    torch.manual_seed(0)
    layer = SS2D(4, states=3, expand=1.5, rank=2).double()
    for parameter in (layer.log_a, layer.d, layer.step_bias):
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer


def one_direction(layer, values, k):
    """Scan (n, h, w, d) in one direction by the loop, and put the result back place by place."""
    n, h, w, _ = values.shape
    places = (
        [(y, x) for y in range(h) for x in range(w)] if k % 2 == 0 else [(y, x) for x in range(w) for y in range(h)]
    )
    places = places[::-1] if k >= 2 else places
    u = torch.stack([values[:, y, x] for y, x in places], dim=1)
    size = layer.rank + 2 * layer.states
    selected = u @ layer.select.weight[k * size : (k + 1) * size].T
    step, b, c = selected.split([layer.rank, layer.states, layer.states], dim=-1)
    delta = functional.softplus(step @ layer.step_weight[k] + layer.step_bias[k])
    y = reference_scan(u, delta, -layer.log_a[k].exp().expand(n, -1, -1), b, c) + u * layer.d[k]
    out = torch.empty_like(values)
    for number, (row, column) in enumerate(places):
        out[:, row, column] = y[:, number]
    return out


def test_ss2d_is_the_sum_of_four_loops(scan):
    values = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    wanted = sum(one_direction(scan, values, k) for k in range(DIRECTIONS))
    torch.testing.assert_close(scan.scan(values), wanted)


def with_directions(layer, order):
    """Return the layer with its directions' parameters in another order."""
    other = SS2D(4, states=3, expand=1.5, rank=2).double()
    state = layer.state_dict()
    for name in ("log_a", "d", "step_weight", "step_bias"):
        state[name] = state[name][order]
    state["select.weight"] = state["select.weight"].unflatten(0, (DIRECTIONS, -1))[order].flatten(0, 1)
    other.load_state_dict(state)
    return other


def test_the_four_directions_are_rows_columns_and_both_backwards(scan):
    values = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    plain = scan.scan(values)
    swapped = with_directions(scan, [1, 0, 3, 2])  # rows <-> columns
    turned = with_directions(scan, [2, 3, 0, 1])  # forwards <-> backwards
    torch.testing.assert_close(swapped.scan(values.transpose(1, 2)).transpose(1, 2), plain)
    torch.testing.assert_close(turned.scan(values.flip(1, 2)).flip(1, 2), plain)
    assert (scan.scan(values.transpose(1, 2)).transpose(1, 2) - plain).abs().max() > 1e-3
    assert (scan.scan(values.flip(1, 2)).flip(1, 2) - plain).abs().max() > 1e-3


def test_every_place_is_visited_once_in_each_direction():
    places = torch.arange(12.0).view(1, 3, 4, 1)
    orders = [in_direction(places, k)[0, :, 0].tolist() for k in range(DIRECTIONS)]
    assert orders[0] == list(range(12))
    assert orders[1] == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert orders[2:] == [orders[0][::-1], orders[1][::-1]]


def test_one_place_tells_every_other_of_itself_in_ss2d(scan):
    values = torch.randn(1, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    scan.scan(values)[0, 2, 3].sum().backward()
    assert (values.grad[0].abs().sum(-1) > 0).all()


def test_steps_start_between_their_bounds():
    steps = functional.softplus(SS2D(32).step_bias)
    assert 1e-3 * 0.999 < steps.min().item() < 2e-3
    assert 0.05 < steps.max().item() < 0.1 * 1.001


@pytest.mark.parametrize(("channels", "size"), [(16, 3), (96, 3), (192, 5), (384, 5), (768, 5), (4096, 7)])
def test_eca_takes_as_many_neighbours_as_its_formula(channels, size):
    layer = ECA(channels)
    assert layer.convolution.kernel_size == (size,)
    x = torch.rand(1, channels, 3, 5)
    changed = x.clone()
    changed[:, channels // 2] += 1
    weights, others = layer(x)[0, :, 0, 0] / x[0, :, 0, 0], layer(changed)[0, :, 0, 0] / changed[0, :, 0, 0]
    assert (weights - others).abs().gt(1e-6).nonzero().min().item() >= channels // 2 - size // 2
    assert (weights - others).abs().gt(1e-6).nonzero().max().item() <= channels // 2 + size // 2


def test_scsa_is_its_definition_computed_place_by_place():
    torch.manual_seed(0)
    layer = SCSA(16, heads=2).double().eval()
    for norm in (layer.norm, layer.norm_rows, layer.norm_columns):
        norm.weight.data += torch.randn(16) * 0.3
    x = torch.randn(1, 16, 9, 8, dtype=torch.float64)

    def axis(means, norm):  # (16, length)
        out = torch.empty_like(means)
        for channel in range(16):
            group = layer.along[channel // 4]
            kernel, half = group.weight[channel % 4, 0], group.kernel_size[0] // 2
            padded = functional.pad(means[channel], (half, half))
            for place in range(means.shape[1]):
                out[channel, place] = (padded[place : place + 2 * half + 1] * kernel).sum() + group.bias[channel % 4]
        return torch.sigmoid(functional.group_norm(out[None], 4, norm.weight, norm.bias)[0])

    rows, columns = axis(x[0].mean(2), layer.norm_rows), axis(x[0].mean(1), layer.norm_columns)
    spatial = x[0] * rows[:, :, None] * columns[:, None]
    pooled = functional.group_norm(
        spatial[:, :7, :7].mean((1, 2))[None, :, None], 1, layer.norm.weight, layer.norm.bias
    )
    q, k, v = (pooled[0, :, 0] * factor[:, 0, 0] for factor in (layer.query, layer.key, layer.value))
    weights = torch.empty(16, dtype=torch.float64)
    for channel in range(16):
        head = slice(channel // 8 * 8, channel // 8 * 8 + 8)
        weights[channel] = (torch.softmax(q[channel] * k[head] / math.sqrt(8), 0) * v[head]).sum()
    torch.testing.assert_close(layer(x)[0], spatial * torch.sigmoid(weights)[:, None, None])


def test_scsa_takes_pictures_smaller_than_its_window_and_refuses_other_channels():
    assert SCSA(16)(torch.rand(2, 16, 3, 1)).shape == (2, 16, 3, 1)
    with pytest.raises(ValueError, match="multiple of 4"):
        SCSA(20, heads=8)


def test_convnext_computes_what_torchvision_does_with_the_same_weights():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.convnext_tiny(weights=None).eval()
    for name, parameter in theirs.named_parameters():
        if "layer_scale" in name:
            parameter.data.uniform_(0.5, 1)  # so that the blocks count
    ours = ConvNeXtEncoder().eval()
    left = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert left.missing_keys == []
    assert all(name.startswith("classifier") for name in left.unexpected_keys)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stages, y = ours(x), x
        for number, layer in enumerate(theirs.features):
            y = layer(y)
            if number % 2:
                torch.testing.assert_close(stages[number // 2], y, rtol=1e-4, atol=1e-4)


def test_layer_scale_starts_where_the_paper_has_it():
    scales = [parameter for name, parameter in ConvNeXtEncoder().named_parameters() if "layer_scale" in name]
    assert len(scales) == 3 + 3 + 9 + 3
    assert all((scale == 1e-6).all() for scale in scales)


def test_res_relu_passes_its_input_where_its_convolutions_give_nothing():
    block = ResReLU(3).eval()
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    x = torch.randn(1, 3, 4, 5)
    torch.testing.assert_close(block(x), torch.relu(x))


def test_the_vss_block_adds_what_it_mixes_to_what_it_concatenates():
    block = VSSBlock(8, 4, states=2).eval()
    x = torch.randn(1, 8, 5, 6)
    a = block.weigh(block.scan(block.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))
    both = torch.cat([a, x], 1)
    torch.testing.assert_close(
        block(x), block.mix(both) + functional.conv2d(both, block.project.weight, block.project.bias)
    )
    assert block.mix[0][0].in_channels == 16


def test_the_parts_of_the_ablation_are_where_the_paper_puts_them():
    def kinds(name):
        with torch.device("meta"):
            network = build("cvm-unet", card(name).network["arguments"])
        found = [type(module).__name__ for module in network.modules()]
        return found.count("SCSA"), found.count("ResReLU"), found.count("VSSBlock"), found.count("ConvNeXtBlock")

    assert kinds("cvm-unet") == (1, 4, 3, 18)  # three skips, and the residual block of the output
    assert kinds("convnext-unet") == (0, 1, 0, 18)
    assert kinds("convnext-unet-scsa") == (1, 1, 0, 18)
    assert kinds("convnext-unet-resrelu") == (0, 4, 0, 18)
    assert kinds("convnext-unet-vss") == (0, 1, 3, 18)


def test_cvm_unet_has_the_parameters_and_multiply_adds_of_the_paper():
    parameters, multiply_adds = count(card("cvm-unet"))
    assert parameters == pytest.approx(52.36e6, rel=0.05)
    assert multiply_adds == pytest.approx(74.80e9, rel=0.1)


def test_the_narrow_variant_is_small_enough_to_bundle():
    assert count(card("cvm-unet-small"))[0] * 2 < 8 * 2**20  # bytes in float16


def test_patch_merging_keeps_the_four_neighbours_of_every_place():
    layer = PatchMerging(1)
    layer.norm = nn.Identity()
    layer.reduce.weight.data = torch.tensor([[1.0, 10, 100, 1000], [0, 0, 0, 1]])
    x = torch.arange(8.0).view(1, 2, 4, 1)  # 0 1 2 3 above 4 5 6 7
    merged = layer(x)[0, 0]
    assert merged.tolist() == [[0 + 40 + 100 + 5000, 5], [2 + 60 + 300 + 7000, 7]]


def test_sdi_multiplies_all_levels_at_one_level():
    layer = SDI(1)
    for smooth in layer.smooth:
        nn.init.dirac_(smooth.weight)
        nn.init.zeros_(smooth.bias)
    levels = [torch.full((1, 1, 16 // 2**k, 24 // 2**k), float(k + 2)) for k in range(4)]
    for level in range(4):
        product = layer(levels, level)
        assert product.shape == levels[level].shape
        torch.testing.assert_close(product, torch.full_like(product, 2 * 3 * 4 * 5))


def test_mamba_sees_the_past_only():
    torch.manual_seed(0)
    layer = Mamba(4).double()
    x = torch.randn(1, 9, 4, dtype=torch.float64, requires_grad=True)
    layer(x)[0, 4].sum().backward()
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen.tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("name", ["cvm-unet-small", "lightm-unet"])
def test_bfloat16_gives_nearly_the_mask_of_float32(name):
    torch.manual_seed(0)
    arguments = card(name).network["arguments"]
    network = build(card(name).network["name"], arguments).eval()
    x = torch.rand(1, arguments["channels"], 64, 48)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = network(x).float()
    assert near.isfinite().all()
    assert (near - exact).abs().mean() < 0.1 * exact.std()
