"""Slabs of randomised CT: small volumes for networks that take volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from SpineSegLib.models.preprocess import scale_intensity, smoothed
from SpineSegLib.phantom.cases import Order, make_case
from SpineSegLib.training.sources.slices import sampled
from SpineSegLib.training.sources.volumes import Scan, VolumeSource, phantom_scan


@dataclass(frozen=True)
class Pooled:
    """A volume to cut slabs from.

    Parameters
    ----------
    values : int16 Hounsfield units, k, j, i towards head, back and left
    masks : 0…255, the share of each voxel that belongs to a target, (targets, k, j, i)
    spine : some of the voxels that belong to one, (n, 3)
    step : mm of a voxel
    """

    values: np.ndarray
    masks: np.ndarray
    spine: np.ndarray
    step: float

    def coarser(self, factor: int) -> Pooled:
        """Return the means of cubes of so many voxels a side."""
        shape = np.array(self.values.shape) // factor
        if shape.min() < 2:
            return self
        inside = tuple(slice(0, n * factor) for n in shape)

        def means(array: np.ndarray) -> np.ndarray:
            cubes = array[inside].reshape(*(side for n in shape for side in (n, factor)))
            return np.rint(cubes.mean(axis=(1, 3, 5), dtype=np.float32))

        masks = np.stack([means(mask) for mask in self.masks]).astype(np.uint8)
        spine = np.minimum(self.spine // factor, shape - 1)
        return Pooled(means(self.values).astype(np.int16), masks, spine, self.step * factor)


class SlabSource(VolumeSource):
    """Slabs of randomised CT, rotated, scaled and mirrored in three dimensions.

    A sample is (1, d, h, w) in 0…1, axes towards head, back and left, and its masks (outputs, d, h, w) in 0…1: the
    share of a voxel that belongs to the structure.

    Parameters
    ----------
    size : voxels along d, h and w
    look : ``{"spacing": mm, "share": of samples}``: slabs as coarse as the pipeline's first look at the whole volume
    scanned : share of digital patients that are a CT of one region, as ``phantom --kind ct`` makes it, with its noise,
        its streaks and its ends; the others are whole trunks
    scale : mean and standard deviation of the logarithm of the scale; above 0 patients look smaller
    turn : standard deviation of the rotation about each axis, degrees
    cropped : share of samples of which only a window is filled, as in scans of a few vertebrae
    thick : share of samples that are seen in slices up to 6 mm thick
    contrast : standard deviation of a factor of all Hounsfield units, and of an addend
    """

    def __init__(
        self,
        *arguments,
        size: Sequence[int] = (64, 64, 64),
        look: Mapping[str, float] | None = None,
        scanned: float = 0.5,
        scale: Sequence[float] = (0.0, 0.12),
        turn: float = 9.0,
        cropped: float = 0.15,
        thick: float = 0.2,
        contrast: Sequence[float] = (0.08, 15.0),
        **settings,
    ):
        super().__init__(*arguments, **settings)
        self.size, self.look, self.scanned = tuple(map(int, size)), dict(look or {}), scanned
        self.scale, self.turn, self.cropped = tuple(scale), turn, cropped
        self.thick, self.contrast = thick, tuple(contrast)

    def patient(self, random: np.random.Generator) -> Scan:
        """Return a new digital patient: a CT of one region, or a whole trunk."""
        if random.random() >= self.scanned:
            return phantom_scan(self.targets, self.step, random)
        case = make_case(Order("ct", int(random.integers(2**31))), 0)
        return Scan(case.image, case.masks, self.targets, self.step)

    def prepared(self, scan: Scan, volume: np.ndarray, random: np.random.Generator) -> list:
        """Return the volume and, where there is a first look, a coarse copy of it."""
        volume = smoothed(volume, self.input["intensity"], step=self.step / float(self.input["spacing"]))
        spine = np.argwhere(scan.target.any(axis=0))
        spine = spine[random.integers(len(spine), size=4096)]
        values = np.rint(volume).clip(-32768, 32767).astype(np.int16)
        fine = Pooled(values, scan.target.astype(np.uint8) * 255, spine, self.step)
        factor = round(self.look["spacing"] / self.step) if self.look else 1
        return [(fine, fine.coarser(factor))]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self.random(index)
        fine, coarse = self.pool[random.integers(len(self.pool))]
        looking = bool(self.look) and random.random() < float(self.look["share"])
        volume = coarse if looking else fine
        points = self._grid(volume, float(self.look["spacing"] if looking else self.input["spacing"]), random)
        values = sampled(volume.values, points) - 1000
        masks = np.stack([sampled(mask, points, offset=0) for mask in volume.masks]) / 255
        if random.random() < self.thick:
            values = _thick(values, int(random.integers(2, 5)))
        values = values * np.exp(random.normal(0, self.contrast[0])) + random.normal(0, self.contrast[1])
        slab = scale_intensity(values, self.input["intensity"])
        if random.random() < self.cropped:
            _crop(slab, masks, random)
        return torch.from_numpy(slab[None]), torch.from_numpy(masks.astype(np.float32))

    def _grid(self, volume: Pooled, spacing: float, random: np.random.Generator) -> np.ndarray:
        """Return voxel positions (d, h, w, 3) in k, j, i of the volume."""
        from scipy.spatial.transform import Rotation

        turn = Rotation.from_euler("xyz", random.normal(0, self.turn, 3), degrees=True).as_matrix()
        scale = np.exp(random.normal(*self.scale)) * np.exp(random.normal(0, 0.06, 3))
        if random.random() < 0.85:
            middle = volume.spine[random.integers(len(volume.spine))]
        else:
            middle = random.uniform(0, 1, 3) * (np.array(volume.values.shape) - 1)
        aside = random.uniform(-0.25, 0.25, 3) * self.size * spacing * [0.5, 1, 1]
        axes = [
            ((np.arange(n) - (n - 1) / 2) * spacing + shift) * factor
            for n, shift, factor in zip(self.size, aside, scale, strict=True)
        ]
        axes[2] = axes[2] * random.choice((-1, 1))
        local = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return middle + local @ turn.T / volume.step


def _thick(values: np.ndarray, count: int) -> np.ndarray:
    """Return a slab as seen in slices so many voxels thick, interpolated back."""
    slices = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    means = functional.avg_pool3d(slices, (count, 1, 1), ceil_mode=True)
    return functional.interpolate(means, values.shape, mode="trilinear")[0, 0].numpy()


def _crop(slab: np.ndarray, masks: np.ndarray, random: np.random.Generator) -> None:
    """Empty everything outside a box at random, in place."""
    extent = [random.uniform(0.3, 1.0) * n for n in slab.shape]
    start = [random.uniform(0, n - each) for n, each in zip(slab.shape, extent, strict=True)]
    inside = np.zeros(slab.shape, bool)
    inside[tuple(slice(int(a), int(np.ceil(a + b))) for a, b in zip(start, extent, strict=True))] = True
    slab[~inside] = 0
    masks[:, ~inside] = 0
