"""Pictures and their masks, augmented."""

from __future__ import annotations

import numpy as np
import torch

from SpineSegLib.image import Segmentation
from SpineSegLib.models.preprocess import Letterbox, fitted, scale_intensity, smoothed
from SpineSegLib.training.sources.pictured import PicturedSource
from SpineSegLib.training.sources.volumes import masks_of


class PictureSource(PicturedSource):
    """Radiographs or single slices, each fitted into the network's square as in use.

    A sample is (channels, size, size) in 0…1 and its masks (outputs, size, size). Pictures are read once and kept at
    the network's size.

    Parameters
    ----------
    size : pixels of the square; the card's unless given
    raw : augment before the intensities are scaled, so that crops and contrasts are scaled as in use; papers augment
        what is scaled already
    settings : of `PicturedSource`
    """

    def __init__(self, *arguments, size: int | None = None, raw: bool = False, **settings):
        super().__init__(*arguments, **settings)
        self.size, self.raw = size or int(self.input["size"][0]), raw

    def require_labels(self) -> None:
        """Read cases until each output has been seen in one.

        Raises
        ------
        ValueError : one is in no case, so that the network would learn that there is nothing
        """
        missing = dict(enumerate(target.name for target in self.targets))
        for number in range(len(self.cases)):
            _, masks = self._case(number)
            missing = {output: name for output, name in missing.items() if not masks[output].any()}
            if not missing:
                return
        _, labels = self.cases[0].load()
        kinds = sorted({segment.structure.kind for segment in labels.segments})
        msg = f"no case has {', '.join(missing.values())}, the first has {', '.join(kinds) or 'no label'}"
        raise ValueError(msg)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, masks = self.augmented(index)
        return picture, torch.from_numpy(masks)

    def augmented(self, index: int) -> tuple[torch.Tensor, np.ndarray]:
        """Return a sample's picture (channels, size, size) and its masks (n, size, size), float32."""
        picture, masks = self._case(int(self.order[index]))
        picture, masks = picture.astype(np.float32), masks.astype(np.float32)
        if self.augment:
            picture, masks = self.augment(picture, masks, self.random(index))
        if self.raw:
            picture = scale_intensity(picture, self.input["intensity"])
        box = Letterbox(picture.shape, self.size)
        square = np.repeat(box.pad(picture.astype(np.float32))[None], int(self.input["channels"]), axis=0)
        return torch.from_numpy(square), np.stack([box.pad(mask) for mask in masks])

    def masks(self, labels: Segmentation, number: int) -> np.ndarray:
        """Return the masks (n, k, j, i) that are kept of case `number`: one an output."""
        return masks_of(labels, self.targets)

    def _case(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a picture and its masks at the network's size, read when they are needed first."""
        if number not in self.kept:
            image, labels = self.read(number)
            _, down, across = image.geometry.step
            box = Letterbox(image.array.shape[1:], self.size, aspect=down / across)
            masks = [box.shrink(mask[0], labels=True) for mask in self.masks(labels, number)]
            if self.raw:
                picture = smoothed(box.shrink(image.array[0]), self.input["intensity"])
                low, high = float(picture.min()), float(picture.max())
                picture = (picture - low) / max(high - low, 1e-6)
            else:
                picture = fitted(image.array[0], box, self.input["intensity"])
            if self.input["intensity"].get("square"):
                picture, masks = box.pad(picture), [box.pad(mask) for mask in masks]
            self.kept[number] = picture.astype(np.float16), np.stack(masks)
        return self.kept[number]
