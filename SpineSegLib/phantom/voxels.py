"""Bones onto a grid: only where a bone is near, and only once a voxel.

Priority where neighbours overlap: of two vertebrae the lower one keeps the voxel (bones are labelled from the sacrum
upwards); bone before disc, disc before canal, canal before soft tissue; metal is put in last and replaces tissue but
takes no label. The bones of the surroundings leave the labels as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from SpineSegLib.image import Geometry
from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.shapes import box_corners, to_frame

BLOCK = 4
"""Voxels along each side of the blocks that are tried first."""


@dataclass
class Canvas:
    """The arrays of a body while it is being made.

    Parameters
    ----------
    geometry : the grid, its axes along R, A, S
    tissue, density : as in `Body`
    whole, part : label layers of vertebrae, sacrum, discs, canal; and of bodies, spinous processes, cord
    """

    geometry: Geometry
    tissue: np.ndarray
    density: np.ndarray
    whole: np.ndarray
    part: np.ndarray
    labels: dict = field(default_factory=dict)

    @classmethod
    def empty(cls, geometry: Geometry) -> Canvas:
        """Return a canvas full of air."""
        shape = geometry.shape
        return cls(
            geometry,
            np.zeros(shape, np.uint8),
            np.ones(shape, np.float16),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
        )

    def axes(self) -> list[np.ndarray]:
        """Return the x, y and z coordinates of the voxels' centres along i, j and k."""
        matrix = self.geometry.ijk_to_ras
        counts = self.geometry.shape[::-1]
        return [matrix[n, 3] + matrix[n, n] * np.arange(counts[n]) for n in range(3)]

    def window(self, bounds: np.ndarray) -> tuple[slice, slice, slice] | None:
        """Return the slices (k, j, i) of the voxels within a box in RAS, or None when it is off the grid."""
        slices = []
        for n in (2, 1, 0):
            start, step = self.geometry.ijk_to_ras[n, 3], self.geometry.ijk_to_ras[n, n]
            first = max(int(np.floor((bounds[0][n] - start) / step)), 0)
            last = min(int(np.ceil((bounds[1][n] - start) / step)) + 1, self.geometry.shape[2 - n])
            if last <= first:
                return None
            slices.append(slice(first, last))
        return tuple(slices)


@dataclass(frozen=True, eq=False)
class Near:
    """The voxels at or in a bone.

    Parameters
    ----------
    index : flat indices into the grid
    points : their centres in the bone's own frame (N, 3)
    distance : signed distance of the centres, mm
    spread : mm by which the distance changes from one side of the voxel to the other
    """

    index: np.ndarray
    points: np.ndarray
    distance: np.ndarray
    spread: np.ndarray

    def __getitem__(self, keep: np.ndarray) -> Near:
        """Return some of the voxels."""
        return Near(self.index[keep], self.points[keep], self.distance[keep], self.spread[keep])


def near(canvas: Canvas, distance, bounds: np.ndarray, frame: np.ndarray, *, rim: bool = True) -> Near:
    """Return the voxels whose centre is within a solid, and with `rim` also those that it fills in part.

    Parameters
    ----------
    distance : function of points (N, 3) in the own frame
    bounds : box round the bone in the own frame (2, 3)
    frame : 4x4 from the own frame to RAS
    """
    nothing = np.zeros(0, np.float32)
    empty = Near(np.zeros(0, np.int64), np.zeros((0, 3), np.float32), nothing, nothing)
    world = to_frame(frame, box_corners(bounds))
    window = canvas.window(np.stack([world.min(axis=0), world.max(axis=0)]))
    if window is None:
        return empty
    inverse = np.linalg.inv(frame)
    turn, shift = inverse[:3, :3].astype(np.float32), inverse[:3, 3].astype(np.float32)
    axes = canvas.axes()
    x, y, z = (axes[n][window[2 - n]].astype(np.float32) for n in range(3))
    cells = [np.abs(canvas.geometry.ijk_to_ras[n, n]) for n in range(3)]
    # Coarse axes need no blocks: one voxel is as thick as several of the others.
    blocks = [max(1, round(BLOCK * min(cells) / cell)) for cell in cells]
    starts = [np.arange(0, len(v), b) for v, b in zip((x, y, z), blocks, strict=True)]
    middles = [
        v[np.minimum(s, len(v) - 1)] + (b - 1) / 2 * c
        for v, s, b, c in zip((x, y, z), starts, blocks, cells, strict=True)
    ]
    grid = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    radius = 0.5 * np.linalg.norm([b * c for b, c in zip(blocks, cells, strict=True)])
    band = 0.5 * max(cells) if rim else 0.0
    # Distances of warped bones are stretched by up to a third.
    rough = distance(grid @ turn.T + shift)
    chosen = np.flatnonzero(rough < min(band, 0.5) + 1.35 * radius)
    if not len(chosen):
        return empty
    a, b, c = np.unravel_index(chosen, [len(s) for s in starts])
    offsets = np.stack(np.meshgrid(*[np.arange(n) for n in blocks], indexing="ij"), axis=-1).reshape(-1, 3)
    i = (starts[0][a][:, None] + offsets[None, :, 0]).ravel()
    j = (starts[1][b][:, None] + offsets[None, :, 1]).ravel()
    k = (starts[2][c][:, None] + offsets[None, :, 2]).ravel()
    inside = (i < len(x)) & (j < len(y)) & (k < len(z))
    i, j, k = i[inside], j[inside], k[inside]
    points = np.stack([x[i], y[j], z[k]], axis=1) @ turn.T + shift
    values = distance(points)
    width = np.full(len(values), min(cells), np.float32)
    if rim:
        _widen(distance, points, values, width, cells, turn)
    keep = np.flatnonzero(values < (0.5 * width if rim else 0.0))
    _, ny, nx = canvas.geometry.shape
    flat = ((k + window[0].start) * ny + j + window[1].start) * nx + i + window[2].start
    return Near(flat[keep], points[keep], values[keep], width[keep])


