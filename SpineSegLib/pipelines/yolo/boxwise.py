"""Paper 002's pipelines: YOLO-UNet (and YOLO-DeepLab), and YOLO11-seg alone.

YOLO-UNet, Digital Health 2025, doi 10.1177/20552076251347695. How the two networks are coupled it does not say; here
each box is cut out with a margin and segmented at the segmenter's own size, what lies outside of box and margin is
rejected, and the rest is pasted back at the picture's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.models.crops import Crop, scaled
from SpineSegLib.models.preprocess import smoothed
from SpineSegLib.pipelines.levels import vertebrae_segmentation
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.yolo.assemble import NOTHING, Piece, assembled, kind_of
from SpineSegLib.pipelines.yolo.boxes import Boxes, followed, letterbox_of, right_way_up
from SpineSegLib.pipelines.yolo.views import Views, views_of
from SpineSegLib.progress import Progress

Tracks = Sequence[dict[int, int]]


def boxwise(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    classes: Sequence[str | None] = (None,),
    score: float = 0.25,
    iou: float = 0.45,
    most: int = 40,
    margin: float = 0.125,
    threshold: float = 0.5,
    keep_fraction: float = 0.0,
    gap: float = 1.6,
    tall: float = 1.6,
    volumes: bool = False,
    batch: int = 16,
    top_level: str | None = None,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment the vertebrae in a radiograph, a sagittal slice or every sagittal slice of a volume.

    A network with a segmenter looks into each box by itself; of one without, the detector's own masks are taken.

    Parameters
    ----------
    classes : the level that each class of the detector means; None where it means none
    score : least score of a box (the paper gives none)
    iou : a box that overlaps a better one by more is left out (the paper gives none)
    most : boxes a picture
    margin : around a box that the segmenter sees, as a share of its longer side (the paper gives none)
    threshold : probability above which a pixel belongs to the vertebra
    keep_fraction : see `large_parts`; of each vertebra
    gap, tall : see `SpineSegLib.pipelines.yolo.chain`
    volumes : whether the card takes volumes too; vertebrae are then named in the slice that shows them best
    batch : patches at a time
    top_level : level of the uppermost vertebra, said by the user
    keep_probability : whether segments carry their probabilities

    Raises
    ------
    InputError : a single slice that is not sagittal; a wrong `top_level`
    """
    if not (volumes or image.geometry.is_2d):
        found = f"it has {image.geometry.shape[0]} slices and {card.name} takes a single picture"
        raise problem("image", found, "an image that the model was made for", "Choose another model or image")
    detector, segmenter = getattr(run.network, "detector", run.network), getattr(run.network, "segmenter", None)
    looking, rest = (_share(report, *part) for part in ((0, 50), (50, 100)))
    views = views_of(image)
    views, found = right_way_up(views, card, run, detector, score=score, iou=iou, most=most, report=looking)
    middle, tracks = followed(found)
    if not tracks:
        run.notes.append(NOTHING.format(score))
        return vertebrae_segmentation([], [], image.geometry, kind=kind_of(card))
    if segmenter is None:
        pieces = _masks(views, card, found, tracks)
    else:
        segment = replace(run, network=segmenter)
        pieces = _patches(views, card, segment, found, tracks, run.network.patch, margin, batch, rest)
    return assembled(
        image,
        card,
        run,
        views,
        pieces,
        told=[(float(found[middle].scores[n]), _level(classes, found[middle], n)) for n in range(len(tracks))],
        middle=middle,
        threshold=threshold,
        keep_fraction=keep_fraction,
        top_level=top_level,
        gap=gap,
        tall=tall,
        keep_probability=keep_probability,
    )


def _share(report: Progress, start: int, stop: int) -> Progress:
    """Return a progress for a part of the work, from `start` to `stop` percent."""
    return lambda step, of, what: report(start + (stop - start) * step // max(of, 1), 100, what)


def _level(classes: Sequence[str | None], found: Boxes, number: int) -> str | None:
    label = int(found.labels[number])
    return classes[label] if label < len(classes) else None


def _masks(views: Views, card: Card, found: Sequence[Boxes], tracks: Tracks) -> Iterator[Piece]:
    """Yield the detector's own masks."""
    box = letterbox_of(views, card)
    whole = tuple(slice(0, side) for side in box.shape)
    for number, track in enumerate(tracks):
        for picture, each in track.items():
            yield number, picture, whole, box.undo(found[picture].masks[each])


def _patches(
    views: Views,
    card: Card,
    run: Runner,
    found: Sequence[Boxes],
    tracks: Tracks,
    size: int,
    margin: float,
    batch: int,
    report: Progress,
) -> Iterator[Piece]:
    """Yield what the segmenter finds in each box and its margin, a batch at a time."""
    wanted = sorted((picture, number, box) for number, track in enumerate(tracks) for picture, box in track.items())
    how, channels = card.input["intensity"], int(card.input["channels"])
    smooth: dict[int, np.ndarray] = {}
    for start in range(0, len(wanted), batch):
        report(start, len(wanted), "segmenting")
        some = wanted[start : start + batch]
        smooth = {n: smooth.get(n, smoothed(views.pictures[n], how)) for n, _, _ in some}
        crops = [
            Crop(views.pictures.shape[1:], tuple(map(float, found[n].boxes[box])), size, margin, views.aspect)
            for n, _, box in some
        ]
        patches = [
            scaled(crop.cut(smooth[n].astype(np.float32)), crop.reached, how)
            for crop, (n, _, _) in zip(crops, some, strict=True)
        ]
        pictures = torch.from_numpy(np.stack(patches))[:, None].repeat(1, channels, 1, 1)
        for crop, (picture, number, _), square in zip(crops, some, run(pictures)[:, 0].numpy(), strict=True):
            yield number, picture, *_kept(crop, square)


def _kept(crop: Crop, square: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return rows, columns and probabilities of the box with its margin."""
    probability = crop.undo(square)
    within = tuple(
        slice(kept.start - inner.start, kept.stop - inner.start)
        for kept, inner in zip(crop.kept, crop.inside, strict=True)
    )
    return crop.kept, probability[within]
