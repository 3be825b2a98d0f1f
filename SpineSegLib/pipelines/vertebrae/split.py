"""One mask of a whole spine becomes one segment a vertebra."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Reorientation, Segment, Segmentation, resample
from SpineSegLib.pipelines.levels import DOUBTFUL, gap_notes, numbered, numbered_if_room, probable_gaps, structures_at
from SpineSegLib.pipelines.vertebrae.arches import partings
from SpineSegLib.pipelines.vertebrae.assign import assigned
from SpineSegLib.pipelines.vertebrae.axis import Axis, axis_of
from SpineSegLib.pipelines.vertebrae.cuts import Cut, filling, find_cuts, tilted
from SpineSegLib.pipelines.vertebrae.ends import cut_off, without_fragments
from SpineSegLib.pipelines.vertebrae.plates import LEAST, emptier, rises, usual

STEP = 1.0
"""Grid on which the work is done, mm: joints are about that wide."""

CLEAN = 0.25
"""Plates are asked where to cut only where the mask fills more of the disc than this share."""

NEAR = 15
"""mm along the axis within which a clean disc makes plates needless."""

BETWEEN = (-100, 600)
"""HU of the darkest tissue and of the brightest bone that count."""

ABOVE = 2
"""How many vertebrae may have their arches in view above the first whose body is: processes slope down."""

FILLED = 0.5
"""A cut is doubtful where the mask fills more of the disc than this share."""

UNLIKE = 1.4
"""A vertebra is doubtful that is so many times higher or lower than its neighbours."""

LARGE = 2.0
"""A vertebra is doubtful that is so many times as large as the next ones that are wholly in view."""

BROAD = 1.5
"""The last one is the sacrum where its section is so many times that of the vertebra above it."""


@dataclass(frozen=True, eq=False)
class Split:
    """Vertebrae of a spine.

    Parameters
    ----------
    segmentation : on the mask's grid, from the head down; every voxel of the mask belongs to one
    notes : what the user should know, a sentence each
    """

    segmentation: Segmentation
    notes: tuple[str, ...]


def split_into_vertebrae(
    mask: np.ndarray, geometry: Geometry, *, top_level: str | None = None, hu: np.ndarray | None = None
) -> Split:
    """Split the mask of a spine into vertebrae.

    Parameters
    ----------
    mask : boolean k, j, i, on any grid with a spacing
    geometry : its grid
    top_level : level of the uppermost vertebra; without it they are counted from the top
    hu : the CT on the same grid, whose bright endplates show discs that the mask fills; None where there is none

    Raises
    ------
    InputError : `top_level` is no level
    """
    if not mask.any():
        return Split(_segmentation(np.zeros(geometry.shape, np.uint8), [], geometry), ("There is no spine to divide.",))
    turn = Reorientation.of(geometry)
    upright = turn.apply(mask)
    box = _with_margin(ndimage.find_objects(upright.astype(np.uint8))[0], upright.shape)
    here = turn.geometry(geometry).cropped([part.start for part in box], [part.stop for part in box])
    grid = here.with_step(STEP)
    inside = resample(upright[box].astype(np.float32), here, grid, fill=0.0) > 0.5
    # Specks smaller than the grid are one vertebra.
    inside = inside if inside.any() else np.ones_like(inside)
    axis = axis_of(inside, STEP)
    bright = None if hu is None else _bright(turn.apply(hu)[box], here, grid)
    cuts = _cuts(inside, axis, bright) if axis else []
    numbers, cuts, sacrum = _numbers(inside, axis, cuts) if cuts else (inside.astype(int), [], False)
    edge = _at_edge(inside.shape, box, upright.shape)
    numbers, cuts = without_fragments(numbers, cuts, edge) if cuts else (numbers, cuts)
    labels = np.zeros(upright.shape, np.uint8)
    # The grid may end a little within the image's, hence the margin.
    around = grid.cropped([-2, -2, -2], np.array(grid.shape) + 2)
    numbers_here = resample(np.pad(_spread(numbers), 2, mode="edge").astype(np.uint8), around, here, order=0)
    labels[box] = np.where(upright[box], numbers_here, 0)
    count = int(numbers.max())
    ends = cut_off(numbers, edge, count - sacrum)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    doubts = _too_large(sizes, [n for n in range(count - sacrum) if n not in ends]) | _doubts(count, cuts, sacrum)
    doubts |= {n: f"the image's edge cuts it off, {size / 1000:.1f} ml are in view" for n, size in ends.items()}
    levels, open_notes = _levels(count - sacrum, top_level)
    described = structures_at(levels)
    if sacrum:
        described.append((Structure("sacrum"), "sacrum", Structure("sacrum").colour))
    names = [f"{name} ({DOUBTFUL})" if n in doubts else name for n, (_, name, _) in enumerate(described)]
    centres = np.array(ndimage.center_of_mass(numbers > 0, numbers, range(1, count + 1)))
    notes = [f"{described[n][1]} is {DOUBTFUL}: {why}." for n, why in sorted(doubts.items())]
    # The sacrum's middle lies far below, and a gap above it means nothing.
    whole = [n for n in range(count - sacrum) if n not in ends]
    notes += gap_notes([names[n] for n in whole], probable_gaps(centres[whole] * STEP))
    notes += open_notes
    if top_level is None:
        notes.append(_advice(count - sacrum, sacrum))
    elif 0 in ends and whole and not open_notes:
        notes += _began_with_a_tip(top_level, whole[0])
    segments = [(structure, name, colour) for (structure, _, colour), name in zip(described, names, strict=True)]
    return Split(_segmentation(np.ascontiguousarray(turn.undo(labels)), segments, geometry), tuple(notes))


def _with_margin(box: tuple[slice, ...], shape: tuple[int, ...], margin: int = 2) -> tuple[slice, ...]:
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, n)) for part, n in zip(box, shape, strict=True)
    )


def _at_edge(shape: tuple[int, ...], box: tuple[slice, ...], whole: tuple[int, ...]) -> np.ndarray:
    """Return where the grid of a box within the image, isotropic and of this shape, ends with the image."""
    edge = np.zeros(shape, bool)
    for axis, (part, n) in enumerate(zip(box, whole, strict=True)):
        ends = np.moveaxis(edge, axis, 0)
        # Two voxels: the grid may end a little within the image's.
        ends[:2] |= part.start == 0
        ends[-2:] |= part.stop == n
    return edge


def _bright(hu: np.ndarray, here: Geometry, grid: Geometry) -> np.ndarray:
    """Return values on the grid of the work, metal and air no more than the brightest bone and the darkest tissue."""
    return resample(np.clip(hu, *BETWEEN).astype(np.float32), here, grid, fill=BETWEEN[0])


def _cuts(mask: np.ndarray, axis: Axis, bright: np.ndarray | None) -> list[Cut]:
    voxels = np.nonzero(mask)
    places = axis.places(np.column_stack(voxels))
    radius = axis.radius_at(np.arange(int(np.ceil(axis.along[-1])) + 1))
    share = filling(places, 0.75 * radius, STEP**3)
    if bright is None:
        return [tilted(places, at, 0.75 * radius[at], STEP**3) for at in find_cuts(share, radius)]
    lights = bright[voxels]
    near = np.clip(np.rint(places[:, 0]).astype(int), 0, len(radius) - 1)
    inside = np.hypot(places[:, 1], places[:, 2]) < 0.75 * radius[near]
    rise = rises(near[inside], lights[inside], len(radius), LEAST * np.pi * (0.75 * radius) ** 2 / STEP**3)
    hill, cuts = usual(rise), []
    unclear = ndimage.minimum_filter1d(share, NEAR) > CLEAN
    for at in find_cuts(np.where(unclear, emptier(share, rise, hill), share), radius):
        cut = tilted(places, at, 0.75 * radius[at], STEP**3)
        if cut.filled > CLEAN:
            cut = tilted(places, at, 0.75 * radius[at], STEP**3, bright=lights, hill=float(hill[at]))
        cuts.append(cut)
    return cuts


def _numbers(mask: np.ndarray, axis: Axis, cuts: list[Cut]) -> tuple[np.ndarray, list[Cut], bool]:
    """Return numbers 1… from the top, the cuts between them, and whether the last one is the sacrum."""
    at = np.array([cut.at for cut in cuts])
    heights = np.gradient(at) if len(at) > 1 else 2 * axis.radius_at(at)
    heights = np.minimum(heights, 1.3 * np.median(heights))
    # Above the first cut the planes go on at the same distance: through C1 and C2, whose joint is no disc, and for
    # arches whose bodies are out of view.
    first, last = cuts[0], cuts[-1]
    cuts = [*(replace(first, at=first.at - n * heights[0], filled=0.0) for n in range(ABOVE, 0, -1)), *cuts]
    heights = np.concatenate([np.full(ABOVE, heights[0]), heights])
    voxels = np.nonzero(mask)
    places = axis.places(np.column_stack(voxels))
    radius = axis.radius_at(places[:, 0])

    def parts() -> np.ndarray:
        parted = partings(places, places[:, 1] - radius, np.array([cut.at for cut in cuts]), heights)
        return assigned(mask, voxels, places, radius, cuts, parted, STEP)

    numbers = parts()
    sacrum = _ends_in_sacrum(numbers[voxels], places[:, 0], last.at, heights[-1])
    if not sacrum and axis.along[-1] < last.at + 1.3 * heights[-1]:
        # Below the last body in view the arch of the next may be seen.
        cuts.append(replace(last, at=last.at + heights[-1], filled=0.0))
        heights = np.append(heights, heights[-1])
        numbers = parts()
    return numbers, cuts, sacrum


def _ends_in_sacrum(numbers: np.ndarray, along: np.ndarray, last: float, height: float) -> bool:
    """Tell whether what begins below the last cut is much broader than the vertebra above it.

    Parameters
    ----------
    numbers, along : (n,) number of each voxel and its mm along the axis
    last : mm along the axis of the last cut
    height : mm of the vertebra above it
    """
    end = numbers.max()
    if not (numbers == end - 1).any():
        return False
    below, above = along[numbers == end], along[numbers == end - 1]
    length = min(height, below.max() - last)
    section = np.count_nonzero(below < last + length) / max(length, 1.0)
    return bool(length > 0.3 * height and section > BROAD * len(above) / height)


def _doubts(count: int, cuts: list[Cut], sacrum: bool) -> dict[int, str]:
    """Return why vertebrae, by number from 0, are doubtful."""
    if count < 2:
        return {0: "no disc was found, it may be several vertebrae in one"}
    doubts = {}
    heights = np.diff([cut.at for cut in cuts])
    for number, height in enumerate(heights, start=1):
        around = [heights[n] for n in (number - 2, number) if 0 <= n < len(heights)]
        ratio = height / np.mean(around) if around else 1.0
        if not 1 / UNLIKE < ratio < UNLIKE:
            doubts[number] = f"it is {ratio:.1f} times as high as its neighbours"
    for number, cut in enumerate(cuts):
        if cut.filled > FILLED:
            for near in (number, number + 1):
                if not (sacrum and near == count - 1):
                    doubts[near] = f"{100 * cut.filled:.0f} % of a disc beside it is filled"
    return doubts


def _too_large(sizes: np.ndarray, whole: list[int]) -> dict[int, str]:
    """Return why vertebrae are doubtful that are probably several in one: at the ends no height tells it.

    Parameters
    ----------
    sizes : of all vertebrae, in any unit
    whole : numbers from 0 of those that are wholly in view, from the head down
    """
    doubts = {}
    for place, number in enumerate(whole):
        around = [sizes[whole[near]] for near in (place - 1, place + 1) if 0 <= near < len(whole)]
        if around and sizes[number] > LARGE * max(around):
            ratio = sizes[number] / max(around)
            doubts[number] = f"it is {ratio:.1f} times as large as those beside it, it may be several vertebrae in one"
    return doubts


def _began_with_a_tip(top_level: str, tips: int) -> list[str]:
    """Return a warning: who names a vertebra from the picture means one whose body is seen."""
    try:
        higher = numbered(tips + 1, at=tips, level=top_level)[0]
    except InputError:  # there is none so far above
        return []
    few = (
        f"{tips} of which the image's edge leaves little" if tips > 1 else "one of which the image's edge leaves little"
    )
    which = f"{top_level} is the uppermost of them" if tips > 1 else f"{top_level} is that one"
    return [f"Counting begins with {few}: {which}. To name the first that is well in view so: --top-level {higher}."]


def _levels(count: int, top_level: str | None) -> tuple[list[str | None], list[str]]:
    return ([None] * count, []) if top_level is None else numbered_if_room(count, top_level)


def _advice(count: int, sacrum: bool) -> str:
    if sacrum and count < 24:
        top = numbered(count, at=count - 1, level="L5")[0]
        return f"No level is known. If the vertebra above the sacrum is L5, add --top-level {top}."
    return "No level is known: vertebrae are counted from the top. Name the uppermost with --top-level LEVEL."


def _spread(numbers: np.ndarray) -> np.ndarray:
    """Return numbers that go on beyond the mask, each to where another is nearer: for voxels of another grid."""
    nearest = ndimage.distance_transform_edt(numbers == 0, return_distances=False, return_indices=True)
    return numbers[tuple(nearest)]


def _segmentation(labels: np.ndarray, described: list, geometry: Geometry) -> Segmentation:
    segments = [
        Segment(structure, 0, label, name, colour) for label, (structure, name, colour) in enumerate(described, start=1)
    ]
    return Segmentation((labels,), tuple(segments), geometry)
