"""The exact shadow of each labelled structure on a detector; structures overlap in projection."""

from __future__ import annotations

import numpy as np

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.phantom.imaging.rays import Rays

FINENESS = 0.7
"""Sampling on the plane in pixels, so that turning it onto the detector moves an outline by a third of a pixel."""

THIN = 1.0
"""Below this distance of slices in mm a ray has to meet a structure twice: the outermost voxels of many slices would
otherwise add up to an outline half a voxel too wide."""


def shadows(rays: Rays, segmentation: Segmentation) -> list[tuple[Structure, np.ndarray]]:
    """Return which structures each ray meets.

    Parameters
    ----------
    rays : through the grid of the segmentation

    Returns
    -------
    list of (structure, bool (rows, columns)) in the order of the segments, without those that no ray meets
    """
    found = []
    for start in range(0, len(segmentation.segments), 64):
        segments = segmentation.segments[start : start + 64]
        bits = _met(rays, segmentation, segments)
        for number, segment in enumerate(segments):
            mask = (bits >> bits.dtype.type(number) & bits.dtype.type(1)).astype(bool)
            if mask.any():
                found.append((segment.structure, mask))
    return found


def _met(rays: Rays, segmentation: Segmentation, segments: tuple[Segment, ...]) -> np.ndarray:
    """Return for each pixel the bits of the segments that its ray meets."""
    dtype = next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if np.iinfo(kind).bits >= len(segments))
    layers, tables = [], []
    for number, layer in enumerate(segmentation.layers):
        bits = {segment.label: bit for bit, segment in enumerate(segments) if segment.layer == number}
        if bits:
            layers.append(layer)
            tables.append(bit_table(layer, bits, dtype))
    return met(rays, layers, tables)


def bit_table(layer: np.ndarray, bits: dict[int, int], dtype: type) -> np.ndarray:
    """Return for each value of a label array the number in which the bit of that label is set."""
    largest = max([int(layer.max(initial=0)), *bits])
    table = np.zeros(largest + 1, dtype)
    for label, bit in bits.items():
        table[label] = dtype(1) << dtype(bit)
    return table


def met(rays: Rays, layers: list[np.ndarray], tables: list[np.ndarray]) -> np.ndarray:
    """Return for each pixel which bits its ray meets, (rows, columns) of the tables' unsigned type.

    Parameters
    ----------
    layers : k, j, i label arrays
    tables : for each of them, label -> bits
    """
    dtype = tables[0].dtype
    box = _bounding_box(layers)
    if box is None:
        return np.zeros(rays.view.size, dtype)
    inside = tuple(slice(low, high + 1) for low, high in box)
    # A crop with the rays' axis first lies in memory as it is read: slice by slice.
    crops = [np.ascontiguousarray(np.moveaxis(layer[inside], rays.axis, 0)) for layer in layers]
    first, second = rays.lattice(tuple(rays.pixel_pitch() * FINENESS), box)
    once = np.zeros((len(first), len(second)), dtype)
    twice = once if rays.geometry.step[rays.axis] > THIN else np.zeros_like(once)
    for number in range(len(crops[0])):
        scale = rays.scale(number + box[rays.axis][0])
        _add_nearest(once, twice, [crop[number] for crop in crops], tables, _places(rays, box, first, second, scale))
    index = [
        np.rint((on - samples[0]) / (samples[1] - samples[0])).astype(np.intp)
        for on, samples in zip(rays.on_plane, (first, second), strict=True)
    ]
    valid = (index[0] >= 0) & (index[0] < len(first)) & (index[1] >= 0) & (index[1] < len(second))
    out = np.zeros(rays.view.size, dtype)
    out[valid] = twice[index[0][valid], index[1][valid]]
    return out


def _bounding_box(layers: list[np.ndarray]) -> np.ndarray | None:
    """Return (3, 2) first and last index where any layer is not background."""
    low, high = [], []
    for layer in layers:
        flat = layer.max(axis=2)
        if not flat.any():
            continue
        rows, columns = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
        across = layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        along = np.flatnonzero(across.reshape(-1, layer.shape[2]).max(axis=0))
        low.append((rows[0], columns[0], along[0]))
        high.append((rows[-1], columns[-1], along[-1]))
    return np.stack([np.min(low, axis=0), np.max(high, axis=0)], axis=1) if low else None


def _places(
    rays: Rays, box: np.ndarray, first: np.ndarray, second: np.ndarray, scale: float
) -> list[tuple[slice, np.ndarray]]:
    """Return along both axes which samples fall into the crop on a slice, and into which of its voxels."""
    places = []
    for axis, samples in zip(rays.across, (first, second), strict=True):
        index = rays.source[axis] + (samples - rays.source[axis]) * scale - box[axis][0]
        index = np.floor(index + 0.5).astype(np.intp)
        inside = np.flatnonzero((index >= 0) & (index <= box[axis][1] - box[axis][0]))
        part = slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0)
        places.append((part, index[part]))
    return places


def _add_nearest(
    once: np.ndarray, twice: np.ndarray, slices: list[np.ndarray], tables: list[np.ndarray], places: list
) -> None:
    """Record a slice's structures: in `twice` what had been met before, in `once` what is met."""
    (rows, row_index), (columns, column_index) = places
    bits = tables[0][slices[0]]
    for plane, table in zip(slices[1:], tables[1:], strict=True):
        bits |= table[plane]
    filled = np.flatnonzero(bits.any(1)[row_index])
    if not len(filled):
        return
    rows = slice(rows.start + filled[0], rows.start + filled[-1] + 1)
    row_index = row_index[filled[0] : filled[-1] + 1]
    samples = bits[row_index].take(column_index, axis=1)
    seen = once[rows, columns]
    if twice is not once:
        twice[rows, columns] |= seen & samples
    seen |= samples
