"""SpineFM's classifier: is a patch an end of the spine, a vertebra between, or background.

Paper 001 (SpineFM, ISBI 2025, arXiv 2411.00326, section 3.4.3): ResNet-101.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.resnet import ResNetEncoder

CLASSES = ("C2", "S1", "between", "background")
"""The paper's: the two ends of the spine, a regular vertebra between them, and none."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet's pictures, 0…1."""


class Classifier(ResNetEncoder):
    """A ResNet with its pooled features and one linear layer; torchvision's names.

    Parameters
    ----------
    size : side of the square patch
    channels : of the patch, 3, or 1 in narrow variants
    classes : names of the logits
    depth, width : see `ResNetEncoder`
    """

    score_name = "recall, the mean over the classes"

    def __init__(
        self,
        size: int = 224,
        channels: int = 3,
        classes: Sequence[str] = CLASSES,
        depth: int = 101,
        width: int = 64,
    ):
        super().__init__(depth=depth, width=width, channels=channels)
        self.size, self.classes = size, tuple(classes)
        self.fc = nn.Linear(self.widths[-1], len(self.classes))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            value = torch.tensor(values).view(3, 1, 1)
            self.register_buffer(name, value if channels == 3 else value.mean(0, keepdim=True), persistent=False)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of patches (n, channels, size, size) in 0…1."""
        features = super().forward((patches - self.mean) / self.deviation)[-1]
        return self.fc(features.mean(dim=(2, 3)))

    def training_loss(self, patches: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy with the numbers (n,) of the classes."""
        return functional.cross_entropy(self(patches).float(), targets)

    @torch.no_grad()
    def validation_score(self, patches: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the share of patches classified rightly, each class that is there having the same weight."""
        right = (self(patches).argmax(dim=1) == targets).float()
        return torch.stack([right[targets == each].mean() for each in targets.unique()]).mean()
