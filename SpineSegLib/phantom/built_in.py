"""The bones that ship with the software: parametric solids of C2 to L6 after published morphometry.

Every bone is made for its right half (x >= 0) and mirrored. Frame: x to the right, y to the front, z up, origin in the
middle of the body. Numbers without a source are proportions read off anatomical plates [A in `morphometry`].
"""

from __future__ import annotations

from functools import cache

import numpy as np

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.phantom.levels import settle
from SpineSegLib.phantom.morphometry import Dimensions, mean_dimensions
from SpineSegLib.phantom.shapes import Field, Shape
from SpineSegLib.phantom.solids import Points, box, capsule, common, cut, ellipsoid, join, tube, turned


class Half:
    """The grid of a bone's right half, and how to make a whole field of it."""

    def __init__(self, lower, upper, step: float):
        self.step = step
        self.lower = np.asarray(lower, dtype=float)
        counts = np.ceil((np.asarray(upper, dtype=float) - self.lower) / step).astype(int) + 1
        x = np.arange(int(np.ceil(upper[0] / step)) + 1, dtype=np.float32) * np.float32(step)
        y = (self.lower[1] + np.arange(counts[1]) * step).astype(np.float32)
        z = (self.lower[2] + np.arange(counts[2]) * step).astype(np.float32)
        self.points: Points = (x[None, None, :], y[None, :, None], z[:, None, None])
        self.reach = float(x[-1])

    def field(self, distance: np.ndarray) -> Field:
        """Mirror the half at x = 0."""
        whole = np.concatenate([distance[..., :0:-1], distance], axis=-1).astype(np.float32)
        return Field(np.ascontiguousarray(whole), np.array([-self.reach, *self.lower[1:]]), self.step)


EDGE = {"C": 0.5, "T": 0.9, "L": 1.1}


def body(p: Points, d: Dimensions, *, region: str, lip: float = 0.0) -> np.ndarray:
    """A vertebral body: kidney- or heart-shaped outline, waist, hollow endplates; uncinate rims in the neck."""
    x, y, z = p
    # The tables' sizes run from edge to edge; rounding the edges takes a little off.
    edge = EDGE[region]
    half, deep = d.width / 2 + edge, d.depth / 2 + edge
    mean = (d.anterior + d.posterior) / 2 + 0.6 * edge
    high = (mean + (d.anterior - d.posterior) * y / d.depth) / 2
    level = np.clip(np.abs(z) / (mean / 2), 0, 1.3)
    narrow = 1 - d.waist * np.clip(1 - level**2, 0, 1)
    # Lower endplates are a little larger than upper ones.
    grow = 1 - np.clip(z / mean, -0.6, 0.6) * (0.05 if region != "C" else 0.02)
    u = np.abs(x) / (half * narrow * grow)
    back_in = 1 - (0.6 * d.waist) * np.clip(1 - level**2, 0, 1)
    v = np.where(y > 0, y / (deep * (1 - 0.9 * (1 - narrow))), -y / (deep * back_in))
    front = {"C": 2.6, "T": 2.1, "L": 2.2}[region]
    rear = {"C": 4.5, "T": 3.0, "L": 3.6}[region]
    n = np.where(y > 0, front, rear)
    radius = (np.clip(u, 1e-4, None) ** n + np.clip(v, 1e-4, None) ** n) ** (1 / n)
    if region != "C":
        # The back wall is hollow where the canal lies.
        radius = radius + 0.07 * np.exp(-((x / (0.38 * half)) ** 2)) * np.clip(-y / deep, 0, 1) ** 4
    wall = (radius - 1) * min(half, deep) * 0.9
    r2 = np.clip(1 - (x / (0.82 * half)) ** 2 - (y / (0.82 * deep)) ** 2, 0, 1)
    hollow = d.concavity * r2 * (1.7 - 0.7 * r2)
    if region == "C":
        # Upper endplate: saddle with uncinate rims at both sides; lower: its hollow runs front to back, lip in front.
        rim = 4.2 * np.clip((np.abs(x) / half - 0.62) / 0.38, 0, 1) ** 1.5 * np.clip(1.05 - 0.65 * y / deep, 0.2, 1)
        top = high - 0.5 * hollow + rim
        groove = d.concavity * np.clip(1 - (y / deep) ** 2, 0, 1) ** 1.2
        bottom = -high + groove - 1.2 * np.clip((np.abs(x) / half - 0.6) / 0.4, -0.2, 1) * -1.4 - lip * 0
    else:
        top, bottom = high - hollow, -high + hollow
    ends = common(z - top, bottom - z, 0.0)
    return common(wall, ends, 1.2 if region == "C" else 1.6)


