"""CervSpineNet: its size, its ablations, and its encoder against segment-anything's with the same weights."""

import threading
from functools import partial

import pytest
import torch

from SpineSegLib.models import card
from SpineSegLib.models.describe import count
from SpineSegLib.networks import build
from SpineSegLib.networks.cervspinenet import SqueezeExcitation, Stage, twice
from SpineSegLib.networks.matmul import fast_matmul
from SpineSegLib.networks.relative_attention import attention, relative_table
from SpineSegLib.networks.sam_encoder import SamEncoder
from SpineSegLib.pipelines.precision import worst_dice

NARROW = {"size": 160, "width": 32, "depth": 4, "heads": 2, "window": 4, "global_blocks": [1, 3], "outputs": 32}
"""10 tokens a side: the windows of 4 have to be padded."""


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def theirs():
    """segment-anything's own encoder with arguments of ours; its zero-initialised tables filled."""
    sam = pytest.importorskip("segment_anything.modeling")

    def make(size=1024, width=768, depth=12, heads=12, window=14, global_blocks=(2, 5, 8, 11), outputs=256):
        torch.manual_seed(3)
        encoder = sam.ImageEncoderViT(
            img_size=size,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            out_chans=outputs,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=tuple(global_blocks),
        ).eval()
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        return encoder

    return make


def test_cervspinenet_is_as_large_as_the_paper_says():
    with torch.device("meta"):
        network = build("cervspinenet", card("cervspinenet").network["arguments"])
    assert parameters(network.encoder) == 89_670_912
    assert parameters(network.decoder) == 787_072
    assert parameters(network) * 4 / 2**20 == pytest.approx(345.07, abs=0.005)  # "∼345 MB" in float32


def test_multiply_adds_are_those_of_the_formula():
    _, counted = count(card("cervspinenet"))
    tokens, width, side = 64**2, 768, 64
    linear = 12 * 12 * width**2 * tokens
    everywhere = 4 * (2 * tokens**2 * width + 12 * tokens * 2 * side * 64)
    window = 14
    # In windows the relative scores ride along as 2·14 more channels of queries and keys.
    in_windows = 8 * 25 * 12 * (window**4 * (64 + 2 * window + 64) + window**2 * 2 * window * 64)
    convolutions = tokens * (3 * 16**2 * width + width * 256 + 9 * 256**2)
    widths = [256, 128, 64, 32, 16]
    decoder = sum(
        4**stage * tokens * 9 * (widths[stage] * widths[stage + 1] + 2 * widths[stage + 1] ** 2)
        + 2 * widths[stage + 1] * (widths[stage + 1] // 16)
        for stage in range(4)
    )
    assert counted == linear + everywhere + in_windows + convolutions + decoder + 4**3 * tokens * 16


def test_the_small_variant_fits_its_eight_mebibytes():
    with torch.device("meta"):
        network = build("cervspinenet", card("cervspinenet-small").network["arguments"])
    assert parameters(network) * 2 < 7.5 * 2**20


@pytest.mark.parametrize(
    ("arguments", "size"),
    [(NARROW, (160, 160)), ({**NARROW, "window": 5}, (160, 160)), ({**NARROW, "heads": 1, "window": 7}, (160, 160))],
)
def test_encoder_computes_what_segment_anything_does_with_the_same_weights(theirs, arguments, size):
    reference = theirs(**arguments)
    ours = SamEncoder(**arguments).eval()
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        wanted, found = reference(x), ours(x)
    with torch.enable_grad():
        with_gradients = ours(x)
    assert found.shape == (2, 32, 10, 10)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.std()
    assert (with_gradients - wanted).abs().max() <= 1e-5 * wanted.std()


@pytest.mark.slow
def test_vit_b_at_full_size_computes_what_segment_anything_does(theirs):
    reference, ours = theirs(), SamEncoder().eval()
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        wanted, found = reference(x), ours(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = ours(x)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.std()
    assert (rounded.float() - wanted).std() <= 0.01 * wanted.std()


def test_parameters_carry_segment_anythings_names(theirs):
    with torch.device("meta"):
        ours, reference = SamEncoder(), theirs()
    assert {n: v.shape for n, v in ours.state_dict().items()} == {n: v.shape for n, v in reference.state_dict().items()}


def test_gradients_are_those_of_segment_anything(theirs):
    reference, ours = theirs(**NARROW).double(), SamEncoder(**NARROW).double()
    ours.load_state_dict(reference.state_dict())
    x, direction = torch.rand(1, 3, 160, 160).double(), torch.randn(1, 32, 10, 10).double()
    for network in (reference, ours):
        (network(x) * direction).sum().backward()
    wanted = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad)


def test_encoder_takes_pictures_of_another_size_than_it_learnt_positions_for():
    torch.manual_seed(0)
    encoder = SamEncoder(**NARROW).eval()
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 96, 208)).shape == (1, 32, 6, 13)


