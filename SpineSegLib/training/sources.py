"""Where training samples come from: slices of randomised CT, and radiographs projected from it.

A source is a map-style data set: sample n of epoch e depends on the seed, e and n alone, so a run that is resumed goes
on with the samples it would have had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from SpineSegLib.image import Image, Reorientation, Segmentation, resample
from SpineSegLib.models.preprocess import PLANES, Letterbox, scale_intensity
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.imaging.ct import body_hounsfield
from SpineSegLib.phantom.imaging.film import Processing, developed
from SpineSegLib.phantom.parameters import Curve
from SpineSegLib.phantom.projector import View, attenuation, film, line_integrals
from SpineSegLib.training.randomise import randomise_ct, smooth_field


class CtCase:
    """A labelled CT turned to head, back and left on an isotropic grid.

    Parameters
    ----------
    image, segmentation : the scan and its labels, on one grid
    kinds : structure kinds that are foreground, such as ``("vertebra", "sacrum")``
    step : mm
    """

    def __init__(self, image: Image, segmentation: Segmentation, kinds: Sequence[str], step: float):
        turn = Reorientation.of(image.geometry)
        turned = turn.geometry(image.geometry)
        self.geometry = turned.with_step(step)
        self.kinds, self.step = tuple(kinds), step
        self.hu = resample(turn.apply(image.array).astype(np.float32), turned, self.geometry, fill=-1000)
        self.masks = {}
        for kind in {segment.structure.kind for segment in segmentation.segments}:
            parts = [segmentation.mask(s) for s in segmentation.segments if s.structure.kind == kind]
            union = turn.apply(np.logical_or.reduce(parts)).astype(np.float32)
            self.masks[kind] = resample(union, turned, self.geometry, fill=0) > 0.5
        missing = [kind for kind in kinds if kind not in self.masks]
        if len(missing) == len(kinds):
            msg = f"the scan's labels are {sorted(self.masks)}, expected one of {', '.join(kinds)}"
            raise ValueError(msg)
        self.bone = np.logical_or.reduce([self.masks[k] for k in ("vertebra", "sacrum") if k in self.masks])
        self.target = np.logical_or.reduce([self.masks[kind] for kind in kinds if kind in self.masks])


def phantom_case(kinds: Sequence[str], step: float, random: np.random.Generator) -> CtCase:
    """Return a new digital patient, upper neck to hip, two in five with a scoliosis."""
    curves = []
    if random.random() < 0.4:
        side = ("right", "left")[random.integers(2)]
        curves.append(Curve("T5", "T12", float(random.uniform(8, 55)), side))
    body = build_body("ap", int(random.integers(2**31)), cells=(step,) * 3, curves=tuple(curves))
    image = Image(body_hounsfield(body), body.geometry, "CT")
    return CtCase(image, body.truth, kinds, step)


class _RandomisedCt(torch.utils.data.Dataset):
    """Common to both sources: a fresh set of volumes in each epoch.

    A share `phantoms` of them are digital patients, the others the scans; all but a share `plain` are randomised.
    """

    def __init__(
        self,
        cases: Sequence[CtCase],
        card_input: Mapping,
        *,
        seed: int,
        samples: int,
        volumes: int,
        plain: float,
        phantoms: float = 0.0,
    ):
        self.cases, self.input = list(cases), card_input
        self.seed, self.samples, self.count, self.plain, self.phantoms = seed, samples, volumes, plain, phantoms
        self.epoch = -1
        self.volumes: list[tuple[CtCase, np.ndarray]] = []

    def __len__(self) -> int:
        return self.samples

    def set_epoch(self, epoch: int) -> None:
        """Draw the volumes of an epoch."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        self.volumes = []
        for number in range(self.count):
            random = np.random.default_rng([self.seed, epoch, number])
            case = self.cases[random.integers(len(self.cases))]
            if random.random() < self.phantoms:
                case = phantom_case(case.kinds, case.step, random)
            plain = random.random() < self.plain
            volume = case.hu.copy() if plain else randomise_ct(case.hu, case.bone, case.step, random)
            self.volumes.append((case, volume))

    def _random(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, 1_000_000 + index])


