"""The baselines of paper 000 against independent implementations with the same weights."""

from functools import partial

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from segment_anything import modeling
from torch.nn import functional

from SpineSegLib.errors import InputError
from SpineSegLib.models import card
from SpineSegLib.models.embeddings import hashed_words, pooled, read_embedding, write_embedding
from SpineSegLib.networks import build
from SpineSegLib.networks.deeplabv3plus import DeepLabV3Plus
from SpineSegLib.networks.mix_transformer import Block
from SpineSegLib.networks.sam import DEVIATION, MEAN, Sam, centroids
from SpineSegLib.networks.segformer import TextSegFormer
from SpineSegLib.resources import resource

VIT = {"width": 32, "depth": 2, "heads": 2, "window": 3, "global_blocks": [1]}
TEXT = [0.6, 0.8, 0.0]


def shuffled(network):
    """Give every parameter and statistic a value that matters."""
    generator = torch.Generator().manual_seed(7)
    for value in network.state_dict().values():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            one_dimensional = value.ndim == 1
            value.copy_(0.5 + noise if one_dimensional else (noise - 0.5) * 2 / value[0].numel() ** 0.5)
    return network.eval()


def test_deeplabv3plus_computes_what_segmentation_models_pytorch_does():
    theirs = shuffled(smp.DeepLabV3Plus("resnet50", encoder_weights=None, decoder_atrous_rates=(6, 12, 18)))
    ours = DeepLabV3Plus().eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    # Both list their layers in the same order.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-3 * float(theirs(x).std()))


def test_deeplabv3plus_trains_with_one_picture_at_a_time():
    network = DeepLabV3Plus(width=8, middle=16).train()
    before = network.pyramid.pooled[1].running_mean.clone()
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert torch.equal(network.pyramid.pooled[1].running_mean, before)
    network(torch.rand(2, 3, 32, 32))
    assert not torch.equal(network.pyramid.pooled[1].running_mean, before)


def names_of_smp(name):
    """Return segmentation-models-pytorch's name of one of our SegFormer's tensors."""
    parts = name.split(".")
    if name.startswith("encoder.patches."):
        return ".".join(["encoder", f"patch_embed{int(parts[2]) + 1}", *parts[3:]])
    if name.startswith("encoder.stages."):
        stage, rest = int(parts[2]) + 1, parts[3:]
        if len(rest) == 2:  # the normalisation after the blocks
            return f"encoder.norm{stage}.{rest[1]}"
        text = ".".join(["encoder", f"block{stage}", *rest])
        return text.replace("attn.reduce", "attn.sr").replace("mlp.depthwise", "mlp.dwconv.dwconv")
    if parts[0] == "linear":
        return f"decoder.mlp_stage.{3 - int(parts[1])}.linear.{parts[2]}"
    return {"join": "decoder.fuse_stage", "last": "segmentation_head.0"}[parts[0]] + "." + ".".join(parts[1:])


def test_segformer_computes_what_segmentation_models_pytorch_does_until_the_text_speaks():
    theirs = shuffled(smp.Segformer("mit_b2", encoder_weights=None, decoder_segmentation_channels=768))
    ours = TextSegFormer(TEXT).eval()
    state = theirs.state_dict()
    own = {name: value for name, value in ours.state_dict().items() if name not in ("text", "project.weight")}
    assert {names_of_smp(name) for name in own} == set(state)
    mapped = {name: state[names_of_smp(name)].view(value.shape) for name, value in own.items()}
    ours.load_state_dict(mapped, strict=False)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        wanted = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(x)))
        wanted = functional.interpolate(wanted, (64, 96), mode="bilinear", align_corners=False)
        found = ours(x)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))
        ours.project.weight.normal_()
        assert (ours(x) - found).abs().max() > 1e-3


def narrow_text(**more):
    return TextSegFormer(TEXT, widths=[16, 32, 40, 64], depths=[1, 1, 1, 1], decoder=16, drop=0, dropout=0, **more)


@pytest.mark.parametrize(("scaling", "factor"), [("film", 1 + 2.0), ("literal", 2.0)])
def test_the_text_scales_the_channels_of_the_last_stage(scaling, factor):
    network = narrow_text(scaling=scaling).eval()
    with torch.no_grad():
        network.project.weight.copy_(torch.tensor(TEXT).expand(64, 3) * 2)  # W·t = 2 for every channel
    seen = []
    network.linear[3].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        network(x)
        torch.testing.assert_close(seen[0], network.encoder(x)[-1] * factor)


def test_the_text_is_of_length_one_and_never_trained():
    network = narrow_text()
    torch.testing.assert_close(TextSegFormer([3, 4, 0], widths=[16, 32, 40, 64], depths=[1] * 4).text, network.text)
    assert "text" in network.state_dict()
    assert "text" not in dict(network.named_parameters())
    with pytest.raises(ValueError, match="'film' or 'literal'"):
        narrow_text(scaling="add")
    with pytest.raises(ValueError, match="b0, b1"):
        TextSegFormer(TEXT, variant="b9")


