"""What disease and injury do to a vertebra: compression, breaks, lysis, osteophytes. All in the bone's own frame."""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.levels import vertebra_landmarks
from SpineSegLib.phantom.parameters import Fracture
from SpineSegLib.phantom.parts import back_wall
from SpineSegLib.phantom.shapes import Change, Shape, Warp, frame_of, to_frame
from SpineSegLib.phantom.solids import box, join

Marks = dict[str, np.ndarray]


def body_heights(marks: Marks) -> np.ndarray:
    """Return Ha, Hm, Hp as `measure.heights` does, in the own frame."""
    lines = [marks[f"{side}_ant"] - marks[f"{side}_post"] for side in ("sup", "inf")]
    along = sum(line / np.linalg.norm(line) for line in lines)
    normal = np.array([0.0, -along[2], along[1]]) / np.linalg.norm(along)
    pairs = (("SA", "IA"), ("sup_mid", "inf_mid"), ("SP", "IP"))
    return np.array([normal @ (marks[a] - marks[b]) for a, b in pairs])


def compressed(shape: Shape, fracture: Fracture) -> Shape:
    """Return the vertebra after a compression fracture that loses exactly the chosen height.

    The loss is (height before - height after) / height before, in percent: of Ha for a wedge, of Hm for a biconcave and
    of the mean of Ha, Hm, Hp for a crush fracture. The compression is corrected until it measures so.
    """
    before = vertebra_landmarks(shape)
    old = body_heights(before)
    wanted = fracture.loss / 100
    pick = {"wedge": lambda h: h[0], "biconcave": lambda h: h[1], "crush": np.mean}[fracture.kind]
    applied, broken = wanted, shape
    for _ in range(8):
        broken = shape.warped(_compression(before, fracture.kind, applied))
        reached = 1 - pick(body_heights(vertebra_landmarks(broken))) / pick(old)
        if abs(reached - wanted) < 2e-4:
            break
        applied = float(np.clip(applied + (wanted - reached), 0, 0.9))
    return broken


def _compression(marks: Marks, kind: str, loss: float) -> Warp:
    """Squeeze the body: a wedge sinks its upper endplate in front, the others give way from both ends."""
    back = (marks["SP"][1] + marks["IP"][1]) / 2
    front = (marks["SA"][1] + marks["IA"][1]) / 2
    deep, middle = front - back, (front + back) / 2
    top = (marks["SA"] + marks["SP"])[2] / 2
    bottom = (marks["IA"] + marks["IP"])[2] / 2
    half = (marks["SR"][0] - marks["SL"][0] + marks["IR"][0] - marks["IL"][0]) / 4
    fixed = bottom if kind == "wedge" else (top + bottom) / 2

    def share(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        if kind == "wedge":
            return np.clip((y - back) / deep, 0, 1.1)
        if kind == "crush":
            # Behind the body the squeeze fades out over the pedicles.
            return np.clip(1 + (y - back) / 9.0, 0, 1)
        u, v = x / half, (y - middle) / (deep / 2)
        return np.clip(1 - u**2, 0, 1) ** 0.7 * np.clip(1 - v**2, 0, 1) ** 0.7

    def warp(points: np.ndarray) -> np.ndarray:
        left = 1 - loss * share(points)
        z = points[:, 2] - fixed
        # Within the body heights shrink by `left`; beyond its ends all moves along unchanged.
        high, low = (top - fixed) * left, (bottom - fixed) * left
        inside = np.clip(z, low, high)
        moved = points.copy()
        moved[:, 2] = fixed + inside / left + (z - inside)
        return moved.astype(np.float32)

    return warp


def broken_process(shape: Shape, rng: np.random.Generator) -> Shape:
    """Return the vertebra with its spinous process broken through: the end has dropped and turned down."""
    marks = vertebra_landmarks(shape)
    if "tip" not in marks:
        return shape
    start, tip = marks["arch_front"], marks["tip"]
    axis = (tip - start) / np.linalg.norm(tip - start)
    place = start + axis * np.linalg.norm(tip - start) * rng.uniform(0.48, 0.62)
    # Turned about the break by 8-20 degrees, 2-4 mm apart, 2-6 mm down.
    turn = frame_of(np.zeros(3), rng.uniform(8, 20))
    move = axis * rng.uniform(2, 4) + np.array([0, 0, -rng.uniform(2, 6)])
    matrix = np.eye(4)
    matrix[:3, :3] = turn[:3, :3]
    matrix[:3, 3] = place + move - turn[:3, :3] @ place
    inverse = np.linalg.inv(matrix).astype(np.float32)

    def change(points: np.ndarray, before) -> np.ndarray:
        stump = np.maximum(before(points), (points - place) @ axis)
        # Only what lies near the mid plane belongs to the process: articular processes stay.
        away = np.abs(points[:, 0]) - 12.0
        stump = np.where(away > 0, before(points), stump)
        old = to_frame(inverse, points).astype(np.float32)
        piece = np.maximum(np.maximum(before(old), -((old - place) @ axis)), np.abs(old[:, 0]) - 12.0)
        return np.minimum(stump, piece).astype(np.float32)

    bounds = shape.bounds + np.array([[0, -8, -16], [0, 0, 0]])
    return shape.changed(change, bounds)


def lysis(shape: Shape, gap: float = 2.4) -> Shape:
    """Return the vertebra with a gap of `gap` mm through the pars interarticularis of both sides."""
    marks = vertebra_landmarks(shape)
    wall = back_wall(marks, np.zeros(1))[0]
    canal = wall - marks["arch_front"][1]
    height = marks["SP"][2] - marks["IP"][2]
    # The pars runs down and back from the pedicle's lower edge; the gap crosses it below the pedicle.
    centre = (14.0, wall - 0.78 * canal, -0.16 * height)
    half = (11.0, 0.75 * canal, gap / 2)
    angle = np.radians(28.0)
    axes = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])

    def change(points: np.ndarray, before) -> np.ndarray:
        solid = before(points)
        slot = box((np.abs(points[:, 0]), points[:, 1], points[:, 2]), centre, half, 0.4, axes)
        return np.maximum(solid, -slot).astype(np.float32)

    return shape.changed(change)


