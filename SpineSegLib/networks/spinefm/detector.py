"""SpineFM's first candidates: Mask R-CNN.

He et al., Mask R-CNN, ICCV 2017, doi 10.1109/ICCV.2017.322, with a feature pyramid on ResNet-50 as torchvision has it;
paper 001 (SpineFM, ISBI 2025, arXiv 2411.00326, section 3.4.2) begins with its weights for COCO.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from SpineSegLib.networks.resnet import ResNetEncoder
from SpineSegLib.networks.spinefm.classifier import DEVIATION, MEAN


class Backbone(nn.Module):
    """A ResNet and its feature pyramid, with float32 features whatever they were computed in."""

    def __init__(self, body: ResNetEncoder, pyramid: int):
        super().__init__()
        self.body, self.out_channels = body, pyramid
        self.fpn = FeaturePyramidNetwork(body.widths, pyramid, LastLevelMaxPool())

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the levels ``0``…``3`` at 1/4…1/32 of the pictures (n, channels, h, w), and ``pool`` at 1/64."""
        stages = OrderedDict((str(number), stage) for number, stage in enumerate(self.body(x)))
        # Anchors take the type of the features, and bfloat16 has no odd pixels above 256.
        return OrderedDict((name, level.float()) for name, level in self.fpn(stages).items())


class _ProposalHead(RPNHead):
    """As torchvision's, in float32 at the end: boxes and their losses are computed in that."""

    def forward(self, x: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores, boxes = super().forward(x)
        return [each.float() for each in scores], [each.float() for each in boxes]


class _BoxPredictor(FastRCNNPredictor):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = super().forward(x)
        return scores.float(), boxes.float()


class _MaskPredictor(MaskRCNNPredictor):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).float()


