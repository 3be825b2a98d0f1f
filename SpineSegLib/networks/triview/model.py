"""Attention LinkNet-152 on three views: paper 003, read as one network on a volume.

Paper 003 (Attention LinkNet-152, Sci Rep 2025 15:13102): three encoders, axial, sagittal and coronal, each the first
four blocks of EfficientNet-B7 with an attention module after each; their features concatenated "to a 3-D feature map",
the input of LinkNet with a ResNet-152 encoder. How the views meet is left open. Here they meet on one lattice of half
the volume's resolution (`lattice`), where each cell holds what every view says of the same place; a 1x1 convolution
takes the place of the ResNet's 7x7 stem, which has halved its picture at this point too, and LinkNet goes on axially.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from SpineSegLib.networks.linknet import LinkNet
from SpineSegLib.networks.triview.edge import EdgeHead
from SpineSegLib.networks.triview.encoder import ViewEncoder
from SpineSegLib.networks.triview.lattice import STEP, VIEWS, in_parts, on_lattice, slices_of


class TriViewLinkNet(nn.Module):
    """Three view encoders on a volume, one lattice, LinkNet.

    The network takes volumes, not pictures; everything else is as in the other networks.

    Parameters
    ----------
    encoder : arguments of `EfficientNetStages`; EfficientNet-B7 unless given
    attention : whether an attention module follows each stage
    features : channels of each view on the lattice; the paper does not say, 32 are those of B7's first stage
    depth, width : of LinkNet's ResNet and its stem, 152 and 64 in the paper
    stem_skip : add the lattice's features to LinkNet's last stage, as segmentation-models-pytorch adds the stem's;
        its authors do not
    edge : channels of a last layer that sees the volume itself beside the logits (`EdgeHead`); none in the paper
    slices : that a view's encoder takes at a time in use, which bounds memory
    channels : channels of the volume
    classes : channels of the logits
    """

    stride = 32
    volumetric = True

    def __init__(
        self,
        encoder: Mapping[str, float] | None = None,
        *,
        attention: bool = True,
        features: int = 32,
        depth: int = 152,
        width: int = 64,
        stem_skip: bool = False,
        edge: int = 0,
        slices: int = 32,
        channels: int = 1,
        classes: int = 1,
    ):
        super().__init__()
        self.classes, self.slices, self.stem_skip = classes, slices, stem_skip
        scale = {**(encoder or {}), "channels": channels}
        self.views = nn.ModuleDict({view: ViewEncoder(features, attention=attention, **scale) for view in VIEWS})
        # Each lattice slice is two slices of the volume.
        self.linknet = LinkNet(depth, width, len(VIEWS) * features, classes * STEP, tail=width if stem_skip else None)
        self.linknet.encoder.conv1 = nn.Conv2d(len(VIEWS) * features, width, 1, bias=False)
        self.edge = EdgeHead(channels, classes, edge) if edge else None

    def lattice(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the views say of each cell, (n, d / 2, h / 2, w / 2, 3 features), of a volume (n, c, d, h, w)."""
        most = None if self.training else self.slices
        parts = [
            on_lattice(in_parts(encoder, slices_of(x, view), most), view, len(x))
            for view, encoder in self.views.items()
        ]
        return torch.cat(parts, dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, d, h, w) of volumes (n, channels, d, h, w), all sides multiples of 32.

        Axes d, h and w run to the head, the back and the left.
        """
        count, _, d, h, w = x.shape
        cells = self.lattice(x).flatten(0, 1).permute(0, 3, 1, 2)
        found = in_parts(self._decoded, cells, None if self.training else self.slices)
        found = found.reshape(count, d // STEP, self.classes, STEP, h, w).permute(0, 2, 1, 3, 4, 5)
        found = found.reshape(count, self.classes, d, h, w)
        return found if self.edge is None else found + self.edge(x, found)

    def _decoded(self, cells: torch.Tensor) -> torch.Tensor:
        return self.linknet.of_stem(self.linknet.encoder.stem(cells), skip=self.stem_skip)
