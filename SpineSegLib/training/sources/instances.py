"""Pictures and their vertebrae one by one: boxes, labels and masks for detectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage

from SpineSegLib.anatomy import COLLECTIVES, LEVELS, Structure
from SpineSegLib.errors import problem
from SpineSegLib.image import Segmentation
from SpineSegLib.training.sources.pictures import PictureSource

Sample = tuple[torch.Tensor, dict[str, object]]


class InstanceSource(PictureSource):
    """Radiographs or single slices with every vertebra by itself, fitted and augmented as `PictureSource` does.

    A sample is a picture (channels, size, size) in 0…1 and a dict of its instances from head to foot:

    - ``boxes`` (n, 4) float32, x0 y0 x1 y1 in pixels of the square; a pixel reaches from its number to the next
    - ``labels`` (n,) int64
    - ``masks`` (n, size, size) uint8
    - ``levels`` list of n names, None where the data do not name them

    What augmentation moves out of the picture is gone; what it cuts has the box of what is left.

    Parameters
    ----------
    kinds : structure kinds of which each segment is an instance, such as ``["body"]``; those of the card's structures
        unless given. What is labelled as one ("bodies") falls into its connected parts
    levels : what ``labels`` count: the level at place 0, 1 …; other levels are left out. One class of all levels
        where it is None
    rest : whether the other levels are a class of their own instead, after these: ``levels: [C2]`` tells C2 from all
    first : label of the first class; torchvision's detectors keep 0 for the background
    smallest : pixels; an instance whose box is narrower or lower is left out
    """

    def __init__(
        self,
        *arguments,
        kinds: Sequence[str] | None = None,
        levels: Sequence[str] | None = None,
        rest: bool = False,
        first: int = 0,
        smallest: float = 3.0,
        **settings,
    ):
        super().__init__(*arguments, **settings)
        unknown = sorted(set(levels or ()) - set(LEVELS))
        if isinstance(kinds, str) or isinstance(levels, str) or unknown:
            found = f"kinds {kinds!r}, levels {levels!r}"
            raise problem("recipe", found, "lists of structure kinds and of levels", "Correct the recipe")
        self.kinds = frozenset(kinds) if kinds else frozenset().union(*(target.kinds for target in self.targets))
        self.numbers = {level: first + place for place, level in enumerate(levels or ())}
        if rest or levels is None:
            self.numbers = dict.fromkeys((*LEVELS, None), first + len(self.numbers)) | self.numbers
        self.smallest = smallest
        self.levels: dict[int, list[list[tuple[int, str | None]]]] = {}

    def masks(self, labels: Segmentation, number: int) -> np.ndarray:
        """Return layers (n, k, j, i) of labels; instances that overlap lie in different layers."""
        found = Segmentation.from_masks(self._instances(labels), labels.geometry)
        self.levels[number] = [
            [(each.label, each.structure.level) for each in found.segments if each.layer == layer]
            for layer in range(len(found.layers))
        ]
        return np.stack(found.layers)

    def _instances(self, labels: Segmentation) -> Iterator[tuple[Structure, np.ndarray]]:
        for segment in labels.segments:
            structure, mask = segment.structure, labels.mask(segment)
            if structure.kind not in self.kinds or structure.level not in self.numbers:
                continue
            if structure.kind in COLLECTIVES:
                parts, count = ndimage.label(mask)
                yield from ((structure, parts == each) for each in range(1, count + 1))
            else:
                yield structure, mask

    def __getitem__(self, index: int) -> Sample:
        picture, layers = self.augmented(index)
        found = []
        for layer, members in zip(layers, self.levels[int(self.order[index])], strict=True):
            for label, level in members:
                mask = layer == label
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                if len(rows) < self.smallest or len(columns) < self.smallest:
                    continue
                found.append((level, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), mask))
        found.sort(key=lambda each: (LEVELS.index(each[0]) if each[0] else -1, each[1][1]))
        labels = [self.numbers[level] for level, _, _ in found]
        shape = (len(found), self.size, self.size)
        return picture, {
            "boxes": torch.tensor([box for _, box, _ in found], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": torch.from_numpy(np.array([mask for _, _, mask in found], np.uint8).reshape(shape)),
            "levels": [level for level, _, _ in found],
        }

    @staticmethod
    def collate(samples: Sequence[Sample]) -> tuple[torch.Tensor, list[dict[str, object]]]:
        """Return the pictures of samples as one tensor (n, channels, size, size) and their instances as a list."""
        return torch.stack([picture for picture, _ in samples]), [target for _, target in samples]

    def require_labels(self) -> None:
        """Read cases until one has an instance; ValueError when none has."""
        for number in range(len(self.cases)):
            self._case(number)
            if any(self.levels[number]):
                return
        msg = f"no case has a {' or '.join(sorted(self.kinds))}"
        raise ValueError(msg)