def _bar(p: Points, half_axes, *points, blend=1.5, radii=None):
    """A chain of capsules through points; `radii` per point, squashed by `half_axes`."""
    solid = None
    for n in range(len(points) - 1):
        piece = capsule(p, points[n], points[n + 1], radii[n], radii[n + 1], half_axes)
        solid = piece if solid is None else join(solid, piece, blend)
    return solid


def cervical(level: str, d: Dimensions, p: Points) -> np.ndarray:
    """C3 to C7."""
    last = level == "C7"
    deep, half = d.depth / 2, d.width / 2
    canal = -deep - d.canal_depth / 2
    back = -deep - d.canal_depth
    pillar_x = d.canal_width / 2 + 6.0
    step = (d.anterior + d.posterior) / 2 + d.disc
    bone = body(p, d, region="C")
    # Articular pillar: between the facets, which fall 45 degrees to the back.
    fall = 42 if not last else 50
    tall = step * np.cos(np.radians(fall)) - 1.6
    centre = (pillar_x, -deep - 7.0, -0.5)
    pillar = box(p, centre, (5.6, 8.2, tall / 2), 2.2, turned(-fall, "x"))
    pillar = common(pillar, box(p, centre, (5.8, 5.8, 13.0), 3.0), 2.5)
    pedicle = capsule(
        p,
        (half * 0.72, -deep + 3.0, 1.0),
        (pillar_x - 1.5, -deep - 5.0, 1.0),
        d.pedicle_width / 2,
        None,
        (1.0, 1.0, d.pedicle_height / d.pedicle_width),
    )
    bone = join(bone, pedicle, 2.0)
    bone = join(bone, pillar, 2.5)
    # Lamina: a thin leaf, leaning forward at its top.
    fall_z = -np.tan(np.radians(d.inclination)) * 4 - 2.5
    lamina = capsule(p, (pillar_x - 1.0, -deep - 9.5, -1.5), (0.0, back - 2.0, fall_z), 2.3, 2.5, (1.0, 1.0, 2.1))
    bone = join(bone, lamina, 2.5)
    # Transverse process: front and back root with tubercles round the foramen.
    span = d.span / 2
    hole = (half + (3.2 if not last else 4.5), -deep + 4.4, 0.0)
    front_root = _bar(
        p,
        (1.0, 1.0, 1.15),
        (half * 0.8, -deep + 8.6, 0.5),
        (half + 5.0, -deep + 8.4, -1.0),
        (span - 2.6, -deep + 6.3, -2.4),
        radii=(2.6, 2.1, 2.3) if not last else (1.2, 1.2, 1.6),
    )
    back_root = _bar(
        p,
        (1.0, 1.0, 1.1),
        (pillar_x - 1.0, -deep - 1.0, 0.5),
        (hole[0] + 3.5, -deep + 0.5, -1.2),
        (span - 2.3, -deep + (1.0 if not last else -4.5), -3.0),
        radii=(3.0, 2.6, 2.4) if not last else (4.0, 3.6, 3.0),
    )
    bone = join(bone, join(front_root, back_root, 2.0), 2.0)
    bone = join(bone, _process(level, d, p, back, fall_z), 3.0)
    bone = cut(bone, tube(p, (hole[0], hole[1], 0.0), (3.1, 2.9)), 0.8)
    opening = tube(p, (0.0, canal - 0.3, 0.0), (d.canal_width / 2, d.canal_depth / 2))
    return cut(bone, opening, 0.8)


def _process(level: str, d: Dimensions, p: Points, back: float, root_z: float) -> np.ndarray:
    """Spinous process of the neck: forked from C2 to C6, long with a single knob at C7."""
    angle = np.radians(d.inclination)
    direction = np.array([0.0, -np.cos(angle), -np.sin(angle)])
    root = np.array([0.0, back - 1.5, root_z])
    tip = np.array([0.0, back, root_z + 1.0]) + d.process * direction
    blade = (0.62, 1.0, 1.55) if level not in ("C7",) else (0.7, 1.0, 1.5)
    if level == "C7":
        bone = _bar(p, blade, root, root + 0.55 * (tip - root), tip - 2.5 * direction, radii=(4.0, 3.6, 4.4))
        return join(bone, ellipsoid(p, tip - 3.6 * direction, (4.4, 3.8, 5.4)), 2.0)
    fork = {"C2": 6.0, "C3": 4.2, "C4": 4.4, "C5": 4.6, "C6": 3.2}[level]
    thick = {"C2": 4.4}.get(level, 3.3)
    neck = root + 0.62 * (tip - root)
    bone = _bar(p, blade, root, neck, radii=(thick, thick * 0.85))
    prong = capsule(p, neck - 1.0 * direction, tip + np.array([fork, 0.8, -1.2]), 2.6, 2.3)
    return join(bone, prong, 2.0)


