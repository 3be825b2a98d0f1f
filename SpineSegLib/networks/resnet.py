"""Residual encoders of any width.

He et al., Deep residual learning for image recognition, CVPR 2016, with the 3x3 stride in the second convolution of a
bottleneck, as torchvision has it. Parameters carry torchvision's names, so its state dictionaries load at width 64.
"""

from __future__ import annotations

import torch
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> residual blocks in each of the four stages; 18 and 34 have basic blocks, the others bottlenecks."""


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, halved in size at stride 2."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, four times as wide at the end, and the identity."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _convolution(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, halved in size at stride 2."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNetEncoder(nn.Module):
    """The stem and the four stages of a ResNet, or fewer of them, without its classifier.

    Parameters
    ----------
    depth : 18, 34, 50, 101 or 152
    width : channels of the stem, 64 in the paper; every other width scales with it
    channels : channels of the image
    stages : how many, counted from the stem
    """

    def __init__(self, depth: int = 34, width: int = 64, channels: int = 3, stages: int = 4):
        super().__init__()
        if depth not in BLOCKS:
            msg = f"ResNet depth is {depth}, expected one of {', '.join(map(str, BLOCKS))}"
            raise ValueError(msg)
        block = BasicBlock if depth < 50 else Bottleneck
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.widths = [width * 2**stage * block.expansion for stage in range(stages)]
        inputs = width
        for stage, count in enumerate(BLOCKS[depth][:stages]):
            blocks = []
            for number in range(count):
                blocks.append(block(inputs, width * 2**stage, 2 if stage and not number else 1))
                inputs = self.widths[stage]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the first convolution finds in images (n, channels, h, w), at 1/2 of their size."""
        return torch.relu(self.bn1(self.conv1(x)))

    def stages(self, stem: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the stages, at 1/2, 1/4, 1/8 and 1/16 of the stem's."""
        x = self.maxpool(stem)
        found = []
        for number in range(1, len(self.widths) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            found.append(x)
        return found

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the stages, at 1/4, 1/8, 1/16 and 1/32 of the image (n, channels, h, w)."""
        return self.stages(self.stem(x))
