"""Radiographs of a labelled CT: perspective projection by the Beer-Lambert law, with the exact mask of each structure.

Line integrals follow Joseph, IEEE Trans. Med. Imaging 1982: a ray is sampled where it crosses each slice along the
axis that it follows most, with bilinear interpolation within the slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource

WATER_PER_MM = 0.0206
"""Linear attenuation of water at 60 keV, 1/mm (NIST XCOM: 0.2059 /cm)."""


@dataclass(frozen=True)
class View:
    """Where the X-ray source and the detector stand.

    Parameters
    ----------
    azimuth : degrees; 0 is antero-posterior (source in front), 90 lateral with the source at the patient's left. The
        film is shown as seen from the source: AP with the patient's right on the left side, lateral with the front on
        the left side.
    tilt : degrees; a positive one moves the source towards the head
    roll : degrees; turns the detector about the beam
    source_detector, source_centre : mm from the source to the detector and to the centre of the view
    size : detector rows and columns
    pixel : mm, at the detector
    centre : RAS point on the central ray; the middle of the CT unless given
    """

    azimuth: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    source_detector: float = 1500.0
    source_centre: float = 1250.0
    size: tuple[int, int] = (768, 768)
    pixel: float = 0.6
    centre: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.source_centre < self.source_detector or self.pixel <= 0 or min(self.size) < 1:
            msg = (
                f"view has source_centre {self.source_centre} mm, source_detector {self.source_detector} mm, pixel "
                f"{self.pixel} mm and size {self.size}, expected 0 < source_centre < source_detector and positive sizes"
            )
            raise ValueError(msg)

    @property
    def magnification(self) -> float:
        """Size on the detector over size in the patient, at the centre of the view."""
        return self.source_detector / self.source_centre

    def frame(self) -> np.ndarray:
        """Return the unit vectors of beam, detector row (image right) and column (image down) in RAS, one a row."""
        azimuth, tilt, roll = np.radians([self.azimuth, self.tilt, self.roll])
        flat = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        beam = np.cos(tilt) * flat - np.sin(tilt) * up
        right = np.cross(flat, up)
        down = np.cross(beam, right)
        return np.stack([beam, np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right])


def attenuation(hounsfield: np.ndarray, *, bone_gain: float = 1.6) -> np.ndarray:
    """Turn Hounsfield units into linear attenuation, 1/mm.

    Parameters
    ----------
    bone_gain : how much more than its Hounsfield units say bone absorbs: radiographs use softer rays than CT, where
        calcium's photoelectric absorption is stronger; 1.6 is the ratio at 60 to about 75 keV for cortical bone
    """
    hu = np.clip(hounsfield.astype(np.float32), -1000, 3000)
    return WATER_PER_MM * (1 + hu / 1000 + (bone_gain - 1) * np.clip(hu - 100, 0, None) / 1000)


def line_integrals(
    values: np.ndarray, geometry: Geometry, view: View, labels: tuple[np.ndarray, ...] = ()
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Integrate `values` along the rays of `view` and record which labels each ray meets.

    Parameters
    ----------
    values : k, j, i array, per mm
    labels : k, j, i integer arrays, labels below 63

    Returns
    -------
    integrals : float32 (rows, columns), without unit
    met : for each label array, uint64 (rows, columns); bit n is set where the ray crosses a voxel labelled n
    """
    import torch

    to_index = np.linalg.inv(geometry.ijk_to_ras)
    centre = geometry.to_world((np.array(geometry.shape) - 1) / 2) if view.centre is None else np.array(view.centre)
    beam, right, down = view.frame()
    source = centre - view.source_centre * beam
    rows, columns = view.size
    v = (np.arange(rows) - (rows - 1) / 2) * view.pixel
    u = (np.arange(columns) - (columns - 1) / 2) * view.pixel
    middle = source + view.source_detector * beam
    pixels = middle + v[:, None, None] * down + u[None, :, None] * right
    length = np.linalg.norm(pixels - source, axis=-1)
    start = (to_index[:3, :3] @ source + to_index[:3, 3])[::-1]
    ray = (pixels @ to_index[:3, :3].T + to_index[:3, 3])[..., ::-1] - start
    axis = int(np.argmax(np.abs(to_index[:3, :3] @ beam)[::-1]))
    others = [n for n in range(3) if n != axis]
    start = torch.from_numpy(np.ascontiguousarray(start)).float()
    ray = torch.from_numpy(np.ascontiguousarray(ray)).float()
    volume = torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, axis, 0), dtype=np.float32))
    layers = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(layer, axis, 0)).astype(np.int64)) for layer in labels]
    total = torch.zeros(view.size)
    met = [torch.zeros(view.size, dtype=torch.int64) for _ in layers]
    height, width = volume.shape[1:]
    slope = [ray[..., n] / ray[..., axis] for n in others]
    for number in range(volume.shape[0]):
        away = number - start[axis]
        y, x = (start[n] + away * slope[m] for m, n in enumerate(others))
        inside = (y > -1) & (y < height) & (x > -1) & (x < width)
        across, along = inside.any(1).nonzero(), inside.any(0).nonzero()
        if not len(across):
            continue
        # Only the part of the detector that this slice covers; slices are small on it when the patient is.
        part = (slice(int(across[0]), int(across[-1]) + 1), slice(int(along[0]), int(along[-1]) + 1))
        y, x = y[part], x[part]
        grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
        total[part] += torch.nn.functional.grid_sample(volume[None, None, number], grid[None], align_corners=True)[0, 0]
        for layer, bits in zip(layers, met, strict=True):
            row, column = (y + 0.5).floor().long(), (x + 0.5).floor().long()
            valid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            label = layer[number][row.clamp(0, height - 1), column.clamp(0, width - 1)]
            bits[part] |= torch.where(valid & (label > 0), 1 << label, 0)
    step = torch.from_numpy(length).float() / ray[..., axis].abs()
    return (total * step).numpy(), tuple(bits.numpy().view(np.uint64) for bits in met)


