"""Stages of an EfficientNet of any scale, and MobileNetV2 cut where its pictures are halved.

Tan & Le, EfficientNet: rethinking model scaling for convolutional neural networks, ICML 2019; Sandler et al.,
MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018. The blocks are torchvision's, and `features` carries
its names, so its state dictionaries load at full size.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.efficientnet import MBConv, MBConvConfig
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.ops import Conv2dNormActivation

STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
"""Of EfficientNet-B0: expansion, kernel, stride, channels in, channels out, blocks."""


class EfficientNetStages(nn.Module):
    """Stem and first stages of an EfficientNet.

    Parameters
    ----------
    width, depth : factors of channels and of blocks on EfficientNet-B0's; 2.0 and 3.1 are B7
    expansion : of the blocks' inner channels; 6 in the paper, less in narrow variants
    stages : how many, up to 7
    channels : of the pictures

    Attributes
    ----------
    widths : channels of the stages; 32, 48, 80, 160, 224, 384 and 640 in B7, at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32, 1/32
    """

    def __init__(
        self, width: float = 2.0, depth: float = 3.1, expansion: float = 6, stages: int = 7, channels: int = 3
    ):
        super().__init__()
        # Torchvision's for B5 and above; a narrow variant is trained briefly, and its averages must follow.
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01 if width >= 1 else 0.1)
        settings = [
            MBConvConfig(1 if expand == 1 else expansion, kernel, stride, inputs, outputs, blocks, width, depth)
            for expand, kernel, stride, inputs, outputs, blocks in STAGES[:stages]
        ]
        first = settings[0].input_channels
        parts = [Conv2dNormActivation(channels, first, 3, stride=2, norm_layer=norm, activation_layer=nn.SiLU)]
        for each in settings:
            inputs, stride, blocks = each.input_channels, each.stride, []
            for _ in range(each.num_layers):
                block = MBConvConfig(each.expand_ratio, each.kernel, stride, inputs, each.out_channels, 1, 1.0, 1.0)
                blocks.append(MBConv(block, 0.0, norm))
                inputs, stride = each.out_channels, 1
            parts.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*parts)
        self.widths = [each.out_channels for each in settings]
        _quick(self)
        _draw(self)


class HalvingDepthwise(nn.Conv2d):
    """Depthwise convolution of stride 2, whose gradient on a CPU is that of stride 1, of which every second is kept.

    The same numbers, but oneDNN computes gradients of a strided depthwise convolution many times as slowly.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, c, h / 2, w / 2) of (n, c, h, w)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        every = functional.conv2d(x, self.weight, self.bias, 1, self.padding, self.dilation, self.groups)
        return every[:, :, ::2, ::2]


class Halvings(nn.Module):
    """What an encoder finds at 1/4, 1/8, 1/16 and 1/32 of a picture.

    Parameters
    ----------
    features : of the encoder, one after the other
    ends : number of the first one that does not belong to each of the four
    widths : channels of the four
    """

    def __init__(self, features: nn.Sequential, ends: tuple[int, int, int, int], widths: list[int]):
        super().__init__()
        self.features, self.ends, self.widths = features, ends, widths

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the four for pictures (n, channels, h, w)."""
        found, start = [], 0
        for end in self.ends:
            x = self.features[start:end](x)
            found.append(x)
            start = end
        return found


def efficientnet(width: float = 2.0, depth: float = 3.1, channels: int = 3) -> Halvings:
    """Return an EfficientNet without its head, B7 unless told otherwise; cut as in segmentation-models-pytorch."""
    whole = EfficientNetStages(width, depth, channels=channels)
    return Halvings(whole.features, (3, 4, 6, 8), [whole.widths[n] for n in (1, 2, 4, 6)])


def mobilenet_v2(width: float = 1.0, channels: int = 3) -> Halvings:
    """Return MobileNetV2 without its classifier, cut as in segmentation-models-pytorch: the last convolution stays."""
    features = MobileNetV2(width_mult=width).features
    first = features[0][0]
    if channels != first.in_channels:
        features[0][0] = nn.Conv2d(channels, first.out_channels, 3, stride=2, padding=1, bias=False)
    _quick(features)
    _draw(features)
    ends = (4, 7, 14, 19)
    last = [features[end - 1] for end in ends]
    return Halvings(features, ends, [getattr(part, "out_channels", None) or part[0].out_channels for part in last])


def _quick(module: nn.Module) -> None:
    """Put `HalvingDepthwise` for every depthwise convolution of stride 2."""
    for parent in list(module.modules()):
        for name, old in parent.named_children():
            if isinstance(old, nn.Conv2d) and old.groups > 1 and old.stride == (2, 2):
                sides = {"stride": 2, "padding": old.padding, "groups": old.groups, "bias": old.bias is not None}
                setattr(parent, name, HalvingDepthwise(old.in_channels, old.out_channels, old.kernel_size, **sides))


def _draw(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
