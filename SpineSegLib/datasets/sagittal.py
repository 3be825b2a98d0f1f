"""Sagittal slices of a labelled volume as cases of their own, so that networks for pictures can use volumes.

YOLO-UNet (paper 2) works on mid-sagittal T2 slices; it does not say how the slice was chosen.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from SpineSegLib.datasets.cases import Case
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Image, Reorientation, Segmentation


def sagittal_cases(case: Case, slices: str | int) -> list[Case]:
    """Return cases of sagittal slices through the middle of a volume's spine; they are cut when they are loaded.

    Parameters
    ----------
    case : a volume
    slices : ``"mid"``, or how many: the middle one and its neighbours on both sides (one more on the left when even)

    Returns
    -------
    From right to left, named ``NAME_right1``, ``NAME_mid``, ``NAME_left1``; all of the same patient. A slice's rows
    run to the feet, its columns to the back, and each pixel keeps its place in the world.

    Raises
    ------
    InputError : `slices` is neither; on loading, the volume is narrower than that
    """
    if slices != "mid" and (isinstance(slices, bool) or not isinstance(slices, int) or slices < 1):
        raise problem("slices", repr(slices), '"mid" or a number from 1', "Correct the recipe")
    count = 1 if slices == "mid" else slices
    offsets = range(-((count - 1) // 2), count // 2 + 1)
    return [replace(case, name=_name(case.name, n), load=partial(_load, case, n), landmarks=None) for n in offsets]


def _name(name: str, offset: int) -> str:
    if offset == 0:
        return f"{name}_mid"
    return f"{name}_left{offset}" if offset > 0 else f"{name}_right{-offset}"


def _load(case: Case, offset: int) -> tuple[Image, Segmentation]:
    image, labels = case.load()
    turn = Reorientation.of(image.geometry)
    wide = turn.geometry(image.geometry).shape[2]
    middle = middle_slice(labels)
    if not 0 <= middle + offset < wide:
        found = f"slice {middle + offset} of {wide} sagittal slices"
        raise problem(case.name, found, f"{abs(offset)} slices beside the middle one", "Ask for fewer slices")
    return sagittal_slice(image, labels, middle + offset)


def middle_slice(labels: Segmentation) -> int:
    """Return which slice, counted from right to left, lies in the middle of the spine.

    It is the median place of the voxels of the spinal canal, which is in the midline in every vertebra, or of all
    labelled voxels where the canal is not labelled. An empty segmentation gives the middle of the volume.
    """
    canal = [labels.mask(segment) for segment in labels.segments if segment.structure.kind == "spinal canal"]
    mask = canal[0] if canal and canal[0].any() else labels.foreground
    turned = Reorientation.of(labels.geometry).apply(mask)
    counts = turned.sum(axis=(0, 1))
    if not counts.any():
        return turned.shape[2] // 2
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def sagittal_slice(image: Image, labels: Segmentation, place: int) -> tuple[Image, Segmentation]:
    """Cut a sagittal slice out of a volume and its labels.

    Parameters
    ----------
    place : number of the slice, counted from right to left along the volume's axis that is nearest to that direction

    Returns
    -------
    A single slice with rows to the feet and columns to the back; segments that are not in it are left out.
    """
    turn = Reorientation.of(image.geometry)
    turned = turn.geometry(image.geometry)
    head, back, _left = turned.shape
    matrix = np.eye(4)
    # Turned axes k, j, i run to the head, the back and the left; the slice's to the left, the feet and the back.
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (
        turned.ijk_to_ras[:3, 1],
        -turned.ijk_to_ras[:3, 2],
        turned.ijk_to_ras[:3, 0],
    )
    matrix[:3, 3] = turned.to_world([head - 1, 0, place])
    geometry = Geometry((1, head, back), matrix, turned.spacing_source)

    def cut(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(turn.apply(array)[::-1, :, place])[None]

    layers = tuple(cut(layer) for layer in labels.layers)
    segments = tuple(
        replace(one, probability=None if one.probability is None else cut(one.probability))
        for one in labels.segments
        if (layers[one.layer] == one.label).any()
    )
    return replace(image, array=cut(image.array), geometry=geometry), Segmentation(layers, segments, geometry)
