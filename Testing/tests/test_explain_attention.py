"""Attention rollout and the attention of a point: rows sum to 1, and the attention is the one the network computes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from standins import random_weights, small_film

from SpineSegLib.cli import main
from SpineSegLib.evaluation.explain.attention import attention_blocks, rollout
from SpineSegLib.io import read_image, write_image
from SpineSegLib.models import card, cards, registry
from SpineSegLib.networks import build
from SpineSegLib.networks.sam_encoder import SamEncoder


def tiny(*, size=80, heads=2, window=2, grown=True):
    """An encoder of four blocks, the second and the last of which see everything; its positions are not zero."""
    torch.manual_seed(5)
    encoder = SamEncoder(
        size=size, width=8, depth=4, heads=heads, window=window, global_blocks=(1, 3), outputs=4, channels=1
    )
    if grown:
        with torch.no_grad():
            for block in encoder.blocks:
                block.attn.rel_pos_h.normal_()
                block.attn.rel_pos_w.normal_()
                block.attn.qkv.weight.normal_()
                block.attn.qkv.bias.normal_()
    return encoder.eval()


def blocks_of(encoder, x):
    def run():
        with torch.no_grad():
            encoder(x)

    return attention_blocks(encoder, run)


@pytest.mark.parametrize("window", [2, 5, 3])
def test_rows_of_every_block_and_of_the_rollout_sum_to_one(window):
    blocks = blocks_of(tiny(window=window), torch.rand(1, 1, 80, 80))
    assert len(blocks) == 4 and blocks[0].grid == (5, 5)
    product = np.eye(25)
    for block in blocks:
        matrix = block.matrix()
        assert np.allclose(matrix.sum(axis=1), 1, atol=1e-5) and matrix.min() >= 0
        product = (matrix + np.eye(25)) / 2 @ product
    assert np.allclose(product.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(rollout(blocks).ravel(), product.mean(axis=0), atol=1e-6)
    assert rollout(blocks).sum() == pytest.approx(1)
    one = np.zeros(25)
    one[7] = 1
    assert np.allclose(rollout(blocks, one).ravel(), product[7], atol=1e-6)


def test_tokens_of_different_windows_pay_each_other_nothing():
    blocks = blocks_of(tiny(window=2), torch.rand(1, 1, 80, 80))
    row, column = np.indices((5, 5)) // 2
    number = (10 * row + column).ravel()
    apart = number[:, None] != number[None]
    assert not blocks[0].matrix()[apart].any() and (blocks[0].matrix()[~apart] > 0).all()
    assert (blocks[1].matrix() > 0).all()


@pytest.mark.parametrize("gradients", [False, True])
def test_the_attention_makes_the_blocks_own_output(gradients):
    encoder = tiny(size=96, heads=1, window=3)
    x = torch.rand(1, 1, 96, 96)
    inputs = []

    def run():
        with torch.set_grad_enabled(gradients):
            encoder(x)

    blocks = attention_blocks(encoder, run)
    hooks = [
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach())) for block in encoder.blocks
    ]
    with torch.enable_grad():
        encoder(x)
    for hook in hooks:
        hook.remove()
    for block, attention, tokens in zip(encoder.blocks, blocks, inputs, strict=True):
        with torch.no_grad():
            values = block.attn.qkv(block.norm1(tokens))[..., 16:].reshape(36, 8)
            gathered = torch.from_numpy(attention.matrix()) @ values
            middle = tokens + block.attn.proj(gathered).view_as(tokens)
            expected = middle + block.mlp(block.norm2(middle))
            assert torch.allclose(block(tokens), expected, atol=1e-4)


def test_padding_within_a_window_is_dropped_and_the_row_scaled():
    encoder = tiny(size=80, heads=1, window=3)
    x = torch.rand(1, 1, 80, 80)
    matrix = blocks_of(encoder, x)[0].matrix()
    block = encoder.blocks[0]
    with torch.no_grad():
        tokens = block.norm1(encoder.patch_embed(x) + encoder.pos_embed)[0]
        qkv = block.attn.qkv.bias.expand(6, 6, 24).clone()
        qkv[:5, :5] = block.attn.qkv(tokens)
    # The last window holds the tokens (3…4, 3…4) and five of padding; by loops, with Li et al.'s relative positions.
    query, keys = qkv[4, 3, :8], [(v, u) for v in (3, 4, 5) for u in (3, 4, 5)]
    scores = []
    for v, u in keys:
        relative = block.attn.rel_pos_h[4 - v + 2] + block.attn.rel_pos_w[3 - u + 2]
        scores.append(float((query @ qkv[v, u, 8:16]) / 8**0.5 + query @ relative))
    paid = np.exp(scores) / np.exp(scores).sum()
    real = [n for n, (v, u) in enumerate(keys) if v < 5 and u < 5]
    expected = paid[real] / paid[real].sum()
    found = [matrix[4 * 5 + 3, keys[n][0] * 5 + keys[n][1]] for n in real]
    assert np.allclose(found, expected, atol=1e-5)


def test_a_row_is_what_the_token_pays():
    blocks = blocks_of(tiny(), torch.rand(1, 1, 80, 80))
    for block in (blocks[0], blocks[-1]):
        assert np.array_equal(block.row(13), block.matrix()[13])


def test_transunets_attention_is_that_of_pytorch():
    torch.manual_seed(6)
    network = build("trans-unet", {"width": 4, "layers": 2, "heads": 2, "mlp": 16, "channels": 1, "image_size": 64})
    network.eval()
    x = torch.rand(1, 1, 64, 64)
    kept = []

    def run():
        with torch.no_grad():
            network(x)

    blocks = attention_blocks(network, run)
    layers = network.transformer.layers
    handles = [layer.norm1.register_forward_hook(lambda _, __, out: kept.append(out)) for layer in layers]
    run()
    for layer, tokens, block in zip(layers, kept, blocks, strict=True):
        with torch.no_grad():
            _, expected = layer.self_attn(tokens, tokens, tokens, need_weights=True)
        assert np.allclose(block.matrix(), expected[0].numpy(), atol=1e-5)
    assert rollout(blocks).shape == (4, 4) and len(handles) == 2


def test_the_network_is_left_as_it_was():
    encoder = tiny()
    x = torch.rand(1, 1, 80, 80)
    with torch.no_grad():
        before = encoder(x)
        blocks_of(encoder, x)
        assert torch.equal(encoder(x), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_networks_without_a_chain_of_attention_have_none():
    network = build("cvm-unet", {"width": 8, "depths": [1, 1, 1, 1], "stem": 2, "states": 2, "channels": 1}).eval()
    assert attention_blocks(network, lambda: pytest.fail("there is no need to run it")) == []


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.nrrd"
    write_image(small_film(), path)
    return path


@pytest.fixture
def tiny_model(monkeypatch):
    """CervSpineNet, so narrow that it takes no time."""
    usual = card("cervspinenet-small")
    vit = {"size": 64, "width": 16, "depth": 3, "heads": 2, "window": 2, "global_blocks": [2], "outputs": 16}
    network = {"name": "cervspinenet", "arguments": {**vit, "channels": 1, "classes": 1}}
    model = replace(usual, name="tiny", network=network, input={**usual.input, "size": [64, 64]})
    monkeypatch.setattr(cards, "registry", lambda: {**registry(), "tiny": model})
    return "tiny"


def test_the_command_draws_rollout_and_point(tiny_model, film, tmp_path, capsys):
    weights = random_weights(tiny_model, tmp_path / "w.safetensors")
    arguments = ["explain", "attention", str(film), "--modality", "XR", "--model", tiny_model]
    arguments += ["--weights", str(weights), "--out", str(tmp_path / "a.png"), "--out", str(tmp_path / "a.nrrd")]
    assert main([*arguments, "--point", "24,30", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["maps"]) == 2
    found = read_image(tmp_path / "a.nrrd")
    assert found.geometry.same_as(small_film().geometry) and 0 < found.array.mean() < 3
    assert main([*arguments, "--point", "48,30"]) == 1
    assert capsys.readouterr().err.startswith("error: --point: 48,30; expected x within 0…47")


def test_a_model_without_attention_is_told_in_one_line(film, tmp_path, capsys):
    weights = random_weights("unet-xray-small", tmp_path / "w.safetensors")
    arguments = ["explain", "attention", str(film), "--modality", "XR", "--model", "unet-xray-small"]
    assert main([*arguments, "--weights", str(weights), "--out", str(tmp_path / "a.png")]) == 1
    printed = capsys.readouterr().err
    assert "explain gradcam" in printed and printed.count("\n") == 1
