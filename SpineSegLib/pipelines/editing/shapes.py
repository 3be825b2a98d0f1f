"""Two vertebrae become one, one becomes two, one goes; voxels of all others stay where they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.errors import problem
from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.pipelines.editing.chain import (
    NEW,
    OPEN_KINDS,
    Vertebra,
    axis_at,
    find,
    kind_of,
    level_between,
    marked,
    renumbered,
    vertebrae_of,
)
from SpineSegLib.pipelines.levels import structures_at

ALONG = 0.2
"""A cut is refused whose normal has less than this share along the spine: it would part left from right."""


@dataclass(frozen=True, eq=False)
class Change:
    """What becomes of a segment.

    Parameters
    ----------
    segment : what it is now; its place is found anew
    mask : boolean k, j, i
    number : which segment it was; None of a new one
    after : number of the segment that a new one follows in the list; None puts it first
    """

    segment: Segment
    mask: np.ndarray
    number: int | None = None
    after: int | None = None


def merge(segmentation: Segmentation, which: str, other: str) -> Segmentation:
    """Make one vertebra of two neighbours; it keeps the name of the first, or of the one that has a level.

    Parts of the same kind become one segment, the others are named alike. The levels beyond stay as they are.

    Raises
    ------
    InputError : no such vertebra, or they are not neighbours
    """
    vertebrae = vertebrae_of(segmentation)
    first, second = (find(vertebrae, name, where="--merge") for name in (which, other))
    if abs(first - second) != 1:
        found = f"{vertebrae[first].name} and {vertebrae[second].name} are not neighbours"
        raise problem("--merge", found, "two vertebrae, one right above the other", "Choose two neighbours")
    if vertebrae[first].level is None and vertebrae[second].level is not None:
        first, second = second, first
    kept, gone = vertebrae[first], vertebrae[second]
    what = f"merged with {gone.name}"
    segments, changes, removed = segmentation.segments, [], set()
    by_kind = {kind_of(segments[number]): number for number in kept.members}
    for number in gone.members:
        kind, mask = kind_of(segments[number]), segmentation.mask(segments[number])
        if kind in by_kind:
            segment = segments[by_kind[kind]]
            whole = segmentation.mask(segment) | mask
            changes.append(Change(_reshaped(segment, what), whole, by_kind[kind]))
            removed.add(number)
        else:
            changes.append(Change(_described(segments[number], kind, kept.level, what), mask, number))
    return renumbered(rebuilt(segmentation, changes, removed))


def remove(segmentation: Segmentation, which: str) -> Segmentation:
    """Take a vertebra away, with all its parts; its neighbours' notes say so.

    Raises
    ------
    InputError : no such vertebra
    """
    vertebrae = vertebrae_of(segmentation)
    at = find(vertebrae, which, where="--remove")
    segments = list(segmentation.segments)
    for near, side in ((at - 1, "below"), (at + 1, "above")):
        if 0 <= near < len(vertebrae):
            for number in vertebrae[near].members:
                segments[number] = marked(segments[number], f"{vertebrae[at].name} {side} it removed")
    left = replace(segmentation, segments=tuple(segments))
    return renumbered(rebuilt(left, [], set(vertebrae[at].members)))


def split_at_line(segmentation: Segmentation, which: str, points: np.ndarray) -> Segmentation:
    """Cut a vertebra in two along a line.

    In a single slice the line is the cut. In a volume the cut is the plane through the line that lies as nearly as can
    be across the spine. The upper part keeps its level; the lower one gets the level between it and the next, if one is
    free, and else none.

    Parameters
    ----------
    which : see `chain.find`
    points : (2, 3) in the world (RAS), on the line

    Raises
    ------
    InputError : no such vertebra, the points are one, the line runs along the spine, or it misses the vertebra
    """
    vertebrae = vertebrae_of(segmentation)
    at = find(vertebrae, which, where="--split")
    points = np.asarray(points, dtype=float)
    name, along = vertebrae[at].name, points[1] - points[0]
    if np.linalg.norm(along) < 1e-6 * segmentation.geometry.step.min():
        raise problem(f"--split {name}", "both points are one", "two points on a line", "Give two points")
    along /= np.linalg.norm(along)
    axis = axis_at(vertebrae, at, segmentation)
    normal = _normal(segmentation, along, axis)
    if normal is None:
        found = "the line runs along the spine"
        raise problem(f"--split {name}", found, "a line across it", "Draw the line between the two vertebrae")
    voxels = np.nonzero(_union(segmentation, vertebrae[at]))
    above = (segmentation.geometry.to_world(np.stack(voxels, axis=1)) - points[0]) @ normal > 0
    upper = np.zeros(segmentation.geometry.shape, bool)
    upper[tuple(place[above] for place in voxels)] = True
    if above.all() or not above.any():
        side = "below" if above.all() else "above"
        found = f"the line lies {side} it"
        raise problem(f"--split {name}", found, "a line through the vertebra", "Draw the line through it")
    return _divided(segmentation, vertebrae, at, upper)


def split_at_seeds(segmentation: Segmentation, which: str, seeds: np.ndarray) -> Segmentation:
    """Part a vertebra by a watershed on the distance to its surface, from a point in each part.

    A point stands for the middle of the part that it lies in, unless that is one for several points.

    Parameters
    ----------
    which : see `chain.find`
    seeds : (n, 3) in the world (RAS), one in each part, in any order; two or more

    Raises
    ------
    InputError : no such vertebra, fewer than two points, one lies outside of it, or two lie in one voxel
    """
    vertebrae = vertebrae_of(segmentation)
    at = find(vertebrae, which, where="--split-seeds")
    name, union = vertebrae[at].name, _union(segmentation, vertebrae[at])
    seeds = np.asarray(seeds, dtype=float)
    places = np.rint(segmentation.geometry.to_index(seeds)).astype(int)
    inside = ((places >= 0) & (places < union.shape)).all(axis=1)
    if not all(ok and union[tuple(place)] for ok, place in zip(inside, places, strict=True)):
        raise problem(f"--split-seeds {name}", "a point lies outside of it", "a point in each part", "Move the point")
    if len(places) < 2 or len(np.unique(places, axis=0)) < len(places):
        found = "two points are one" if len(places) > 1 else "there is one point"
        raise problem(f"--split-seeds {name}", found, "a point in each part", "Give a point for each part")
    places = places[np.argsort(-(seeds @ axis_at(vertebrae, at, segmentation)), kind="stable")]
    parts = _watershed(union, places, segmentation.geometry.step)
    for number, place in enumerate(places[1:], start=1):
        # The rest has as many parts as there are points left, and its first one is named now.
        share = 1 / (len(places) - number + 1)
        segmentation = _divided(segmentation, vertebrae, at, parts == number, share)
        # What is left of it has the next point in it.
        vertebrae = vertebrae_of(segmentation)
        at = next(n for n, one in enumerate(vertebrae) if _union(segmentation, one)[tuple(place)])
    return segmentation


def _watershed(mask: np.ndarray, places: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return which place each voxel of a mask belongs to, counted from 1; 0 outside of the mask."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = mask[box]
    # A film has no surface in front and behind.
    around = [(int(count > 1),) * 2 for count in mask.shape]
    depth = ndimage.distance_transform_edt(np.pad(part, around), sampling=step)
    depth = depth[tuple(slice(before, before + n) for (before, _), n in zip(around, part.shape, strict=True))]
    # Ridges are jagged on a grid: on the way to the middle nothing is to stop a point.
    hills = ndimage.gaussian_filter(depth, 1.5)
    ways = [_uphill(hills, tuple(int(n - span.start) for n, span in zip(place, box, strict=True))) for place in places]
    summits = [way[-1] for way in ways]
    markers = np.zeros(part.shape, np.int32)
    for number, way in enumerate(ways, start=1):
        for place in way if summits.count(way[-1]) == 1 else way[:1]:
            markers[place] = number
    found = watershed(-depth, markers, mask=part)
    # A piece that touches none goes to the part that is nearest.
    nearest = ndimage.distance_transform_edt(found == 0, sampling=step, return_distances=False, return_indices=True)
    parts = np.zeros(mask.shape, np.int32)
    parts[box] = np.where(part, found[tuple(nearest)], 0)
    return parts


def _uphill(height: np.ndarray, start: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the steepest way from a voxel of an array to a summit, step by step to a neighbour."""
    way = [start]
    while True:
        low = [max(0, n - 1) for n in way[-1]]
        near = height[tuple(slice(a, n + 2) for a, n in zip(low, way[-1], strict=True))]
        if near.max() <= height[way[-1]]:
            return way
        way.append(tuple(int(a + n) for a, n in zip(low, np.unravel_index(near.argmax(), near.shape), strict=True)))