def test_bfloat16_stays_near_float32_and_the_features_are_whole():
    torch.manual_seed(0)
    encoder, x = SamEncoder(**NARROW).eval(), torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        wanted = encoder(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(x)
    assert found.dtype == torch.bfloat16 or found.dtype == torch.float32
    assert 0 < (found.float() - wanted).std() < 0.02 * wanted.std()


def test_attention_is_the_sum_that_its_definition_says():
    torch.manual_seed(0)
    height, width, depth = 3, 4, 5
    q, k, v = torch.randn(3, 2, height, width, depth, dtype=torch.float64)
    down, across = torch.randn(2 * height - 1, depth).double(), torch.randn(2 * width - 1, depth).double()
    found = attention(q, k, v, relative_table(down, height), relative_table(across, width))
    for y, x in ((0, 0), (2, 1), (1, 3)):
        scores = torch.tensor(
            [
                [
                    q[1, y, x] @ (k[1, r, c] / depth**0.5 + down[y - r + height - 1] + across[x - c + width - 1])
                    for c in range(width)
                ]
                for r in range(height)
            ],
            dtype=torch.float64,
        )
        weights = scores.flatten().softmax(0)
        torch.testing.assert_close(found[1, y, x], weights @ v[1].flatten(0, 1))


def test_the_fast_library_leaves_the_setting_as_it_was_and_rounds_nothing():
    before = torch.backends.mkldnn.matmul.fp32_precision
    a, b = torch.rand(2, 300, 300)
    with fast_matmul(torch.device("cpu")):
        found = a @ b
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    torch.testing.assert_close(found.double(), a.double() @ b.double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("encoder", ["vit", "cnn"])
@pytest.mark.parametrize("decoder", ["full", "basic"])
def test_ablations_give_logits_of_the_pictures_size(encoder, decoder):
    vit = {key: value for key, value in NARROW.items() if key != "outputs"} if encoder == "vit" else {}
    network = build("cervspinenet", {"encoder": encoder, "decoder": decoder, "outputs": 32, "classes": 2, **vit})
    assert network(torch.rand(1, 3, 160, 160)).shape == (1, 2, 160, 160)
    has = any(isinstance(module, SqueezeExcitation) for module in network.modules())
    assert has == (decoder == "full")
    assert network.encoder(torch.rand(1, 3, 160, 160)).shape == (1, 32, 10, 10)


def test_the_last_convolution_and_the_last_enlargement_may_change_places():
    torch.manual_seed(0)
    stage, last = Stage(8, 4, True, 2), torch.nn.Conv2d(4, 2, 1)
    x = torch.rand(1, 8, 9, 7)
    torch.testing.assert_close(twice(last(torch.nn.Sequential.forward(stage, x))), last(stage(x)))


def test_arguments_that_do_not_go_together_are_refused_by_name():
    with pytest.raises(ValueError, match="'vit' or 'cnn'"):
        build("cervspinenet", {"encoder": "resnet"})
    with pytest.raises(ValueError, match="does not take depth"):
        build("cervspinenet", {"encoder": "cnn", "depth": 3})
    with pytest.raises(ValueError, match="heads 5"):
        build("cervspinenet", {"heads": 5})


@pytest.mark.slow
def test_a_trained_network_finds_the_same_in_bfloat16():
    """Masks within Dice 0.998, the floor under which `segment` does not choose bfloat16 by itself."""
    torch.manual_seed(1)
    network = build("cervspinenet", {**NARROW, "size": 256, "width": 64, "outputs": 64, "channels": 1}).train()
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 256)] * 2, indexing="ij")
    places = [(-0.7 + 0.27 * n, 0.1 * n - 0.3) for n in range(6)]
    mask = sum((((x - b) / 0.22) ** 2 + ((y - a + (x - b) / 3) / 0.08) ** 2 < 1).float() for a, b in places)[None, None]
    picture = 0.4 + 0.3 * mask + 0.2 * torch.sin(7 * x) * torch.cos(5 * y) + 0.05 * torch.randn_like(x)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(300):
        logits = network(picture)
        found = logits.sigmoid()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask)
        loss = loss + 1 - 2 * (found * mask).sum() / (found.sum() + mask.sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.inference_mode():
        exact = network(picture)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(picture).float()
    assert worst_dice(exact.sigmoid(), mask) > 0.95
    assert worst_dice(exact.sigmoid(), rounded.sigmoid()) >= 0.998


@pytest.mark.slow
def test_vit_b_needs_little_memory_besides_its_weights():
    """At most 200 MB for a picture of 1024x1024 (segment-anything's needs 2.3 GB); measured on the whole process."""
    psutil = pytest.importorskip("psutil")
    encoder, x, process = SamEncoder().eval(), torch.rand(1, 3, 1024, 1024), psutil.Process()
    with torch.inference_mode():
        encoder(torch.rand(1, 3, 64, 64))  # what libraries load at the first call
        before, peaks, done = process.memory_info().rss, [], threading.Event()

        def watch():
            while not done.wait(0.005):
                peaks.append(process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        encoder(x)
        done.set()
        watcher.join()
    assert max(peaks) - before <= 200e6