def film(integrals: np.ndarray, *, photons: float = 20000.0, scatter: float = 0.15, seed: int | None = 0) -> np.ndarray:
    """Turn line integrals into the picture of a digital detector: bright bone, logarithmic response.

    Parameters
    ----------
    integrals : (rows, columns)
    photons : per pixel in the open beam; fewer make more noise
    scatter : scattered photons over primary ones, averaged over the film, spread over about a tenth of its width
    seed : of the quantum noise; None for none

    Returns
    -------
    float32 (rows, columns), -log of the detected fraction
    """
    from scipy.ndimage import gaussian_filter

    primary = np.exp(-integrals.astype(np.float64))
    signal = primary + scatter * gaussian_filter(primary, 0.1 * max(primary.shape), mode="nearest")
    if seed is not None:
        signal = np.random.default_rng(seed).poisson(signal * photons) / photons
    return -np.log(np.maximum(signal, 0.5 / photons)).astype(np.float32)


def project(
    image: Image,
    segmentation: Segmentation,
    view: View,
    *,
    bone_gain: float = 1.6,
    photons: float = 20000.0,
    scatter: float = 0.15,
    seed: int | None = 0,
) -> tuple[Image, Segmentation]:
    """Make a radiograph of a labelled CT, and the exact mask of each structure in it.

    The film's grid has the spacing of the detector and the axes of any film without an orientation: columns to the
    left (L) and rows to the back (P), so that viewers show it upright.

    Parameters
    ----------
    image : CT in Hounsfield units
    segmentation : on the CT's grid; structures overlap in projection, so the result has layers

    Returns
    -------
    film : Image of modality XR
    masks : Segmentation with the structures that any ray meets
    """
    if not segmentation.geometry.same_as(image.geometry):
        msg = "the segmentation lies on another grid than the CT; resample it first"
        raise ValueError(msg)
    mu = attenuation(image.array, bone_gain=bone_gain)
    integrals, met = line_integrals(mu, image.geometry, view, segmentation.layers)
    picture = film(integrals, photons=photons, scatter=scatter, seed=seed)
    matrix = np.diag([-view.pixel, -view.pixel, 1.0, 1.0])
    geometry = Geometry((1, *view.size), matrix, SpacingSource.IMAGER_PIXEL_SPACING)
    masks = [
        (segment.structure, (met[segment.layer] >> np.uint64(segment.label) & np.uint64(1)).astype(bool)[None])
        for segment in segmentation.segments
    ]
    masks = [(structure, mask) for structure, mask in masks if mask.any()]
    return Image(picture[None], geometry, "XR"), Segmentation.from_masks(masks, geometry)