class Detector(MaskRCNN):
    """Mask R-CNN for one class, vertebra; torchvision's, with its names, at any width.

    Parameters
    ----------
    size : shorter side that pictures are brought to (linear), torchvision's 800 for COCO; boxes and masks come back at
        the size of what was given. In narrow variants half of the card's input size, so that four pixels become one
    longest : longer side that they are brought to at most
    channels : of the pictures, 3, or 1 in narrow variants
    depth, width : of the ResNet, see `ResNetEncoder`
    norm : ``frozen`` batch normalisation, as torchvision has it where training begins with COCO's weights, or
        ``batch`` where it begins with none
    trained_stages : of the ResNet, from its end, 0 to 5; the others are frozen (torchvision's choice with COCO: 3)
    pyramid : channels of the feature pyramid
    hidden : channels of the box head
    masks : channels of the mask head
    anchors : sides of the squares that boxes are told from, one for each of the five levels
    proposals : that go on to the heads, in training and in use
    samples : anchors and proposals of a picture that the losses are taken of
    detections : most vertebrae of a picture
    """

    score_name = "F1 of boxes (IoU above 0.5, score 0.6 or more), mean over pictures"

    def __init__(
        self,
        size: int = 800,
        longest: int = 1333,
        channels: int = 3,
        depth: int = 50,
        width: int = 64,
        norm: str = "frozen",
        trained_stages: int = 3,
        pyramid: int = 256,
        hidden: int = 1024,
        masks: int = 256,
        anchors: Sequence[float] = (32, 64, 128, 256, 512),
        proposals: Sequence[int] = (2000, 1000),
        samples: Sequence[int] = (256, 512),
        detections: int = 100,
    ):
        if norm not in ("frozen", "batch"):
            msg = f"norm is {norm!r}, expected 'frozen' or 'batch'"
            raise ValueError(msg)
        body = ResNetEncoder(depth=depth, width=width, channels=channels)
        if norm == "frozen":
            _freeze_norms(body)
        _freeze_stages(body, trained_stages)
        mean, deviation = (list(v) if channels == 3 else [sum(v) / len(v)] * channels for v in (MEAN, DEVIATION))
        each = AnchorGenerator(tuple((side,) for side in anchors), ((0.5, 1.0, 2.0),) * len(anchors))
        super().__init__(
            Backbone(body, pyramid),
            min_size=size,
            max_size=longest,
            image_mean=mean,
            image_std=deviation,
            rpn_anchor_generator=each,
            rpn_head=_ProposalHead(pyramid, each.num_anchors_per_location()[0]),
            rpn_pre_nms_top_n_train=proposals[0],
            rpn_post_nms_top_n_train=proposals[0],
            rpn_pre_nms_top_n_test=proposals[1],
            rpn_post_nms_top_n_test=proposals[1],
            rpn_batch_size_per_image=samples[0],
            box_head=TwoMLPHead(pyramid * 7**2, hidden),
            box_predictor=_BoxPredictor(hidden, 2),
            box_batch_size_per_image=samples[1],
            box_detections_per_img=detections,
            mask_head=MaskRCNNHeads(pyramid, (masks,) * 4, 1),
            mask_predictor=_MaskPredictor(masks, masks, 2),
        )
        self.size, self.proposals, self.detections = channels, int(proposals[1]), detections

    def detect(self, images: torch.Tensor, score: float = 0.6, mask: float = 0.5) -> list[dict[str, torch.Tensor]]:
        """Return what is found in each of the pictures (n, channels, h, w) in 0…1, without gradients.

        Parameters
        ----------
        score : lowest score of a vertebra
        mask : probability above which a pixel belongs to it

        Returns
        -------
        For each picture ``boxes`` (k, 4), x0 y0 x1 y1 in pixels, ``scores`` (k,) from high to low and ``masks``
        (k, h, w), bool
        """
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                found = self(list(images))
        finally:
            self.train(training)
        kept = []
        for each in found:
            good = each["scores"] >= score
            masks = each["masks"][good, 0] > mask
            kept.append({"boxes": each["boxes"][good], "scores": each["scores"][good], "masks": masks})
        return kept

    def training_loss(self, images: torch.Tensor, targets: Sequence[Mapping[str, object]]) -> torch.Tensor:
        """Return the sum of torchvision's five losses: objectness, proposals, classes, boxes, masks.

        Parameters
        ----------
        targets : for each picture ``boxes`` (k, 4), ``labels`` (k,), 1 being the vertebra, and ``masks`` (k, h, w)
        """
        tensors = [{name: target[name] for name in ("boxes", "labels", "masks")} for target in targets]
        if any((target["labels"] != 1).any() for target in tensors):
            msg = "labels are not all 1; the source must count from first: 1, all levels one class"
            raise ValueError(msg)
        batch, tensors = self.transform(list(images), tensors)
        features = self.backbone(batch.tensors)
        # In evaluation mode these two give no losses; neither holds anything else that depends on the mode.
        training = self.rpn.training
        self.rpn.train()
        self.roi_heads.train()
        try:
            proposals, losses = self.rpn(batch, features, tensors)
            _, more = self.roi_heads(features, proposals, batch.image_sizes, tensors)
        finally:
            self.rpn.train(training)
            self.roi_heads.train(training)
        return sum((losses | more).values())

    @torch.no_grad()
    def validation_score(self, images: torch.Tensor, targets: Sequence[Mapping[str, object]]) -> torch.Tensor:
        """Return the mean F1 of the pictures: a box that overlaps a true one by more than 0.5 (IoU) is right, once."""
        scores = []
        for found, target in zip(self.detect(images), targets, strict=True):
            overlap = box_iou(found["boxes"], target["boxes"].to(found["boxes"])) > 0.5
            right = min(int(overlap.any(dim=0).sum()), int(overlap.any(dim=1).sum()))
            count = len(found["boxes"]) + len(target["boxes"])
            scores.append(2 * right / count if count else 1.0)
        return torch.tensor(scores, device=images.device).mean()

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        """Return the objectness (n, anchors) of pictures (n, channels, h, w), all heads having run once.

        The pictures are brought to squares. Everything has a fixed shape: as many boxes and masks as there are
        proposals and detections at most. For counting; nothing is found with it.
        """
        mean, deviation = (
            torch.tensor(values, device=x.device).view(-1, 1, 1)
            for values in (self.transform.image_mean, self.transform.image_std)
        )
        x = functional.interpolate((x - mean) / deviation, (self.size, self.size), mode="bilinear", align_corners=False)
        features = self.backbone(x)
        objectness, _ = self.rpn.head(list(features.values()))
        pooled = x.new_zeros(len(x) * self.proposals, self.backbone.out_channels, 7, 7)
        self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        pooled = x.new_zeros(len(x) * self.detections, self.backbone.out_channels, 14, 14)
        self.roi_heads.mask_predictor(self.roi_heads.mask_head(pooled))
        return torch.cat([level.flatten(1) for level in objectness], dim=1)


def _freeze_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            _freeze_norms(child)


def _freeze_stages(body: nn.Module, trained: int) -> None:
    kept = ["layer4", "layer3", "layer2", "layer1", "conv1"][:trained] + (["bn1"] if trained == 5 else [])
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in kept)
