"""Swin-UNet: a U-Net of Swin transformer blocks only.

Cao et al., Swin-Unet: Unet-like pure transformer for medical image segmentation, ECCV Workshops 2022, arXiv 2105.05537.
The blocks are torchvision's (Liu et al., Swin transformer, ICCV 2021); they pad features to whole windows. Baseline of
paper 004 (CVM-UNet, Eng. Res. Express 2025 7 025293).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models.swin_transformer import PatchMerging, SwinTransformerBlock

PATCH = 4
"""Side of the patches that become tokens."""


class PatchExpanding(nn.Module):
    """A linear layer makes factor * factor tokens of each; the opposite of patch merging."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(inputs, outputs * factor * factor, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, factor * h, factor * w, outputs) of (n, h, w, inputs)."""
        n, h, w, _ = x.shape
        parts = self.expand(x).reshape(n, h, w, self.factor, self.factor, -1).permute(0, 1, 3, 2, 4, 5)
        return self.norm(parts.reshape(n, h * self.factor, w * self.factor, -1))


class SwinUNet(nn.Module):
    """Four stages of Swin blocks down and three up, with concatenated skips.

    Parameters
    ----------
    width : channels of the first stage, 96 in the paper; the others have 2, 4 and 8 times as many
    depths : Swin blocks of the four stages; the three on the way up have as many as their partners
    heads : of the four stages
    window : tokens along the side of a window. The paper's 7 fits images of 224; of 5 and 15, which divide the 15
        tokens of a 480 image at 1/32, 5 takes the multiply-adds of paper 004's table.
    drop_path : of the deepest blocks in training, falling to 0 at the first (stochastic depth)
    channels : channels of the image
    classes : channels of the logits
    """

    stride = 32

    def __init__(
        self,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 5,
        drop_path: float = 0.1,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        drops = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))

        def stage(number: int) -> nn.Sequential:
            return nn.Sequential(
                *(
                    SwinTransformerBlock(
                        widths[number],
                        heads[number],
                        window_size=[window, window],
                        shift_size=[(block % 2) * (window // 2)] * 2,
                        stochastic_depth_prob=float(drops[number][block]),
                    )
                    for block in range(depths[number])
                )
            )

        self.embed = nn.Conv2d(channels, width, PATCH, stride=PATCH)
        self.norm_first, self.norm_bottom = nn.LayerNorm(width), nn.LayerNorm(widths[3])
        self.down = nn.ModuleList(stage(number) for number in range(4))
        self.merge = nn.ModuleList(PatchMerging(inputs) for inputs in widths[:3])
        self.expand = nn.ModuleList(PatchExpanding(2 * inputs, inputs, 2) for inputs in widths[2::-1])
        self.join = nn.ModuleList(nn.Linear(2 * inputs, inputs) for inputs in widths[2::-1])
        self.up = nn.ModuleList(stage(number) for number in (2, 1, 0))
        self.norm_last = nn.LayerNorm(width)
        self.expand_last = PatchExpanding(width, width, PATCH)
        self.last = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of 32."""
        x = self.norm_first(self.embed(x).permute(0, 2, 3, 1))
        skips = []
        for blocks, merge in zip(self.down, self.merge, strict=False):
            skips.append(blocks(x))
            x = merge(skips[-1])
        x = self.norm_bottom(self.down[3](x))
        for expand, join, blocks in zip(self.expand, self.join, self.up, strict=True):
            x = blocks(join(torch.cat([expand(x), skips.pop()], dim=-1)))
        return self.last(self.expand_last(self.norm_last(x)).permute(0, 3, 1, 2))
