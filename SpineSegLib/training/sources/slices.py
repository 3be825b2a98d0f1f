"""Slices of randomised CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from SpineSegLib.models.preprocess import PLANES, scale_intensity, smoothed
from SpineSegLib.training.sources.volumes import Scan, VolumeSource


class SliceSource(VolumeSource):
    """Slices of any plane through randomised CT, rotated, scaled and mirrored in three dimensions.

    A sample is (channels, size, size) in 0…1 and its masks (outputs, size, size).

    Parameters
    ----------
    planes : of `PLANES`
    neighbour : mm between the slices of a sample
    size : pixels
    scale : mean and standard deviation of the logarithm of the scale; above 0 patients look smaller
    cropped : share of samples of which only a window is filled, as in scans of a few vertebrae
    """

    def __init__(
        self,
        *arguments,
        planes: Sequence[str] = tuple(PLANES),
        neighbour: float = 3.0,
        size: int = 256,
        cropped: float = 0.2,
        scale: Sequence[float] = (0.0, 0.15),
        **settings,
    ):
        super().__init__(*arguments, **settings)
        self.planes, self.neighbour, self.size, self.cropped = tuple(planes), neighbour, size, cropped
        self.scale = tuple(scale)

    def prepared(self, scan: Scan, volume: np.ndarray, random: np.random.Generator) -> list:
        """Return the volume as 16-bit integers, its targets, and voxels of the spine to look at."""
        volume = smoothed(volume, self.input["intensity"], step=self.step / float(self.input["spacing"]))
        spine = np.argwhere(scan.target.any(axis=0))
        spine = spine[random.integers(len(spine), size=4096)]
        return [(np.rint(volume).clip(-32768, 32767).astype(np.int16), scan.target, spine)]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self.random(index)
        volume, target, spine = self.pool[random.integers(len(self.pool))]
        plane = PLANES[self.planes[random.integers(len(self.planes))]]
        points = self._grid(volume.shape, spine, plane, random)
        values = sampled(volume, points) - 1000
        masks = [sampled(mask, points[len(points) // 2][None], offset=0)[0] > 0.5 for mask in target]
        picture = scale_intensity(values, self.input["intensity"])
        if random.random() < self.cropped:
            _crop(picture, masks, random)
        return torch.from_numpy(picture), torch.from_numpy(np.stack(masks).astype(np.float32))

    def _grid(
        self, shape: tuple[int, ...], spine: np.ndarray, plane: tuple[int, int, int], random: np.random.Generator
    ) -> np.ndarray:
        """Return voxel positions (channels, rows, columns, 3) in k, j, i of the volume."""
        from scipy.spatial.transform import Rotation

        step = float(self.input["spacing"])
        channels = int(self.input["channels"])
        turn = Rotation.from_euler("xyz", random.normal(0, [9, 9, 9]), degrees=True).as_matrix()
        scale = np.exp(random.normal(*self.scale)) * np.exp(random.normal(0, 0.06, 3))
        if random.random() < 0.85:
            centre = spine[random.integers(len(spine))] + random.normal(0, 6, 3) / self.step
        else:
            centre = random.uniform(0, 1, 3) * (np.array(shape) - 1)
        across = random.uniform(-0.2, 0.2, 2) * self.size * step
        rows = (np.arange(self.size) - self.size / 2) * step + across[0]
        columns = (np.arange(self.size) - self.size / 2) * step + across[1]
        slices = (np.arange(channels) - channels // 2) * self.neighbour
        local = np.zeros((channels, self.size, self.size, 3), dtype=np.float64)
        mirror = 1 if random.random() < 0.5 else -1
        local[..., plane[0]] = slices[:, None, None]
        local[..., plane[1]] = rows[None, :, None] * (1 if plane[1] != 0 else -1)
        local[..., plane[2]] = columns[None, None, :]
        local[..., 2] *= mirror
        return centre + (local * scale) @ turn.T / self.step


def _crop(picture: np.ndarray, masks: list[np.ndarray], random: np.random.Generator) -> None:
    """Empty everything outside a window at random, in place."""
    outside = np.ones(picture.shape[1:], bool)
    rows, columns = (
        slice(int(start), int(start + extent))
        for n in outside.shape
        for extent in [n * random.uniform(0.25, 0.8)]
        for start in [random.uniform(0, n - extent)]
    )
    outside[rows, columns] = False
    picture[:, outside] = 0
    for mask in masks:
        mask[outside] = False


def sampled(volume: np.ndarray, points: np.ndarray, *, offset: float = 1000) -> np.ndarray:
    """Return ``volume + offset`` at voxel positions (…, 3), linear, 0 outside; only the part that is needed is read."""
    low = np.clip(np.floor(points.min(axis=(0, 1, 2))).astype(int) - 1, 0, np.array(volume.shape) - 2)
    high = np.clip(np.ceil(points.max(axis=(0, 1, 2))).astype(int) + 2, low + 2, volume.shape)
    part = volume[tuple(map(slice, low, high))].astype(np.float32) + np.float32(offset)
    scaled = 2 * (points - low) / np.maximum(high - low - 1, 1) - 1
    grid = torch.from_numpy(np.ascontiguousarray(scaled[..., ::-1], dtype=np.float32))[None]
    return functional.grid_sample(torch.from_numpy(part)[None, None], grid, align_corners=True)[0, 0].numpy()
