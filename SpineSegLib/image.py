"""The values that travel: Geometry, Image and Segmentation.

Arrays are in k, j, i order (slices, rows, columns); a radiograph has one slice. World coordinates are RAS in
millimetres, as in 3D Slicer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import permutations

import numpy as np

from SpineSegLib.anatomy import Structure

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS world coordinates (DICOM, ITK) into RAS (Slicer, NIfTI), and back."""

MODALITIES = ("XR", "CT", "MR")


class SpacingSource(StrEnum):
    """Where the spacing of a geometry came from."""

    PIXEL_SPACING = "PixelSpacing"
    """DICOM PixelSpacing: in the patient (CT, MR) or calibrated (radiograph)."""
    IMAGER_PIXEL_SPACING = "ImagerPixelSpacing"
    """DICOM ImagerPixelSpacing: at the detector, so lengths in the patient are magnified."""
    HEADER = "header"
    """The header of a NIfTI, NRRD or MetaImage file, or of a Slicer volume."""
    UNKNOWN = "unknown"
    """No spacing is known: the matrix counts pixels, and nothing may be given in millimetres."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in the world.

    Parameters
    ----------
    shape : number of voxels along k, j, i
    ijk_to_ras : 4x4 matrix from voxel indices (i, j, k; voxel centres are whole numbers) to RAS in millimetres:
        x grows to the patient's right, y to the front, z to the head. With an unknown spacing its unit is the pixel.
    spacing_source : where the spacing came from
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    spacing_source: SpacingSource = SpacingSource.HEADER

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        matrix = np.array(self.ijk_to_ras, dtype=float)
        if len(shape) != 3 or min(shape) < 1:
            msg = f"geometry shape is {self.shape}, expected three positive numbers (k, j, i)"
            raise ValueError(msg)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not _spans_space(matrix):
            msg = f"ijk_to_ras is {matrix.tolist()}, expected an invertible 4x4 matrix with the last row 0 0 0 1"
            raise ValueError(msg)
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ijk_to_ras", matrix)
        object.__setattr__(self, "spacing_source", SpacingSource(self.spacing_source))

    @property
    def has_spacing(self) -> bool:
        """True when lengths are in millimetres."""
        return self.spacing_source is not SpacingSource.UNKNOWN

    @property
    def step(self) -> np.ndarray:
        """Length of one step along k, j and i: millimetres, or 1 where there is no spacing."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)[::-1]

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Spacing along k, j and i in millimetres, or None when it is unknown."""
        return tuple(float(value) for value in self.step) if self.has_spacing else None

    @property
    def voxel_volume(self) -> float | None:
        """Volume of a voxel in mm³ (exact for sheared grids too), or None without spacing."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) if self.has_spacing else None

    @property
    def pixel_area(self) -> float | None:
        """Area of a pixel within a slice in mm², or None without spacing."""
        if not self.has_spacing:
            return None
        return float(np.linalg.norm(np.cross(self.ijk_to_ras[:3, 0], self.ijk_to_ras[:3, 1])))

    @property
    def is_2d(self) -> bool:
        """True for a single slice."""
        return self.shape[0] == 1

    def to_world(self, kji: np.ndarray) -> np.ndarray:
        """Turn voxel indices (..., 3) in k, j, i order into RAS points (..., 3)."""
        kji = np.asarray(kji, dtype=float)
        return kji[..., ::-1] @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def to_index(self, ras: np.ndarray) -> np.ndarray:
        """Turn RAS points (..., 3) into voxel indices (..., 3) in k, j, i order, not rounded."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return (np.asarray(ras, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3])[..., ::-1]

    def same_as(self, other: Geometry, tolerance: float = 1e-3) -> bool:
        """Tell whether both are one grid: same shape, and no voxel lies further apart than `tolerance` of a step."""
        if self.shape != other.shape:
            return False
        corners = _corners(self.shape)
        apart = np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=-1).max()
        return bool(apart <= tolerance * min(self.step.min(), other.step.min()))

    def overlaps(self, other: Geometry) -> bool:
        """Tell whether the centre of any voxel of `other` lies inside this grid (checked on a coarse lattice)."""
        axes = [np.linspace(0, n - 1, min(n, 33)) for n in other.shape]
        lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = self.to_index(other.to_world(lattice))
        return bool(((inside > -0.5) & (inside < np.array(self.shape) - 0.5)).all(axis=1).any())

    def transformed(self, ras_to_ras: np.ndarray) -> Geometry:
        """Return this grid after a linear transform of the world."""
        return replace(self, ijk_to_ras=np.asarray(ras_to_ras, dtype=float) @ self.ijk_to_ras)

    def with_step(self, step: float) -> Geometry:
        """Return an isotropic grid with this step (mm) and these axes over the same box, voxel edges included."""
        shape = tuple(max(1, round(n * size / step)) for n, size in zip(self.shape, self.step, strict=True))
        matrix = np.array(self.ijk_to_ras)
        matrix[:3, :3] *= step / self.step[::-1]
        first = np.array([(step / size - 1) / 2 for size in self.step])
        matrix[:3, 3] = self.to_world(first)
        return replace(self, shape=shape, ijk_to_ras=matrix)

    def cropped(self, start: Iterable[int], stop: Iterable[int]) -> Geometry:
        """Return the part from voxel `start` to before `stop` (k, j, i), at the same place in the world."""
        start, stop = np.array(list(start)), np.array(list(stop))
        matrix = np.array(self.ijk_to_ras)
        matrix[:3, 3] = self.to_world(start)
        return replace(self, shape=tuple(stop - start), ijk_to_ras=matrix)

    def index_transform_to(self, other: Geometry) -> np.ndarray:
        """Return the 4x4 matrix from this grid's k, j, i indices to the other's."""
        flip = np.eye(4)[[2, 1, 0, 3]]
        return flip @ np.linalg.inv(other.ijk_to_ras) @ self.ijk_to_ras @ flip


@dataclass(frozen=True)
class Reorientation:
    """Turns arrays of a grid so that k, j and i run as nearly as can be to the head, the back and the left.

    Axes are only swapped and flipped, nothing is interpolated; `undo` is exact.

    Parameters
    ----------
    axes : the grid's axis that becomes the new k, j and i
    flips : whether each new axis runs against the old one
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> Reorientation:
        """Return the reorientation of a grid: of all ways to match axes, the one with the largest sum of cosines."""
        directions = geometry.ijk_to_ras[:3, :3] / np.linalg.norm(geometry.ijk_to_ras[:3, :3], axis=0)
        # Rows: head, back, left; columns: array axes k, j, i.
        cosines = np.diag([1.0, -1.0, -1.0]) @ directions[::-1, ::-1]
        axes = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[n, axes[n]]) for n in range(3)))
        return cls(axes, tuple(bool(cosines[n, axes[n]] < 0) for n in range(3)))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return a view of a k, j, i array turned to head, back, left."""
        return np.transpose(array, self.axes)[self._steps]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return a view of a turned array in the grid's own order."""
        return np.transpose(array[self._steps], np.argsort(self.axes))

    def geometry(self, geometry: Geometry) -> Geometry:
        """Return the turned grid; its voxels lie where they were."""
        matrix = np.eye(4)
        matrix[:3, :3] = geometry.ijk_to_ras[:3, :3][:, [2 - axis for axis in self.axes]][:, ::-1]
        start = np.zeros(3)
        for new, axis in enumerate(self.axes):
            if self.flips[new]:
                matrix[:3, 2 - new] *= -1
                start[axis] = geometry.shape[axis] - 1
        matrix[:3, 3] = geometry.to_world(start)
        return replace(geometry, shape=tuple(geometry.shape[axis] for axis in self.axes), ijk_to_ras=matrix)

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)


