"""Bones of the digital spine: surfaces from files, built-in solids, their sizes and landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from SpineSegLib.errors import InputError
from SpineSegLib.phantom.built_in import built_in_shape
from SpineSegLib.phantom.levels import atlas_landmarks, vertebra_landmarks
from SpineSegLib.phantom.mesh_bones import MeshBones, bone_name
from SpineSegLib.phantom.meshes import Mesh, distance_field, mended, read_mesh
from SpineSegLib.phantom.morphometry import SPREAD, TABLE

LEVELS = [*(f"C{n}" for n in range(3, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]


def sphere(radius: float = 12.0, rings: int = 40, centre=(3.0, -7.0, 20.0)) -> Mesh:
    theta = np.linspace(0, np.pi, rings + 1)[1:-1]
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    ring = [[(np.sin(t) * np.cos(f), np.sin(t) * np.sin(f), np.cos(t)) for f in phi] for t in theta]
    vertices = np.concatenate([np.array(ring).reshape(-1, 3), [(0, 0, 1), (0, 0, -1)]]) * radius + centre
    n, faces = len(phi), []
    for row in range(len(theta)):
        for k in range(n):
            a, b = row * n + k, row * n + (k + 1) % n
            if row == 0:
                faces.append((a, b, len(vertices) - 2))
            if row == len(theta) - 1:
                faces.append((b, a, len(vertices) - 1))
            else:
                faces += [(a, a + n, b), (b, a + n, (row + 1) * n + (k + 1) % n)]
    return Mesh(vertices, np.array(faces))


def write_ply(path, mesh: Mesh, *, binary: bool = True) -> None:
    head = (
        f"ply\nformat {'binary_little_endian' if binary else 'ascii'} 1.0\nelement vertex {len(mesh.vertices)}\n"
        f"property float x\nproperty float y\nproperty float z\nelement face {len(mesh.faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    if binary:
        table = np.zeros(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
        table["n"], table["v"] = 3, mesh.faces
        path.write_bytes(head.encode() + mesh.vertices.astype("<f4").tobytes() + table.tobytes())
        return
    rows = [" ".join(f"{v:.6f}" for v in point) for point in mesh.vertices]
    rows += ["3 " + " ".join(map(str, face)) for face in mesh.faces]
    path.write_text(head + "\n".join(rows) + "\n", encoding="ascii")


def write_stl(path, mesh: Mesh) -> None:
    table = np.zeros(len(mesh.faces), dtype=[("normal", "<f4", 3), ("v", "<f4", (3, 3)), ("extra", "<u2")])
    table["v"] = mesh.vertices[mesh.faces]
    path.write_bytes(b"\0" * 80 + np.uint32(len(mesh.faces)).tobytes() + table.tobytes())


def write_obj(path, mesh: Mesh) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices]
    lines += ["f " + " ".join(f"{v + 1}//1" for v in face) for face in mesh.faces]
    path.write_text("# a sphere\n" + "\n".join(lines) + "\n", encoding="utf-8")


def test_every_file_kind_gives_the_same_surface(tmp_path):
    mesh = sphere()
    write_ply(tmp_path / "a.ply", mesh)
    write_ply(tmp_path / "b.ply", mesh, binary=False)
    write_stl(tmp_path / "c.stl", mesh)
    write_obj(tmp_path / "d.obj", mesh)
    for name in ("a.ply", "b.ply", "c.stl", "d.obj"):
        found = read_mesh(tmp_path / name)
        assert len(found.vertices) == len(mesh.vertices), name
        assert found.open_edges == 0, name
        assert found.volume == pytest.approx(mesh.volume, rel=1e-4), name


@pytest.mark.parametrize("inside_out", [False, True])
def test_signed_distance_of_a_sphere_is_right_at_the_surface_and_near_it(inside_out):
    mesh = sphere(rings=64)
    if inside_out:
        mesh = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    field = distance_field(mesh, 0.8)
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    for off in (-1.5, -0.3, 0.0, 0.3, 1.5):
        found = field.sample(np.array([3.0, -7.0, 20.0]) + direction * (12.0 + off))
        assert np.abs(found - off).max() < (0.2 if off == 0 else 0.3 if abs(off) < 1 else 0.5), off
        assert abs(found.mean() - off) < (0.05 if off == 0 else 0.25), off


def test_open_surface_is_refused_with_its_name_and_number_of_edges(tmp_path):
    mesh = sphere()
    write_ply(tmp_path / "C5.ply", Mesh(mesh.vertices, mesh.faces[:-3]))
    with pytest.raises(InputError) as caught:
        MeshBones(tmp_path)
    text = str(caught.value)
    assert "C5.ply" in text and "open" in text and "\n" not in text
    assert str(Mesh(mesh.vertices, mesh.faces[:-3]).open_edges) in text


def test_small_holes_are_closed_only_when_asked():
    mesh = sphere()
    holed = Mesh(mesh.vertices, mesh.faces[:-3])
    assert holed.open_edges > 0
    closed = mended(holed)
    assert closed.open_edges == 0
    assert closed.volume == pytest.approx(mesh.volume, rel=0.01)


@pytest.mark.parametrize("content", [b"", b"ply\nnothing", b"solid x\n", b"\0" * 90])
def test_damaged_surface_file_is_one_clear_line(tmp_path, content):
    for name in ("C4.ply", "C4.stl", "C4.obj"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_mesh(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_ball_is_not_taken_for_a_vertebra(tmp_path):
    write_ply(tmp_path / "C5.ply", sphere())
    with pytest.raises(InputError, match="C5"):
        MeshBones(tmp_path).shape("C5")


def test_folder_without_vertebrae_is_refused(tmp_path):
    write_ply(tmp_path / "teapot.ply", sphere())
    with pytest.raises(InputError, match=r"C5\.ply"):
        MeshBones(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        MeshBones(tmp_path / "nowhere")


def test_file_names_of_public_sets_are_understood():
    names = {"C5": "C5", "L4_whole": "L4", "SACRUM": "S1", "vertebrae_T5": "T5", "left_third_rib": "rib_left_3"}
    assert {stem: bone_name(stem) for stem in names} == names
    assert [bone_name(stem) for stem in ("L4_body", "disc_below_C4", "L3_PDl_a", "C9")] == [None] * 4


def sizes(marks) -> dict[str, float]:
    found = {
        "height": ((marks["SA"] - marks["IA"])[2] + (marks["SP"] - marks["IP"])[2]) / 2,
        "depth": ((marks["SA"] - marks["SP"])[1] + (marks["IA"] - marks["IP"])[1]) / 2,
        "width": ((marks["SR"] - marks["SL"])[0] + (marks["IR"] - marks["IL"])[0]) / 2,
        "canal": (marks["SP"][1] + marks["IP"][1]) / 2 - marks["arch_front"][1],
    }
    return found | {"process": float(np.linalg.norm(marks["tip"] - marks["arch_front"]))}


def table(level: str) -> dict[str, float]:
    d = TABLE[level]
    return {
        "height": (d.anterior + d.posterior) / 2,
        "depth": d.depth,
        "width": d.width,
        "canal": d.canal_depth,
        "process": d.process,
    }


@pytest.mark.parametrize("level", LEVELS)
def test_built_in_vertebra_has_the_published_size(level):
    found, published = sizes(vertebra_landmarks(built_in_shape(level))), table(level)
    for name, value in published.items():
        assert abs(found[name] - value) < 1.5 * SPREAD[name] * value, (name, found[name], value)


def test_built_in_volumes_are_those_of_adults():
    """Cervical about 6-14, mid thoracic 15-35, lumbar 35-85 ml, growing downwards within a region."""
    volume = {}
    for level in LEVELS:
        field = built_in_shape(level).field
        volume[level] = (field.values < 0).sum() * field.step**3 / 1000
    assert all(6 < volume[f"C{n}"] < 15 for n in range(3, 8)), volume
    assert all(12 < volume[f"T{n}"] < 48 for n in range(1, 13)), volume
    assert all(38 < volume[f"L{n}"] < 90 for n in range(1, 6)), volume
    assert volume["T4"] < volume["T8"] < volume["T12"] < volume["L3"]


def test_built_in_processes_look_as_they_should():
    marks = {level: vertebra_landmarks(built_in_shape(level)) for level in ("C3", "C5", "C7", "T6", "L3")}
    length = {level: np.linalg.norm(m["tip"] - m["arch_front"]) for level, m in marks.items()}
    assert length["C7"] > 1.4 * length["C5"]

    def slope(m):
        return np.degrees(np.arctan2(m["arch_front"][2] - m["tip"][2], m["arch_front"][1] - m["tip"][1]))

    assert slope(marks["T6"]) > 35 > slope(marks["L3"])
    # Forked from C2 to C6: near the tip there is bone to both sides and none in the middle.
    for level in ("C2", "C4", "C5", "C6", "C7"):
        shape = built_in_shape(level)
        x, y, z = np.meshgrid(
            np.arange(-9, 9.1, 0.5), np.arange(shape.bounds[0][1], -20, 0.5), np.arange(-36, 8, 0.5), indexing="ij"
        )
        inside = shape.distance(np.stack([x, y, z], axis=-1).reshape(-1, 3)).reshape(x.shape) < 0
        last = np.flatnonzero(inside.any(axis=(0, 2)))[0]
        columns = inside[:, last + 2].any(axis=1)
        middle = columns[np.abs(x[:, 0, 0]) < 1.2].any()
        assert columns.any() and middle == (level == "C7"), level


def test_dens_lies_within_the_ring_of_c1():
    marks = atlas_landmarks(built_in_shape("C1"))
    dens = vertebra_landmarks(built_in_shape("C2"))
    deep = dens["dens_front"][1] - dens["dens_back"][1]
    assert 7 < deep < 14
    assert marks["arch_back"][1] - marks["arch_front"][1] > 27


def folders(shared):
    data = shared / "data"
    return data / "bp3d-v4-cervical-skull" / "meshes", data / "bp3d-v3-c3-sacrum-thorax" / "meshes"


@pytest.mark.parametrize("level", ["C4", "C6", "T3", "T8", "L1", "L4"])
def test_built_in_shapes_agree_with_real_bones(shared, level):
    """Body, canal and process of one man's bones (BodyParts3D) lie within three spreads of the built-in ones."""
    neck, trunk = folders(shared)
    bones = MeshBones(neck) if level[0] == "C" else MeshBones(trunk, mend_holes=24)
    real, built = sizes(vertebra_landmarks(bones.shape(level))), sizes(vertebra_landmarks(built_in_shape(level)))
    for name, value in built.items():
        assert abs(real[name] - value) < 3 * SPREAD[name] * value, (name, real[name], value)


def test_mesh_landmarks_fit_every_level_of_the_neck(shared):
    bones = MeshBones(folders(shared)[0])
    for level in ("C2", "C3", "C5", "C7"):
        shape = bones.shape(level)
        marks = vertebra_landmarks(shape)
        surface = np.array([marks[name] for name in ("IA", "IP", "tip", "arch_front")])
        assert np.abs(shape.distance(surface)).max() < 0.35, level
        assert marks["tip"][1] < marks["arch_front"][1] < marks["IP"][1] < marks["IA"][1], level
        # The own frame is where the definition says.
        tilt = marks["inf_ant"] - marks["inf_post"]
        if level != "C2":
            tilt = tilt / np.linalg.norm(tilt) + (marks["sup_ant"] - marks["sup_post"]) / np.linalg.norm(
                marks["sup_ant"] - marks["sup_post"]
            )
        assert abs(np.degrees(np.arctan2(tilt[2], tilt[1]))) < 0.5, level
