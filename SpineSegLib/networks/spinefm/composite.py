"""SpineFM: the four networks of the pipeline in one module, so that one card and one file hold them.

Paper 001: Simons and Papież, SpineFM: leveraging foundation models for automatic spine X-ray segmentation, ISBI 2025,
arXiv 2411.00326.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.spinefm.classifier import Classifier
from SpineSegLib.networks.spinefm.detector import Detector
from SpineSegLib.networks.spinefm.predictor import Predictor
from SpineSegLib.networks.spinefm.segmenter import Segmenter


class SpineFM(nn.Module):
    """Detector, segmenter, classifier and point predictor; `SpineSegLib.pipelines.spinefm` calls them in turn.

    Parameters
    ----------
    detector, segmenter, classifier, predictor : arguments of `Detector`, `Segmenter`, `Classifier` and `Predictor`
    channels : of the pictures
    classes : of the logits of `forward`, 1
    """

    stride = 32

    def __init__(
        self,
        detector: Mapping[str, object] | None = None,
        segmenter: Mapping[str, object] | None = None,
        classifier: Mapping[str, object] | None = None,
        predictor: Mapping[str, object] | None = None,
        channels: int = 3,
        classes: int = 1,
    ):
        super().__init__()
        if classes != 1:
            msg = f"classes is {classes}, expected 1: a vertebra at a time"
            raise ValueError(msg)
        self.detector = Detector(channels=channels, **(detector or {}))
        self.segmenter = Segmenter(channels=channels, **(segmenter or {}))
        self.classifier = Classifier(channels=channels, **(classifier or {}))
        self.predictor = Predictor(**(predictor or {}))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, h, w) of the vertebra in the middle of pictures (n, channels, h, w) in 0…1.

        Each part runs once, the pictures being their own patches: what is counted on a card. The pipeline calls the
        parts.
        """
        self.detector.dense(x)
        patches, small = (
            functional.interpolate(x, (part.size, part.size), mode="bilinear", align_corners=False)
            for part in (self.segmenter, self.classifier)
        )
        self.classifier(small)
        self.predictor(x.new_zeros(len(x), 6))
        return functional.interpolate(self.segmenter(patches), x.shape[2:], mode="bilinear", align_corners=False)

    def adopted(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return those of a public file's tensors that belong to a part, by the names that they have here.

        Known are Segment Anything's (``sam_vit_b_01ec64.pth``: the segmenter without its adapters), torchvision's Mask
        R-CNN for COCO (the detector without the layers that tell COCO's 91 classes apart) and torchvision's ResNets
        for ImageNet (the classifier without its last layer).

        Returns
        -------
        Empty where the file holds none of these whole
        """
        own = self.state_dict()
        fresh = {
            "segmenter.": ("space_adapter.", "mlp_adapter."),
            "detector.": ("box_predictor.", "mask_fcn_logits."),
            "classifier.": ("classifier.fc.",),
        }
        for part, new in fresh.items():
            wanted = [
                name
                for name in own
                if name.startswith(part)
                and not any(each in name for each in new)
                and not name.endswith("num_batches_tracked")
            ]
            names = {name: name.removeprefix(part) for name in wanted}
            if all(there in tensors and tensors[there].shape == own[name].shape for name, there in names.items()):
                return {name: tensors[there] for name, there in names.items()}
        return {}