def axis(d: Dimensions, p: Points) -> np.ndarray:
    """C2: body, dens, sloping shoulders for C1, broad forked process."""
    deep = d.depth / 2
    lower = Dimensions(**{**d.__dict__, "anterior": d.anterior, "posterior": d.posterior, "waist": 0.10})
    x, _, z = p
    trunk = body(p, lower, region="C")
    trunk = common(trunk, z - (d.anterior / 2 - 2 - 0.0 * x), 3.0)
    top = d.anterior / 2
    neck = capsule(p, (0, 0.8, top - 6), (0, 0.2, top + 3), 5.2, 4.6, (1.0, 1.0, 1.0))
    peak = capsule(p, (0, 0.4, top + 3), (0, -1.2, top + 13.2), 4.7, 4.3)
    bone = join(trunk, join(neck, peak, 3.0), 5.0)
    # Shoulders: discs that fall to the side, carrying the upper facets.
    shoulder = capsule(p, (7.5, -1.5, top - 3.8), (14.8, -3.5, top - 7.2), 7.2, 6.4, (1.0, 1.0, 0.52))
    below = capsule(p, (8.0, -1.0, top - 8), (13.5, -4.5, -4.0), 5.6, 4.2)
    bone = join(bone, join(shoulder, below, 3.0), 4.0)
    back = -deep - d.canal_depth
    lower_facet = box(p, (17.2, -deep - 9.5, -6.5), (5.4, 6.4, 4.2), 2.2, turned(-42, "x"))
    arch = capsule(p, (15.5, -6.0, -2.0), (16.5, -deep - 9.0, -4.5), 4.4, 4.4)
    bone = join(bone, join(arch, lower_facet, 3.0), 3.0)
    lamina = capsule(p, (15.0, -deep - 11.0, -5.0), (0.0, back - 2.5, -8.5), 3.0, 3.4, (1.0, 1.0, 2.1))
    bone = join(bone, lamina, 3.0)
    transverse = capsule(p, (15.0, -4.0, -4.0), (d.span / 2 - 2.5, -7.0, -7.5), 3.0, 2.4)
    bone = join(bone, transverse, 2.0)
    bone = join(bone, _process("C2", d, p, back, -9.0), 3.0)
    hole = capsule(p, (17.8, -3.6, -16.0), (18.8, -3.6, 16.0), 2.7)
    bone = cut(bone, hole, 0.8)
    return cut(bone, tube(p, (0.0, -deep - d.canal_depth / 2 - 0.2, 0.0), (d.canal_width / 2, d.canal_depth / 2)), 0.8)


def atlas(p: Points) -> np.ndarray:
    """C1: a ring with lateral masses; frame in the middle between the arches' middles. Sizes after [A]."""
    front_arch = capsule(p, (0.0, 19.5, 0.0), (11.0, 16.0, 0.0), 2.9, 3.2, (1.0, 1.0, 1.75))
    tubercle = ellipsoid(p, (0.0, 21.3, 0.3), (3.2, 2.4, 4.6))
    bone = join(front_arch, tubercle, 2.0)
    mass = box(p, (18.6, 8.8, 0.0), (6.6, 9.6, 7.0), 3.0, turned(-18, "z"))
    upper = ellipsoid(p, (16.5, 9.5, 12.6), (8.4, 12.6, 8.0))
    mass = cut(mass, upper, 1.0)
    bone = join(bone, mass, 3.0)
    back_arch = _bar(
        p,
        (1.0, 1.0, 1.45),
        (19.0, 1.0, 1.0),
        (17.2, -9.0, 1.0),
        (8.5, -17.6, 0.3),
        (0.0, -20.6, 0.0),
        radii=(2.7, 2.4, 2.6, 3.2),
        blend=2.0,
    )
    bone = join(bone, back_arch, 3.0)
    wing = _bar(
        p,
        (1.0, 1.0, 1.25),
        (22.0, 9.0, -0.5),
        (30.0, 9.0, -1.0),
        (36.6, 3.4, -1.5),
        radii=(3.0, 2.8, 3.2),
    )
    rear_wing = _bar(p, (1, 1, 1.1), (21.5, 0.5, 0.0), (30.0, -0.5, -1.0), (36.0, 2.0, -1.5), radii=(3.0, 2.6, 3.0))
    bone = join(bone, join(wing, rear_wing, 2.0), 2.0)
    hole = tube(p, (28.6, 4.2, 0.0), (3.3, 3.1))
    bone = cut(bone, hole, 0.8)
    return bone


