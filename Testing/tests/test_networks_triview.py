"""The tri-view LinkNet: views that speak of the same place, parts that are the papers', edges where they belong."""

import numpy as np
import pytest
import torch
from torchvision.models import efficientnet_b7, mobilenet_v2

from SpineSegLib.models import card
from SpineSegLib.networks import build
from SpineSegLib.networks.efficientnet import HalvingDepthwise
from SpineSegLib.networks.triview import TriViewLinkNet
from SpineSegLib.networks.triview.lattice import VIEWS, on_lattice, slices_of

TINY = {"encoder": {"width": 0.25, "depth": 0.3, "expansion": 2}, "features": 4, "depth": 34, "width": 4}


def tiny(**arguments):
    torch.manual_seed(1)
    return TriViewLinkNet(**{**TINY, **arguments})


def halved(slices):
    """The plainest encoder: the means of 2x2 pixels."""
    return torch.nn.functional.avg_pool2d(slices, 2)


def test_all_views_speak_of_the_same_voxel():
    volume = torch.zeros(2, 1, 32, 64, 96)
    volume[1, 0, 13, 50, 71] = 8.0
    for view in VIEWS:
        cells = on_lattice(halved(slices_of(volume, view)), view, 2)
        assert cells.shape == (2, 16, 32, 48, 1)
        assert cells.nonzero().tolist() == [[1, 13 // 2, 50 // 2, 71 // 2, 0]]
        assert cells.sum() == 1.0


def test_views_place_every_voxel_of_a_random_volume_alike():
    volume = torch.rand(1, 3, 32, 32, 64)
    views = [on_lattice(halved(slices_of(volume, view)), view, 1) for view in VIEWS]
    means = torch.nn.functional.avg_pool3d(volume, 2).permute(0, 2, 3, 4, 1)
    for each in views:
        torch.testing.assert_close(each, means)


@pytest.mark.parametrize("place", [(9, 40, 21), (24, 11, 50)])
def test_the_trained_views_change_most_where_the_voxel_changed(place):
    network = tiny(attention=False).eval()
    volume = torch.rand(1, 1, 32, 64, 64, generator=torch.Generator().manual_seed(0))
    marked = volume.clone()
    k, j, i = place
    marked[0, 0, k, j, i] += 5
    with torch.no_grad():
        change = (network.lattice(marked) - network.lattice(volume)).abs()[0]
    for number in range(3):
        each = change[..., 4 * number : 4 * number + 4].sum(-1)
        found = np.unravel_index(int(each.argmax()), each.shape)
        assert np.abs(np.array(found) - np.array(place) // 2).max() <= 1
    # Through its own plane a view knows nothing but its own two slices.
    axial = change[..., :4].sum((1, 2, 3))
    assert axial.nonzero().flatten().tolist() == [k // 2]


def test_a_view_in_parts_is_the_view_as_a_whole():
    network = tiny(slices=5).eval()
    volume = torch.rand(1, 1, 32, 64, 32)
    with torch.no_grad():
        parts = network(volume)
        network.slices = None
        assert torch.allclose(parts, network(volume), atol=1e-5)


def test_logits_follow_the_slices_of_the_volume_in_order():
    network = tiny(classes=2).eval()
    captured = {}
    network._decoded = lambda cells: captured.setdefault("logits", torch.rand(len(cells), 4, 32, 64))
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 32, 32, 64))
    for cell, sub in ((0, 0), (3, 1), (15, 1)):
        torch.testing.assert_close(logits[0, 1, 2 * cell + sub], captured["logits"][cell, 2 + sub])


def test_it_learns_where_a_bright_block_ends():
    network = tiny(depth=18, width=8, stem_skip=True, edge=4)
    volume = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    mask = torch.zeros(1, 1, 32, 32, 32)
    mask[..., 7:20, 5:18, 11:26] = 1
    volume = volume + 0.4 * mask
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    best = 0.0
    for _ in range(80):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.train()(volume)
        torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), mask).backward()
        optimiser.step()
        found = logits > 0
        best = max(best, float(2 * (found * mask).sum() / (found.sum() + mask.sum())))
        if best > 0.97:
            return
    assert best > 0.97


def test_the_full_model_has_the_parts_of_the_paper():
    with torch.device("meta"):
        network = build("triview", card("triview-linknet152").network["arguments"])
        b7 = efficientnet_b7().features
        plain = build("linknet", {"depth": 152})
    own = {name: value.shape for name, value in network.views["axial"].stages.features.state_dict().items()}
    theirs = {name: value.shape for name, value in b7.state_dict().items() if int(name.split(".")[0]) < 5}
    stem = "0.0.weight"
    assert own.pop(stem)[1] == 1 and theirs.pop(stem)[1] == 3  # CT has one channel.
    assert own == theirs
    assert network.views["axial"].stages.widths == [32, 48, 80, 160]
    joined = {name for name, _ in plain.named_parameters()}
    assert {name for name, _ in network.linknet.named_parameters()} == joined
    assert [len(network.linknet.encoder.get_submodule(f"layer{n}")) for n in range(1, 5)] == [3, 8, 36, 3]


def test_three_encoders_are_three_and_their_weights_their_own():
    with torch.device("meta"):
        network = build("triview", card("triview-linknet152").network["arguments"])
    counts = [sum(p.numel() for p in view.parameters()) for view in network.views.values()]
    assert len(counts) == 3 and len(set(counts)) == 1
    assert sum(counts) == pytest.approx(14.16e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "reference"), [("linknet-efficientnet-b7", "efficientnet-b7"), ("linknet-mobilenetv2", "mobilenet_v2")]
)
def test_linknets_other_encoders_give_what_those_of_segmentation_models_give(name, reference):
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        network = build("linknet", card(name).network["arguments"])
        stages = network.encoder(torch.empty(1, 3, 64, 64))
        theirs = smp.encoders.get_encoder(reference, weights=None)(torch.empty(1, 3, 64, 64))
    assert [stage.shape for stage in stages] == [stage.shape for stage in theirs[2:]]


def test_mobilenet_loads_what_torchvision_saves():
    network = build("linknet", {"encoder": "mobilenet-v2"})
    network.encoder.features.load_state_dict(mobilenet_v2().features.state_dict())


@pytest.mark.parametrize("size", [3, 5])
def test_a_quick_gradient_of_a_strided_depthwise_convolution_is_its_gradient(size):
    plain = torch.nn.Conv2d(6, 6, size, stride=2, padding=size // 2, groups=6)
    quick = HalvingDepthwise(6, 6, size, stride=2, padding=size // 2, groups=6)
    quick.load_state_dict(plain.state_dict())
    pictures = [torch.rand(2, 6, 16, 22, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in "ab"]
    found = [layer(picture) for layer, picture in zip((plain, quick), pictures, strict=True)]
    torch.testing.assert_close(*found)
    for each in found:
        each.square().sum().backward()
    torch.testing.assert_close(pictures[0].grad, pictures[1].grad)
    torch.testing.assert_close(plain.weight.grad, quick.weight.grad)


def test_an_unknown_encoder_is_named():
    with pytest.raises(ValueError, match="mobilenet-v2"):
        build("linknet", {"encoder": "vgg"})


def test_one_class_for_each_label_of_verse():
    from SpineSegLib.io.label_tables import VERSE

    model = card("triview-linknet152-levels")
    assert [VERSE[number].name for number in sorted(VERSE)] == [s.name for s in model.structures]
    assert len(model.structures) == model.network["arguments"]["classes"] == 28
