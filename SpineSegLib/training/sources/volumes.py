"""Labelled CT for training: scans, digital patients, and what is drawn anew of them in each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from SpineSegLib.anatomy import COLLECTIVES, Structure
from SpineSegLib.image import Image, Reorientation, Segmentation, resample
from SpineSegLib.models.preprocess import coarsened
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.imaging.ct import body_hounsfield
from SpineSegLib.phantom.parameters import Curve
from SpineSegLib.training.chest import with_chest
from SpineSegLib.training.randomise import randomise_ct, with_background


@dataclass(frozen=True)
class Target:
    """What one output of a network shows.

    Parameters
    ----------
    name : of the card's structure
    kinds : of structures that belong to it
    level : of structures that belong to it; None for all
    """

    name: str
    kinds: frozenset[str]
    level: str | None = None

    def __contains__(self, structure: Structure) -> bool:
        return structure.kind in self.kinds and self.level in (None, structure.level)


Targets = Sequence[Target]


def targets_of(structures: Sequence[Structure], foreground: Sequence[str] | None = None) -> Targets:
    """Return what each output of a network shows.

    Parameters
    ----------
    structures : of the model card; a collective one ("vertebrae") shows all of its members
    foreground : structure kinds of a network with one output, instead
    """
    if foreground is not None:
        return [Target(", ".join(foreground), frozenset(foreground))]
    return [
        Target(wanted.name, frozenset({wanted.kind, *COLLECTIVES.get(wanted.kind, ())}), wanted.level)
        for wanted in structures
    ]


def masks_of(segmentation: Segmentation, targets: Targets) -> np.ndarray:
    """Return a boolean array (targets, k, j, i): where each target is."""
    out = np.zeros((len(targets), *segmentation.geometry.shape), bool)
    for segment in segmentation.segments:
        for number, target in enumerate(targets):
            if segment.structure in target:
                out[number] |= segmentation.mask(segment)
    return out


BONE = Target("bone", frozenset({"vertebra", "sacrum", "spine", "vertebrae"}))


class Scan:
    """A labelled CT turned to head, back and left on an isotropic grid.

    Parameters
    ----------
    image, segmentation : the scan and its labels, on one grid
    targets : see `targets_of`
    step : mm

    Attributes
    ----------
    hu : float32 k, j, i
    target : boolean (targets, k, j, i)
    bone : the labelled bone, boolean k, j, i
    """

    def __init__(self, image: Image, segmentation: Segmentation, targets: Targets, step: float):
        turn = Reorientation.of(image.geometry)
        turned = turn.geometry(image.geometry)
        self.geometry, self.step = turned.with_step(step), step
        same = turned.same_as(self.geometry)

        def moved(array: np.ndarray, fill: float) -> np.ndarray:
            values = turn.apply(array).astype(np.float32)
            return np.ascontiguousarray(values) if same else resample(values, turned, self.geometry, fill=fill)

        self.hu = moved(turn.undo(coarsened(turn.apply(image.array), turned.step, step)), -1000)
        spine = masks_of(segmentation, [*targets, BONE])
        masks = np.stack([moved(mask, 0) > 0.5 for mask in spine])
        self.target, self.bone = masks[:-1], masks[-1]
        if not self.target.any():
            kinds = sorted({segment.structure.kind for segment in segmentation.segments})
            msg = f"the scan's labels are {', '.join(kinds)}, none of what the model segments"
            raise ValueError(msg)


def phantom_scan(targets: Targets, step: float, random: np.random.Generator) -> Scan:
    """Return a new digital patient, neck to hip, two in five with a scoliosis."""
    curves = []
    if random.random() < 0.4:
        side = ("right", "left")[random.integers(2)]
        curves.append(Curve("T5", "T12", float(random.uniform(8, 55)), side))
    body = build_body("ap", int(random.integers(2**31)), cells=(step,) * 3, curves=tuple(curves))
    return Scan(Image(body_hounsfield(body), body.geometry, "CT"), body.truth, targets, step)


class VolumeSource(torch.utils.data.Dataset):
    """Common to sources that draw from volumes: a set of volumes that is renewed with each epoch.

    Sample n of epoch e depends on the seed, e and n alone, so a run that is resumed goes on with the samples that it
    would have had.

    Parameters
    ----------
    scans : real ones, possibly none when all are `phantoms`
    targets, step : of the scans
    card_input : of the model card
    seed, samples : samples an epoch
    volumes : new ones in each epoch
    keep : epochs for which a volume stays
    phantoms : share of volumes that are digital patients; the others are the scans
    plain : share of volumes that stay as they are; the others are drawn over, see `randomise_ct`
    backgrounds : share of digital patients that get the soft tissue of a scan
    chests : share of digital patients that get a chest, see `with_chest`
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        targets: Targets,
        step: float,
        card_input: Mapping,
        *,
        seed: int,
        samples: int,
        volumes: int,
        plain: float,
        keep: int = 1,
        phantoms: float = 0.0,
        backgrounds: float = 0.0,
        chests: float = 0.0,
    ):
        if not scans and phantoms < 1:
            msg = "there is no scan, and not all volumes are phantoms"
            raise ValueError(msg)
        self.scans, self.targets, self.step, self.input = list(scans), targets, step, card_input
        self.seed, self.samples, self.count, self.keep = seed, samples, volumes, keep
        self.plain, self.phantoms, self.backgrounds, self.chests = plain, phantoms, backgrounds, chests
        self.epoch = -1
        self.pool: list = []
        self._drawn: dict[int, list] = {}

    def __len__(self) -> int:
        return self.samples

    def set_epoch(self, epoch: int) -> None:
        """Draw the volumes of an epoch; those of the last `keep` epochs stay."""
        if epoch == self.epoch:
            return
        # A resumed run makes the volumes that it would still have.
        kept = range(max(0, epoch - self.keep + 1), epoch + 1)
        self._drawn = {each: self._drawn[each] if each in self._drawn else self._draw(each) for each in kept}
        self.pool = [item for each in kept for item in self._drawn[each]]
        self.epoch = epoch

    def _draw(self, epoch: int) -> list:
        found = []
        for number in range(self.count):
            random = np.random.default_rng([self.seed, epoch, number])
            found += self.prepared(*self._volume(random), random)
        return found

    def prepared(self, scan: Scan, volume: np.ndarray, random: np.random.Generator) -> list:
        """Return what samples of one volume are drawn from, the same number for every volume."""
        return [(scan, volume)]

    def _volume(self, random: np.random.Generator) -> tuple[Scan, np.ndarray]:
        real = self.scans[random.integers(len(self.scans))] if self.scans else None
        scan = self.patient(random) if random.random() < self.phantoms else real
        volume = scan.hu
        if scan is not real and real is not None and random.random() < self.backgrounds:
            volume = with_background(volume, scan.bone, real.hu, real.bone, scan.step, random)
        if scan is not real and self.chests and random.random() < self.chests:
            volume = with_chest(volume, scan.bone, scan.step, random)
        plain = random.random() < self.plain
        return scan, volume.copy() if plain else randomise_ct(volume, scan.bone, scan.step, random)

    def patient(self, random: np.random.Generator) -> Scan:
        """Return a new digital patient."""
        return phantom_scan(self.targets, self.step, random)

    def random(self, index: int) -> np.random.Generator:
        """Return what draws sample `index` of this epoch."""
        return np.random.default_rng([self.seed, self.epoch, 1_000_000 + index])
