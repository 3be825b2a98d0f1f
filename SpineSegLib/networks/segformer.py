"""SegFormer guided by a text: the text's embedding scales the channels of the last stage.

Xie et al., SegFormer, NeurIPS 2021; baseline of paper 000 (CervSpineNet, Front. Bioeng. Biotechnol. 2025,
doi 10.3389/fbioe.2025.1733689, section 2.5.4): a frozen text embedding, a linear projection, channel-wise scaling of
the final MiT stage, SegFormer's own decoder. The paper takes MedCLIP's embedding; any vector goes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.mix_transformer import MixTransformer, stages_of


class TextSegFormer(nn.Module):
    """SegFormer whose last stage is scaled, channel by channel, by a linear projection of a text's embedding.

    Parameters
    ----------
    text : embedding of the text, scaled to length 1; a buffer, never trained. It is part of the weights.
    variant : of the encoder; the paper does not say, B2 is the middle one
    scaling : ``"film"`` scales by 1 + W·t with W zero at first, so that training starts from SegFormer itself;
        ``"literal"`` by W·t, the paper's words
    decoder : channels of the decoder; SegFormer's authors give 256 for B0 and B1 and 768 for the others
    widths, depths : channels and blocks of the encoder's stages, for small variants
    drop : see `MixTransformer`
    dropout : share of the decoder's channels that training leaves out
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(
        self,
        text: Sequence[float],
        variant: str = "b2",
        scaling: str = "film",
        decoder: int | None = None,
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        drop: float = 0.1,
        dropout: float = 0.1,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        if scaling not in ("film", "literal"):
            msg = f"scaling is {scaling!r}, expected 'film' or 'literal'"
            raise ValueError(msg)
        usual = stages_of(variant)
        depths, widths = depths or usual[0], widths or usual[1]
        middle = decoder or (256 if variant in ("b0", "b1") else 768)
        vector = torch.as_tensor(text, dtype=torch.float32)
        self.register_buffer("text", vector / vector.norm().clamp(min=1e-12))
        self.film = scaling == "film"
        self.project = nn.Linear(len(text), widths[-1], bias=False)
        if self.film:
            nn.init.zeros_(self.project.weight)
        self.encoder = MixTransformer(depths, widths, drop, channels)
        self.linear = nn.ModuleList(nn.Conv2d(width, middle, 1) for width in widths)
        self.join = nn.Sequential(nn.Conv2d(4 * middle, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU())
        self.dropout = nn.Dropout2d(dropout)
        self.last = nn.Conv2d(middle, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        stages = self.encoder(x)
        scale = self.project(self.text)[:, None, None]
        stages[-1] = stages[-1] * (1 + scale if self.film else scale)
        size = stages[0].shape[2:]
        same = [
            functional.interpolate(linear(stage), size, mode="bilinear", align_corners=False)
            for linear, stage in zip(self.linear, stages, strict=True)
        ]
        logits = self.last(self.dropout(self.join(torch.cat(same[::-1], dim=1))))
        return functional.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
