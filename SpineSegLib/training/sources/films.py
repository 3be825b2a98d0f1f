"""Radiographs projected from randomised CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from SpineSegLib.image import Geometry
from SpineSegLib.models.preprocess import Letterbox, scale_intensity
from SpineSegLib.phantom.imaging.film import Processing, developed
from SpineSegLib.phantom.projector import View, attenuation, film, line_integrals
from SpineSegLib.training.randomise import smooth_field, with_table
from SpineSegLib.training.sources.volumes import Scan, VolumeSource


def _stretched(
    picture: np.ndarray, masks: np.ndarray, wider: Sequence[float], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return both wider or narrower, unevenly so: patients who are thick, slim, or thick in front only."""
    for axis, limits in enumerate(((0.7, 1.4), wider)):
        count = picture.shape[axis]
        density = np.interp(np.linspace(0, 4, count), np.arange(5), np.exp(random.normal(0, 0.35, 5)))
        old = np.cumsum(density) - density / 2
        position = np.interp(
            np.linspace(0, old[-1], max(32, int(count * random.uniform(*limits)))), old, np.arange(count)
        )
        low = np.minimum(position.astype(int), count - 2)
        share = (position - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        picture = np.take(picture, low, axis) * (1 - share) + np.take(picture, low + 1, axis) * share
        masks = np.take(masks, np.rint(position).astype(int), axis + 1)
    return picture, masks


def _bent(
    picture: np.ndarray, masks: np.ndarray, most: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return both with their rows shifted along a smooth curve: other kyphoses and lordoses, and scolioses from ahead.

    Parameters
    ----------
    most : share of the shorter side by which a row is shifted at most, one way or the other
    """
    height, width = picture.shape
    knots = np.linspace(0, height - 1, 5)
    shift = CubicSpline(knots, random.uniform(-1, 1, 5))(np.arange(height))
    shift = (
        (shift - shift.mean())
        / max(np.abs(shift - shift.mean()).max(), 1e-6)
        * random.uniform(0, most)
        * min(height, width)
    )
    rows = np.arange(height)[:, None]
    place = np.clip(np.arange(width)[None] - shift[:, None], 0, width - 1)
    low = np.minimum(place.astype(int), width - 2)
    share = (place - low).astype(np.float32)
    picture = picture[rows, low] * (1 - share) + picture[rows, low + 1] * share
    return picture, masks[:, rows, np.rint(place).astype(int)]


def _slab(scan: Scan, random: np.random.Generator) -> tuple[Geometry, int, int]:
    """Return a part of the scan between two slices, 150 to 550 mm high and with the spine in it, and its geometry."""
    levels = np.flatnonzero(scan.target.any(axis=(0, 2, 3)))
    count = scan.geometry.shape[0]
    height = int(np.clip(random.uniform(150, 550) / scan.step, 8, count))
    middle = int(random.choice(levels))
    start = int(np.clip(middle - height // 2, 0, count - height))
    shape = np.array(scan.geometry.shape)
    return scan.geometry.cropped((start, 0, 0), (start + height, *shape[1:])), start, start + height


class FilmSource(VolumeSource):
    """Radiographs projected from randomised CT at many angles, distances and exposures.

    A sample is (channels, size, size) in 0…1 and its masks (outputs, size, size). Each volume is projected at once,
    `views` times; a sample then crops, mirrors and re-exposes one of these films and makes it `wider`.

    Parameters
    ----------
    views : projections of a volume
    size : pixels
    wider : limits of the random stretch across
    tables : share of films with the table of a scanner behind the patient
    bend : share of the shorter side by which rows are shifted at most along a smooth curve; 0 leaves spines as they are
    thicker : limits of a factor of all line integrals: patients who are thicker or thinner along the ray
    """

    def __init__(
        self,
        *arguments,
        views: int = 6,
        size: int = 256,
        keep: int = 6,
        wider: Sequence[float] = (0.7, 1.4),
        thicker: Sequence[float] = (0.7, 1.3),
        tables: float = 0.3,
        bend: float = 0.0,
        **settings,
    ):
        super().__init__(*arguments, keep=keep, **settings)
        self.views, self.size, self.wider, self.thicker = views, size, tuple(wider), tuple(thicker)
        self.tables, self.bend = tables, bend

    def prepared(self, scan: Scan, volume: np.ndarray, random: np.random.Generator) -> list:
        """Return line integrals, masks and the size of a pixel in mm of each view."""
        return [self._project(scan, volume, random) for _ in range(self.views)]

    def _project(
        self, scan: Scan, volume: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        geometry, start, stop = _slab(scan, random)
        values = volume[start:stop]
        if random.random() < self.tables:
            values = with_table(values, scan.step, random)
        azimuth = float(random.choice([0, 90, -90, 180, 45], p=[0.3, 0.34, 0.26, 0.04, 0.06]) + random.normal(0, 9))
        distance, magnification = random.uniform(1000, 2000), random.uniform(1.05, 1.4)
        height, depth, breadth = np.array(geometry.shape) * scan.step
        turned = np.abs(np.sin(np.radians(azimuth))), np.abs(np.cos(np.radians(azimuth)))
        across = turned[0] * depth + turned[1] * breadth
        side = max(height, 0.8 * across) * magnification * random.uniform(0.75, 1.2)
        middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
        view = View(
            azimuth=azimuth,
            tilt=float(random.normal(0, 6)),
            roll=float(random.normal(0, 6)),
            source_detector=distance,
            source_centre=distance / magnification,
            size=(self.size, self.size),
            pixel=side / self.size,
            centre=tuple(middle + random.normal(0, 0.06, 3) * [across, across, height]),
        )
        mu = attenuation(values, bone_gain=random.uniform(1.1, 2.2))
        layers = tuple(mask[start:stop].astype(np.uint8) for mask in scan.target)
        integrals, met = line_integrals(mu, geometry, view, layers)
        return integrals, np.stack([each > 0 for each in met]), view.pixel

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self.random(index)
        integrals, masks, pixel = self.pool[random.integers(len(self.pool))]
        picture = film(
            integrals * random.uniform(*self.thicker),
            photons=10 ** random.uniform(4.2, 6),
            scatter=random.uniform(0, 0.5),
            seed=int(random.integers(2**31)),
        )
        picture = picture + random.uniform(0, 0.15) * smooth_field(picture.shape, 60, random)
        if random.random() < 0.5:
            picture, masks = picture[:, ::-1], masks[..., ::-1]
        top, left = (random.random(2) ** 2 * 0.25 * self.size).astype(int)
        bottom, right = self.size - (random.random(2) ** 2 * 0.25 * self.size).astype(int)
        picture, masks = picture[top:bottom, left:right], masks[:, top:bottom, left:right]
        if random.random() < 0.75:
            look = Processing(
                gradient=random.uniform(2.5, 6),
                latitude=random.uniform(0, 0.7),
                structure=random.uniform(0, 0.8),
                enhancement=random.uniform(0, 1),
                density=random.uniform(-0.8, 0.8),
            )
            picture = developed(np.exp(-picture), pixel, look)
        if self.bend and random.random() < 0.6:
            picture, masks = _bent(picture, masks, self.bend, random)
        picture, masks = _stretched(picture, masks, self.wider, random)
        box = Letterbox(picture.shape, self.size)
        picture = box.shrink(np.ascontiguousarray(picture))
        picture = scale_intensity(picture, self.input["intensity"]) ** random.uniform(0.7, 1.4)
        square = box.pad(picture.astype(np.float32))
        squares = [box.pad(box.shrink(np.ascontiguousarray(mask), labels=True)) for mask in masks]
        channels = int(self.input["channels"])
        return torch.from_numpy(np.repeat(square[None], channels, 0)), torch.from_numpy(np.float32(squares))