def _widen(distance, points, values, width, cells, turn) -> None:
    """Along a coarse axis a voxel reaches from within the bone to without: find by how much, near the surface only."""
    axis = int(np.argmax(cells))
    if cells[axis] < 1.5 * min(cells):
        return
    close = np.flatnonzero(np.abs(values) < 0.5 * cells[axis] + 1.5)
    ahead = distance(points[close] + np.float32(0.4) * turn[:, axis])
    slope = np.minimum(np.abs(ahead - values[close]) / 0.4, 1.0)
    width[close] = np.maximum(width[close], slope * cells[axis])


TRABECULAR_SHARE = 0.16
"""Mineral of nominal trabecular bone (190 HU above marrow's -10) against that of cortex (1250 HU)."""


class Texture:
    """Smooth random density, periodic, sampled by position; one a body.

    Parameters
    ----------
    rng : where it comes from
    length : mm over which it changes
    """

    SIDE = 48

    def __init__(self, rng: np.random.Generator, length: float):
        from scipy.ndimage import gaussian_filter

        noise = gaussian_filter(rng.standard_normal((self.SIDE,) * 3).astype(np.float32), 1.2, mode="wrap")
        self.values = noise / noise.std()
        self.scale = np.float32(1.2 / length * 1.6)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return values with mean 0 and spread 1 at points (N, 3) in mm."""
        index = np.rint(points * self.scale).astype(np.int32) % self.SIDE
        return self.values[index[:, 0], index[:, 1], index[:, 2]]


def paint_bone(
    canvas: Canvas, found: Near, *, shell: float, mineral: float, texture: Texture, gradient: float = 0.25
) -> None:
    """Make voxels bone: a cortical shell of varying thickness about trabecular bone that is denser near the shell.

    A voxel that is bone, cortex or both in part gets the mineral of its parts. Where two bones share a voxel, the
    larger amount stays.

    Parameters
    ----------
    shell : mean thickness of the cortex, mm
    mineral : density of trabecular bone, 1 = healthy adult
    gradient : how much denser trabecular bone is next to the shell
    """
    points, distance = found.points, found.distance
    noise = texture.at(points)
    thick = shell * np.clip(1 + 0.3 * texture.at(points * np.float32(0.31) + np.float32(7)), 0.5, 1.7)
    half = 0.5 * found.spread
    # Within the voxel the distance runs from distance - half to distance + half.
    within = np.clip((half - distance) / found.spread, 0, 1)
    inside = np.clip((half - distance - thick) / found.spread, 0, 1)
    depth = np.maximum(-distance, 0)
    inner = mineral * np.clip(1 + gradient * (2 * np.exp(-depth / 4.0) - 0.5) + 0.22 * noise, 0.15, None)
    amount = (within - inside) + inside * inner * TRABECULAR_SHARE
    tissue, density = canvas.tissue.reshape(-1), canvas.density.reshape(-1)
    before = tissue[found.index]
    old = density[found.index].astype(np.float32)
    old = np.where(before == Tissue.CORTICAL, old, np.where(before == Tissue.TRABECULAR, old * TRABECULAR_SHARE, 0))
    keep = (amount > old) & (amount > 0.03) & (before < Tissue.TOOTH)
    index, amount = found.index[keep], amount[keep]
    compact = amount > 0.55
    tissue[index] = np.where(compact, Tissue.CORTICAL, Tissue.TRABECULAR)
    density[index] = np.where(compact, amount, amount / TRABECULAR_SHARE)
