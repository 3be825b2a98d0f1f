"""Patches around single vertebrae and the masks in them: what a segmenter sees behind a detector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from SpineSegLib.anatomy import COLLECTIVES
from SpineSegLib.errors import problem
from SpineSegLib.image import Segmentation
from SpineSegLib.models.crops import Crop, scaled
from SpineSegLib.models.preprocess import smoothed
from SpineSegLib.training.sources.pictured import PicturedSource

SHOWN = ("own", "all")
AROUND = 1.25
"""Side of what is augmented over the patch that is then cut out of its middle, so that turning brings in no corners."""


class PatchSource(PicturedSource):
    """Vertebrae cut out of radiographs or single slices, at the place of a detector's imprecise boxes.

    A sample is (channels, size, size) in 0…1 and the mask (1, size, size) of the vertebra in its middle. Each draws a
    vertebra of its picture at random. Pictures are read once; of each vertebra its surroundings are kept. They are
    augmented before their intensities are scaled, as in use, by `SpineSegLib.models.crops.scaled`.

    Parameters
    ----------
    targets : see `targets_of`; structures of their kinds are vertebrae, each by itself. What is labelled as one
        ("bodies") falls into its connected parts
    size : pixels of the patch, the card's ``patch``
    margin : around the box, the pipeline's; see `SpineSegLib.models.crops.Crop`
    jitter : how far each edge of a box lies from its place at most, as a share of the box's side
    shows : ``"own"``: the mask of this vertebra; ``"all"``: of every one in the patch, as a binary set has it
    least : share of its picture's largest vertebra below which a part is none
    settings : of `PicturedSource`
    """

    def __init__(
        self,
        *arguments,
        size: int,
        margin: float = 0.125,
        jitter: float = 0.1,
        shows: str = "own",
        least: float = 0.05,
        **settings,
    ):
        super().__init__(*arguments, **settings)
        if shows not in SHOWN or not 0 <= jitter < 0.5:
            found = f"shows {shows!r}, jitter {jitter!r}"
            raise problem("recipe", found, f"{' or '.join(SHOWN)}, and 0 to 0.5", "Correct the recipe")
        self.kinds = frozenset().union(*(target.kinds for target in self.targets))
        self.size, self.margin, self.jitter, self.shows, self.least = size, margin, jitter, shows, least

    def require_labels(self) -> None:
        """Read cases until one has a vertebra; ValueError when none has."""
        if not any(self._vertebrae(number) for number in range(len(self.cases))):
            msg = f"no case has a {' or '.join(sorted(self.kinds))}"
            raise ValueError(msg)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self.random(index)
        number = int(self.order[index])
        # A slice beside the spine shows none; the next one that does stands in.
        choices = next(filter(None, (self._vertebrae((number + n) % len(self.cases)) for n in range(len(self.cases)))))
        picture, mask, box = choices[random.integers(len(choices))]
        wide = round(AROUND * self.size)
        crop = Crop(picture.shape, self._moved(box, random), wide, ((1 + 2 * self.margin) * AROUND - 1) / 2)
        patch = crop.cut(picture.astype(np.float32) / 255)
        masks = crop.cut(mask, labels=True)
        masks = np.stack([masks & 1, masks >> 1]).astype(np.float32)
        if self.augment:
            patch, masks = self.augment(patch, masks, random)
        middle = slice((wide - self.size) // 2, (wide - self.size) // 2 + self.size)
        target, reached = masks[:, middle, middle]
        patch = scaled(patch[middle, middle], reached > 0, self.input["intensity"])
        patch = np.repeat(patch[None], int(self.input["channels"]), axis=0)
        return torch.from_numpy(patch), torch.from_numpy(np.ascontiguousarray(target[None]))

    def _moved(self, box: tuple[float, ...], random: np.random.Generator) -> tuple[float, ...]:
        """Return the box as a detector may have it."""
        x0, y0, x1, y1 = box
        away = random.uniform(-self.jitter, self.jitter, 4) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
        return tuple(float(edge) for edge in np.array(box) + away)

    def _vertebrae(self, number: int) -> list[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
        """Return surroundings, masks and box of each vertebra of a case, read when they are needed first.

        Surroundings are uint8; of the masks, 1 is the target and 2 what the picture reaches, added up.
        """
        if number not in self.kept:
            image, labels = self.read(number)
            _, down, across = image.geometry.step
            picture = smoothed(image.array[0], self.input["intensity"]).astype(np.float32)
            masks = list(self._masks(labels))
            union = np.logical_or.reduce(masks) if masks and self.shows == "all" else None
            most = max((mask.sum() for mask in masks), default=0)
            self.kept[number] = [
                self._surroundings(picture, mask, mask if union is None else union, float(down / across))
                for mask in masks
                if mask.sum() >= max(4, self.least * most)
            ]
        return self.kept[number]

    def _masks(self, labels: Segmentation) -> Iterator[np.ndarray]:
        """Yield a boolean mask (rows, columns) of each vertebra."""
        for segment in labels.segments:
            if segment.structure.kind not in self.kinds:
                continue
            mask = labels.mask(segment)[0]
            if segment.structure.kind in COLLECTIVES:
                parts, count = ndimage.label(mask)
                yield from (parts == each for each in range(1, count + 1))
            else:
                yield mask

    def _surroundings(
        self, picture: np.ndarray, mask: np.ndarray, shown: np.ndarray, aspect: float
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """Return what any box around the vertebra can show, as fine as the patch is or finer, its mask and its box."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        reach = (1 + 2 * self.jitter) * (1 + 2 * self.margin) * AROUND + 2 * self.jitter
        size = round(1.25 * self.size * reach / (1 + 2 * self.margin))
        wide = Crop(picture.shape, box, size, (reach - 1) / 2, aspect)
        (top, bottom), (left, right) = ((span.start, span.stop) for span in wide.area)
        down, across = size / (bottom - top), size / (right - left)
        inner = ((box[0] - left) * across, (box[1] - top) * down, (box[2] - left) * across, (box[3] - top) * down)
        low, high = float(picture[wide.inside].min()), float(picture[wide.inside].max())
        cut = np.rint(255 * (wide.cut(picture) - low) / max(high - low, 1e-6)).clip(0, 255).astype(np.uint8)
        masks = wide.cut(shown.astype(np.uint8), labels=True) + 2 * wide.reached.astype(np.uint8)
        return cut, masks, tuple(map(float, inner))