def test_stochastic_depth_keeps_the_mean_of_a_branch():
    torch.manual_seed(0)
    block, x = Block(8, 1, 1, drop=0.25).train(), torch.ones(4000, 1, 1, 8)
    kept = block._kept(x)
    assert set(kept.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    assert torch.equal(block.eval()._kept(x), x)


def test_the_card_of_the_text_guided_network_has_the_stored_embedding():
    stored = read_embedding(resource("Models", "_text-spinous-processes.json"))
    assert card("segformer-text").network["arguments"]["text"] == stored
    with torch.device("meta"):
        assert build("segformer-text", card("segformer-text").network["arguments"]).text.shape == (512,)


def test_hashed_words_tell_texts_apart_and_are_the_same_everywhere(tmp_path):
    one, same, other = hashed_words(["The spinous process", "the SPINOUS process!", "a vertebral body"])
    assert np.array_equal(one, same)
    assert abs(one @ other) < 0.2 * np.linalg.norm(one) * np.linalg.norm(other)
    assert hashed_words(["spine"], 8).tolist() == [[1, 1, 1, -1, 1, 1, 1, 1]]
    vector = pooled(hashed_words, ["spine", "neck"])
    assert np.linalg.norm(vector) == pytest.approx(1)
    write_embedding(tmp_path / "e.json", vector, texts=["spine", "neck"], encoder="hashed words")
    np.testing.assert_allclose(read_embedding(tmp_path / "e.json"), vector, atol=1e-6)


def test_pooling_weighs_every_text_alike_whatever_its_embedding_s_length():
    vector = pooled(lambda texts: np.array([[100.0, 0.0], [0.0, 0.1]]), ["a", "b"])
    np.testing.assert_allclose(vector, [0.5**0.5, 0.5**0.5], atol=1e-6)
    for bad in (np.zeros((2, 3)), np.zeros(3), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"embedding is zero|the encoder gives"):
            pooled(lambda texts, bad=bad: bad, ["a", "b"])


@pytest.mark.parametrize("content", ["", "{}", '{"vector": []}', '{"vector": ["a"]}', '{"vector": [NaN]}'])
def test_a_file_without_an_embedding_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "e.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_embedding(tmp_path / "e.json")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def both():
    """Our narrow SAM and segment-anything's, with the same weights."""
    torch.manual_seed(2)
    size, side = 64, 4
    theirs = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=size,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=32,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=modeling.PromptEncoder(32, (side, side), (size, size), 16),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=32,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8),
            iou_head_hidden_dim=32,
        ),
        pixel_mean=list(MEAN),
        pixel_std=list(DEVIATION),
    )
    shuffled(theirs)
    ours = Sam(size=size, outputs=32, hidden=64, **VIT).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_sam_finds_what_segment_anything_does_for_each_point(both):
    ours, theirs = both
    x, points = torch.rand(2, 3, 64, 64), [torch.tensor([[10.0, 20.0], [50.0, 33.0]]), torch.tensor([[5.0, 60.0]])]
    batch = [
        {
            "image": each * 255,
            "original_size": (64, 64),
            "point_coords": where[:, None],
            "point_labels": torch.ones(len(where), 1),
        }
        for each, where in zip(x, points, strict=True)
    ]
    wanted = [found["low_res_logits"].amax(0, keepdim=True) for found in theirs(batch, multimask_output=False)]
    wanted = functional.interpolate(torch.cat(wanted), (64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = ours.prompted(x, points)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))


def test_points_survive_bfloat16(both):
    ours, _ = both
    x, points = torch.rand(1, 3, 64, 64), [torch.tensor([[10.0, 20.0], [50.0, 33.0]])]
    with torch.inference_mode():
        wanted = ours.prompted(x, points)
        with torch.autocast("cpu", torch.bfloat16):
            found = ours.prompted(x, points).float()
    assert (found - wanted).std() < 0.1 * wanted.std()


def test_training_points_at_the_centroid_of_every_true_process(both):
    ours, _ = both
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 4:9, 10:17], mask[0, 0, 40:51, 30:33] = 1, 1
    assert centroids(mask[0, 0]).tolist() == [[13.0, 6.0], [31.0, 45.0]]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.training_logits(x, mask), ours.prompted(x, [torch.tensor([[13.0, 6.0], [31.0, 45.0]])])
        )
        # A picture without any process still has logits to learn from.
        torch.testing.assert_close(ours.training_logits(x, torch.zeros_like(mask)), ours(x))


def test_sam_has_the_size_of_segment_anything():
    with torch.device("meta"):
        network = build("sam", card("sam").network["arguments"])
    assert sum(p.numel() for p in network.parameters()) == 93_735_472
