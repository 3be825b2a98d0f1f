"""A volume through a network that takes volumes: a coarse first look, then slab by slab where the spine is.

For paper 003 (Attention LinkNet-152, Sci Rep 2025 15:13102): reoriented to head, back and left, resampled, smoothed,
clamped. Memory beyond the volume's own does not grow with its length: the network sees one slab at a time, and volumes
are resampled a few slices at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from SpineSegLib.image import Geometry, Image, Reorientation, Segmentation, resample
from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import coarsened, scale_intensity, smoothed
from SpineSegLib.pipelines.edges import WIDTH, margins, sharpened
from SpineSegLib.pipelines.masks import large_parts, near_column, with_bright_rim
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.tiles import Box, boxes, through
from SpineSegLib.progress import Progress

AT_ONCE = 4_000_000
"""Voxels that are resampled at a time."""
AIR = 0.05
"""Scaled value up to which a tile holds nothing that is worth a look."""
MARGIN = 12.0
"""mm around what the first look found that the second one sees."""


def slabs(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    size: Sequence[int],
    overlap: float = 0.25,
    look: float | None = None,
    suspected: float = 0.1,
    threshold: float = 0.5,
    keep_fraction: float = 0.0,
    column: float | None = None,
    rim: Mapping[str, float] | None = None,
    edge: Mapping[str, object] | None = None,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment a volume.

    Parameters
    ----------
    size : voxels of a slab along head, back and left, multiples of the network's stride; as in training, since the
        network's attention is to means over the slab
    overlap : share of a slab that its neighbour sees too
    look : mm; grid of a first look at the whole volume that says where slabs are worth a second; where it finds
        nothing, as in crops of a vertebra, and where it is None, all of the volume is looked at
    suspected : probability of the first look from which on there may be spine
    threshold : probability above which a voxel belongs to the structure
    keep_fraction : see `large_parts`
    column : mm from the spine's axis beyond which nothing is kept, see `near_column`; None keeps all
    rim : see `slicewise`
    edge : arguments of `sharpened`, which draws edges at the volume's own voxels; None leaves them to the network
    keep_probability : whether segments carry their probabilities, which are 0 where parts were dropped
    """
    how, step, classes = card.input["intensity"], float(card.input["spacing"]), len(card.structures)
    turn = Reorientation.of(image.geometry)
    turned = turn.geometry(image.geometry)
    grid = turned.with_step(step)
    report(0, 1, "resampling the volume")
    native = turn.apply(image.array)
    volume = _coarser(native, turned, grid)
    volume = scale_intensity(smoothed(volume, how), how)
    counter = _Counter(report)
    place = tuple(slice(0, n) for n in volume.shape)
    suspects = None
    if look is not None:
        there = turned.with_step(float(look))
        coarse = resample(coarsened(volume, grid.step, float(look)), grid, there, fill=0.0)
        first = _seen(coarse, size, overlap, run, classes, counter, "first look").max(axis=0) > suspected
        if first.any():
            suspects = ndimage.binary_dilation(first, iterations=max(1, round(MARGIN / float(look))))
            place = _scaled(ndimage.find_objects(suspects.astype(np.uint8))[0], float(look) / step, volume.shape)

    def wanted(box: Box) -> bool:
        if suspects is None:
            return True
        whole = tuple(slice(b.start + p.start, b.stop + p.start) for b, p in zip(box, place, strict=True))
        return bool(suspects[_scaled(whole, step / float(look), suspects.shape)].any())

    probability = np.zeros((classes, *volume.shape), np.float32)
    probability[(slice(None), *place)] = _seen(volume[place], size, overlap, run, classes, counter, "slabs", wanted)
    del volume
    counter.say("bringing the result to the volume's grid")
    masks, probabilities = {}, {}
    for structure, each in zip(card.structures, probability, strict=True):
        kept = each > threshold
        kept = large_parts(kept if column is None else near_column(kept, grid.step, column), keep_fraction)
        # What was dropped must not come back between voxels; a margin keeps the slopes of what stays.
        each[~ndimage.binary_dilation(kept, iterations=2)] = 0
        mask, found = _back(each, grid, turned, threshold, keep_probability, None if edge is None else native, edge)
        masks[structure] = turn.undo(mask)
        if rim is not None:
            masks[structure] = with_bright_rim(masks[structure], image.array, image.geometry.step, **rim)
        if found is not None:
            probabilities[structure] = turn.undo(found)
    counter.done()
    return Segmentation.from_masks(masks, image.geometry, probabilities)


