"""YOLO11, the detector, and YOLO11-seg, which adds a mask to each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.yolo11.body import STRIDES, Body
from SpineSegLib.networks.yolo11.boxes import places
from SpineSegLib.networks.yolo11.head import BoxHead, MaskHead
from SpineSegLib.networks.yolo11.loss import GAINS, Predictions, detection_loss, inside
from SpineSegLib.networks.yolo11.scoring import f1


class Size(NamedTuple):
    """Factors of one of the published sizes, see `Body`."""

    depth: float
    width: float
    most: int
    deep: bool


SIZES: Mapping[str, Size] = {
    "n": Size(0.5, 0.25, 1024, False),
    "s": Size(0.5, 0.5, 1024, False),
    "m": Size(0.5, 1.0, 512, True),
    "l": Size(1.0, 1.0, 512, True),
    "x": Size(1.0, 1.5, 512, True),
}


class YOLO11(nn.Module):
    """Finds the box and the class of every vertebra.

    Parameters
    ----------
    size : ``n``, ``s``, ``m``, ``l`` or ``x``
    depth, width, most, deep : instead of the size's own, see `Body`; a `width` below 0.25 is narrower than any of them
    classes : of instances
    channels : of the picture
    prior : probability of a class that training begins with
    momentum : of batch normalisation, the family's own; runs of a few hundred steps need more, such as 0.1
    gains : weights of the loss's terms, instead of those of `GAINS`
    """

    stride = STRIDES[-1]
    score_name = "F1 of boxes at an IoU of 0.5"

    def __init__(
        self,
        size: str = "n",
        *,
        depth: float | None = None,
        width: float | None = None,
        most: int | None = None,
        deep: bool | None = None,
        classes: int = 80,
        channels: int = 3,
        prior: float = 0.01,
        momentum: float = 0.03,
        gains: Mapping[str, float] | None = None,
    ):
        super().__init__()
        if size not in SIZES:
            msg = f"size is {size!r}, expected one of {', '.join(SIZES)}"
            raise ValueError(msg)
        given = {"depth": depth, "width": width, "most": most, "deep": deep}
        self.size = SIZES[size]._replace(**{name: value for name, value in given.items() if value is not None})
        unknown = sorted(set(gains or {}) - set(GAINS))
        if unknown:
            msg = f"gains of {', '.join(unknown)}, expected some of {', '.join(GAINS)}"
            raise ValueError(msg)
        self.gains = {**GAINS, **(gains or {})}
        self.body = Body(channels, **self.size._asdict())
        self.head = BoxHead(self.body.outputs, classes, prior)
        self._set_momentum(momentum)

    def _set_momentum(self, momentum: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return where classes are: logits (n, classes, h, w), at each pixel the highest score of the three maps.

        All branches are computed, as in use; `detect` returns what they find.
        """
        scores = self.raw(x)[1]
        return torch.stack([functional.interpolate(each, x.shape[-2:]) for each in scores]).amax(dim=0)

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None, torch.Tensor | None]:
        """Return what the heads compute: distances, scores by feature map, coefficients and prototypes."""
        return (*self.head(self.body(x)), None, None)

    def predictions(self, x: torch.Tensor) -> Predictions:
        """Return what is said of each place of pictures (n, channels, h, w), h and w multiples of 32."""
        distances, scores, coefficients, prototypes = self.raw(x)
        flat = torch.cat([each.flatten(2) for each in scores], dim=2).transpose(1, 2)
        masks = [None if each is None else each.float() for each in (coefficients, prototypes)]
        return Predictions(distances.float(), flat.float(), places(x.shape[-2:], STRIDES, x.device), *masks)

    def training_loss(self, images: torch.Tensor, targets: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """Return the loss of pictures and their instances, see `detection_loss`; computed in float32."""
        found = self.predictions(images)
        with torch.autocast(images.device.type, enabled=False):
            return detection_loss(found, targets, self.gains)

    @torch.no_grad()
    def validation_score(self, images: torch.Tensor, targets: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """Return the mean over pictures of the F1 score of boxes at an IoU of 0.5, of what `detect` finds."""
        scores = [f1(found, truth) for found, truth in zip(self.detect(images), targets, strict=True)]
        return torch.tensor(scores, device=images.device).mean()

    @torch.no_grad()
    def detect(
        self, images: torch.Tensor, *, score: float = 0.25, iou: float = 0.5, most: int = 300
    ) -> list[dict[str, torch.Tensor]]:
        """Return what is in each picture, the best first.

        Parameters
        ----------
        images : (n, channels, h, w) of any size; 0 is added at the right and at the bottom up to a multiple of 32
        score : least score
        iou : a box that overlaps a better one of its class by more is left out; vertebrae side by side do not
        most : boxes a picture

        Returns
        -------
        For each picture ``boxes`` (k, 4) float32, x0 y0 x1 y1 in pixels (a pixel reaches from its number to the next),
        ``scores`` (k,) float32, ``labels`` (k,) int64 and, with masks, ``masks`` (k, h, w) float32: probabilities, 0
        outside of the box
        """
        height, width = images.shape[-2:]
        added = (-width % self.stride, -height % self.stride)
        padded = functional.pad(images, (0, added[0], 0, added[1]))
        found = self.predictions(padded)
        boxes = found.boxes.clamp(min=0)
        boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]))
        out = []
        for number in range(len(images)):
            chosen, scores, labels = _chosen(boxes[number], found.scores[number].sigmoid(), score, iou, most)
            each = {"boxes": boxes[number, chosen], "scores": scores, "labels": labels}
            if found.prototypes is not None:
                masks = _masks(found, number, chosen, each["boxes"], padded.shape[-2:])
                each["masks"] = masks[:, :height, :width]
            out.append(each)
        return out


class YOLO11Seg(YOLO11):
    """Finds the box, the class and the mask of every vertebra; masks are sums of prototypes (arXiv 1904.02689).

    Parameters
    ----------
    arguments : as `YOLO11`
    """

    def __init__(self, size: str = "n", *, momentum: float = 0.03, **arguments):
        super().__init__(size, **arguments)
        width = -int(-min(256, self.size.most) * self.size.width // 8) * 8
        self.masks = MaskHead(self.body.outputs, width)
        self._set_momentum(momentum)

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None, torch.Tensor | None]:
        """Return what the heads compute: distances, scores by feature map, coefficients and prototypes."""
        maps = self.body(x)
        return (*self.head(maps), *self.masks(maps))


def _chosen(
    boxes: torch.Tensor, scores: torch.Tensor, least: float, iou: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return numbers of places, scores and labels that non-maximum suppression, class by class, leaves."""
    from torchvision.ops import batched_nms

    places, labels = (scores >= least).nonzero(as_tuple=True)
    scores = scores[places, labels]
    kept = batched_nms(boxes[places], scores, labels, iou)[:most]
    return places[kept], scores[kept], labels[kept]


def _masks(
    found: Predictions, number: int, chosen: torch.Tensor, boxes: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    logits = torch.einsum("pc,chw->phw", found.coefficients[number, chosen], found.prototypes[number])
    large = functional.interpolate(logits[:, None], shape, mode="bilinear", align_corners=False)[:, 0]
    return large.sigmoid() * inside(boxes, shape, shape)