def add_mask(
    segmentation: Segmentation, mask: np.ndarray, *, kind: str = "vertebra", what: str = "added by hand"
) -> Segmentation:
    """Add a vertebra that was missed; it gets the level between its neighbours if one is free, and else none.

    Voxels of other vertebrae stay theirs.

    Parameters
    ----------
    mask : boolean k, j, i on the segmentation's grid
    kind : what it shows, such as ``"vertebra"``, ``"body"`` or ``"spinous process"``
    what : how it was made, for its notes

    Raises
    ------
    InputError : nothing was found, or more than half of it is another vertebra already
    """
    if not mask.any():
        raise problem("--add", "nothing was found there", "a vertebra", "Click in the middle of one")
    vertebrae = vertebrae_of(segmentation)
    free = mask.copy()
    for vertebra in vertebrae:
        rest = free & ~_union(segmentation, vertebra)
        if 2 * np.count_nonzero(rest) < np.count_nonzero(mask):
            found = f"it is {vertebra.name} already"
            raise problem("--add", found, "a vertebra that was missed", "Click on another one")
        free = rest
    draft = rebuilt(segmentation, [Change(_open(kind, segmentation), free, after=len(segmentation.segments) - 1)], ())
    chain, number = vertebrae_of(draft), len(draft.segments) - 1
    at = next(n for n, one in enumerate(chain) if number in one.members)
    above, below = (chain[at - 1] if at else None), (chain[at + 1] if at + 1 < len(chain) else None)
    level = _level_here(above, below, chain[at].centre)
    segment = _described(draft.segments[number], kind, level, what)
    after = max(above.members) if above else None
    return renumbered(rebuilt(segmentation, [Change(segment, free, after=after)], ()))


