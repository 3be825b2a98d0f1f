"""A folder of closed surfaces as a source of bones: which file is which bone, and its own frame."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.errors import problem
from SpineSegLib.phantom.levels import LandmarkError, settle
from SpineSegLib.phantom.meshes import SUFFIXES, Mesh, distance_field, mended, read_mesh
from SpineSegLib.phantom.shapes import Field, Shape, frame_of

_ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth").split()
SKULL = (
    "occipital occipital_bone sphenoid temporal_left temporal_right maxilla_left maxilla_right zygomatic_left "
    "zygomatic_right palatine_left palatine_right parietal_left parietal_right frontal mandible hyoid hyoid_bone vomer"
).split()
TRUNK = (
    "left_clavicle right_clavicle left_scapula right_scapula manubrium body_of_sternum left_hip_bone right_hip_bone "
    "pelvis"
).split()
SURROUNDINGS = frozenset(SKULL + TRUNK)
_PART = re.compile(r"(_body|_pd[lr]_[ab]|^disc_|_disc)", re.IGNORECASE)
_LEVEL_NAME = re.compile(r"^(?:vertebrae_|vertebra_)?([CTL]\d{1,2}|S1)(?:_whole|_vertebra)?$", re.IGNORECASE)


def bone_name(stem: str) -> str | None:
    """Return which bone a file shows: a level, ``rib_left_3``, a bone of `SURROUNDINGS`, or None.

    Examples
    --------
    >>> bone_name("L4_whole"), bone_name("SACRUM"), bone_name("left_third_rib"), bone_name("L4_body")
    ('L4', 'S1', 'rib_left_3', None)
    """
    low = stem.lower()
    if _PART.search(low):
        return None
    if low in ("sacrum", "s1_whole"):
        return "S1"
    level = _LEVEL_NAME.match(stem)
    if level and level[1].upper() in LEVELS:
        return level[1].upper()
    rib = re.match(r"^(left|right)_(\w+)_rib$", low)
    if rib and rib[2] in _ORDINALS:
        return f"rib_{rib[1]}_{1 + _ORDINALS.index(rib[2])}"
    rib = re.match(r"^rib_(left|right)_(\d+)$", low)
    if rib and 1 <= int(rib[2]) <= 12:
        return f"rib_{rib[1]}_{int(rib[2])}"
    return low if low in SURROUNDINGS else None


class MeshBones:
    """The bones of one folder; surfaces are read and checked at once, turned into solids when first asked for.

    Parameters
    ----------
    folder : holds .ply, .stl or .obj files in one common RAS frame in mm, an upright body looking to +y
    mend_holes : close holes of surfaces that have up to so many open edges; 0 refuses every open surface

    Raises
    ------
    InputError : no such folder, no bone in it, or an open surface
    """

    def __init__(self, folder: str | Path, mend_holes: int = 0):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise problem(self.folder, "no such folder", "a folder of closed surfaces, one a bone", "Check --shapes")
        files = sorted(path for path in self.folder.iterdir() if path.suffix.lower() in SUFFIXES)
        self.files = {}
        for path in files:
            name = bone_name(path.stem)
            if name and name not in self.files:
                self.files[name] = path
        if not any(name in LEVELS for name in self.files):
            raise problem(
                self.folder, f"{len(files)} surfaces, none named like a vertebra", "names such as C5.ply", "Rename them"
            )
        self.meshes: dict[str, Mesh] = {}
        self.mended: dict[str, int] = {}
        for name, path in self.files.items():
            self.meshes[name] = self._checked(name, path, mend_holes)
        self._shapes: dict[str, Shape] = {}
        self._fields: dict[str, Field] = {}

    def _checked(self, name: str, path: Path, mend_holes: int) -> Mesh:
        mesh = read_mesh(path)
        count = mesh.open_edges
        if count > mend_holes:
            raise problem(
                path,
                f"open surface with {count} open edges",
                "a closed surface",
                "Close its holes, or allow small ones to be closed with mend_holes",
            )
        if count:
            mesh = mended(mesh)
            self.mended[path.name] = count
        return mesh

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def field(self, name: str) -> Field:
        """Return a bone's signed distance in the folder's frame."""
        if name not in self._fields:
            size = np.ptp(self.meshes[name].vertices, axis=0).max()
            fine = 0.5 if size < 75 else 0.6 if size < 110 else 0.8
            step = fine if name in LEVELS else max(1.0, size / 110)
            self._fields[name] = distance_field(self.meshes[name], step)
        return self._fields[name]

    def shape(self, level: str) -> Shape:
        """Return the vertebra at `level` (or the sacrum, S1) in its own frame.

        Raises
        ------
        InputError : the surface does not look like that vertebra
        """
        if level not in self._shapes:
            field = self.field(level)
            guess = _sacrum_guess(self.meshes[level]) if level == "S1" else _guess(field, level)
            shape = Shape(level, field, guess, source=f"{self.folder.name}/{self.files[level].name}")
            try:
                self._shapes[level] = settle(shape)
            except (LandmarkError, ValueError, IndexError, KeyError) as error:
                raise problem(
                    self.files[level], f"no {level} recognised in it ({error})", f"the whole {level}", "Check the file"
                ) from error
        return self._shapes[level]


@cache
def mesh_bones(folder: str, mend_holes: int = 0) -> MeshBones:
    """Return the folder's bones, read once a process."""
    return MeshBones(folder, mend_holes)


