"""VM-UNet-V2: an encoder of visual state spaces whose four stages are fused at every level.

Zhang et al., VM-UNet-V2: rethinking vision Mamba UNet for medical image segmentation, arXiv 2403.09157; its semantics
and detail infusion (SDI) is U-Net v2's, Peng et al., arXiv 2311.17791. Baseline of paper 004 (CVM-UNet). What the
papers leave open is as in the authors' public code: 48 channels in the decoder, and logits of its two finest levels,
summed. That code hands on what each stage receives, so that the last stage is never used; here, as the paper draws it,
each stage hands on what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.blocks import enlarge
from SpineSegLib.networks.state_space import SS2D


class VSSBlock(nn.Module):
    """x + SS2D(LayerNorm(x)) of pictures (n, h, w, channels)."""

    def __init__(self, channels: int, states: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.scan = SS2D(channels, states)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, as large as its input."""
        return x + self.scan(self.norm(x))


class PatchMerging(nn.Module):
    """Four neighbours side by side, normalised, and brought to twice the channels (Swin Transformer, section 3.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h / 2, w / 2, 2 channels) of (n, h, w, channels)."""
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, dim=-1)))


class ChannelAndPlace(nn.Module):
    """Attention to channels, then to places (Woo et al., CBAM, ECCV 2018), and a 1x1 convolution to the decoder."""

    def __init__(self, inputs: int, outputs: int, reduction: int = 16):
        super().__init__()
        inner = max(inputs // reduction, 1)
        self.shared = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.ReLU(), nn.Conv2d(inner, inputs, 1, bias=False)
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.translate = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of x (n, inputs, h, w)."""
        x = x * torch.sigmoid(self.shared(x.mean((2, 3), keepdim=True)) + self.shared(x.amax((2, 3), keepdim=True)))
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return self.translate(x * torch.sigmoid(self.place(summary)))


class SDI(nn.Module):
    """Every level, brought to the size of one and convolved, multiplied together."""

    def __init__(self, channels: int, levels: int = 4):
        super().__init__()
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(levels))

    def forward(self, levels: Sequence[torch.Tensor], level: int) -> torch.Tensor:
        """Return (n, channels, h, w) of the size of ``levels[level]``."""
        size = levels[level].shape[-2:]
        product = None
        for number, (smooth, x) in enumerate(zip(self.smooth, levels, strict=True)):
            if number < level:
                x = functional.adaptive_avg_pool2d(x, size)
            elif number > level:
                x = functional.interpolate(x, size, mode="bilinear", align_corners=True)
            product = smooth(x) if product is None else product * smooth(x)
        return product


class VMUNetV2(nn.Module):
    """VM-UNet-V2.

    Parameters
    ----------
    width : channels of the first stage; the others have 2, 4 and 8 times as many
    depths : VSS blocks of each stage
    middle : channels of the decoder
    states : numbers in each channel's state
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(
        self,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 9, 2),
        middle: int = 48,
        states: int = 16,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        self.embed, self.embed_norm = nn.Conv2d(channels, width, 4, stride=4), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(VSSBlock(n, states) for _ in range(depth))) for n, depth in zip(widths, depths, strict=True)
        )
        self.merge = nn.ModuleList(PatchMerging(n) for n in widths[:-1])
        self.translate = nn.ModuleList(ChannelAndPlace(n, middle) for n in widths)
        self.fuse = nn.ModuleList(SDI(middle) for _ in widths)
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(middle, middle, 4, stride=2, padding=1, bias=False) for _ in widths[:-1]
        )
        self.heads = nn.ModuleList(nn.Conv2d(middle, classes, 1) for _ in range(2))
        self.doubled = nn.ConvTranspose2d(classes, classes, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        x = self.embed_norm(self.embed(x).permute(0, 2, 3, 1))
        stages = []
        for number, blocks in enumerate(self.blocks):
            x = blocks(x)
            stages.append(x.permute(0, 3, 1, 2))
            if number < len(self.merge):
                x = self.merge[number](x)
        levels = [translate(stage) for translate, stage in zip(self.translate, stages, strict=True)]
        fused = [self.fuse[3](levels, 3)]
        for level in (2, 1, 0):
            fused.append(self.enlarge[level](fused[-1]) + self.fuse[level](levels, level))
        fine, coarse = self.heads[0](fused[-1]), self.heads[1](fused[-2])
        return enlarge(fine, 4) + self.doubled(enlarge(coarse, 4))
