"""Networks against the papers' counts and against independent implementations."""

import pytest
import torch

from SpineSegLib.networks import build
from SpineSegLib.networks.resnet import ResNetEncoder


@pytest.mark.parametrize("depth", [18, 34, 50, 152])
def test_encoder_computes_what_torchvision_does_with_the_same_weights(depth):
    torchvision = pytest.importorskip("torchvision")
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    ours = ResNetEncoder(depth).eval()
    left = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert left.missing_keys == []
    assert left.unexpected_keys == ["fc.weight", "fc.bias"]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stages = ours(x)
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for number, stage in enumerate(stages, start=1):
            y = getattr(theirs, f"layer{number}")(y)
            torch.testing.assert_close(stage, y)


def test_linknet_152_has_the_bottleneck_widths_of_the_paper():
    assert ResNetEncoder(152).widths == [256, 512, 1024, 2048]
    assert ResNetEncoder(34).widths == [64, 128, 256, 512]


def test_unet_has_the_parameters_and_multiply_adds_of_the_paper():
    from SpineSegLib.models import card
    from SpineSegLib.models.describe import count

    parameters, multiply_adds = count(card("unet"))
    assert parameters == 17_262_977  # 17.26 M in Table 3 of paper 004
    assert multiply_adds == pytest.approx(140.8e9, rel=0.005)  # convolutions at 480x480; the table's 141.28 G


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("linknet", {"width": 8}, (64, 96)),
        ("unet", {"width": 4, "channels": 1}, (48, 80)),
        ("linknet", {"depth": 50, "width": 4}, (32, 32)),
    ],
)
def test_logits_have_the_size_of_the_picture_and_every_parameter_learns(name, arguments, size):
    network = build(name, {**arguments, "classes": 2})
    logits = network(torch.randn(2, arguments.get("channels", 3), *size))
    assert logits.shape == (2, 2, *size)
    logits.square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_linknet_adds_its_skips_so_that_width_decides_its_size():
    def parameters(width):
        return sum(p.numel() for p in build("linknet", {"width": width}).parameters())

    assert parameters(64) == 21_641_473
    assert 15 < parameters(64) / parameters(16) < 16.1


def test_an_unknown_network_or_argument_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected one of .*linknet.*unet"):
        build("resnet")
    with pytest.raises(ValueError, match="depth"):
        build("linknet", {"depth": 33})
    with pytest.raises(ValueError, match="colour"):
        build("unet", {"colour": 3})
