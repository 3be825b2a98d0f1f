"""YOLO-UNet: a detector of vertebrae, and a segmenter for what lies in each of its boxes.

Paper 002, Cervical vertebral body segmentation in X-ray and magnetic resonance imaging based on YOLO-UNet, Digital
Health 2025, doi 10.1177/20552076251347695: YOLO11 and U-Net3+; DeepLabV3+ in its place is the paper's YOLO-DeepLab.
The parts are trained one after the other; the pipeline calls them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


class YoloUNet(nn.Module):
    """A detector and a segmenter.

    Parameters
    ----------
    detector : arguments of YOLO11, see `SpineSegLib.networks.yolo11`
    segmenter : ``name`` of a network and its arguments; its logits show the vertebra in the middle of a patch
    patch : side in pixels of what the segmenter sees; the paper gives none, 256 shows a tenth of a millimetre
    """

    def __init__(self, detector: Mapping[str, object], segmenter: Mapping[str, object], patch: int = 256):
        from SpineSegLib.networks import build

        super().__init__()
        self.detector = build("yolo11", detector)
        arguments = dict(segmenter)
        self.segmenter = build(str(arguments.pop("name", "unet3plus")), arguments)
        if patch % self.segmenter.stride:
            msg = f"patch is {patch}, expected a multiple of {self.segmenter.stride}"
            raise ValueError(msg)
        self.patch, self.stride = patch, self.detector.stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, h, w) of both parts once, each on the whole picture: for counting, not for use.

        The picture is reduced to a single patch; a place counts where the detector sees a vertebra too.
        """
        patch = functional.interpolate(x, (self.patch, self.patch), mode="bilinear")
        inside = functional.interpolate(self.segmenter(patch), x.shape[-2:], mode="bilinear")
        return torch.minimum(inside, self.detector(x).amax(dim=1, keepdim=True))

    def adopted(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the parts that a file of another composite holds whole: YOLO-DeepLab begins with YOLO-UNet's detector.

        Returns
        -------
        Empty where it holds neither
        """
        own, found = self.state_dict(), {}
        for part in ("detector.", "segmenter."):
            names = [name for name in own if name.startswith(part)]
            if all(name in tensors and tensors[name].shape == own[name].shape for name in names):
                found |= {name: tensors[name] for name in names}
        return found