def thoracic(level: str, d: Dimensions, p: Points) -> np.ndarray:
    """T1 to T13: heart-shaped body, slanting process, transverse processes to the back."""
    number = int(level[1:])
    deep = d.depth / 2
    mean = (d.anterior + d.posterior) / 2
    back = -deep - d.canal_depth
    bone = body(p, d, region="T")
    pedicle_z = mean / 2 - d.pedicle_height / 2 - 0.5
    pedicle_x = d.canal_width / 2 + d.pedicle_width / 2 - 0.5
    pedicle = capsule(
        p,
        (pedicle_x, -deep + 4, pedicle_z),
        (pedicle_x + 0.5, back + 4.5, pedicle_z + 0.5),
        d.pedicle_width / 2,
        None,
        (1.0, 1.0, d.pedicle_height / d.pedicle_width),
    )
    bone = join(bone, pedicle, 2.0)
    lamina = capsule(
        p, (pedicle_x - 1.0, back + 2.0, pedicle_z - 3), (0.0, back - 2.0, -mean * 0.12), 5.6, 5.6, (1.0, 0.5, 1.75)
    )
    bone = join(bone, lamina, 2.5)
    # Superior articular process: a small plate facing back; inferior: the lamina's lower corner.
    upper = capsule(
        p,
        (pedicle_x, back + 3.2, mean / 2 - 4),
        (pedicle_x + 0.5, back + 4.6, mean / 2 + 4.5),
        4.8,
        3.6,
        (1.2, 0.55, 1.0),
    )
    lower = capsule(
        p,
        (pedicle_x - 2, back - 0.5, -mean * 0.2),
        (pedicle_x - 1, back + 1.0, -mean / 2 - 4),
        5.2,
        4.0,
        (1.2, 0.55, 1.0),
    )
    bone = join(bone, join(upper, lower, 1.0), 2.0)
    if number <= 10:
        sweep = 24 if number > 1 else 12
        root = (pedicle_x + 1.5, back + 3.0, pedicle_z - 1.0)
        tip = (d.span / 2 - 4.0, back + 2.5 - sweep * 0.55, pedicle_z + (1.0 if number > 4 else -2.0))
        bone = join(bone, _bar(p, (1, 1, 1.15), root, tip, radii=(5.0, 4.4)), 3.0)
    else:
        knob = ellipsoid(p, (d.span / 2 - 4.5, back + 1.5, pedicle_z - 1), (5.5, 5.0, 7.5))
        bone = join(bone, knob, 4.0)
    angle = np.radians(d.inclination)
    direction = np.array([0.0, -np.cos(angle), -np.sin(angle)])
    root = np.array([0.0, back - 2.0, -mean * 0.10])
    tip = root + (d.process - 2.0) * direction
    tall = 1.9 if number < 11 else 2.6
    spine = _bar(
        p,
        (0.62, 1.0, tall * 0.62 / max(np.cos(angle), 0.62)),
        root,
        root + 0.5 * (tip - root),
        tip,
        radii=(5.0, 4.2, 4.4),
    )
    bone = join(bone, spine, 3.0)
    opening = tube(p, (0.0, -deep - d.canal_depth / 2, 0.0), (d.canal_width / 2, d.canal_depth / 2))
    return cut(bone, opening, 1.0)


