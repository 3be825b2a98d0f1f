"""Bones round the spine that ship with the software: skull, jaw, teeth, hyoid, ribs, shoulders, pelvis.

Each is a function of points (N, 3) in the frame of an anchor: C1's own frame for the head, upright axes through a
vertebra's middle for the rest. Right half only (x is taken positive), sizes after anatomical plates and the skeleton of
BodyParts3D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.solids import box, capsule, common, cut, ellipsoid, join, plane, tube, turned


@dataclass(frozen=True, eq=False)
class Around:
    """One bone: its distance, its box (2, 3) in the anchor's frame, cortex in mm, mineral inside, tissue of teeth."""

    name: str
    distance: Callable[[np.ndarray], np.ndarray]
    bounds: np.ndarray
    shell: float = 1.2
    mineral: float = 0.8
    tissue: Tissue = Tissue.CORTICAL


def _mirrored(solid) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: solid((np.abs(points[:, 0]), points[:, 1], points[:, 2])).astype(np.float32)


def _chain(p, points, radii, squash=(1.0, 1.0, 1.0), blend=2.0):
    solid = None
    for n in range(len(points) - 1):
        piece = capsule(p, points[n], points[n + 1], radii[n], radii[n + 1], squash)
        solid = piece if solid is None else join(solid, piece, blend)
    return solid


def _skull(p):
    vault = np.abs(ellipsoid(p, (0, 14, 92), (73, 92, 80))) - 2.8
    floor = common(np.abs(ellipsoid(p, (0, 14, 88), (66, 86, 70))) - 3.2, plane(p, (0, 0, 48), (0, 0.25, 1)), 2.0)
    floor = common(floor, plane(p, (0, 8, 0), (0, -1, 0)), 3.0)
    vault = join(vault, floor, 3.0)
    vault = cut(vault, tube(p, (0, -4, 0), (14, 17)), 3.0)
    vault = cut(vault, box(p, (0, 85, 10), (40, 40, 36), 10), 3.0)
    condyle = ellipsoid(p, (16.5, 8.5, 13.0), (7.5, 11, 6.5))
    clivus = capsule(p, (0, 15, 17), (0, 36, 44), 6.0, 8.0, (1.9, 1.0, 1.0))
    petrous = capsule(p, (20, 22, 30), (50, 2, 26), 9.0, 12.0)
    mastoid = capsule(p, (51, 0, 24), (50, 2, 1), 12.0, 6.0, (0.85, 1.1, 1.0))
    bone = join(vault, join(condyle, clivus, 3.0), 4.0)
    return join(bone, join(petrous, mastoid, 4.0), 4.0)


def _face(p):
    palate = box(p, (0, 66, 8), (20, 26, 2.0), 1.5)
    alveolus = _chain(p, [(0, 93, 3), (14, 88, 3), (23, 70, 4), (25, 52, 5)], [4.5, 4.5, 5, 5], (1, 1, 1.6))
    antrum = np.abs(ellipsoid(p, (23, 64, 26), (14, 20, 19))) - 0.5
    pterygoid = box(p, (15, 40, 16), (2, 6, 16), 1.5)
    return join(join(palate, alveolus, 2.0), join(antrum, pterygoid, 1.0), 2.0)


def _jaw(p):
    ramus = _chain(p, [(50, 30, 27), (48, 34, 6), (45, 38, -22)], [5.5, 4.6, 6], (0.75, 2.3, 1.0))
    coronoid = capsule(p, (47, 46, 0), (46, 56, 22), 4.5, 2.5, (0.7, 1.6, 1.0))
    body = _chain(
        p,
        [(45, 38, -22), (36, 66, -32), (22, 92, -37), (8, 105, -38), (0, 106, -38)],
        [7, 6.5, 6.5, 6.5, 6.5],
        (0.8, 0.8, 1.9),
    )
    return join(join(ramus, coronoid, 3.0), body, 3.0)