def osteophytes(shape: Shape, amount: float, rng: np.random.Generator) -> Shape:
    """Return the vertebra with spurs along the front and sides of its endplates' rims, `amount` from 0 to 1."""
    sizes = amount * rng.uniform(0.0, 1.0, 2) ** 1.5 * (2.2 if shape.name[0] == "C" else 3.4)
    turn = rng.uniform(-0.6, 0.6, 2)
    sizes[sizes < 0.35] = 0
    if shape.name in ("C1", "C2", "S1") or not sizes.any():
        return shape
    marks = vertebra_landmarks(shape)
    bounds = shape.bounds + np.array([[0, 0, -1], [0, 2 + sizes.max(), 1]])
    return shape.changed(_spurs(marks, sizes, turn), bounds)


def _spurs(marks: Marks, sizes: np.ndarray, turn: np.ndarray) -> Change:
    rims = []
    for end, size, angle in zip("SI", sizes, turn, strict=True):
        if size:
            middle = (marks[f"{end}A"] + marks[f"{end}P"]) / 2
            deep = (marks[f"{end}A"][1] - marks[f"{end}P"][1]) / 2
            slope = (marks[f"{end}A"][2] - marks[f"{end}P"][2]) / (2 * deep)
            half = (marks[f"{end}R"][0] - marks[f"{end}L"][0]) / 2
            rims.append((middle, deep, half, slope, size, angle, 1 if end == "S" else -1))

    def change(points: np.ndarray, before) -> np.ndarray:
        solid = before(points)
        close = np.flatnonzero((solid < 6) & (points[:, 1] > rims[0][0][1] - rims[0][1] - 1))
        x, y, z = points[close].T
        here = solid[close]
        for middle, deep, half, slope, size, angle, way in rims:
            u, v = x / half, (y - middle[1]) / deep
            radius = np.sqrt(u**2 + v**2) + 1e-6
            # Largest at the front, to one side, none behind.
            grow = size * np.clip((v * np.cos(angle) + u * np.sin(angle)) / radius + 0.15, 0, 1)
            out = (radius - 1) * min(half, deep) - 0.45 * grow
            up = z - (middle[2] + slope * (y - middle[1])) + way * 0.8
            ring = np.sqrt(out**2 + (1.3 * up) ** 2) - 0.75 * grow
            here = join(here, ring.astype(np.float32), 2.0)
        solid = solid.copy()
        solid[close] = here
        return solid

    return change


def rough_endplates(shape: Shape, amount: float, rng: np.random.Generator) -> Shape:
    """Return the vertebra with uneven endplates: waves of 7 to 16 mm, `amount` mm high at the most."""
    direction = rng.standard_normal((3, 2))
    wave = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (2 * np.pi / rng.uniform(7, 16, (3, 1)))
    wave, phase = wave.astype(np.float32), rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
    size = np.float32(amount / 3)

    def warp(points: np.ndarray) -> np.ndarray:
        moved = points.copy()
        moved[:, 2] += size * np.sin(points[:, :2] @ wave.T + phase).sum(axis=1)
        return moved

    return shape.warped(warp)
