"""The digital patient: tissues and labelled bones on one grid, before any image is made of them.

`SpineSegLib.phantom.build.build_body(kind, seed, *, shapes=None, **options) -> Body` makes one for a kind of image
(`KINDS`): its grid covers what the image shows and is as fine as the image asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from SpineSegLib.image import Geometry, Segmentation

KINDS = ("lateral-cervical", "lateral-lumbar", "ap", "ct", "mr")
"""The kinds of image that a body is made for."""


class Tissue(IntEnum):
    """What a voxel is made of."""

    AIR = 0
    LUNG = 1
    FAT = 2
    SKIN = 3
    MUSCLE = 4
    ORGAN = 5
    CSF = 6
    CORD = 7
    DISC = 8
    CARTILAGE = 9
    TRABECULAR = 10
    CORTICAL = 11
    TOOTH = 12
    METAL = 13
    BED = 14
    NUCLEUS = 15


@dataclass(frozen=True, eq=False)
class Body:
    """A voxelised patient.

    Parameters
    ----------
    tissue : uint8 k, j, i array of `Tissue` values
    density : float16 k, j, i array, 1 = nominal: in bone it multiplies the mineral alone, elsewhere the density
    truth : the labelled structures on the same grid (whole vertebrae, bodies, spinous processes, discs, …, in layers)
    geometry : the grid (RAS, millimetres)
    measurements : exact corners, endplates, centroids, angles, slips and heights: what goes into the truth JSON.
        ``measurements["points"][level][name] = [x, y, z]`` (RAS, millimetres) holds the measurement points of each
        vertebra: ``SA SP IA IP`` (superior/inferior, anterior/posterior corners), ``SL SR IL IR`` (left and right),
        ``centroid`` (of the body), ``spinous tip``, and others; radiographs project all of them. Everything else
        (``angles``, ``heights``, ``slips`` …) is copied as it is: numbers in millimetres and degrees.
    parameters : everything that made this body, and the seed
    """

    tissue: np.ndarray
    density: np.ndarray
    truth: Segmentation
    geometry: Geometry
    measurements: dict
    parameters: dict
