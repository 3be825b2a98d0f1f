"""What lies round the spine: soft tissue first, then bones, from meshes where a folder has them, else built in."""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.built_in_around import Around, head, pelvis, rib, shoulders
from SpineSegLib.phantom.flesh import Girth, fill, slabs
from SpineSegLib.phantom.mesh_bones import SKULL
from SpineSegLib.phantom.parameters import Parameters
from SpineSegLib.phantom.pose import Column
from SpineSegLib.phantom.shapes import box_corners, frame_of, spread, to_frame
from SpineSegLib.phantom.sources import Sources
from SpineSegLib.phantom.voxels import Canvas, Near, Texture, near, paint_bone


def paint_flesh(canvas: Canvas, p: Parameters, column: Column, girth: Girth, rng: np.random.Generator) -> None:
    """Fill skin, fat, muscle, organs and air."""
    fill(canvas, slabs(canvas, p, column, girth, rng), rng)


def paint_bones(
    canvas: Canvas, p: Parameters, column: Column, sources: Sources, girth: Girth, size: float, rng: np.random.Generator
) -> None:
    """Paint the bones of the surroundings where the vertebrae have left room."""
    texture = Texture(rng, 5.0)
    if "C1" in column.levels:
        _head(canvas, p, column, sources, size, texture)
    if "T2" in column.levels:
        _shoulders(canvas, p, column, sources, girth, size, texture)
    for level in column.levels:
        if level[0] == "T" and level != "T13":
            _ribs(canvas, p, column, sources, level, size, texture)
    if "S1" in column.levels:
        _pelvis(canvas, p, column, sources, size, texture)


def upright(column: Column, level: str, scale: float) -> np.ndarray:
    """Return the frame through a vertebra's middle with the world's axes, `scale` mm a unit."""
    frame = np.eye(4)
    frame[:3, :3] *= scale
    frame[:3, 3] = column.position[column.index(level)]
    return frame


def _paint(canvas: Canvas, item: Around, frame: np.ndarray, mineral: float, texture: Texture) -> None:
    found = near(canvas, item.distance, item.bounds, frame, rim=item.tissue is not Tissue.TOOTH)
    if item.tissue is not Tissue.TOOTH:
        paint_bone(canvas, found, shell=item.shell, mineral=item.mineral * mineral, texture=texture)
        return
    flat = canvas.tissue.reshape(-1)
    index = found.index[flat[found.index] < Tissue.DISC]
    flat[index] = Tissue.TOOTH
    canvas.density.reshape(-1)[index] = 1


def _mesh(
    canvas: Canvas,
    sources: Sources,
    column: Column,
    name: str,
    anchors,
    scale: float,
    p: Parameters,
    texture: Texture,
    *,
    move=(0.0, 0.0, 0.0),
    shell: float = 1.2,
    level: bool = False,
) -> bool:
    """Paint a bone of the surroundings from a mesh, standing still against a vertebra; False where none is at hand."""
    got = sources.around(name, [level for level in anchors if level in column.levels])
    if got is None:
        return False
    field, rest, anchor = got
    grow = np.diag([scale, scale, scale, 1.0])
    nod = _nod(column, rest) if level else np.eye(4)
    frame = column.frame(anchor) @ nod @ grow @ rest
    frame[:3, 3] += move
    found = near(canvas, field.sample, field.bounds, frame)
    found = Near(found.index, found.points, found.distance * scale, found.spread)
    paint_bone(canvas, found, shell=shell, mineral=0.8 * p.mineral, texture=texture)
    return True


def _nod(column: Column, rest: np.ndarray | None = None) -> np.ndarray:
    """Return the rotation of the head on C1 that levels the gaze, 20 degrees at the most."""
    lying = 0.0 if rest is None else -np.degrees(np.arctan2(rest[2, 1], rest[1, 1]))
    return frame_of(np.zeros(3), float(np.clip(column.level_gaze + lying, -20, 20)))


def _head(canvas, p, column, sources: Sources, size, texture) -> None:
    from_mesh = [
        _mesh(canvas, sources, column, name, ("C1", "C2"), size, p, texture, shell=1.6, level=True) for name in SKULL
    ]
    frame = column.frame("C1") @ _nod(column) @ np.diag([size, size, size, 1.0])
    for item in head():
        if any(from_mesh) and item.name != "teeth":
            continue
        if any(from_mesh):
            # The mesh skull's jaws set the teeth's place.
            jaw = sources.around("mandible", ("C1", "C2"))
            if jaw is None:
                continue
            frame = _teeth_frame(column, jaw, size)
        _paint(canvas, item, frame, 1.0, texture)


def _teeth_frame(column: Column, jaw, size: float) -> np.ndarray:
    """Return where the built-in teeth stand in a mesh jaw: its front upper edge."""
    field, rest, anchor = jaw
    box = spread(to_frame(rest, box_corners(field.bounds)))
    shift = np.eye(4)
    # Built-in lower incisors: front at y = 101, edge at z = -13; the mesh jaw's front lies at its box's.
    shift[:3, 3] = [0.0, box[1][1] - 10 - 101, box[0][2] + 0.44 * (box[1][2] - box[0][2]) + 17]
    return column.frame(anchor) @ _nod(column, rest) @ np.diag([size, size, size, 1.0]) @ shift


def _shoulders(canvas, p, column, sources: Sources, girth: Girth, size, texture) -> None:
    move = (0.0, 0.0, girth.shrug * 0.8)
    anchors = ("T3", "T2", "T4", "T1")
    names = ("left_clavicle", "right_clavicle", "left_scapula", "right_scapula", "manubrium", "body_of_sternum")
    got = {name: _mesh(canvas, sources, column, name, anchors, size, p, texture, move=move) for name in names}
    frame = upright(column, "T2", size)
    frame[:3, 3] += move
    for item in shoulders():
        if not got.get(f"left_{item.name[:-1]}", False) and not (item.name == "scapulae" and got["left_scapula"]):
            if item.name == "arms" and p.kind == "ap":
                continue
            _paint(canvas, item, frame, p.mineral, texture)


def _ribs(canvas, p, column, sources: Sources, level: str, size, texture) -> None:
    number = int(level[1:])
    got = [_mesh(canvas, sources, column, f"rib_{s}_{number}", (level,), size, p, texture) for s in ("left", "right")]
    if not any(got):
        marks = column.marks[level]
        depth = (marks["SA"][1] - marks["SP"][1]) / size
        frame = upright(column, level, size)
        turn = column.frame(level)[:3, :3]
        # Ribs turn with their vertebra about the long axis and sideways, half as much forward.
        frame[:3, :3] = turn * size
        _paint(canvas, rib(number, depth), frame, p.mineral, texture)


def _pelvis(canvas, p, column, sources: Sources, size, texture) -> None:
    names = ("left_hip_bone", "right_hip_bone")
    got = [_mesh(canvas, sources, column, name, ("S1",), size, p, texture, shell=1.6) for name in names]
    whole = got[0] or _mesh(canvas, sources, column, "pelvis", ("S1",), size, p, texture, shell=1.6)
    frame = upright(column, "S1", size)
    for item in pelvis():
        if item.name == "hip bones" and whole:
            continue
        if item.name == "thigh bones" and whole:
            continue
        _paint(canvas, item, frame, p.mineral, texture)
