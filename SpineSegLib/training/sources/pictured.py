"""Common to sources that draw from cases of single pictures: radiographs or single slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from SpineSegLib.datasets import Case
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.training.augment import augmentation as augmentation_of
from SpineSegLib.training.sources.volumes import Targets


class PicturedSource(torch.utils.data.Dataset):
    """Cases in the order of an epoch; each is read once, and what is made of it stays in `kept`.

    Parameters
    ----------
    cases : labelled pictures
    targets : see `targets_of`
    card_input : of the model card
    seed : of the order and of what is drawn
    samples : samples an epoch; every case once where it is None
    augmentation : steps, see `augment`
    shuffle : draw the order anew in each epoch
    """

    def __init__(
        self,
        cases: Sequence[Case],
        targets: Targets,
        card_input: Mapping,
        *,
        seed: int,
        samples: int | None = None,
        augmentation: Sequence[Mapping] = (),
        shuffle: bool = True,
    ):
        self.cases, self.targets, self.input, self.seed = list(cases), targets, card_input, seed
        self.augment = augmentation_of(augmentation) if augmentation else None
        self.samples, self.shuffle = samples or len(self.cases), shuffle
        self.kept: dict = {}
        self.epoch, self.order = -1, np.arange(self.samples) % max(1, len(self.cases))

    def __len__(self) -> int:
        return self.samples

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        self.epoch = epoch
        if self.shuffle:
            random = np.random.default_rng([self.seed, epoch])
            rounds = -(-self.samples // len(self.cases))
            self.order = np.concatenate([random.permutation(len(self.cases)) for _ in range(rounds)])[: self.samples]

    def random(self, index: int) -> np.random.Generator:
        """Return what draws sample `index` of this epoch."""
        return np.random.default_rng([self.seed, max(self.epoch, 0), 1_000_000 + index])

    def read(self, number: int) -> tuple[Image, Segmentation]:
        """Return a case's picture and labels; InputError for a volume."""
        image, labels = self.cases[number].load()
        if not image.geometry.is_2d:
            found = f"{self.cases[number].name} is a volume of {image.geometry.shape[0]} slices"
            raise problem("data", found, "single pictures", "Choose the source 'slices' or another reader")
        return image, labels
