"""Where a spine is cut into vertebrae: the discs, seen as valleys of what the bodies fill along the axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SpineSegLib.pipelines.vertebrae.plates import BODY, LEAST, emptier, middle, rises

HEIGHTS = np.arange(10, 49)
"""Heights of a vertebra with its disc that are thought of, mm."""

REACH = 5
"""How far from its first place the plane of a cut may lie, mm."""


@dataclass(frozen=True)
class Cut:
    """A plane between two vertebrae: along = at + back * (mm to the back) + left * (mm to the left).

    Parameters
    ----------
    at : mm along the axis
    back, left : slopes
    filled : share of the body's section that the mask fills there, 0 in a clean disc; less where plates show one
    """

    at: float
    back: float
    left: float
    filled: float


def filling(places: np.ndarray, radius: np.ndarray, voxel: float) -> np.ndarray:
    """Return, for each mm along the axis, the share 0…1 of the body's section that the mask fills.

    Parameters
    ----------
    places : (n, 3) of the mask's voxels, see `Axis.places`
    radius : (n,) mm of the section to be looked at, by mm along the axis
    voxel : mm³ of one
    """
    bins = len(radius)
    near = np.clip(np.rint(places[:, 0]).astype(int), 0, bins - 1)
    inside = np.hypot(places[:, 1], places[:, 2]) < radius[near]
    volume = np.bincount(near[inside], minlength=bins) * voxel
    share = volume / (np.pi * radius**2)
    return np.clip(ndimage.gaussian_filter1d(share, 1.0, mode="nearest"), 0, 1.2)


def find_cuts(
    share: np.ndarray,
    radius: np.ndarray,
    *,
    worth: float = 0.6,
    regular: float = 1.5,
    shape: float = 0.3,
) -> list[int]:
    """Return where to cut, mm along the axis, by dynamic programming over all sequences of cuts.

    Parameters
    ----------
    share : see `filling`
    radius : mm of the body, by mm along the axis
    worth : a cut pays where less than this share is filled
    regular : weight of the squared logarithm of one height over the next; 1.5 makes one cut through solid bone cheaper
        than a vertebra of twice its neighbours' height, and a cut in a slight hollow dearer than leaving it
    shape : weight of the squared logarithm of height over body width, which are about alike
    """
    count, heights = len(share), HEIGHTS
    bone = np.flatnonzero(share > worth)
    if not len(bone):
        return []
    # What is empty beyond the bodies is no disc.
    share = share.copy()
    share[: bone[0]], share[bone[-1] + 1 :] = 1.0, 1.0
    change = regular * np.log(heights[:, None] / heights[None]) ** 2
    first = share - worth
    best = np.full((count, len(heights)), np.inf)
    origin = np.zeros((count, len(heights)), int)
    for at in range(count):
        usable = heights <= at
        before = at - heights[usable]
        if not len(before):
            continue
        # Either the cut before was the first one, or one with a height of its own above it.
        chained = best[before] + change[usable]
        came = chained.argmin(axis=1)
        cost = np.minimum(first[before], chained[np.arange(len(before)), came])
        came = np.where(first[before] <= cost, -1, came)
        middle = (before + at) // 2
        likely = shape * np.log(heights[usable] / (2 * radius[middle])) ** 2
        best[at, usable] = cost + share[at] - worth + likely
        origin[at, usable] = came
    ends = np.unravel_index(best.argmin(), best.shape)
    if not len(first) or min(best[ends], first.min()) >= 0:
        return []
    if first.min() <= best[ends]:
        return [int(first.argmin())]
    cuts, (at, height) = [], (int(ends[0]), int(ends[1]))
    while True:
        cuts.append(at)
        came = origin[at, height]
        at -= int(heights[height])
        if came < 0:
            return [*reversed([*cuts, at])]
        height = int(came)


def tilted(
    places: np.ndarray,
    at: float,
    radius: float,
    voxel: float,
    *,
    bright: np.ndarray | None = None,
    hill: float = 1.0,
    steepest: float = 0.5,
) -> Cut:
    """Return the plane near `at` that the mask fills least, among tilts up to `steepest` (27 degrees).

    Parameters
    ----------
    places : (n, 3) mm of the mask's voxels
    at : mm along the axis
    radius : mm of the section to be looked at
    voxel : mm³ of one
    bright : (n,) HU of the voxels: planes between bright plates count as emptier; None where there are no values
    hill : see `plates.usual`
    """
    margin = REACH + (2 if bright is None else int(2 * BODY))
    some = (np.hypot(places[:, 1], places[:, 2]) < radius) & (
        np.abs(places[:, 0] - at) < margin + 1.5 * radius * steepest
    )
    near, lights = places[some], None if bright is None else bright[some]
    slopes = np.linspace(-steepest, steepest, 9)
    offsets = np.arange(-margin, margin + 1)
    section = np.pi * radius**2
    found = None
    for back in slopes:
        for left in slopes:
            along = np.rint(near[:, 0] - at - back * near[:, 1] - left * near[:, 2]).astype(int)
            within = np.abs(along) <= margin
            along = along[within] + margin
            share = np.bincount(along, minlength=len(offsets)) * voxel / section
            share = ndimage.gaussian_filter1d(share, 0.7, mode="nearest")
            if lights is not None:
                rise = rises(along, lights[within], len(offsets), LEAST * section / voxel)
                share = emptier(share, rise, hill, most=2.0)
            # Upright and in place unless something speaks against it.
            cost = share + 0.1 * (back**2 + left**2) + 0.002 * np.abs(offsets)
            cost[np.abs(offsets) > REACH] = np.inf
            number = int(cost.argmin())
            if found is None or cost[number] < found[0]:
                place = float(number) if lights is None else middle(rise, number)
                found = (cost[number], Cut(at + place - margin, back, left, float(min(share[number], 1.0))))
    return found[1]