def _guess(field: Field, level: str) -> np.ndarray:
    """Return a first frame: the canal is where one can see through the bone, along its axis; the body lies ahead."""
    from scipy.ndimage import binary_fill_holes, label

    inside = field.values < 0
    inside = inside[::2, ::2, ::2]
    step = 2 * field.step
    nz = inside.shape[0]
    best = (0, None, None)
    for angle in range(-44, 45, 4):
        slope = np.tan(np.radians(angle))
        seen = np.zeros(inside.shape[1:], dtype=bool)
        for k in range(nz):
            shift = round((k - nz / 2) * slope)
            plane = inside[k]
            seen |= np.roll(plane, shift, axis=0)
        holes, count = label(binary_fill_holes(seen) & ~seen)
        if not count:
            continue
        sizes = np.bincount(holes.ravel())[1:]
        largest = int(sizes.argmax())
        if sizes[largest] > best[0]:
            best = (sizes[largest], angle, np.argwhere(holes == 1 + largest))
    if best[1] is None:
        raise LandmarkError("no vertebral canal")
    rows, columns = best[2].T
    x = field.origin[0] + step * columns.mean()
    canal = field.origin[1] + step * rows.mean()
    front = field.origin[1] + step * rows.max()
    middle = field.origin[2] + step * nz / 2
    if level == "C1":
        return frame_of((x, canal, middle), best[1])
    # The body's middle: ahead of the canal by about half the body's depth, found as the middle of the bone there.
    column = int(round((x - field.origin[0]) / field.step))
    sagittal = field.values[:, :, column] < 0
    y = field.origin[1] + field.step * np.arange(sagittal.shape[1])
    z = field.origin[2] + field.step * np.arange(sagittal.shape[0])
    ahead = sagittal & (y[None] + (z[:, None] - middle) * np.tan(np.radians(best[1])) > front - 1.0)
    rows, columns = np.nonzero(ahead)
    if not len(rows):
        raise LandmarkError("no body ahead of the canal")
    if level == "C2":
        keep = z[rows] < z[rows].min() + 0.55 * np.ptp(z[rows])
        rows, columns = rows[keep], columns[keep]
    return frame_of((x, y[columns].mean(), z[rows].mean()), best[1])


def _sacrum_guess(mesh: Mesh) -> np.ndarray:
    """Return a first frame of the sacrum: middle of S1's endplate, which falls to the front by about 40 degrees."""
    points = mesh.vertices
    x = (points[:, 0].min() + points[:, 0].max()) / 2
    near = points[np.abs(points[:, 0] - x) < 8]
    # The promontory is the point furthest to the front and a little up.
    promontory = near[np.argmax(near[:, 1] + 0.35 * near[:, 2])]
    angle = -38.0
    back = np.array([0.0, -np.cos(np.radians(angle)), -np.sin(np.radians(angle))])
    return frame_of((x, *(promontory + 16 * back)[1:]), angle)