def _level_here(above: Vertebra | None, below: Vertebra | None, centre: np.ndarray) -> str | None:
    if any(one is not None and one.level is None for one in (above, below)):
        return None
    share = 0.5
    if above and below:
        to_above, to_below = (np.linalg.norm(one.centre - centre) for one in (above, below))
        share = to_above / (to_above + to_below)
    return level_between(above and above.level, below and below.level, share)


def rebuilt(segmentation: Segmentation, changes: Sequence[Change], removed: Collection[int]) -> Segmentation:
    """Return a segmentation after changes: voxels of what is not named in them keep their layer and label.

    A changed segment keeps its place where there is room, and goes to another layer where it would cover others.
    """
    layers, segments = list(segmentation.layers), dict(enumerate(segmentation.segments))
    for number in {*removed, *(change.number for change in changes if change.number is not None)}:
        old = segments[number]
        layers[old.layer] = np.where(layers[old.layer] == old.label, 0, layers[old.layer]).astype(
            layers[old.layer].dtype
        )
    places = {(one.layer, one.label) for number, one in segments.items() if number not in removed}
    listed = [(number, segment) for number, segment in segments.items() if number not in removed]
    for change in changes:
        place = (change.segment.layer, change.segment.label) if change.number is not None else None
        layer = next((n for n, values in enumerate(layers) if not values[change.mask].any()), len(layers))
        if place and not layers[place[0]][change.mask].any():
            layer, label = place
        else:
            if layer == len(layers):
                layers.append(np.zeros_like(layers[0]))
            # Voxels may have a label that belongs to no segment.
            used = [label for where, label in places if where == layer]
            label = 1 + max([*used, int(layers[layer].max())])
            places.add((layer, label))
        values = layers[layer]
        values = values.astype(np.min_scalar_type(label)) if label > np.iinfo(values.dtype).max else values.copy()
        values[change.mask] = label
        layers[layer] = values
        segment = replace(change.segment, layer=layer, label=label)
        if change.number is not None:
            listed[next(n for n, (old, _) in enumerate(listed) if old == change.number)] = (change.number, segment)
        else:
            at = max((n + 1 for n, (old, _) in enumerate(listed) if old is not None and old == change.after), default=0)
            listed.insert(at, (None, segment))
    return Segmentation(tuple(layers), tuple(segment for _, segment in listed), segmentation.geometry)