class _Counter:
    """Counts slabs for a progress; how many there will be is known only after the first look."""

    def __init__(self, report: Progress):
        self.report, self.step, self.of, self.what = report, 0, 1, ""

    def expect(self, more: int, what: str) -> None:
        self.of, self.what = self.of + more, what

    def next(self) -> None:
        self.step += 1
        self.report(self.step, self.of, self.what)

    def say(self, what: str) -> None:
        self.report(self.step, self.of, what)

    def done(self) -> None:
        self.report(self.of, self.of, "done")


def _seen(
    volume: np.ndarray,
    size: Sequence[int],
    overlap: float,
    run: Runner,
    classes: int,
    counter: _Counter,
    what: str,
    wanted: Callable[[Box], bool] = lambda _box: True,
) -> np.ndarray:
    """Return probabilities (classes, k, j, i) of a volume in 0…1, 0 in tiles of air and in those not wanted."""
    tiles = [box for box in boxes(volume.shape, size, overlap) if volume[box].max() > AIR and wanted(box)]
    counter.expect(len(tiles), what)
    return through(volume, tiles, size, run, classes, counter.next)


def _scaled(box: Box, factor: float, shape: Sequence[int]) -> Box:
    """Return the smallest box of another grid over the same place that holds a box."""
    return tuple(
        slice(max(0, min(n - 1, int(part.start * factor))), min(n, int(np.ceil(part.stop * factor))))
        for part, n in zip(box, shape, strict=True)
    )


def _coarser(array: np.ndarray, source: Geometry, target: Geometry) -> np.ndarray:
    """Return a k, j, i array as float32 on a grid with the same axes, without aliasing, some slices at a time."""
    out = np.empty(target.shape, np.float32)
    ratio, fill = float(target.step[0] / source.step[0]), float(array.min())
    margin = int(np.ceil(1.25 * ratio)) + 3
    count = max(1, int(AT_ONCE / (source.shape[1] * source.shape[2] * ratio)))
    for start in range(0, len(out), count):
        stop = min(start + count, len(out))
        low = min(max(0, int(start * ratio) - margin), len(array) - 1)
        high = min(len(array), int(np.ceil(stop * ratio)) + margin)
        part = coarsened(array[low:high], source.step, float(target.step[0]))
        here = source.cropped((low, 0, 0), (high, *source.shape[1:]))
        there = target.cropped((start, 0, 0), (stop, *target.shape[1:]))
        out[start:stop] = resample(part, here, there, fill=fill)
    return out


def _back(
    probability: np.ndarray,
    source: Geometry,
    target: Geometry,
    threshold: float,
    keep: bool,
    values: np.ndarray | None = None,
    edge: Mapping[str, object] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the mask on the volume's grid, some slices at a time, and the probabilities where they are to be kept.

    With values, edges are where these have theirs.
    """
    mask = np.zeros(target.shape, bool)
    kept = np.zeros(target.shape, np.float32) if keep else None
    count = max(1, AT_ONCE // (target.shape[1] * target.shape[2]))
    margin = 0 if values is None else margins(target.step, edge.get("width", WIDTH))[0]
    for start in range(0, len(mask), count):
        stop = min(start + count, len(mask))
        low, high = max(0, start - margin), min(len(mask), stop + margin)
        there = target.cropped((low, 0, 0), (high, *target.shape[1:]))
        found = resample(probability, source, there, fill=0.0)
        if values is not None:
            found = sharpened(found, values[low:high], target.step, **edge)
        found = found[start - low : stop - low]
        mask[start:stop] = found > threshold
        if kept is not None:
            kept[start:stop] = found
    return mask, kept
