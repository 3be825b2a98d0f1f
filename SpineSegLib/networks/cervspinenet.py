"""CervSpineNet: Segment Anything's image encoder and a light decoder with residual and squeeze-and-excitation blocks.

Sawant et al., CervSpineNet: a hybrid deep learning-based approach for the segmentation of cervical spinous processes,
Front. Bioeng. Biotechnol. 13, 1733689 (2025), doi 10.3389/fbioe.2025.1733689, sections 2.4 and 2.7.1 (ablations). The
paper gives neither the decoder's widths nor the reduction of its squeeze-and-excitation blocks, but a size of about
345 MB: widths of 256-128-64-32-16, a reduction of 16, biases and no normalisation make 345.07 MiB of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.sam_encoder import SamEncoder

STAGES = 4


class Residual(nn.Module):
    """Twice a 3x3 convolution and ReLU, added to the input (equation 3)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        return x + torch.relu(self.conv2(torch.relu(self.conv1(x))))


class SqueezeExcitation(nn.Module):
    """Channels weighted by what a small perceptron makes of their means (equations 4 to 6).

    Hu, Shen & Sun, Squeeze-and-excitation networks, CVPR 2018.
    """

    def __init__(self, width: int, reduction: int):
        super().__init__()
        few = max(width // reduction, 1)
        self.squeeze, self.excite = nn.Conv2d(width, few, 1), nn.Conv2d(few, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


class Stage(nn.Sequential):
    """3x3 convolution and ReLU; in a full decoder a residual and a squeeze-and-excitation block; twice the size."""

    def __init__(self, inputs: int, outputs: int, full: bool, reduction: int):
        blocks = [Residual(outputs), SqueezeExcitation(outputs, reduction)] if full else []
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), *blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, 2·h, 2·w) of (n, inputs, h, w)."""
        return twice(super().forward(x))


def twice(x: torch.Tensor) -> torch.Tensor:
    """Return maps of twice the height and width, interpolated bilinearly (equation 7)."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """Four stages that halve the channels and double the size, and a 1x1 convolution to the classes.

    Parameters
    ----------
    width : channels of the features
    classes : channels of the logits
    full : with residual and squeeze-and-excitation blocks (the paper's), or without (the ablations' basic decoder)
    reduction : of the squeeze-and-excitation blocks
    """

    def __init__(self, width: int, classes: int, *, full: bool = True, reduction: int = 16):
        super().__init__()
        widths = [max(width >> stage, 1) for stage in range(STAGES + 1)]
        self.stages = nn.Sequential(*(Stage(a, b, full, reduction) for a, b in pairwise(widths)))
        self.last = nn.Conv2d(widths[-1], classes, 1)
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d):
                # Nothing normalises on the way up; PyTorch's own start would let the signal fade.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, 16·h, 16·w) of features (n, width, h, w)."""
        *stages, final = self.stages
        for stage in stages:
            x = stage(x)
        # A 1x1 convolution and an interpolation may change places; on the small map it costs a quarter.
        return twice(self.last(nn.Sequential.forward(final, x)))


class ConvolutionalEncoder(nn.Sequential):
    """The ablations' encoder: four times 3x3 convolution, batch normalisation, ReLU and 2x2 maximum.

    Parameters
    ----------
    widths : channels after each of the four; the paper gives the last, 256
    channels : of the picture
    """

    def __init__(self, widths: Sequence[int], channels: int):
        layers = []
        for inputs, outputs in pairwise((channels, *widths)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        super().__init__(*layers)


class CervSpineNet(nn.Module):
    """CervSpineNet and its ablations.

    Parameters
    ----------
    encoder : ``"vit"``, or ``"cnn"`` in the ablations
    decoder : ``"full"``, or ``"basic"`` in the ablations
    outputs : channels between encoder and decoder
    reduction : of the squeeze-and-excitation blocks; not in the paper, 16 gives its 345 MB
    channels : of the picture
    classes : channels of the logits
    vit : other arguments of `SamEncoder`, for narrow variants
    """

    stride = 16

    def __init__(
        self,
        encoder: str = "vit",
        decoder: str = "full",
        outputs: int = 256,
        reduction: int = 16,
        channels: int = 3,
        classes: int = 1,
        **vit: object,
    ):
        super().__init__()
        if encoder not in ("vit", "cnn") or decoder not in ("full", "basic"):
            msg = f"encoder is {encoder!r} and decoder {decoder!r}, expected 'vit' or 'cnn', and 'full' or 'basic'"
            raise ValueError(msg)
        if encoder == "vit":
            self.encoder = SamEncoder(outputs=outputs, channels=channels, **vit)
        elif vit:
            msg = f"the convolutional encoder does not take {', '.join(vit)}"
            raise ValueError(msg)
        else:
            widths = [max(outputs >> (STAGES - 1 - stage), 1) for stage in range(STAGES)]
            self.encoder = ConvolutionalEncoder(widths, channels)
        self.decoder = Decoder(outputs, classes, full=decoder == "full", reduction=reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of pictures (n, channels, h, w), h and w multiples of 16."""
        return self.decoder(self.encoder(x))