def _teeth(p):
    solid = None
    upper = [(3, 97, -5), (10, 95.5, -5), (16, 91, -5), (20, 85, -4), (23, 78, -4), (25, 69, -3), (26, 59, -3)]
    lower = [(2.5, 101, -17), (8, 100, -17), (13, 96, -17), (18, 90, -16), (22, 82, -16), (27, 72, -15), (32, 62, -14)]
    for row, way in ((upper, 1), (lower, -1)):
        for n, (x, y, z) in enumerate(row):
            wide = 2.6 if n < 3 else 3.4 if n < 5 else 4.6
            crown = ellipsoid(p, (x, y, z), (wide, wide, 5.2))
            root = capsule(p, (x, y, z), (x, y - 1.5, z + way * 11), wide * 0.62, 1.2)
            tooth = np.minimum(crown, root)
            solid = tooth if solid is None else np.minimum(solid, tooth)
    return solid


def _hyoid(p):
    return _chain(p, [(0, 64, -43), (10, 61, -43), (17, 46, -39), (19, 32, -35)], [3.6, 2.8, 2.0, 2.2], (1, 1, 1.5))


def head() -> list[Around]:
    """Skull base and face, jaw, teeth and hyoid, in C1's own frame."""
    return [
        Around("skull", _mirrored(_skull), np.array([[-78, -84, -6], [78, 112, 176]]), 1.4, 1.2),
        Around("teeth", _mirrored(_teeth), np.array([[-38, 54, -32], [38, 108, 10]]), 1.0, 1.0, Tissue.TOOTH),
        Around("face", _mirrored(_face), np.array([[-42, 30, -8], [42, 102, 48]]), 1.0, 0.7),
        Around("mandible", _mirrored(_jaw), np.array([[-58, 18, -54], [58, 116, 36]]), 1.8, 0.9),
        Around("hyoid", _mirrored(_hyoid), np.array([[-24, 28, -50], [24, 70, -28]]), 0.9, 0.6),
    ]


def shoulders() -> list[Around]:
    """Clavicles, scapulae and upper arms, hanging; upright frame through T2's middle, x mirrored."""

    def clavicle(p):
        return _chain(
            p, [(14, 62, -28), (50, 68, -8), (95, 40, 6), (132, 4, 16), (158, -8, 18)], [9, 6, 5.5, 6, 6.5], (1, 1, 0.9)
        )

    def scapula(p):
        blade = box(p, (92, -62, -62), (46, 3.2, 66), 3.0, turned(28, "z"))
        blade = common(blade, plane(p, (140, -40, -40), (1, 0.2, -0.55)), 4.0)
        border = capsule(p, (135, -28, -22), (92, -62, -125), 6.0, 5.0)
        spine = _chain(p, [(60, -88, -20), (105, -72, 0), (160, -36, 16), (172, -12, 16)], [3, 5, 6, 7], (1, 1.2, 0.9))
        glenoid = ellipsoid(p, (142, -22, -14), (9, 13, 18))
        coracoid = _chain(p, [(138, -14, 0), (140, 8, 8), (150, 16, 2)], [6, 5, 4])
        return join(join(join(blade, border, 4.0), spine, 4.0), join(glenoid, coracoid, 3.0), 5.0)

    def arm(p):
        top = ellipsoid(p, (168, -18, -12), (25, 24, 24))
        shaft = capsule(p, (174, -16, -24), (178, -14, -220), 17, 11.5)
        return join(top, shaft, 10.0)

    return [
        Around("clavicles", _mirrored(clavicle), np.array([[-170, -20, -42], [170, 80, 28]]), 1.8, 0.8),
        Around("scapulae", _mirrored(scapula), np.array([[-184, -112, -140], [184, 26, 30]]), 1.2, 0.6),
        Around("arms", _mirrored(arm), np.array([[-202, -48, -240], [202, 12, 18]]), 2.6, 0.6),
    ]