def _union(segmentation: Segmentation, vertebra: Vertebra) -> np.ndarray:
    return np.logical_or.reduce([segmentation.mask(segmentation.segments[number]) for number in vertebra.members])


def _normal(segmentation: Segmentation, along: np.ndarray, axis: np.ndarray) -> np.ndarray | None:
    """Return the unit normal, towards the head, of the cut through a line; None when the line runs along the spine."""
    if segmentation.geometry.is_2d:
        matrix = segmentation.geometry.ijk_to_ras
        normal = np.cross(np.cross(matrix[:3, 0], matrix[:3, 1]), along)
        normal *= np.sign(normal @ axis) or 1.0
    else:
        normal = axis - (axis @ along) * along
    length = np.linalg.norm(normal)
    if length < 1e-9 or (normal @ axis) / length < ALONG:
        return None
    return normal / length


def _divided(
    segmentation: Segmentation, vertebrae: Sequence[Vertebra], at: int, upper: np.ndarray, share: float = 0.5
) -> Segmentation:
    """Return it with a vertebra in two: `upper` and the rest, which lies at `share` of the way to the next one."""
    vertebra = vertebrae[at]
    below = vertebrae[at + 1] if at + 1 < len(vertebrae) else None
    known = vertebra.level and (below is None or below.level)
    level = level_between(vertebra.level, below and below.level, share) if known else None
    changes, last = [], max(vertebra.members)
    for number in vertebra.members:
        segment, kind = segmentation.segments[number], kind_of(segmentation.segments[number])
        mask = segmentation.mask(segment)
        top, bottom = mask & upper, mask & ~upper
        if not bottom.any():
            continue
        lower = _described(segment, kind, level, f"split from {vertebra.name}, the lower part")
        if level is None:
            lower = replace(lower, colour=_unused_colour(segmentation))
        if top.any():
            changes.append(Change(_reshaped(segment, "split, the upper part"), top, number))
        changes.append(Change(lower, bottom, None if top.any() else number, after=last))
    return renumbered(rebuilt(segmentation, changes, ()))


def _reshaped(segment: Segment, what: str) -> Segment:
    """Return a segment whose voxels were changed by hand: the model's numbers are no longer about it."""
    return marked(segment, what, probability=None, confidence=None)


def _described(segment: Segment, kind: str, level: str | None, what: str) -> Segment:
    """Return a segment of a kind and a level, or of none, with the name and colour that go with it."""
    if level is not None:
        structure = Structure(kind, level)
        return replace(_reshaped(segment, what), structure=structure, name=structure.name, colour=structure.colour)
    structure = Structure(OPEN_KINDS.get(kind, "vertebrae"))
    return replace(_reshaped(segment, what), structure=structure, name=NEW, colour=segment.colour)


def _open(kind: str, segmentation: Segmentation) -> Segment:
    """Return a new segment without a level, in a colour that no other has."""
    return Segment(Structure(OPEN_KINDS.get(kind, "vertebrae")), 0, 1, NEW, _unused_colour(segmentation))


def _unused_colour(segmentation: Segmentation) -> tuple[int, int, int]:
    used = {segment.colour for segment in segmentation.segments}
    colours = [colour for _, _, colour in structures_at([None] * len(LEVELS))]
    return next((colour for colour in colours if colour not in used), colours[0])
