"""Radiographs of a digital patient, with everything that is true in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.phantom.body import Body
from SpineSegLib.phantom.imaging.detector import Exposure, detected
from SpineSegLib.phantom.imaging.film import Processing, developed
from SpineSegLib.phantom.imaging.marker import Collimation, marker
from SpineSegLib.phantom.imaging.materials import body_amounts
from SpineSegLib.phantom.imaging.rays import Rays, integrate
from SpineSegLib.phantom.imaging.shadows import shadows
from SpineSegLib.phantom.imaging.view import View


@dataclass(frozen=True)
class Marker:
    """A lead letter on the detector: its middle in parts of rows and columns, its height in mm."""

    letter: str
    place: tuple[float, float] = (0.12, 0.88)
    height: float = 14.0
    ring: bool = False


@dataclass(frozen=True)
class Technique:
    """Everything about a radiograph that is not the patient."""

    view: View
    exposure: Exposure = field(default_factory=Exposure)
    processing: Processing = field(default_factory=Processing)
    collimation: Collimation = field(default_factory=Collimation)
    marker: Marker | None = None
    inverted: bool = False
    """Stored as MONOCHROME1."""
    mirrored: bool = False
    """Shown the other way round (a lateral film that faces right); masks and points turn with it."""


@dataclass(frozen=True, eq=False)
class Film:
    """A radiograph with its truth.

    Parameters
    ----------
    image : modality XR, 0 to 1, bright bone
    masks : every structure that a ray meets, in layers
    truth : points, magnifications and measurements: what goes into the truth JSON
    technique : how it was made
    """

    image: Image
    masks: Segmentation
    truth: dict
    technique: Technique = field(repr=False)


def radiograph(body: Body, technique: Technique, rng: np.random.Generator | None) -> Film:
    """Make a radiograph of a body.

    Parameters
    ----------
    body : the digital patient
    technique : view, exposure, processing, collimation, marker
    rng : of the noise; None for a film without

    Returns
    -------
    Film
    """
    technique = replace(technique, view=technique.view.centred(body.geometry))
    view = technique.view
    rays = Rays(view, body.geometry)
    amounts, count = body_amounts(body)
    integrals = integrate(rays, amounts, count)
    aperture = technique.collimation.aperture(view.size, view.pixel)
    signal = detected(
        _turned(integrals, technique),
        pixel=view.pixel,
        magnification=view.magnification,
        exposure=technique.exposure,
        aperture=aperture,
        lead=_lead(technique),
        rng=rng,
    )
    inside = aperture > 0.5
    picture = developed(signal, view.pixel, technique.processing, inside)
    if technique.collimation.shutter == "black":
        # The electronic shutter lies within the penumbra.
        picture *= np.clip((aperture - 0.8) / 0.2, 0, 1)
    geometry = view.film_geometry()
    metadata = _metadata(technique)
    # What the collimator hides is in nobody's film.
    shown = [(structure, _turned(mask, technique) & inside) for structure, mask in shadows(rays, body.truth)]
    masks = [(structure, mask[None]) for structure, mask in shown if mask.any()]
    return Film(
        Image(picture[None], geometry, "XR", metadata),
        Segmentation.from_masks(masks, geometry),
        film_truth(body, technique),
        technique,
    )


def _turned(array: np.ndarray, technique: Technique) -> np.ndarray:
    return np.ascontiguousarray(array[..., ::-1]) if technique.mirrored else array


def _lead(technique: Technique) -> np.ndarray | None:
    mark = technique.marker
    if mark is None:
        return None
    size = technique.view.size
    place = (mark.place[0] * size[0], mark.place[1] * size[1])
    return marker(mark.letter, size, technique.view.pixel, place, mark.height, ring=mark.ring)


def _metadata(technique: Technique) -> dict[str, str]:
    view, exposure = technique.view, technique.exposure
    return {
        "KVP": f"{exposure.kvp:g}",
        "DistanceSourceToDetector": f"{view.source_detector:g}",
        "DistanceSourceToPatient": f"{view.source_centre:g}",
        "EstimatedRadiographicMagnificationFactor": f"{view.magnification:.5g}",
        "ViewPosition": "AP" if abs(view.azimuth) < 60 else "LL",
        "PhotometricInterpretation": "MONOCHROME1" if technique.inverted else "MONOCHROME2",
    }


def film_truth(body: Body, technique: Technique) -> dict:
    """Return what is true in the film: its geometry, each measurement point in pixels, and angles and heights in it.

    Angles and heights in the film are those between the projected points: what a perfect reader measures. Those of
    the body in three dimensions stand beside them, under ``"body"``.
    """
    view = technique.view
    points, magnification = {}, {}
    for level, named in body.measurements.get("points", {}).items():
        positions = np.array(list(named.values()), dtype=float).reshape(-1, 3)
        places = view.project(positions)
        if technique.mirrored:
            places[:, 1] = view.size[1] - 1 - places[:, 1]
        points[level] = {name: [round(float(v), 3) for v in place] for name, place in zip(named, places, strict=True)}
        centre = positions[list(named).index("centroid")] if "centroid" in named else positions.mean(axis=0)
        magnification[level] = round(float(view.magnification_at(centre)), 5)
    lateral = abs(np.sin(np.radians(view.azimuth))) > 0.5
    return {
        "units": {"points": "pixels", "lengths": "mm at the detector", "angles": "degrees"},
        "frames": {
            "points": "[row, column] of the stored picture, from its top left corner, pixel centres are whole numbers",
            "body": "RAS in mm: x to the patient's right, y to the front, z to the head",
        },
        "size": list(view.size),
        "imager_pixel_spacing": [view.pixel, view.pixel],
        "source_detector": view.source_detector,
        "source_centre": view.source_centre,
        "magnification": {"centre": round(view.magnification, 5), **magnification},
        "faces": ("right" if technique.mirrored else "left") if lateral else None,
        "points": points,
        "film": film_measurements(points, view.pixel, lateral=lateral, mirrored=technique.mirrored),
        "body": body.measurements,
    }


def film_measurements(points: dict, pixel: float, *, lateral: bool, mirrored: bool) -> dict:
    """Return angles and heights between projected corners.

    Parameters
    ----------
    points : level -> name -> [row, column]
    pixel : mm at the detector
    lateral : corners ``SA SP IA IP``; else ``SL SR IL IR``
    mirrored : the picture was turned left to right

    Returns
    -------
    ``"tilt"`` of each endplate line in degrees (lateral: from the back to the front, positive when the front is higher;
    frontal: from the patient's left to the right, positive when the right is higher), ``"height"`` of each body at both
    sides, and ``"depth"`` (lateral) or ``"width"`` of its endplates: mm at the detector, magnified.
    """
    across = "depth" if lateral else "width"
    result: dict[str, dict] = {"tilt": {}, "height": {}, across: {}}
    sides = (("A", "ant", "anterior"), ("P", "post", "posterior")) if lateral else (
        ("R", "right", "right"), ("L", "left", "left"))  # fmt: skip
    (far, far_line, _), (near, near_line, _) = sides
    # The front on a lateral film and the patient's right on a frontal one lie to the left in the picture.
    forward = 1 if mirrored else -1
    for level, named in points.items():
        at = {name: np.array(place) * pixel for name, place in named.items()}
        tilt, width, heights = {}, {}, {}
        for end, line, plate in (("S", "sup", "superior"), ("I", "inf", "inferior")):
            ends = (f"{line} {near_line}", f"{line} {far_line}")
            ends = ends if all(name in at for name in ends) else (end + near, end + far)
            if all(name in at for name in ends):
                down, right = at[ends[1]] - at[ends[0]]
                tilt[plate] = round(float(np.degrees(np.arctan2(-down, right * forward))), 3)
            if end + near in at and end + far in at:
                width[plate] = round(float(np.linalg.norm(at[end + far] - at[end + near])), 3)
        for letter, _, name in sides:
            if "S" + letter in at and "I" + letter in at:
                heights[name] = round(float(np.linalg.norm(at["S" + letter] - at["I" + letter])), 3)
        for key, values in (("tilt", tilt), ("height", heights), (across, width)):
            if values:
                result[key][level] = values
    return result
