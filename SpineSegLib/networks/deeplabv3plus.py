"""DeepLabV3+: a residual encoder, pooling of features at several dilations, and a decoder with one skip.

Chen et al., Encoder-decoder with atrous separable convolution for semantic image segmentation, ECCV 2018. Baseline of
paper 000 (CervSpineNet, Front. Bioeng. Biotechnol. 2025, doi 10.3389/fbioe.2025.1733689) with ResNet-50; the encoder
carries torchvision's names, so ImageNet weights of the user's load into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.resnet import ResNetEncoder


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that takes its running statistics where a batch holds one value a channel.

    The pooled features of a single picture are such values; the paper trains with one picture at a time.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised maps."""
        if self.training and x[:, 0].numel() == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Unit(nn.Sequential):
    """A convolution, with `separable` a depthwise one and a 1x1; then batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, dilation: int = 1, *, separable: bool = False):
        around = {"padding": dilation * (size // 2), "dilation": dilation, "bias": False}
        convolutions = (
            (nn.Conv2d(inputs, inputs, size, groups=inputs, **around), nn.Conv2d(inputs, outputs, 1, bias=False))
            if separable
            else (nn.Conv2d(inputs, outputs, size, **around),)
        )
        super().__init__(*convolutions, BatchNorm(outputs), nn.ReLU())


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the features at several dilations and their mean, joined.

    Parameters
    ----------
    inputs, outputs : channels
    rates : dilations of the 3x3 convolutions
    dropout : share of the joined channels that training leaves out
    """

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], dropout: float):
        super().__init__()
        self.branches = nn.ModuleList(
            [Unit(inputs, outputs), *(Unit(inputs, outputs, 3, rate, separable=True) for rate in rates)]
        )
        self.pooled = Unit(inputs, outputs)
        self.join = Unit((len(rates) + 2) * outputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of (n, inputs, h, w)."""
        mean = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.dropout(self.join(torch.cat([*(branch(x) for branch in self.branches), mean], dim=1)))


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ with a ResNet at output stride 16.

    Parameters
    ----------
    depth : of the ResNet, 50 in the baseline
    width : channels of the ResNet's stem; 64 in the paper, smaller for small variants
    middle : channels of the pyramid and the decoder
    rates : dilations of the pyramid, those that DeepLab's authors give for output stride 16
    dropout : in the pyramid
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 16

    def __init__(
        self,
        depth: int = 50,
        width: int = 64,
        middle: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        dropout: float = 0.5,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.encoder = ResNetEncoder(depth, width, channels)
        for module in self.encoder.layer4.modules():
            # The last stage keeps its size and looks twice as far instead.
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                if module.kernel_size == (3, 3):
                    module.dilation = module.padding = (2, 2)
        low, _, _, high = self.encoder.widths
        self.pyramid = Pyramid(high, middle, rates, dropout)
        self.smooth = Unit(middle, middle, 3, separable=True)
        few = max(middle * 3 // 16, 1)  # 48 of 256
        self.low = Unit(low, few)
        self.join = Unit(middle + few, middle, 3, separable=True)
        self.last = nn.Conv2d(middle, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        low, _, _, high = self.encoder(x)
        features = self.smooth(self.pyramid(high))
        features = functional.interpolate(features, low.shape[2:], mode="bilinear", align_corners=True)
        features = self.join(torch.cat([features, self.low(low)], dim=1))
        return functional.interpolate(self.last(features), x.shape[2:], mode="bilinear", align_corners=True)