RIB = {
    # half width and depth of the arch, how far the rib falls to the front, mm, how far round it goes, degrees
    1: (62, 62, 34, 175),
    2: (88, 92, 46, 170),
    3: (104, 118, 58, 166),
    4: (114, 136, 68, 162),
    5: (122, 148, 78, 158),
    6: (127, 156, 86, 154),
    7: (130, 160, 92, 150),
    8: (130, 158, 94, 142),
    9: (128, 152, 92, 132),
    10: (124, 144, 86, 120),
    11: (118, 132, 72, 86),
    12: (108, 118, 52, 62),
}


def rib(number: int, depth: float) -> Around:
    """A pair of ribs in the upright frame through their vertebra's middle; `depth` is that of the body, mm."""
    wide, deep, fall, round_ = RIB[number]
    angles = np.radians(np.linspace(18, round_, 13 if number < 11 else 8))
    middle = deep * 0.5 - depth * 0.5 - 14
    points = [
        (wide * np.sin(a) ** 0.9, middle - deep * 0.62 * np.cos(a), 8 - fall * (1 - np.cos(a)) / 2 - 4 * np.sin(a))
        for a in angles
    ]
    points = [(18.0, -depth * 0.42, 8.0), (30.0, -depth / 2 - 16, 6.0), *points[1:]]
    squash = (1.0, 1.0, 1.7) if number > 1 else (1.4, 1.4, 0.8)

    def solid(p):
        return _chain(p, points, [4.0] * len(points), squash, 1.0)

    low = min(z for _, _, z in points) - 10
    reach = max(y for _, y, _ in points) + 8
    least = min(y for _, y, _ in points) - 8
    return Around(
        f"rib {number}", _mirrored(solid), np.array([[-wide - 10, least, low], [wide + 10, reach, 18]]), 1.0, 0.6
    )


def pelvis() -> list[Around]:
    """Hip bones and the heads of the thigh bones; upright frame through the middle of S1's endplate."""

    def hip(p):
        # The wing: a shell that opens to the front, cut to the outline of an ilium seen from the side.
        wing = np.abs(ellipsoid(p, (40, 34, -10), (92, 84, 92))) - 3.2
        outline = ellipsoid(p, (90, 8, -20), (90, 76, 62))
        wing = common(wing, outline, 6.0)
        wing = common(wing, plane(p, (56, 0, 0), (-1, 0.3, 0.1)), 5.0)
        crest = _chain(
            p, [(66, -52, -14), (92, -34, 22), (118, 4, 38), (128, 40, 26), (124, 64, -4)], [5, 5.5, 6, 6, 6]
        )
        wing = join(wing, crest, 6.0)
        joint = np.maximum(ellipsoid(p, (84, 42, -92), (32, 32, 32)), -ellipsoid(p, (90, 44, -96), (25, 25, 25)))
        pillar = capsule(p, (84, 14, -50), (82, 34, -74), 14, 16, (0.8, 1.2, 1.0))
        posterior = capsule(p, (64, -40, -26), (80, 10, -66), 9, 13, (0.8, 1.0, 1.0))
        bone = join(wing, join(pillar, posterior, 8.0), 8.0)
        pubis = _chain(p, [(70, 62, -92), (36, 88, -104), (6, 94, -118)], [9, 7.5, 9])
        ischium = _chain(p, [(76, 20, -104), (66, -4, -150), (42, 24, -160), (8, 84, -134)], [13, 13, 8, 7])
        return join(join(bone, joint, 6.0), join(pubis, ischium, 4.0), 6.0)

    def thigh(p):
        ball = ellipsoid(p, (90, 44, -96), (23.5, 23.5, 23.5))
        neck = capsule(p, (92, 44, -98), (124, 32, -128), 15, 15)
        shaft = capsule(p, (130, 30, -136), (134, 30, -240), 19, 15)
        return join(ball, join(neck, shaft, 10.0), 6.0)

    return [
        Around("thigh bones", _mirrored(thigh), np.array([[-156, 8, -250], [156, 70, -70]]), 2.0, 0.7),
        Around("hip bones", _mirrored(hip), np.array([[-140, -58, -172], [140, 106, 54]]), 1.4, 0.7),
    ]
