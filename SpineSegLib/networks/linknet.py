"""LinkNet: a light decoder that adds the encoder's stages instead of concatenating them.

Chaurasia & Culurciello, LinkNet: exploiting encoder representations for efficient semantic segmentation, VCIP 2017,
doi 10.1109/VCIP.2017.8305148. Baseline of paper 003 (Attention LinkNet-152, Sci Rep 2025 15:13102) with ResNet-34.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from SpineSegLib.networks.efficientnet import efficientnet, mobilenet_v2
from SpineSegLib.networks.resnet import ResNetEncoder

ENCODERS = {"resnet": ResNetEncoder, "mobilenet-v2": mobilenet_v2, "efficientnet": efficientnet}


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class DecoderBlock(nn.Sequential):
    """1x1 to a quarter of the channels, 3x3 transposed convolution of the given stride, 1x1 to the output width."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        quarter = max(inputs // 4, 1)
        super().__init__(
            nn.Conv2d(inputs, quarter, 1, bias=False),
            _norm_relu(quarter),
            nn.ConvTranspose2d(quarter, quarter, 3, stride=stride, padding=1, output_padding=stride - 1, bias=False),
            _norm_relu(quarter),
            nn.Conv2d(quarter, outputs, 1, bias=False),
            _norm_relu(outputs),
        )


class LinkNet(nn.Module):
    """LinkNet with a ResNet encoder, or another.

    Parameters
    ----------
    depth : of the ResNet, 34 in the baseline
    width : channels of the ResNet's stem and of the decoder's last stage; 64 in the paper, smaller for small variants
    channels : channels of the image
    classes : channels of the logits
    tail : channels of the last layers, half of `width` unless given
    encoder : instead of the ResNet ``mobilenet-v2`` or ``efficientnet``, paper 003's other encoders
    scale : arguments of that encoder; EfficientNet-B7 and MobileNetV2 at their full width unless given
    """

    stride = 32

    def __init__(
        self,
        depth: int = 34,
        width: int = 64,
        channels: int = 3,
        classes: int = 1,
        *,
        tail: int | None = None,
        encoder: str = "resnet",
        scale: Mapping[str, float] | None = None,
    ):
        super().__init__()
        if encoder not in ENCODERS:
            msg = f"LinkNet's encoder is {encoder!r}, expected one of {', '.join(ENCODERS)}"
            raise ValueError(msg)
        if encoder == "resnet":
            self.encoder = ResNetEncoder(depth, width, channels)
        else:
            self.encoder = ENCODERS[encoder](**(scale or {}), channels=channels)
        one, two, three, four = self.encoder.widths
        self.decoder4 = DecoderBlock(four, three, 2)
        self.decoder3 = DecoderBlock(three, two, 2)
        self.decoder2 = DecoderBlock(two, one, 2)
        self.decoder1 = DecoderBlock(one, width, 1)
        tail = tail or max(width // 2, 1)
        self.tail = nn.Sequential(
            nn.ConvTranspose2d(width, tail, 3, stride=2, padding=1, output_padding=1, bias=False),
            _norm_relu(tail),
            nn.Conv2d(tail, tail, 3, padding=1, bias=False),
            _norm_relu(tail),
            nn.ConvTranspose2d(tail, classes, 2, stride=2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        return self._decoded(*self.encoder(x))

    def of_stem(self, stem: torch.Tensor, *, skip: bool = False) -> torch.Tensor:
        """Return logits (n, classes, 2h, 2w) of what the encoder's stem found, (n, width, h, w).

        Parameters
        ----------
        skip : add them to the decoder's features at their size, as segmentation-models-pytorch does; takes a tail as
            wide as the stem
        """
        return self._decoded(*self.encoder.stages(stem), stem=stem if skip else None)

    def _decoded(
        self,
        one: torch.Tensor,
        two: torch.Tensor,
        three: torch.Tensor,
        four: torch.Tensor,
        stem: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x = self.decoder4(four) + three
        x = self.decoder3(x) + two
        x = self.decoder2(x) + one
        x = self.tail[:2](self.decoder1(x))
        return self.tail[2:](x if stem is None else x + stem)
