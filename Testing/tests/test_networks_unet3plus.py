"""U-Net3+ as published, its deep supervision, and the composite of YOLO11 and a segmenter."""

import pytest
import torch
from torch.nn import functional

from SpineSegLib.models import card, load_network
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build


def on_meta(name, **arguments):
    with torch.device("meta"):
        return build(name, arguments)


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def test_parameters_are_those_of_the_article():
    # UNet 3+, table 1: 26.97 M, the side outputs of deep supervision not counted.
    assert parameters(on_meta("unet3plus", supervised=False)) == 26_971_777
    assert parameters(on_meta("unet3plus")) == 26_971_777 + 3 * (9 * 320 + 1) + 9 * 1024 + 1
    assert round(parameters(on_meta("unet3plus")) / 1e6, 1) == 27.0


def by_the_equation(network, x):
    """Return the decoder's maps, finest first, written out from eq. 1 and figure 2 of the article."""
    encoder = [network.down[0](x)]
    for block in network.down[1:]:
        encoder.append(block(functional.max_pool2d(encoder[-1], 2)))
    decoder = {4: encoder[4]}
    for level in (3, 2, 1, 0):
        size = encoder[level].shape[-2:]
        fusion = network.up[level]
        finer = zip(fusion.branches[: level + 1], encoder[: level + 1], strict=True)
        parts = [branch(functional.adaptive_max_pool2d(each, size)) for branch, each in finer]
        for branch, above in zip(fusion.branches[level + 1 :], range(level + 1, 5), strict=True):
            parts.append(branch(functional.interpolate(decoder[above], size, mode="bilinear", align_corners=False)))
        decoder[level] = fusion.join(torch.cat(parts, 1))
    return [decoder[level] for level in range(5)]


def test_every_decoder_level_joins_finer_encoder_and_coarser_decoder_maps():
    torch.manual_seed(0)
    network = build("unet3plus", {"width": 4, "branch": 3, "channels": 1, "classes": 2}).eval()
    x = torch.rand(2, 1, 48, 80)
    with torch.no_grad():
        maps = by_the_equation(network, x)
        outputs = network.training_outputs(x)
        assert torch.allclose(network(x), network.heads[0](maps[0]), atol=1e-5)
        for level, (head, each, output) in enumerate(zip(network.heads, maps, outputs, strict=True)):
            wanted = functional.interpolate(head(each), x.shape[-2:], mode="bilinear") if level else head(each)
            assert torch.allclose(output, wanted, atol=1e-5)
    assert network.auxiliary_weights == (1.0,) * 5
    assert [each.shape for each in outputs] == [(2, 2, 48, 80)] * 5


def test_without_supervision_there_is_one_output():
    network = build("unet3plus", {"width": 4, "supervised": False})
    outputs = network.training_outputs(torch.rand(1, 3, 32, 32))
    assert len(outputs) == len(network.auxiliary_weights) == 1


@pytest.mark.parametrize("name", ["yolo-unet", "yolo-deeplab", "yolo-unet-cervical-small", "yolo-unet-lumbar-mr-small"])
def test_a_composite_is_its_parts_and_counts_both(name):
    model = card(name)
    network = on_meta(model.network["name"], **model.network["arguments"]).eval()
    assert parameters(network) == parameters(network.detector) + parameters(network.segmenter)
    assert {key.split(".")[0] for key in network.state_dict()} == {"detector", "segmenter"}
    picture = torch.empty(1, int(model.input["channels"]), *model.input["size"], device="meta")
    with torch.no_grad():
        assert network(picture).shape == (1, 1, *model.input["size"])


def test_small_variants_fit_into_8_mib_as_float16():
    for name in ("yolo-unet-cervical-small", "yolo-unet-lumbar-mr-small"):
        model = card(name)
        network = on_meta(model.network["name"], **model.network["arguments"])
        assert parameters(network.detector) <= 2_500_000
        assert parameters(network.segmenter) <= 1_500_000
        assert 2 * parameters(network) < 8 * 2**20


def test_a_composites_weights_are_one_file(tmp_path):
    model = card("yolo-unet-cervical-small")
    torch.manual_seed(0)
    network = build(model.network["name"], model.network["arguments"]).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())
    save_weights(network, tmp_path / "w.safetensors")
    again = load_network(model, tmp_path / "w.safetensors")
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), network(x))


def test_another_segmenter_begins_with_the_detector_of_a_composite():
    detector = {"width": 0.0625, "classes": 1}
    one = build("yolo-unet", {"detector": detector, "segmenter": {"width": 4}, "patch": 32})
    deep = {"name": "deeplabv3plus", "width": 8, "middle": 16}
    other = build("yolo-unet", {"detector": detector, "segmenter": deep, "patch": 32})
    taken = other.adopted(one.state_dict())
    assert {name.split(".")[0] for name in taken} == {"detector"}
    assert len(taken) == len(one.detector.state_dict())
    assert other.adopted({"detector.stem": torch.zeros(1)}) == {}


def test_a_patch_that_the_segmenter_cannot_take_is_refused():
    with pytest.raises(ValueError, match="patch is 90"):
        build("yolo-unet", {"detector": {"width": 0.125}, "segmenter": {"width": 4}, "patch": 90})
