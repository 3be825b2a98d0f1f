"""CVM-UNet: a ConvNeXt encoder, attention at the bottom, residual skips, and state spaces in the decoder.

Xue et al., Cvm-Unet: a spinal x-ray multi-lesion segmentation network based on convnext and vmamba, Engineering
Research Express 7 (2025) 025293 (paper 004), sections 3.1 to 3.5, with the ablation of section 4.5. The paper gives no
widths. Read here: the encoder is ConvNeXt-T's; an Up is, in the paper's order, bilinear interpolation, a VSS block that
halves the channels, the skip concatenated, and two convolutions to the skip's channels; three of them lead to a
quarter of the image, where the residual block and the last convolution stand, and their logits are enlarged. Of 280
readings that were tried this one comes nearest to the 52.36 M parameters and 74.80 G multiply-adds at 480x480.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from SpineSegLib.networks.attention import ECA, SCSA
from SpineSegLib.networks.blocks import ConvolutionNormReLU, enlarge
from SpineSegLib.networks.convnext import ConvNeXtEncoder
from SpineSegLib.networks.state_space import SS2D


class ResReLU(nn.Module):
    """Two convolutions with batch normalisation, ReLU between them, the identity added, ReLU (section 3.4, figure 7).

    Two, because the paper speaks of convolutional layers and of residual blocks.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            ConvolutionNormReLU(channels, channels), ConvolutionNormReLU(channels, channels, relu=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, as large as its input."""
        return torch.relu(self.main(x) + x)


class VSSBlock(nn.Module):
    """The paper's VSS block (section 3.3, figure 5).

    Layer normalisation, the gated SS2D, ECA: output A. A beside the input goes through two convolutions with their
    normalisations and activations: output B, with `outputs` channels. B is added to A beside the input, which has
    twice the input's channels; the paper does not say how, so a 1x1 convolution projects it.
    """

    def __init__(self, inputs: int, outputs: int, states: int = 16, expand: float = 2.0):
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.scan = SS2D(inputs, states, expand)
        self.weigh = ECA(inputs)
        self.mix = nn.Sequential(ConvolutionNormReLU(2 * inputs, outputs), ConvolutionNormReLU(outputs, outputs))
        self.project = nn.Conv2d(2 * inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of x (n, inputs, h, w)."""
        a = self.scan(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        both = torch.cat([self.weigh(a), x], dim=1)
        return self.mix(both) + self.project(both)


class Up(nn.Module):
    """Bilinear interpolation, a block that halves the channels, the skip, two convolutions (section 3.1).

    Without state spaces, the block is a 3x3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, vss: bool, states: int, expand: float):
        super().__init__()
        self.block = VSSBlock(inputs, outputs, states, expand) if vss else ConvolutionNormReLU(inputs, outputs)
        self.join = nn.Sequential(ConvolutionNormReLU(2 * outputs, outputs), ConvolutionNormReLU(outputs, outputs))

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, 2 h, 2 w) of x (n, inputs, h, w) and a skip of the output's shape."""
        return self.join(torch.cat([self.block(enlarge(x)), skip], dim=1))


class CVMUNet(nn.Module):
    """CVM-UNet and its ablations.

    Parameters
    ----------
    width : channels of the first stage, 96 as ConvNeXt-T's; the others have 2, 4 and 8 times as many
    depths : blocks of each stage of the encoder; ConvNeXt-T's
    stem : side and stride of the first convolution; 4 is ConvNeXt's, 2 keeps small pictures fine
    states, expand : of SS2D; VMamba's
    scsa, res_relu, vss : the three parts that the ablation adds to its ConvNeXt-UNet, which has none of them
    heads : of SCSA, see there
    channels : channels of the image
    classes : channels of the logits
    """

    def __init__(
        self,
        width: int = 96,
        depths: Sequence[int] = (3, 3, 9, 3),
        stem: int = 4,
        states: int = 16,
        expand: float = 2.0,
        scsa: bool = True,
        res_relu: bool = True,
        vss: bool = True,
        heads: int = 8,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        self.stem, self.stride = stem, 8 * stem
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.encoder = ConvNeXtEncoder(depths, widths, channels, stem)
        self.bottom = SCSA(widths[-1], heads) if scsa else nn.Identity()
        self.skips = nn.ModuleList(ResReLU(n) if res_relu else nn.Identity() for n in widths[:-1])
        self.up = nn.ModuleList(Up(2 * n, n, vss, states, expand) for n in widths[-2::-1])
        self.last = nn.Sequential(ResReLU(width), nn.Conv2d(width, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, h, w) of images (n, channels, h, w), h and w multiples of `stride`."""
        *stages, x = self.encoder(x)
        x = self.bottom(x)
        for up, skip, stage in zip(self.up, self.skips[::-1], stages[::-1], strict=True):
            x = up(x, skip(stage))
        return enlarge(self.last(x), self.stem)
