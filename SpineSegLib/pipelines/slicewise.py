"""A volume through a 2D network, slice by slice, in one or more planes whose probabilities are averaged.

Fusing planes is the 2.5-dimensional reading of paper 003's tri-view idea (Attention LinkNet-152, Sci Rep 2025
15:13102).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage

from SpineSegLib.image import Image, Reorientation, Segmentation, resample
from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import PLANES, coarsened, scale_intensity, smoothed
from SpineSegLib.pipelines.masks import large_parts, near_column, with_bright_rim
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.progress import Progress


def slicewise(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    planes: Sequence[str] = ("axial",),
    neighbour: float = 3.0,
    threshold: float = 0.5,
    keep_fraction: float = 0.0,
    column: float | None = None,
    every: int = 1,
    rim: Mapping[str, float] | None = None,
    batch: int = 8,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment a volume.

    Parameters
    ----------
    planes : some of ``"axial"``, ``"sagittal"``, ``"coronal"``
    neighbour : mm between the slices that make up a network's channels
    threshold : mean probability above which a voxel belongs to the structure
    keep_fraction : see `large_parts`
    column : see `slabs`
    rim : ``reach`` (mm) and ``above`` (of the image's own values) of `with_bright_rim`; None leaves masks as found
    every : only each so-many-th slice goes through the network, those between are interpolated; the planes, being
        averaged, fill in for one another
    batch : slices at a time
    keep_probability : whether segments carry their probabilities, which are 0 where parts were dropped
    """
    step = float(card.input["spacing"])
    turn = Reorientation.of(image.geometry)
    turned = turn.geometry(image.geometry)
    grid = turned.with_step(step)
    report(0, 1, "resampling the volume")
    volume = coarsened(turn.apply(image.array), turned.step, step)
    volume = smoothed(resample(volume, turned, grid, fill=float(volume.min())), card.input["intensity"])
    volume = scale_intensity(volume, card.input["intensity"])
    box = _patient(volume)
    probability = np.zeros((len(card.structures), *volume.shape), np.float32)
    offset = max(1, round(neighbour / step))
    numbers = {plane: _every(volume[box].shape[PLANES[plane][0]], every) for plane in planes}
    total = sum(-(-len(each) // batch) for each in numbers.values())
    done = 0
    for plane, index in numbers.items():
        parts = []
        for part in _through(volume[box], plane, index, run, int(card.input["channels"]), offset, batch):
            parts.append(part)
            done += 1
            report(done, total + 1, f"{plane} slices")
        view = probability[(slice(None), *box)].transpose(0, *(1 + axis for axis in PLANES[plane]))
        _add_between(view, index, np.concatenate(parts).swapaxes(0, 1) / len(planes))
    masks, probabilities = {}, {}
    for structure, each in zip(card.structures, probability, strict=True):
        kept = each > threshold
        kept = large_parts(kept if column is None else near_column(kept, grid.step, column), keep_fraction)
        # What was dropped must not come back between voxels; a margin keeps the slopes of what stays.
        each[~ndimage.binary_dilation(kept, iterations=2)] = 0
        found = turn.undo(resample(each, grid, turned, fill=0.0))
        masks[structure] = found > threshold
        if rim is not None:
            masks[structure] = with_bright_rim(masks[structure], image.array, image.geometry.step, **rim)
        if keep_probability:
            probabilities[structure] = found
    report(total + 1, total + 1, "done")
    return Segmentation.from_masks(masks, image.geometry, probabilities)


def _patient(volume: np.ndarray, *, air: float = 0.05) -> tuple[slice, ...]:
    """Return the box around everything brighter than air, the whole volume when there is nothing."""
    inside = volume > air
    if not inside.any():
        return tuple(slice(0, n) for n in volume.shape)
    spans = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)


def _every(count: int, every: int) -> np.ndarray:
    """Return each so-many-th slice number, the last one always among them."""
    return np.unique(np.append(np.arange(0, count, every), count - 1))


def _add_between(target: np.ndarray, index: np.ndarray, found: np.ndarray) -> None:
    """Add slices `found` (classes, slices, rows, columns) at `index`, and linear mixtures of them in between."""
    for number in range(len(index) - 1):
        first, last = index[number], index[number + 1]
        for each in range(first, last):
            share = (each - first) / (last - first)
            target[:, each] += (1 - share) * found[:, number] + share * found[:, number + 1]
    target[:, index[-1]] += found[:, -1]


def _through(volume: np.ndarray, plane: str, index: np.ndarray, run: Runner, channels: int, offset: int, batch: int):
    """Yield the probabilities (slices, classes, rows, columns) of slices `index`, a batch at a time."""
    turned = volume.transpose(PLANES[plane])
    upright = plane != "axial"
    stride = run.network.stride
    rows, columns = turned.shape[1:]
    pad = (0, -columns % stride, 0, -rows % stride)
    near = (np.arange(channels) - channels // 2) * offset
    for start in range(0, len(index), batch):
        some = index[start : start + batch]
        stack = turned[np.clip(some[:, None] + near, 0, len(turned) - 1)]
        stack = stack[:, :, ::-1] if upright else stack
        pictures = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(stack)), pad)
        found = run(pictures)[:, :, :rows, :columns].numpy()
        yield found[:, :, ::-1] if upright else found
