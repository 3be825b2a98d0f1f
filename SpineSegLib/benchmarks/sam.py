"""Segment Anything's image encoder against segment-anything's own, and the decoder of CervSpineNet as defined."""

from __future__ import annotations

import copy
from functools import partial

import torch

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.networks.cervspinenet import Decoder
from SpineSegLib.networks.sam_encoder import SamEncoder


def _reduced(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return network(x)


def encoder(repeats: int) -> list[Row]:
    """Time ViT-B at 1024x1024 with random weights, in float32 and bfloat16, against segment-anything's in float32.

    Raises
    ------
    ImportError : segment-anything is not installed
    AssertionError : the two differ by more than 1e-5 of the standard deviation
    """
    from segment_anything.modeling import ImageEncoderViT

    torch.manual_seed(0)
    reference = ImageEncoderViT(
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
    ).eval()
    for name, parameter in reference.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:  # zero at the start; would say nothing
            torch.nn.init.normal_(parameter, std=0.05)
    ours = SamEncoder().eval()
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        wanted = reference(x)
        worst = float((ours(x) - wanted).abs().max() / wanted.std())
        if worst > 1e-5:
            msg = f"the encoders differ by {worst:.1e} standard deviations, expected at most 1e-5"
            raise AssertionError(msg)
        times = race(lambda: ours(x), lambda: _reduced(ours, x), lambda: reference(x), repeats=repeats)
    return [
        Row("SAM ViT-B encoder 1024x1024, float32", "segment-anything, float32", times[0], times[2]),
        Row("SAM ViT-B encoder 1024x1024, bfloat16", "segment-anything, float32", times[1], times[2]),
    ]


def decoder(repeats: int) -> list[Row]:
    """Time CervSpineNet's decoder as it is used, channels last, against the plain form of the same in float32."""
    torch.manual_seed(0)
    plain = Decoder(256, 1).eval()
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    x = torch.rand(1, 256, 64, 64)
    last = x.to(memory_format=torch.channels_last)

    def as_defined() -> torch.Tensor:
        return plain.last(plain.stages(x))

    with torch.inference_mode():
        torch.testing.assert_close(ours(last), as_defined(), rtol=1e-3, atol=1e-4)
        times = race(lambda: ours(last), lambda: _reduced(ours, last), as_defined, repeats=repeats)
    return [
        Row("CervSpineNet's decoder, float32", "as defined, float32", times[0], times[2]),
        Row("CervSpineNet's decoder, bfloat16", "as defined, float32", times[1], times[2]),
    ]
