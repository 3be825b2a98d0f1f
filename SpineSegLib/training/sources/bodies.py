"""Radiographs with each vertebral body by itself: what the sources of SpineFM's networks draw from.

Paper 001: SpineFM, ISBI 2025, arXiv 2411.00326.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from SpineSegLib.anatomy import LEVELS, neighbours
from SpineSegLib.errors import problem
from SpineSegLib.models.preprocess import Letterbox, fitted
from SpineSegLib.models.spine_patches import patch_around
from SpineSegLib.training.sources.pictured import PicturedSource

AROUND = 0.125
"""What is augmented reaches over each edge of the patch by this share of it, so that turning brings in no corners."""
MOVING = ("translate", "crop")
"""Steps of augmentation that would move the point out of the patch's middle."""


@dataclass(frozen=True, eq=False)
class Body:
    """A vertebral body in a film.

    Parameters
    ----------
    level : such as ``"C4"``
    centroid : x and y in pixels of the network's square
    rows, columns : the box of its mask there
    mask : bool, within the box
    step : pixels to the neighbours' centroids, the mean where there are two
    share : of its inner neighbour's area; what the film's edge cuts has little
    """

    level: str
    centroid: np.ndarray
    rows: slice
    columns: slice
    mask: np.ndarray
    step: float
    share: float


@dataclass(frozen=True, eq=False)
class Film:
    """A radiograph in the network's square, and its bodies from head to foot.

    Parameters
    ----------
    picture : (size, size), float16 in 0…1
    used : rows and columns that the film fills
    bodies : those that were labelled
    remains : what the film's edge left of others, too little to be one
    """

    picture: np.ndarray
    used: tuple[int, int]
    bodies: tuple[Body, ...]
    remains: tuple[Body, ...]

    def mask(self, body: Body) -> np.ndarray:
        """Return the body's mask (size, size), uint8."""
        out = np.zeros(self.picture.shape, np.uint8)
        out[body.rows, body.columns] = body.mask
        return out

    def shown(self, point: np.ndarray) -> bool:
        """Return whether a point (x, y) lies in the film."""
        rows, columns = self.used
        return bool(0 <= point[0] <= columns - 1 and 0 <= point[1] <= rows - 1)


class BodySource(PicturedSource):
    """Common to sources that draw from single bodies; films are read once and kept as the pipeline sees them.

    Parameters
    ----------
    augmentation : steps, see `augment`; none that moves the middle
    kinds : structure kinds that are bodies, instead of the targets'; a ``sacrum`` counts as S1
    least : share of its neighbour's area below which what the film's edge left of a body is none
    settings : of `PicturedSource`
    """

    def __init__(
        self,
        *arguments,
        augmentation: Sequence[Mapping] = (),
        kinds: Sequence[str] | None = None,
        least: float = 0.3,
        **settings,
    ):
        moving = sorted({str(step.get("name")) for step in augmentation} & set(MOVING))
        if moving:
            found = f"augmentation {', '.join(moving)}"
            raise problem("recipe", found, "steps that leave the middle where it is", "Use jitter of the source")
        super().__init__(*arguments, augmentation=augmentation, **settings)
        self.kinds = frozenset(kinds or ()) or frozenset().union(*(target.kinds for target in self.targets))
        self.least = least

    def usable(self, film: Film) -> bool:
        """Return whether samples can be drawn from a film."""
        return bool(film.bodies)

    def require_labels(self) -> None:
        """Read cases until samples can be drawn from one; ValueError when they can from none."""
        if not any(self.usable(self.film(number)) for number in range(len(self.cases))):
            msg = f"no case has a {' or '.join(sorted(self.kinds))} that samples can be drawn from"
            raise ValueError(msg)

    def drawn(self, index: int) -> Film:
        """Return the film of a sample; where nothing can be drawn from it, the next one stands in."""
        number = int(self.order[index])
        films = (self.film((number + n) % len(self.cases)) for n in range(len(self.cases)))
        return next(film for film in films if self.usable(film))

    def film(self, number: int) -> Film:
        """Return a case at the network's size, read when it is needed first."""
        if number not in self.kept:
            image, labels = self.read(number)
            _, down, across = image.geometry.step
            box = Letterbox(image.array.shape[1:], int(self.input["size"][0]), aspect=down / across)
            masks = {}
            for segment in labels.segments:
                level = "S1" if segment.structure.kind == "sacrum" else segment.structure.level
                if segment.structure.kind in self.kinds and level in LEVELS:
                    masks[level] = box.shrink(labels.mask(segment)[0], labels=True)
            picture = box.pad(fitted(image.array[0], box, self.input["intensity"])).astype(np.float16)
            every = _bodies(masks)
            whole, rest = (tuple(b for b in every if (b.share >= self.least) == kept) for kept in (True, False))
            self.kept[number] = Film(picture, box.used, whole, rest)
        return self.kept[number]

    def patch(
        self,
        film: Film,
        point: np.ndarray,
        side: float,
        size: int,
        random: np.random.Generator,
        body: Body | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the augmented patch (channels, size, size) around a point and the body's mask in it (1, size, size).

        Parameters
        ----------
        point : x and y in pixels of the square
        side : of the patch, in the same
        """
        edge = round(AROUND * size)
        wide = size + 2 * edge
        crop = patch_around(film.picture.shape, tuple(point), side * wide / size, wide)
        patch = crop.cut(film.picture.astype(np.float32))
        masks = np.zeros((1, *patch.shape), np.float32)
        if body is not None:
            masks[0] = crop.cut(film.mask(body), labels=True)
        if self.augment:
            patch, masks = self.augment(patch, masks, random)
        inner = np.s_[edge : edge + size, edge : edge + size]
        patch = np.repeat(patch[inner][None], int(self.input["channels"]), axis=0)
        return torch.from_numpy(np.float32(patch)), torch.from_numpy(np.ascontiguousarray(masks[:, *inner]))


def adjacent(one: str, other: str) -> bool:
    """Return whether two vertebrae follow each other, in either order."""
    upper, lower = sorted((one, other), key=LEVELS.index)
    return neighbours(upper, lower)


def _bodies(masks: Mapping[str, np.ndarray]) -> list[Body]:
    """Return the bodies from head to foot of their masks by level."""
    masks = {level: masks[level] for level in sorted(masks, key=LEVELS.index) if masks[level].any()}
    levels = list(masks)
    places = {level: np.argwhere(mask) for level, mask in masks.items()}
    centroids = {level: place.mean(axis=0)[::-1] for level, place in places.items()}
    found = []
    for number, level in enumerate(levels):
        near = [other for other in levels[max(0, number - 1) : number + 2] if other != level and adjacent(level, other)]
        steps = [float(np.linalg.norm(centroids[level] - centroids[other])) for other in near]
        area = len(places[level])
        # A body alone is about as wide as it is high; its disc adds a quarter.
        step = float(np.mean(steps)) if steps else 1.25 * area**0.5
        share = area / max((len(places[other]) for other in near), default=area)
        (top, left), (bottom, right) = places[level].min(axis=0), places[level].max(axis=0) + 1
        rows, columns = slice(top, bottom), slice(left, right)
        mask = masks[level][rows, columns].copy()
        found.append(Body(level, centroids[level], rows, columns, mask, step, share))
    return found
