"""Closed surfaces from files, and their signed distance: the second source of bones.

Reads PLY (binary and ASCII), STL (binary and ASCII) and OBJ with polygons; colours, normals and textures are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.phantom.shapes import Field

SUFFIXES = (".ply", ".stl", ".obj")
_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle surface: vertices (N, 3) in mm, RAS; faces (M, 3) of vertex numbers."""

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def open_edges(self) -> int:
        """Number of edges that belong to one triangle only; 0 for a closed surface."""
        return int((_edges(self.faces)[1] == 1).sum())

    @property
    def volume(self) -> float:
        """Enclosed volume in mm³ (divergence theorem), negative when the faces point inwards."""
        a, b, c = (self.vertices[self.faces[:, n]] for n in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the undirected edges (K, 2) and how many faces share each."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1).astype(np.int64)
    keys, counts = np.unique(pairs[:, 0] << 32 | pairs[:, 1], return_counts=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), counts


def read_mesh(path: str | Path) -> Mesh:
    """Read a surface file; vertices at one place become one.

    Raises
    ------
    InputError : not a surface file of a kind that we read, damaged, or empty
    """
    path = Path(path)
    readers = {".ply": _read_ply, ".stl": _read_stl, ".obj": _read_obj}
    if path.suffix.lower() not in readers:
        raise problem(path, f"the suffix is {path.suffix!r}", "one of .ply, .stl, .obj", "Export the surface anew")
    try:
        vertices, faces = readers[path.suffix.lower()](path)
    except OSError as error:
        raise problem(path, f"cannot be read ({error.strerror})", "a readable file", "Check the path") from error
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, MemoryError) as error:
        raise problem(path, f"damaged surface file ({error})", "a whole PLY, STL or OBJ", "Export it anew") from error
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices) or not np.isfinite(vertices).all():
        raise problem(path, "no triangles, or triangles without corners", "a triangle surface", "Export it anew")
    _, first, places = np.unique(np.round(vertices, 4), axis=0, return_index=True, return_inverse=True)
    faces = places.ravel()[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(vertices[first], faces[whole])


def _fan(polygon: list[int]) -> list[tuple[int, int, int]]:
    return [(polygon[0], polygon[n], polygon[n + 1]) for n in range(1, len(polygon) - 1)]


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise ValueError("no PLY header")
    start = data.index(b"\n", end) + 1
    order, elements = "", []
    for line in data[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            order = {"ascii": "a", "binary_little_endian": "<", "binary_big_endian": ">"}[words[1]]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    if order == "a":
        return _ply_text(data[start:].decode("ascii"), elements)
    vertices, faces, offset = None, None, start
    for name, count, properties in elements:
        if any(words[0] == "list" for words in properties):
            faces, offset = _ply_faces(data, offset, count, properties, order, name == "face", faces)
        else:
            kind = np.dtype([(words[1], order + _PLY_TYPES[words[0]]) for words in properties])
            table = np.frombuffer(data, kind, count, offset)
            offset += kind.itemsize * count
            if name == "vertex":
                vertices = np.stack([table[axis].astype(float) for axis in "xyz"], axis=1)
    if vertices is None or faces is None:
        raise ValueError("no vertices or no faces")
    return vertices, faces


def _ply_faces(data, offset, count, properties, order, wanted, faces):
    """Read one list element; triangles at one go, anything else face by face."""
    if len(properties) == 1:
        _, size, item, _ = properties[0]
        kind = np.dtype([("n", order + _PLY_TYPES[size]), ("v", order + _PLY_TYPES[item], 3)])
        if offset + kind.itemsize * count <= len(data):
            table = np.frombuffer(data, kind, count, offset)
            if (table["n"] == 3).all():
                return (table["v"].astype(np.int64) if wanted else faces), offset + kind.itemsize * count
    found = []
    for _ in range(count):
        for words in properties:
            if words[0] == "list":
                size, item = np.dtype(order + _PLY_TYPES[words[1]]), np.dtype(order + _PLY_TYPES[words[2]])
                n = int(np.frombuffer(data, size, 1, offset)[0])
                values = np.frombuffer(data, item, n, offset + size.itemsize)
                offset += size.itemsize + item.itemsize * n
                if wanted and words[3] in ("vertex_indices", "vertex_index"):
                    found += _fan([int(v) for v in values])
            else:
                offset += np.dtype(_PLY_TYPES[words[0]]).itemsize
    return (np.array(found, dtype=np.int64).reshape(-1, 3) if wanted else faces), offset


def _ply_text(text: str, elements) -> tuple[np.ndarray, np.ndarray]:
    lines = iter(text.splitlines())
    vertices, found = [], []
    for name, count, properties in elements:
        rows = [next(lines).split() for _ in range(count)]
        if name == "vertex":
            at = [[words[-1] for words in properties].index(axis) for axis in "xyz"]
            vertices = [[float(row[n]) for n in at] for row in rows]
        elif name == "face":
            for row in rows:
                found += _fan([int(v) for v in row[1 : 1 + int(row[0])]])
    return np.array(vertices, dtype=float).reshape(-1, 3), np.array(found, dtype=np.int64).reshape(-1, 3)


def _read_stl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    count = int(np.frombuffer(data, "<u4", 1, 80)[0]) if len(data) >= 84 else -1
    if len(data) == 84 + 50 * count:
        kind = np.dtype([("normal", "<f4", 3), ("v", "<f4", (3, 3)), ("extra", "<u2")])
        corners = np.frombuffer(data, kind, count, 84)["v"].reshape(-1, 3).astype(float)
    elif data[:5] == b"solid":
        words = data.decode("ascii", "replace").split()
        at = [n for n, word in enumerate(words) if word == "vertex"]
        corners = np.array([[float(v) for v in words[n + 1 : n + 4]] for n in at]).reshape(-1, 3)
    else:
        raise ValueError(f"{len(data)} bytes do not hold {count} triangles")
    return corners, np.arange(len(corners) // 3 * 3).reshape(-1, 3)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    vertices, found = [], []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["v"]:
                vertices.append([float(v) for v in words[1:4]])
            elif words[:1] == ["f"]:
                numbers = [int(word.split("/")[0]) for word in words[1:]]
                found += _fan([n - 1 if n > 0 else len(vertices) + n for n in numbers])
    return np.array(vertices, dtype=float).reshape(-1, 3), np.array(found, dtype=np.int64).reshape(-1, 3)


def mended(mesh: Mesh) -> Mesh:
    """Return the mesh with every ring of open edges closed by a fan of triangles about the ring's middle."""
    edges, counts = _edges(mesh.faces)
    rim = edges[counts == 1]
    follow: dict[int, list[int]] = {}
    for a, b in rim.tolist():
        follow.setdefault(a, []).append(b)
        follow.setdefault(b, []).append(a)
    vertices, faces = [mesh.vertices], [mesh.faces]
    total = len(mesh.vertices)
    while follow:
        start = min(follow)
        loop, here = [start], start
        while True:
            step = follow[here].pop()
            follow[step].remove(here)
            for point in (here, step):
                if point in follow and not follow[point]:
                    del follow[point]
            if step == start:
                break
            loop.append(step)
            here = step
            if here not in follow:
                break
        vertices.append(mesh.vertices[loop].mean(axis=0, keepdims=True))
        faces.append(np.array([(a, b, total) for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]))
        total += 1
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def distance_field(mesh: Mesh, step: float, margin: float = 4.0) -> Field:
    """Return the signed distance of a closed mesh on a grid of `step` mm.

    The surface is scanned along z: where each column of a grid (twice as fine across) crosses a triangle, the winding
    number changes; so overlapping shells and inside-out surfaces are filled too. The covered share of each voxel gives
    the distance next to the surface, the Euclidean distance transform the rest; good to about a tenth of a step.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    low = mesh.vertices.min(axis=0) - margin
    shape = np.ceil((mesh.vertices.max(axis=0) + margin - low) / step).astype(int) + 1
    cover = _coverage(mesh, low, step, shape)
    inside = cover > 0.5
    far = (distance_transform_edt(~inside) - distance_transform_edt(inside)).astype(np.float32)
    far -= np.where(inside, -0.5, 0.5).astype(np.float32)
    partly = (cover > 0.02) & (cover < 0.98) & (np.abs(far) < 0.8)
    far[partly] = 0.5 - cover[partly]
    return Field(gaussian_filter(far, 0.5) * np.float32(step), low, step)


def _coverage(mesh: Mesh, low: np.ndarray, step: float, shape: np.ndarray) -> np.ndarray:
    """Return the covered share of each voxel, float32 z, y, x."""
    fine = 2
    # An odd offset keeps the scan lines off vertices and edges that lie on round numbers.
    shift = (np.array([0.000137, 0.000211, 0.0]) - low) / step
    corners = mesh.vertices[mesh.faces] / step + shift
    nx, ny, nz = (int(n) for n in shape)
    xy = (corners[..., :2] + 0.25) * fine
    first = np.ceil(xy.min(axis=1)).astype(np.int64)
    last = np.floor(xy.max(axis=1)).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    number = count[:, 0] * count[:, 1]
    owner = np.repeat(np.arange(len(number)), number)
    order = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    x = first[owner, 0] + order % np.maximum(count[owner, 0], 1)
    y = first[owner, 1] + order // np.maximum(count[owner, 0], 1)
    a, b, c = (xy[owner, n] for n in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    wb = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / np.where(area == 0, 1, area)
    wc = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / np.where(area == 0, 1, area)
    hit = (wb >= 0) & (wc >= 0) & (wb + wc <= 1) & (area != 0)
    owner, x, y, wb, wc, area = owner[hit], x[hit], y[hit], wb[hit], wc[hit], area[hit]
    z = corners[owner, 0, 2] * (1 - wb - wc) + corners[owner, 1, 2] * wb + corners[owner, 2, 2] * wc
    sign = -np.sign(area)
    k = np.floor(z + 0.5).astype(np.int64)
    above = k + 0.5 - z
    change = np.zeros((ny * fine, nx * fine, nz + 2), dtype=np.float32)
    np.add.at(change, (y, x, k), (sign * above).astype(np.float32))
    np.add.at(change, (y, x, k + 1), (sign * (1 - above)).astype(np.float32))
    winding = np.clip(np.abs(np.cumsum(change, axis=2, dtype=np.float32)[..., :nz]), 0, 1)
    return winding.reshape(ny, fine, nx, fine, nz).mean(axis=(1, 3)).transpose(2, 0, 1)
