"""ConDSeg: foreground and background features, told apart at the bottom, steer the joining of all levels.

Lei, Wu, Lv & Wang, ConDSeg: a general medical image segmentation framework via contrast-driven feature enhancement,
AAAI 2025, arXiv 2412.08345. Baseline of paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293). The paper's first stage
of training (the encoder alone, consistent between weak and strong augmentation) is a way of training, not of the
network, and not here.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import ConvolutionNormReLU as Layer
from SpineSegLib.networks.blocks import enlarge
from SpineSegLib.networks.resnet import ResNetEncoder

KERNEL = 3
"""Side of the neighbourhoods that contrast-driven aggregation attends in."""


class ChannelAttention(nn.Module):
    """Channels weighted by a shared perceptron of their mean and maximum (CBAM, Woo et al., ECCV 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        middle = max(channels // 16, 1)
        self.perceptron = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False), nn.ReLU(), nn.Conv2d(middle, channels, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape (n, c, h, w)."""
        mean, highest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.perceptron(mean) + self.perceptron(highest))


class SpatialAttention(nn.Module):
    """Pixels weighted by a 7x7 convolution of their mean and maximum over the channels (CBAM)."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape (n, c, h, w)."""
        facts = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.convolution(facts))


class FeatureEnhancement(nn.Module):
    """Dilated convolutions of four reaches with channel attention, their join plus a shortcut, spatial attention."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(layer, ChannelAttention(outputs))
            for layer in (
                Layer(inputs, outputs, 1),
                *(Layer(inputs, outputs, 3, dilation=dilation) for dilation in (6, 12, 18)),
            )
        )
        self.join = Layer(4 * outputs, outputs, relu=False)
        self.shortcut = Layer(inputs, outputs, 1, relu=False)
        self.attention = SpatialAttention()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of (n, inputs, h, w)."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return self.attention(torch.relu(joined + self.shortcut(x)))


class ContrastDrivenAggregation(nn.Module):
    """CDFA: neighbourhoods attended with weights that the foreground decides, then with those of the background.

    Attention as in VOLO (Yuan et al., 2021): each pixel's weights for its 3x3 neighbours, for each of 3x3 positions of
    the window, come from one linear layer of the guiding feature at that pixel.
    """

    def __init__(self, inputs: int, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before = nn.Sequential(Layer(inputs, channels), Layer(channels, channels))
        self.value = nn.Conv2d(channels, channels, 1)
        self.weights = nn.ModuleList(nn.Conv2d(channels, KERNEL**4 * heads, 1) for _ in range(2))
        self.project = nn.Conv2d(channels, channels, 1)
        self.after = nn.Sequential(Layer(channels, channels), Layer(channels, channels))

    def forward(self, x: torch.Tensor, guides: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return (n, channels, h, w) of (n, inputs, h, w) and two guides (n, channels, h, w)."""
        x = self.value(self.before(x))
        for weights, guide in zip(self.weights, guides, strict=True):
            x = self.project(self._attended(x, weights(guide)))
        return self.after(x)

    def _attended(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        area = KERNEL**2
        near = functional.unfold(x, KERNEL, padding=KERNEL // 2)
        near = near.reshape(n, self.heads, c // self.heads, area, h * w).permute(0, 1, 4, 3, 2)
        weights = weights.reshape(n, self.heads, area, area, h * w).permute(0, 1, 4, 2, 3)
        weights = (weights * (c // self.heads) ** -0.5).softmax(-1).to(near.dtype)
        out = (weights @ near).permute(0, 1, 4, 3, 2).reshape(n, c * area, h * w)
        return functional.fold(out, (h, w), KERNEL, padding=KERNEL // 2)


class SizeAwareDecoder(nn.Module):
    """Join an enlarged level with the one above it; dense residual convolutions; channel and spatial attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.join = Layer(2 * channels, channels, 1)
        self.layers = nn.ModuleList(Layer(channels, channels, size, relu=False) for size in (3, 3, 1))
        self.attention = nn.Sequential(ChannelAttention(channels), SpatialAttention())

    def forward(self, x: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        """Return (n, c, h, w) of (n, c, h/2, w/2) and the level above (n, c, h, w)."""
        total = x = self.join(torch.cat([enlarge(x), above], dim=1))
        for layer in self.layers:
            x = torch.relu(layer(x) + total)
            total = total + x
        return self.attention(x)


class Guide(nn.Sequential):
    """A convolution, then one more after each doubling of the size."""

    def __init__(self, channels: int, doublings: int):
        doubled = (nn.Sequential(Enlarge(), Layer(channels, channels)) for _ in range(doublings))
        super().__init__(Layer(channels, channels), *doubled)


class Enlarge(nn.Module):
    """`enlarge` as a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, c, 2 h, 2 w) of (n, c, h, w)."""
        return enlarge(x)


def _auxiliary_head(channels: int, classes: int) -> nn.Sequential:
    """Return the head that makes a full-size mask of features at 1/16."""
    half = max(channels // 2, 1)
    return nn.Sequential(
        *(Layer(channels, 2 * channels), Enlarge(), Layer(2 * channels, 2 * channels), Enlarge()),
        *(Layer(2 * channels, channels), Enlarge(), Layer(channels, half), Enlarge()),
        *(Layer(half, half), nn.Conv2d(half, classes, 1)),
    )


class ConDSeg(nn.Module):
    """ResNet-50 to 1/16, semantic decoupling, contrast-driven aggregation, and decoders of three sizes.

    Parameters
    ----------
    width : channels of the ResNet's stem, 64 in the paper, smaller for small variants
    joined : channels of the features that are joined, 128 in the paper; a multiple of the heads
    heads : of the aggregation
    channels : channels of the image
    classes : channels of the logits

    Notes
    -----
    Training compares two outputs with the mask: the logits, and what the decoupled features say of each pixel. The
    paper asks foreground, background and uncertainty to exclude each other by a loss; here they do by construction, as
    a softmax of three, and the auxiliary logits are the odds of the foreground with half of the uncertain share on
    either side. Less uncertainty is then a smaller loss, as the paper wants.
    """

    stride = 16
    auxiliary_weights = (1.0, 1.0)

    def __init__(self, width: int = 64, joined: int = 128, heads: int = 4, channels: int = 3, classes: int = 1):
        super().__init__()
        encoder = ResNetEncoder(50, width, channels)
        self.stem = nn.Sequential(encoder.conv1, encoder.bn1, nn.ReLU(inplace=True))
        self.pool, self.layers = encoder.maxpool, nn.ModuleList([encoder.layer1, encoder.layer2, encoder.layer3])
        widths = [width, *encoder.widths[:3]]
        self.enhance = nn.ModuleList(FeatureEnhancement(inputs, joined) for inputs in widths)
        self.decouple = nn.ModuleList(
            nn.Sequential(Layer(widths[-1], 4 * joined), Layer(4 * joined, joined), Layer(joined, joined, 1))
            for _ in ("foreground", "background", "uncertain")
        )
        self.auxiliary = nn.ModuleList(_auxiliary_head(joined, classes) for _ in self.decouple)
        self.guides = nn.ModuleList(
            nn.ModuleList(Guide(joined, doublings) for _ in ("foreground", "background")) for doublings in range(4)
        )
        self.aggregate = nn.ModuleList(
            ContrastDrivenAggregation(joined * (1 if level == 0 else 2), joined, heads) for level in range(4)
        )
        self.decoders = nn.ModuleList(SizeAwareDecoder(joined) for _ in range(3))
        self.fuse = Layer(3 * joined, joined)
        half = max(joined // 2, 1)
        self.last = nn.Sequential(Enlarge(), Layer(joined, joined), Layer(joined, half, 1), nn.Conv2d(half, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 16."""
        stages = self._stages(x)
        return self._joined(stages, [decouple(stages[-1]) for decouple in self.decouple[:2]])

    def training_outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits and those of the decoupled features, both (n, classes, h, w)."""
        stages = self._stages(x)
        parts = [decouple(stages[-1]) for decouple in self.decouple]
        fore, back, unsure = (head(part).float() for head, part in zip(self.auxiliary, parts, strict=True))
        share = unsure - math.log(2)
        return [self._joined(stages, parts[:2]), torch.logaddexp(fore, share) - torch.logaddexp(back, share)]

    def _stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        stages = [self.stem(x)]
        x = self.pool(stages[0])
        for layer in self.layers:
            x = layer(x)
            stages.append(x)
        return stages

    def _joined(self, stages: list[torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
        enhanced = [enhance(stage) for enhance, stage in zip(self.enhance, stages, strict=True)]
        levels: list[torch.Tensor] = []
        for aggregate, guides in zip(self.aggregate, self.guides, strict=True):
            x = enhanced.pop()
            if levels:
                x = torch.cat([x, enlarge(levels[-1])], dim=1)
            levels.append(aggregate(x, tuple(guide(part) for guide, part in zip(guides, parts, strict=True))))
        large, middle, small = (
            decoder(below, above) for decoder, below, above in zip(self.decoders, levels[:-1], levels[1:], strict=True)
        )
        return self.last(self.fuse(torch.cat([small, enlarge(middle), enlarge(large, 4)], dim=1)))
