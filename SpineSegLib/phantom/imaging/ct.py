"""CT of a digital patient in Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.phantom.body import Body
from SpineSegLib.phantom.imaging.blur import grown, shrunk
from SpineSegLib.phantom.imaging.materials import CT_ENERGY, bases_of_hounsfield, tissue_hounsfield
from SpineSegLib.phantom.imaging.noise import grain
from SpineSegLib.phantom.imaging.spectrum import mass_attenuation, spectrum
from SpineSegLib.phantom.imaging.tomography import Scanner, projection_error

METAL_FROM = 4000.0
"""HU above which a voxel counts as titanium when streaks are computed."""


@dataclass(frozen=True)
class Protocol:
    """How a CT is acquired and reconstructed.

    Parameters
    ----------
    noise : standard deviation in HU in the middle of a neck or trunk; 0 for none
    sharpness : reconstruction kernel, in parts of the Nyquist frequency (0.4 soft, 0.8 bone)
    blur : in-plane resolution, standard deviation in mm
    streaks : model beam hardening by bone and metal, and photon starvation
    kvp : tube voltage
    """

    noise: float = 18.0
    sharpness: float = 0.55
    blur: float = 0.35
    streaks: bool = True
    kvp: float = 120.0


def computed_tomography(
    body: Body, geometry: Geometry, protocol: Protocol, rng: np.random.Generator | None
) -> tuple[Image, Segmentation]:
    """Scan a body.

    Parameters
    ----------
    body : the digital patient
    geometry : the grid of the CT; it may be oblique, and coarser than the body's (partial volume)
    protocol : noise, kernel, streaks
    rng : of the noise; None for none

    Returns
    -------
    image : int16 Hounsfield units, -1024 to 3071, modality CT
    truth : the body's structures at the centres of the voxels
    """
    from scipy.ndimage import gaussian_filter

    body = near(body, geometry)
    array = averaged(body_hounsfield(body), body.geometry, geometry, fill=-1000.0)
    if protocol.blur:
        sigma = protocol.blur / geometry.step
        array = gaussian_filter(array, (0, sigma[1], sigma[2]), mode="nearest")
    if protocol.streaks:
        array += streaks(array, geometry, protocol, rng)
    if rng is not None and protocol.noise:
        thin = geometry.step[0] < 1.5
        array += grain(geometry.shape, rng, sharpness=protocol.sharpness, along=0.5 if thin else 0.2) * noise_level(
            array, geometry, protocol.noise
        )
    image = Image(np.clip(np.rint(array), -1024, 3071).astype(np.int16), geometry, "CT", {"KVP": f"{protocol.kvp:g}"})
    return image, cut_out(body.truth, geometry)


def near(body: Body, geometry: Geometry) -> Body:
    """Return the part of a body that an image grid covers, with a margin: the rest costs time."""
    ends = np.array([(k, j, i) for k in (-1, geometry.shape[0]) for j in (-1, geometry.shape[1]) for i in
                     (-1, geometry.shape[2])], dtype=float)  # fmt: skip
    index = body.geometry.to_index(geometry.to_world(ends))
    low = np.clip(np.floor(index.min(0)) - 8, 0, np.array(body.geometry.shape) - 1).astype(int)
    high = np.clip(np.ceil(index.max(0)) + 9, low + 1, body.geometry.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = body.geometry.cropped(low, high)
    truth = Segmentation(tuple(layer[box] for layer in body.truth.layers), body.truth.segments, part)
    return replace(body, tissue=body.tissue[box], density=body.density[box], truth=truth, geometry=part)


def body_hounsfield(body: Body) -> np.ndarray:
    """Return the int16 Hounsfield units of a body's voxels (k, j, i); metal may lie above a scanner's range."""
    fixed, scaled = tissue_hounsfield()
    # Soft tissue of density d has d (1000 + HU) - 1000: `fixed` holds the -1000.
    out = np.empty(body.tissue.shape, np.int16)
    for k in range(len(out)):
        tissue = body.tissue[k]
        values = scaled.take(tissue)
        values *= body.density[k].astype(np.float32)
        values += fixed.take(tissue)
        out[k] = np.clip(np.rint(values), -1024, 30000)
    return out


def averaged(array: np.ndarray, source: Geometry, target: Geometry, *, fill: float) -> np.ndarray:
    """Sample on a coarser grid with partial volume: the mean of points spread over each voxel of the target.

    Parameters
    ----------
    array : k, j, i on `source`
    fill : value outside the source

    Returns
    -------
    float32 k, j, i on `target`
    """
    from scipy.ndimage import affine_transform

    fine = float(source.step.min())
    split = np.clip(np.rint(target.step / fine), 1, 6).astype(int)
    matrix = target.index_transform_to(source)
    out = np.empty(target.shape, np.float32)
    linear = matrix[:3, :3] / split
    # The first of n points in a voxel lies (1 - n) / 2n of a step before its centre.
    first = matrix[:3, :3] @ ((1 - split) / (2 * split)) + matrix[:3, 3]
    for k in range(target.shape[0]):
        points = affine_transform(
            array,
            linear,
            first + matrix[:3, 0] * k,
            output_shape=(split[0], target.shape[1] * split[1], target.shape[2] * split[2]),
            output=np.float32,
            order=1,
            mode="grid-constant",
            cval=fill,
        )
        out[k] = points.reshape(split[0], target.shape[1], split[1], target.shape[2], split[2]).mean(axis=(0, 2, 4))
    return out


def cut_out(truth: Segmentation, geometry: Geometry) -> Segmentation:
    """Return the truth on another grid, without the structures that lie outside it."""
    moved = truth.resampled(geometry)
    present = [set(np.unique(layer).tolist()) for layer in moved.layers]
    segments = [segment for segment in moved.segments if segment.label in present[segment.layer]]
    return Segmentation(moved.layers, tuple(segments), geometry)


def _coarse(array: np.ndarray, stride: int) -> np.ndarray:
    return np.stack([shrunk(plane, stride) for plane in array])


def streaks(array: np.ndarray, geometry: Geometry, protocol: Protocol, rng: np.random.Generator | None) -> np.ndarray:
    """Return what beam hardening, metal and too few photons add, in HU, float32 k, j, i.

    The slices are projected on a coarse grid through their water, bone and metal; the difference between the
    polychromatic projection (corrected for water, as scanners do) and the ideal one is reconstructed.
    """
    rows, columns = array.shape[1:]
    stride = max(1, round(max(rows, columns) / 128))
    thin = max(1, round(3.0 / float(geometry.step[0])))
    chosen = np.arange(0, len(array), thin)
    bases = [_coarse(base[chosen], stride) for base in _decomposed(array)]
    size = max(bases[0].shape[1:])
    pad = [(0, 0)] + [((size - n) // 2, size - n - (size - n) // 2) for n in bases[0].shape[1:]]
    scanner = Scanner(size, 120, float(geometry.step[1:].mean()) * stride)
    amounts = np.stack([scanner.project(np.pad(base, pad)) for base in bases])
    error, measured = projection_error(amounts, spectrum(protocol.kvp, aluminium_mm=8.0), CT_ENERGY)
    if rng is not None and protocol.noise:
        # Behind 300 mm of water the noise of a projection is that which the wanted noise in the picture asks for.
        spread = np.exp(np.minimum(measured, 11) / 2 - 300 * 0.019 / 2)
        error += 0.004 * protocol.noise / 18 * spread * rng.standard_normal(error.shape, dtype=np.float32)
    change = scanner.reconstruct(error) * np.float32(1000 / (mass_attenuation("water", CT_ENERGY) / 10))
    (top, _), (left, _) = pad[1:]
    change = change[:, top : top + bases[0].shape[1], left : left + bases[0].shape[2]]
    out = np.empty(array.shape, np.float32)
    fine = [grown(plane, stride, (rows, columns)) for plane in change]
    for k in range(len(array)):
        low = min(k // thin, len(fine) - 1)
        high = min(low + 1, len(fine) - 1)
        part = np.float32((k - low * thin) / thin)
        out[k] = (1 - part) * fine[low] + part * fine[high]
    return out


def _decomposed(array: np.ndarray) -> list[np.ndarray]:
    """Return water and bone, and metal where there is any, of Hounsfield units."""
    metal = array > METAL_FROM
    water, bone = bases_of_hounsfield(np.where(metal, -1000, array))
    if not metal.any():
        return [water, bone]
    ratio = mass_attenuation("water", CT_ENERGY) / mass_attenuation("titanium", CT_ENERGY)
    return [water, bone, np.where(metal, (1 + array / 1000) * ratio, 0).astype(np.float32)]


def noise_level(array: np.ndarray, geometry: Geometry, level: float) -> np.ndarray:
    """Return the standard deviation of the noise in HU for each voxel, float32 k, j, i.

    Variance grows with the attenuation of the rays through a voxel; here of the one along the row and the one along
    the column, in water. `level` is the median within the patient.
    """
    water = np.clip(array, -1000, 1500) / 1000 + 1
    mu = np.float32(mass_attenuation("water", CT_ENERGY) / 10)
    across = np.exp(np.minimum(mu * water.sum(axis=2, keepdims=True) * geometry.step[2], 9) / 2)
    along = np.exp(np.minimum(mu * water.sum(axis=1, keepdims=True) * geometry.step[1], 9) / 2)
    sigma = np.sqrt(across * along).astype(np.float32)
    inside = array > -300
    middle = float(np.median(sigma[::4, ::4, ::4][inside[::4, ::4, ::4]])) if inside[::4, ::4, ::4].any() else 1.0
    return np.clip(sigma / middle, 0.3, 4) * np.float32(level)
