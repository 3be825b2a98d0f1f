"""Boxes around vertebrae: in pictures, the right way up, and from slice to slice of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import Letterbox, fitted
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.yolo.views import Views
from SpineSegLib.progress import Progress

TURNED = "The picture seems to be upside down: turned around, vertebrae show more clearly. It was read turned around."
CLEARER = 1.25
"""Times the scores of a picture as it is that those of it turned around must add up to."""
SAME = 0.3
"""Least IoU of a vertebra's boxes in neighbouring slices."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a detector finds in one picture, the best first.

    Parameters
    ----------
    boxes : (n, 4) x0 y0 x1 y1 in pixels of the picture; a pixel reaches from its number to the next
    scores : (n,) 0…1
    labels : (n,) classes
    masks : (n, side, side) probabilities in the detector's square, from a detector that gives them
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)


def letterbox_of(views: Views, card: Card) -> Letterbox:
    """Return how the views' pictures fit the card's square."""
    return Letterbox(views.pictures.shape[1:], int(card.input["size"][0]), aspect=views.aspect)


def detected(
    views: Views,
    card: Card,
    run: Runner,
    detector: torch.nn.Module,
    *,
    score: float,
    iou: float,
    most: int,
    report: Progress,
    batch: int = 8,
) -> list[Boxes]:
    """Return what a detector finds in each picture.

    Parameters
    ----------
    detector : has ``detect`` as `SpineSegLib.networks.yolo11.YOLO11` has
    score : least score of a box
    iou : a box that overlaps a better one by more is left out, whatever their classes: a vertebra is in one place once
    most : boxes a picture
    """
    box, channels = letterbox_of(views, card), int(card.input["channels"])
    found: list[Boxes] = []
    for start in range(0, len(views.pictures), batch):
        report(start, len(views.pictures), "looking for vertebrae")
        squares = [
            box.pad(fitted(picture, box, card.input["intensity"])) for picture in views.pictures[start : start + batch]
        ]
        pictures = torch.from_numpy(np.stack(squares))[:, None].repeat(1, channels, 1, 1).to(run.device)
        reduced = run.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(run.device, torch.bfloat16, enabled=reduced):
            each = detector.detect(pictures, score=score, iou=iou, most=most)
        found += [_in_picture(one, box, iou) for one in each]
    return found


def _in_picture(found: dict[str, torch.Tensor], box: Letterbox, iou: float) -> Boxes:
    from torchvision.ops import nms

    kept = nms(found["boxes"].float(), found["scores"].float(), iou)
    each = {name: value[kept].float().cpu().numpy() for name, value in found.items()}
    down, across = (used / size for used, size in zip(box.used, box.shape, strict=True))
    limits = np.array([box.shape[1], box.shape[0]] * 2, np.float32)
    boxes = np.clip(each["boxes"] / np.array([across, down] * 2, np.float32), 0, limits)
    real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = each.get("masks")
    return Boxes(
        boxes[real], each["scores"][real], each["labels"][real].astype(int), None if masks is None else masks[real]
    )


def right_way_up(
    views: Views, card: Card, run: Runner, detector: torch.nn.Module, **how: object
) -> tuple[Views, list[Boxes]]:
    """Return the views and what is found in them, both turned around where the picture seems to be upside down.

    A picture that does not say where the head is goes through the detector as it is and turned around; that way up in
    which the scores add up to clearly more is taken, and the user is told.
    """
    found = detected(views, card, run, detector, **how)
    if views.in_patient:
        return views, found
    turned = replace(
        views,
        pictures=views.pictures[:, ::-1, ::-1],
        undo=lambda array: views.undo(np.ascontiguousarray(array[:, ::-1, ::-1])),
    )
    other = detected(turned, card, run, detector, **how)
    sums = [sum(float(each.scores.sum()) for each in boxes) for boxes in (found, other)]
    if sums[1] <= CLEARER * sums[0]:
        return views, found
    run.notes.append(TURNED)
    return turned, other


def followed(found: Sequence[Boxes]) -> tuple[int, list[dict[int, int]]]:
    """Return the picture in which the scores add up to most, and each of its boxes through the others.

    Outwards from there, slice by slice, the boxes that overlap most go together, one to one; what continues no
    vertebra of that picture is left out.

    Returns
    -------
    The picture's number, and for each of its boxes: picture -> number of the box there
    """
    sums = [float(each.scores.sum()) for each in found]
    middle = (len(found) - 1) / 2
    best = max(range(len(found)), key=lambda n: (sums[n], -abs(n - middle)))
    tracks = [{best: number} for number in range(len(found[best]))]
    for way in (range(best - 1, -1, -1), range(best + 1, len(found))):
        last = [found[best].boxes[number] for number in range(len(tracks))]
        for number in way:
            overlaps = ious(np.array(last).reshape(-1, 4), found[number].boxes)
            while overlaps.size and overlaps.max() >= SAME:
                track, box = np.unravel_index(overlaps.argmax(), overlaps.shape)
                tracks[track][number], last[track] = int(box), found[number].boxes[box]
                overlaps[track], overlaps[:, box] = 0, 0
    return best, tracks


def ious(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the intersections over unions (n, m) of boxes (n, 4) and (m, 4)."""
    low, high = np.maximum(one[:, None, :2], two[None, :, :2]), np.minimum(one[:, None, 2:], two[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=-1) for each in (one, two)]
    return both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
