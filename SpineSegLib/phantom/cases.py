"""One case of the digital spine: a body, its image, and the truth, from a seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from SpineSegLib import __version__
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.phantom.body import KINDS, Body
from SpineSegLib.phantom.imaging import settings
from SpineSegLib.phantom.imaging.ct import computed_tomography
from SpineSegLib.phantom.imaging.mr import magnetic_resonance
from SpineSegLib.phantom.imaging.radiograph import radiograph

SIZES = {"lateral-cervical": 1024, "lateral-lumbar": 1024, "ap": 1024, "ct": 256, "mr": 320}
"""Pixels along the longer side unless asked for otherwise."""


@dataclass(frozen=True)
class Order:
    """What is wanted; everything about a case follows from it.

    Parameters
    ----------
    kind : one of `KINDS`
    seed : of the whole run; case n of a seed is the same whatever the number of cases and of processes
    shapes : folders of closed surfaces, one a bone; the built-in shapes where there are none
    size : pixels along the longer side; usual for the kind unless given
    rotation : degrees that the patient is turned for a radiograph, or a CT or MR about all axes; at random unless given
    inverted : radiographs as MONOCHROME1; at random unless given
    slice_step : mm between the slices of a CT; usual ones at random unless given
    noise : False for images without noise
    body : options of the body, as `build_body` takes them
    """

    kind: str
    seed: int = 0
    shapes: tuple[Path, ...] = ()
    size: int | None = None
    rotation: float | None = None
    inverted: bool | None = None
    slice_step: float | None = None
    noise: bool = True
    body: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise problem("--kind", repr(self.kind), f"one of {', '.join(KINDS)}", "Choose a kind of image")
        if not 0 <= self.seed < 2**32:
            raise problem("--seed", str(self.seed), "a number from 0 to 4294967295", "Choose another seed")
        if self.size is not None and not 32 <= self.size <= 4096:
            raise problem("--size", f"{self.size} pixels", "32 to 4096", "Choose another size")
        if self.slice_step is not None and not 0.3 <= self.slice_step <= 10:
            raise problem("--slice-step", f"{self.slice_step} mm", "0.3 to 10 mm", "Choose another distance")
        if self.rotation is not None and not abs(self.rotation) <= 60:
            raise problem("--rotation", f"{self.rotation} degrees", "-60 to 60", "Choose a smaller rotation")


def order_record(order: Order) -> dict:
    """Return an order as it is written with each case; folders of shapes by their names alone."""
    record = asdict(order)
    record["shapes"] = [Path(folder).name for folder in order.shapes]
    return plain(record)


@dataclass(frozen=True, eq=False)
class Case:
    """An image with its truth and what made it.

    Parameters
    ----------
    name : ``phantom0001``
    image, masks : on one grid; the structures overlap in radiographs and lie in layers
    truth : points, angles, slips, heights, with units and frames: the truth file
    parameters : everything that made the case, and the seed: the parameter file
    """

    name: str
    kind: str
    image: Image
    masks: Segmentation
    truth: dict
    parameters: dict


def case_name(number: int) -> str:
    """Return the name of case `number`, counted from 0."""
    return f"phantom{number + 1:04d}"


def case_seeds(seed: int, number: int) -> tuple[int, int]:
    """Return the seeds of body and image of case `number`; they depend on nothing else."""
    body, image = np.random.SeedSequence([seed, number]).generate_state(2)
    return int(body), int(image)


def make_case(order: Order, number: int) -> Case:
    """Make case `number` of an order.

    Raises
    ------
    InputError : an option of the body or a shape is at fault
    """
    from SpineSegLib.phantom.build import build_body

    seed, image_seed = case_seeds(order.seed, number)
    body = build_body(order.kind, seed, shapes=order.shapes or None, **order.body)
    return image_of(body, order, number, image_seed)


def image_of(body: Body, order: Order, number: int, image_seed: int) -> Case:
    """Take the image of a body that is there already."""
    rng = np.random.default_rng(image_seed)
    size = order.size or SIZES[order.kind]
    if order.kind in settings.FILMS:
        technique = settings.film_technique(
            order.kind, body, rng, size=size, rotation=order.rotation, inverted=order.inverted
        )
        film = radiograph(body, technique, rng if order.noise else None)
        image, masks, truth, made = film.image, film.masks, film.truth, asdict(film.technique)
    else:
        scan = _scan_ct if order.kind == "ct" else _scan_mr
        image, masks, made = scan(body, order, rng, size)
        truth = volume_truth(body, image.geometry)
    name = case_name(number)
    truth = {"case": name, "kind": order.kind, "structures": [s.name for s in masks.segments], **truth}
    parameters = {
        "case": name,
        "kind": order.kind,
        "software": f"SpineSeg {__version__}",
        "order": order_record(order),
        "seed": order.seed,
        "number": number,
        "body_seed": case_seeds(order.seed, number)[0],
        "image_seed": image_seed,
        "shapes": order_record(order)["shapes"] or ["built-in"],
        "image": made,
        "body": body.parameters,
    }
    return Case(name, order.kind, image, masks, plain(truth), plain(parameters))


def _scan_ct(body: Body, order: Order, rng: np.random.Generator, size: int) -> tuple[Image, Segmentation, dict]:
    geometry = settings.ct_grid(body, rng, size=size, oblique=order.rotation, step=order.slice_step)
    protocol = settings.ct_protocol(rng)
    image, masks = computed_tomography(body, geometry, protocol, rng if order.noise else None)
    return image, masks, asdict(protocol)


def _scan_mr(body: Body, order: Order, rng: np.random.Generator, size: int) -> tuple[Image, Segmentation, dict]:
    geometry = settings.mr_grid(body, rng, size=size, oblique=order.rotation)
    sequence = settings.mr_sequence(rng)
    image, masks = magnetic_resonance(body, geometry, sequence, rng if order.noise else None)
    return image, masks, asdict(sequence)


def volume_truth(body: Body, geometry: Geometry) -> dict:
    """Return what is true in a volume: measurement points in voxels beside everything that the body knows."""
    voxels = {
        level: {
            name: [round(float(v), 3) for v in geometry.to_index(np.array(point, dtype=float))[::-1]]
            for name, point in named.items()
        }
        for level, named in body.measurements.get("points", {}).items()
    }
    return {
        "units": {"points": "voxels", "lengths": "mm", "angles": "degrees"},
        "frames": {
            "points": "[i, j, k] voxel indices of the image file, voxel centres are whole numbers",
            "body": "RAS in mm: x to the patient's right, y to the front, z to the head",
        },
        "size": list(geometry.shape[::-1]),
        "spacing": [float(v) for v in geometry.step[::-1]],
        "ijk_to_ras": geometry.ijk_to_ras.tolist(),
        "points": voxels,
        "body": body.measurements,
    }


def plain(value: object) -> object:
    """Turn a value into what JSON knows: dictionaries, lists, numbers, text; without not-a-number."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value if value is None else str(value)