def _spans_space(matrix: np.ndarray) -> bool:
    """Tell whether a 4x4 matrix is affine and its axes do not lie in one plane, whatever their lengths."""
    volume = abs(np.linalg.det(matrix[:3, :3]))
    box = np.prod(np.linalg.norm(matrix[:3, :3], axis=0))
    return bool(volume > 1e-9 * box and (matrix[3] == [0, 0, 0, 1]).all())


def _corners(shape: tuple[int, int, int]) -> np.ndarray:
    ends = [(0, n - 1) for n in shape]
    return np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)


def resample(
    array: np.ndarray, source: Geometry, target: Geometry, *, order: int = 1, fill: float | None = None
) -> np.ndarray:
    """Sample `array` (on `source`) at the voxels of `target`.

    Parameters
    ----------
    array : k, j, i array with the shape of `source`
    order : 0 for labels (nearest neighbour), 1 for linear; a target coarser than its source is not smoothed first
    fill : value outside the source, whose outermost voxels reach half a step beyond their centres; the minimum for
        images and 0 for labels unless given

    Returns
    -------
    k, j, i array with the shape of `target` and the type of `array`
    """
    from scipy.ndimage import affine_transform

    if fill is None:
        fill = 0 if order == 0 else float(array.min())
    matrix = target.index_transform_to(source)
    if order == 0:
        return _nearest(array, matrix, target.shape, fill)
    values = affine_transform(
        array.astype(np.float32, copy=False),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=target.shape,
        order=order,
        mode="nearest",
    )
    for k, index in enumerate(_source_index(matrix, target.shape)):
        values[k][~_inside(index, array.shape)] = fill
    return values if array.dtype.kind == "f" else np.rint(values).astype(array.dtype)