class SliceSource(_RandomisedCt):
    """Slices of any plane through randomised CT, rotated, scaled and mirrored in three dimensions.

    A sample is (channels, size, size) in 0…1 and its mask (1, size, size).
    """

    def __init__(
        self,
        cases,
        card_input,
        *,
        planes: Sequence[str] = tuple(PLANES),
        neighbour: float = 3.0,
        size: int = 256,
        **settings,
    ):
        super().__init__(cases, card_input, **settings)
        self.planes, self.neighbour, self.size = tuple(planes), neighbour, size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self._random(index)
        # Neighbouring samples come from different volumes: batch normalisation needs mixed batches.
        case, volume = self.volumes[index % len(self.volumes)]
        plane = PLANES[self.planes[random.integers(len(self.planes))]]
        points = self._grid(case, plane, random)
        shape = np.array(volume.shape)
        scaled = 2 * points / np.maximum(shape - 1, 1) - 1
        grid = torch.from_numpy(np.ascontiguousarray(scaled[..., ::-1], dtype=np.float32))[None]
        values = (
            functional.grid_sample(torch.from_numpy(volume + 1000)[None, None], grid, align_corners=True)[0, 0] - 1000
        )
        middle = grid[:, len(points) // 2 : len(points) // 2 + 1]
        mask = functional.grid_sample(
            torch.from_numpy(case.target.astype(np.float32))[None, None], middle, align_corners=True
        )
        picture = scale_intensity(values.numpy(), self.input["intensity"])
        return torch.from_numpy(picture), (mask[0, 0] > 0.5).float()

    def _grid(self, case: CtCase, plane: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
        """Return voxel positions (channels, rows, columns, 3) in k, j, i of the case."""
        from scipy.spatial.transform import Rotation

        step = float(self.input["spacing"])
        channels = int(self.input["channels"])
        turn = Rotation.from_euler("xyz", random.normal(0, [9, 9, 9]), degrees=True).as_matrix()
        # Scales below 1 make the spine larger in the picture; thoracic vertebrae are smaller than lumbar ones.
        scale = np.exp(random.normal(0.1, 0.22)) * np.exp(random.normal(0, 0.08, 3))
        spine = np.argwhere(case.target)
        if random.random() < 0.85:
            centre = spine[random.integers(len(spine))] + random.normal(0, 6, 3) / case.step
        else:
            centre = random.uniform(0, 1, 3) * (np.array(case.target.shape) - 1)
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
        return centre + (local * scale) @ turn.T / case.step


def _stretched(
    picture: np.ndarray, mask: np.ndarray, wider: Sequence[float], random: np.random.Generator
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
        mask = np.take(mask, np.rint(position).astype(int), axis)
    return picture, mask


class FilmSource(_RandomisedCt):
    """Radiographs projected from randomised CT at many angles, distances and exposures.

    A sample is (channels, size, size) in 0…1 and its mask (1, size, size). `set_epoch` draws `volumes` bodies and
    projects each `views` times; a sample then crops, mirrors and re-exposes one of these films and makes it `wider`.
    """

    def __init__(
        self,
        cases,
        card_input,
        *,
        views: int = 6,
        size: int = 256,
        keep: int = 6,
        wider: Sequence[float] = (0.7, 1.4),
        **settings,
    ):
        super().__init__(cases, card_input, **settings)
        self.views, self.size, self.keep, self.wider = views, size, keep, tuple(wider)
        self.films: list[tuple[np.ndarray, np.ndarray, float]] = []

    def set_epoch(self, epoch: int) -> None:
        """Project new films; those of the last `keep` epochs stay."""
        if epoch == self.epoch:
            return
        # A resumed run makes the films that it would still have.
        first = self.epoch + 1 if self.films and self.epoch == epoch - 1 else max(0, epoch - self.keep + 1)
        for each in range(first, epoch + 1):
            super().set_epoch(each)
            for number, (case, volume) in enumerate(self.volumes):
                random = np.random.default_rng([self.seed, each, number, 7])
                self.films += [self._project(case, volume, random) for _ in range(self.views)]
        self.films = self.films[-self.keep * self.count * self.views :]
        self.volumes = []

    def _project(
        self, case: CtCase, volume: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return line integrals, mask and the size of a pixel in mm."""
        around = random.choice([0, 90, -90, 180, 45], p=[0.3, 0.34, 0.26, 0.04, 0.06])
        distance = random.uniform(1000, 2000)
        extent = float(np.max(case.geometry.shape)) * case.step
        magnification = random.uniform(1.05, 1.4)
        side = extent * magnification * random.uniform(0.6, 1.15)
        low, high = np.array(case.geometry.shape)[0] * case.step * np.array([-0.25, 0.25])
        middle = case.geometry.to_world((np.array(case.geometry.shape) - 1) / 2)
        middle[2] += random.uniform(low, high)
        view = View(
            azimuth=float(around + random.normal(0, 9)),
            tilt=float(random.normal(0, 6)),
            roll=float(random.normal(0, 6)),
            source_detector=distance,
            source_centre=distance / magnification,
            size=(self.size, self.size),
            pixel=side / self.size,
            centre=tuple(middle),
        )
        mu = attenuation(volume, bone_gain=random.uniform(1.1, 2.2))
        integrals, met = line_integrals(mu, case.geometry, view, (case.target.astype(np.uint8),))
        return integrals, met[0] > 0, view.pixel

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = self._random(index)
        integrals, mask, pixel = self.films[random.integers(len(self.films))]
        picture = film(
            integrals * random.uniform(0.7, 1.3),
            photons=10 ** random.uniform(3.5, 5.5),
            scatter=random.uniform(0, 0.5),
            seed=int(random.integers(2**31)),
        )
        picture = picture + random.uniform(0, 0.15) * smooth_field(picture.shape, 60, random)
        if random.random() < 0.5:
            picture, mask = picture[:, ::-1], mask[:, ::-1]
        top, left = (random.random(2) ** 2 * 0.25 * self.size).astype(int)
        bottom, right = self.size - (random.random(2) ** 2 * 0.25 * self.size).astype(int)
        picture, mask = picture[top:bottom, left:right], mask[top:bottom, left:right]
        if random.random() < 0.75:
            look = Processing(
                gradient=random.uniform(2.5, 6),
                latitude=random.uniform(0, 0.7),
                structure=random.uniform(0, 0.8),
                enhancement=random.uniform(0, 1),
                density=random.uniform(-0.8, 0.8),
            )
            picture = developed(np.exp(-picture), pixel, look)
        picture, mask = _stretched(picture, mask, self.wider, random)
        box = Letterbox(picture.shape, self.size)
        picture = box.shrink(np.ascontiguousarray(picture))
        picture = scale_intensity(picture, self.input["intensity"]) ** random.uniform(0.7, 1.4)
        square = box.pad(picture.astype(np.float32))
        square_mask = box.pad(box.shrink(np.ascontiguousarray(mask), labels=True)).astype(np.float32)
        channels = int(self.input["channels"])
        return torch.from_numpy(np.repeat(square[None], channels, 0)), torch.from_numpy(square_mask)[None]
