"""Radiographs of a labelled CT: perspective projection by the Beer-Lambert law, with the exact mask of each structure.

The rays and the detector are those of the digital patient's radiographs (`SpineSegLib.phantom.imaging`).
"""

from __future__ import annotations

import numpy as np

from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.phantom.imaging.detector import Exposure, detected
from SpineSegLib.phantom.imaging.film import Processing, developed
from SpineSegLib.phantom.imaging.materials import bases_of_hounsfield
from SpineSegLib.phantom.imaging.rays import Rays, integrate
from SpineSegLib.phantom.imaging.shadows import bit_table, met, shadows
from SpineSegLib.phantom.imaging.view import View

__all__ = ["View", "attenuation", "film", "line_integrals", "project"]

WATER_PER_MM = 0.0206
"""Linear attenuation of water at 60 keV, 1/mm (NIST XCOM: 0.2059 /cm)."""


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
    rays = Rays(view.centred(geometry), geometry)

    def amounts(axis: int, part: slice) -> np.ndarray:
        where = tuple(part if number == axis else slice(None) for number in range(3))
        return values[where].astype(np.float32)[None]

    integrals = integrate(rays, amounts, 1)[0]
    bits = []
    for layer in labels:
        present = {int(label): int(label) for label in np.unique(layer) if label > 0}
        bits.append(met(rays, [layer], [bit_table(layer, present, np.uint64)]))
    return integrals, tuple(bits)


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
    exposure: Exposure | None = None,
    processing: Processing | None = None,
    seed: int | None = 0,
) -> tuple[Image, Segmentation]:
    """Make a radiograph of a labelled CT, and the exact mask of each structure in it.

    The film's grid has the spacing of the detector and the axes of any film without an orientation: columns to the
    left (L) and rows to the back (P), so that viewers show it upright.

    Parameters
    ----------
    image : CT in Hounsfield units
    segmentation : on the CT's grid; structures overlap in projection, so the result has layers
    exposure, processing : how the film is exposed and developed; usual values unless given
    seed : of the noise; None for none

    Returns
    -------
    film : Image of modality XR, 0 (black) to 1 (white)
    masks : Segmentation with the structures that any ray meets
    """
    if not segmentation.geometry.same_as(image.geometry):
        msg = "the segmentation lies on another grid than the CT; resample it first"
        raise ValueError(msg)
    view = view.centred(image.geometry)
    rays = Rays(view, image.geometry)

    def amounts(axis: int, part: slice) -> np.ndarray:
        where = tuple(part if number == axis else slice(None) for number in range(3))
        return np.stack(bases_of_hounsfield(image.array[where]))

    signal = detected(
        integrate(rays, amounts, 2),
        pixel=view.pixel,
        magnification=view.magnification,
        exposure=exposure or Exposure(),
        rng=None if seed is None else np.random.default_rng(seed),
    )
    picture = developed(signal, view.pixel, processing or Processing())
    geometry = view.film_geometry()
    masks = [(structure, mask[None]) for structure, mask in shadows(rays, segmentation)]
    return Image(picture[None], geometry, "XR"), Segmentation.from_masks(masks, geometry)