def _nearest(array: np.ndarray, matrix: np.ndarray, shape: tuple[int, int, int], fill: float) -> np.ndarray:
    """Nearest neighbour, slice by slice; halves are rounded up."""
    out = np.full(shape, fill, dtype=array.dtype)
    for k, index in enumerate(_source_index(matrix, shape)):
        inside = _inside(index, array.shape)
        out[k][inside] = array[tuple(np.floor(index[a][inside] + (0.5 + _TINY)).astype(np.intp) for a in range(3))]
    return out


_TINY = 1e-9
"""Part of a step that keeps exact halves stable against rounding errors."""


def _source_index(matrix: np.ndarray, shape: tuple[int, int, int]) -> Iterator[list[np.ndarray]]:
    """Yield, for each slice of a grid, the three source indices of its voxels as arrays of the slice's shape."""
    j, i = np.arange(shape[1])[:, None], np.arange(shape[2])[None, :]
    first = [matrix[a, 1] * j + matrix[a, 2] * i + matrix[a, 3] for a in range(3)]
    for k in range(shape[0]):
        yield [first[a] + matrix[a, 0] * k for a in range(3)]


def _inside(index: list[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """Tell which indices lie in the grid, whose voxels reach half a step from their centres (as in ITK)."""
    low, high = -0.5 - _TINY, np.array(shape) - 0.5 - _TINY
    return np.logical_and.reduce([(index[a] >= low) & (index[a] < high[a]) for a in range(3)])


@dataclass(frozen=True, eq=False)
class Image:
    """An image with its place in the world.

    Parameters
    ----------
    array : k, j, i array of numbers; CT in Hounsfield units; radiographs with bright bone (MONOCHROME2)
    geometry : its grid
    modality : ``"XR"``, ``"CT"``, ``"MR"``, or None when unknown
    metadata : facts of the acquisition by DICOM keyword (``KVP``, ``ViewPosition`` …), never the patient's identity
    """

    array: np.ndarray
    geometry: Geometry
    modality: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.shape != self.geometry.shape:
            msg = (
                f"image array has the shape {self.array.shape}, expected the geometry's {self.geometry.shape} (k, j, i)"
            )
            raise ValueError(msg)
        if self.modality not in (*MODALITIES, None):
            msg = f"modality is {self.modality!r}, expected one of {', '.join(MODALITIES)}"
            raise ValueError(msg)

    def flaw(self) -> str | None:
        """Say in words why no structure can be seen in this image, or return None when it looks sound."""
        values = self.array
        if values.dtype.kind == "f":
            bad = int(values.size - np.isfinite(values).sum())
            if bad:
                return f"{bad} of {values.size} voxels are not a number"
        if values.min() == values.max():
            return f"every voxel has the value {values.flat[0]:g}"
        return None

    def resampled(self, geometry: Geometry, *, order: int = 1, fill: float | None = None) -> Image:
        """Return the image sampled on another grid (see `resample`)."""
        return replace(
            self, array=resample(self.array, self.geometry, geometry, order=order, fill=fill), geometry=geometry
        )


@dataclass(frozen=True, eq=False)
class Segment:
    """One structure in a segmentation: the voxels of `layer` whose value is `label`.

    Parameters
    ----------
    structure : what it shows
    layer, label : where its voxels are
    name : display name, the structure's own unless given
    colour : red green blue, 0-255, the structure's own unless given
    probability : optional k, j, i array in 0…1
    confidence : optional number in 0…1, how far the model is to be believed about it (see `evaluation.explain`)
    edited : what a person did to it, in words; empty where it is as the model made it
    accepted : whether a person looked at it and found it right
    """

    structure: Structure
    layer: int
    label: int
    name: str = ""
    colour: tuple[int, int, int] | None = None
    probability: np.ndarray | None = None
    confidence: float | None = None
    edited: str = ""
    accepted: bool = False

    def __post_init__(self) -> None:
        if self.label < 1:
            msg = f"segment label is {self.label}, expected 1 or more"
            raise ValueError(msg)
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            msg = f"segment confidence is {self.confidence}, expected a number from 0 to 1"
            raise ValueError(msg)
        object.__setattr__(self, "name", self.name or self.structure.name)
        object.__setattr__(self, "colour", tuple(self.colour or self.structure.colour))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labelled structures on a grid; structures that overlap lie in different layers.

    Parameters
    ----------
    layers : k, j, i integer arrays, 0 is background
    segments : what the labels mean; voxels whose label has no segment belong to nothing
    geometry : the grid, that of the image
    """

    layers: tuple[np.ndarray, ...]
    segments: tuple[Segment, ...]
    geometry: Geometry

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "segments", tuple(self.segments))
        for number, layer in enumerate(self.layers):
            if layer.shape != self.geometry.shape or layer.dtype.kind not in "ui":
                msg = f"layer {number} is {layer.dtype} {layer.shape}, expected integers of shape {self.geometry.shape}"
                raise ValueError(msg)
        places = [(segment.layer, segment.label) for segment in self.segments]
        if len(set(places)) != len(places) or any(not 0 <= layer < len(self.layers) for layer, _ in places):
            msg = f"segments lie at {places} (layer, label), expected different places in {len(self.layers)} layers"
            raise ValueError(msg)

    @classmethod
    def from_masks(
        cls,
        masks: Mapping[Structure, np.ndarray] | Iterable[tuple[Structure, np.ndarray]],
        geometry: Geometry,
        probabilities: Mapping[Structure, np.ndarray] | None = None,
    ) -> Segmentation:
        """Pack boolean k, j, i masks into as few layers as their overlaps allow, in the order given.

        Segments get the probabilities of their structures, where there are any.
        """
        items = list(masks.items() if isinstance(masks, Mapping) else masks)
        layers: list[np.ndarray] = []
        segments = []
        dtype = np.uint8 if len(items) < 256 else np.uint16
        for structure, mask in items:
            mask = np.asarray(mask, dtype=bool)
            number = next((n for n, layer in enumerate(layers) if not layer[mask].any()), len(layers))
            if number == len(layers):
                layers.append(np.zeros(geometry.shape, dtype))
            label = 1 + sum(segment.layer == number for segment in segments)
            layers[number][mask] = label
            segments.append(Segment(structure, number, label, probability=(probabilities or {}).get(structure)))
        return cls(tuple(layers) or (np.zeros(geometry.shape, dtype),), tuple(segments), geometry)

    @classmethod
    def from_labels(cls, labels: np.ndarray, structures: Mapping[int, Structure], geometry: Geometry) -> Segmentation:
        """Wrap one label array; only the labels of `structures` that occur become segments."""
        present = set(np.unique(labels).tolist())
        segments = [Segment(structure, 0, label) for label, structure in structures.items() if label in present]
        return cls((labels,), tuple(sorted(segments, key=lambda s: s.structure.order)), geometry)

    def mask(self, segment: Segment | Structure | str) -> np.ndarray:
        """Return the boolean k, j, i mask of a segment, a structure or a name.

        Raises
        ------
        KeyError : nothing here has that structure or name
        """
        if not isinstance(segment, Segment):
            segment = self.find(segment)
        return self.layers[segment.layer] == segment.label

    def find(self, wanted: Structure | str) -> Segment:
        """Return the first segment with this structure or name; KeyError when there is none."""
        for segment in self.segments:
            if wanted in (segment.structure, segment.name):
                return segment
        msg = f"no segment {wanted!r}; there are {[segment.name for segment in self.segments]}"
        raise KeyError(msg)

    @cached_property
    def foreground(self) -> np.ndarray:
        """The boolean union of all segments."""
        union = np.zeros(self.geometry.shape, dtype=bool)
        for number, layer in enumerate(self.layers):
            labels = [segment.label for segment in self.segments if segment.layer == number]
            union |= np.isin(layer, labels)
        return union

    def resampled(self, geometry: Geometry) -> Segmentation:
        """Return it on another grid by nearest neighbour; probabilities linearly."""
        layers = tuple(resample(layer, self.geometry, geometry, order=0) for layer in self.layers)
        segments = [
            segment
            if segment.probability is None
            else replace(segment, probability=resample(segment.probability, self.geometry, geometry, fill=0.0))
            for segment in self.segments
        ]
        return Segmentation(layers, tuple(segments), geometry)