def lumbar(level: str, d: Dimensions, p: Points) -> np.ndarray:
    """L1 to L6: large kidney-shaped body, hatchet process, facets to the side, long transverse processes."""
    last = level in ("L5", "L6")
    deep = d.depth / 2
    mean = (d.anterior + d.posterior) / 2
    back = -deep - d.canal_depth
    bone = body(p, d, region="L")
    pedicle_z = d.posterior / 2 - d.pedicle_height / 2 - 0.5
    pedicle_x = d.canal_width / 2 + d.pedicle_width / 2
    pedicle = capsule(
        p,
        (pedicle_x, -deep + 5, pedicle_z),
        (pedicle_x + 1.0, back + 7.0, pedicle_z),
        d.pedicle_width / 2,
        None,
        (1.0, 1.0, d.pedicle_height / d.pedicle_width),
    )
    bone = join(bone, pedicle, 3.0)
    # Pars and lamina: from the pedicle down to the lower facet, closing the canal behind.
    isthmus_x = d.canal_width / 2 + 2.5
    pars = capsule(p, (pedicle_x, back + 7.5, pedicle_z - 1), (isthmus_x, back + 1.0, -mean * 0.40), 5.0, 5.0)
    lamina = capsule(
        p, (isthmus_x, back + 2.5, pedicle_z - 6), (0.0, back - 2.2, -mean * 0.30), 6.5, 7.0, (1.0, 0.52, 1.3)
    )
    bone = join(bone, join(pars, lamina, 3.0), 3.0)
    apart = d.canal_width / 2 + (4.5 if not last else 8.0)
    upper = capsule(
        p, (apart + 4, back + 6.0, pedicle_z), (apart + 5.0, back + 4.0, pedicle_z + 11.0), 5.6, 4.8, (0.85, 1.35, 1.0)
    )
    lower = capsule(
        p,
        (apart - 4, back - 0.5, -mean * 0.30),
        (apart - 2.2, back - 1.5, -mean * 0.5 - 7.5),
        5.6,
        4.8,
        (0.95, 1.15, 1.0),
    )
    bone = join(bone, join(upper, lower, 1.0), 3.0)
    reach = d.span / 2
    rise = {"L1": 2.0, "L2": 2.0, "L3": 3.0, "L4": 5.0, "L5": 8.0, "L6": 7.0}[level]
    thick = (4.0, 3.4, 3.2) if not last else (7.5, 6.0, 4.5)
    transverse = _bar(
        p,
        (1.0, 0.75, 1.35),
        (pedicle_x + 1, back + 9.0 + (4 if last else 0), pedicle_z - 2),
        (pedicle_x + 0.5 * (reach - pedicle_x), back + 8.0 + (3 if last else 0), pedicle_z - 2 + rise * 0.4),
        (reach - 3.5, back + 5.0 + (2 if last else 0), pedicle_z - 2 + rise),
        radii=thick,
        blend=2.5,
    )
    bone = join(bone, transverse, 4.0)
    # Hatchet: a tall plate with a thick lower back corner.
    tall = {"L1": 8.8, "L2": 9.5, "L3": 9.8, "L4": 8.4, "L5": 6.4, "L6": 6.4}[level]
    drop = np.tan(np.radians(d.inclination)) * d.process / 2
    blade = box(
        p,
        (0.0, back - d.process / 2 + 1.0, -mean * 0.34 - drop * 0.6),
        (3.0, d.process / 2 + 1.0, tall),
        2.6,
        turned(-d.inclination * 0.7, "x").T,
    )
    rim = capsule(
        p,
        (0.0, back - d.process + 4.2, -mean * 0.34 - drop + tall * 0.42),
        (0.0, back - d.process + 4.6, -mean * 0.34 - drop - tall * 0.72),
        3.4,
        4.4,
        (1.0, 1.0, 1.0),
    )
    bone = join(bone, join(blade, rim, 3.0), 4.0)
    # The canal of the loins is a rounded triangle.
    opening = tube(p, (0.0, -deep - d.canal_depth * 0.46, 0.0), (d.canal_width / 2, d.canal_depth * 0.54))
    return cut(bone, opening, 1.2)


@cache
def built_in_shape(level: str) -> Shape:
    """Return the vertebra at `level` with the mean dimensions of `morphometry`, in its own frame."""
    if level not in LEVELS:
        msg = f"no level {level!r}"
        raise ValueError(msg)
    if level == "C1":
        half = Half((0, -27, -13), (44, 28, 13), 0.5)
        return settle(Shape(level, half.field(atlas(half.points)), np.eye(4)))
    if level == "S1":
        from SpineSegLib.phantom.built_in_sacrum import sacrum

        half = Half((0, -75, -118), (68, 30, 32), 0.9)
        return settle(Shape(level, half.field(sacrum(half.points)), np.eye(4)))
    d = mean_dimensions(level)
    front, back = d.depth / 2 + 5, -d.depth / 2 - d.canal_depth - d.process - 8
    make = {"C": cervical, "T": thoracic, "L": lumbar}[level[0]]
    if level == "C2":
        half = Half((0, back, -32), (32, front, 30), 0.5)
        return settle(Shape(level, half.field(axis(d, half.points)), np.eye(4)))
    low = -d.anterior / 2 - 8 - max(np.sin(np.radians(d.inclination)) * d.process, 16)
    half = Half((0, back, low), (d.span / 2 + 6, front, d.anterior / 2 + 20), 0.5 if level[0] == "C" else 0.65)
    return settle(Shape(level, half.field(make(level, d, half.points)), np.eye(4)))
