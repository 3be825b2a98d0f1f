"""The sacrum that ships with the software: five fused, shrinking segments on a curve, alae, and a crest behind.

Sizes after anatomical plates: 105-115 mm long, 105-115 mm wide at the alae, S1's endplate about 50 x 32 mm.
"""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.solids import Points, box, capsule, common, cut, ellipsoid, join, plane, turned


def sacrum(p: Points) -> np.ndarray:
    """Return the sacrum's distance; origin in the middle of S1's endplate, y along the endplate, z along its normal."""
    # Middles of the segments, in the endplate's frame: the bone runs down and curves to the back, then forward.
    line = np.array(
        [(0, 2, -13), (0, -6, -37), (0, -17, -57), (0, -24, -75), (0, -25, -91), (0, -20, -104)], dtype=float
    )
    lean = [8, 22, 28, 20, -2, -20]
    half = [(23.5, 15, 14), (18, 11, 13.5), (15, 8, 11), (13, 6.5, 10), (11, 5.5, 9), (8, 4.5, 7)]
    bone = None
    for centre, angle, size in zip(line, lean, half, strict=True):
        piece = box(p, centre, size, min(size) * 0.55, turned(angle, "x"))
        bone = piece if bone is None else join(bone, piece, 5.0)
    # Alae: wings that thin out downwards.
    wing = capsule(p, (20, -6, -16), (46, -14, -15), 14, 13, (1.0, 1.0, 1.15))
    lower = capsule(p, (38, -18, -30), (25, -28, -62), 12, 7)
    bone = join(bone, join(wing, lower, 8.0), 6.0)
    edge = capsule(p, (22, -30, -62), (12, -26, -92), 7, 5)
    bone = join(bone, edge, 5.0)
    # Back: laminae and median crest behind the sacral canal; superior articular processes.
    roof = capsule(p, (11, -37, -12), (5, -48, -60), 9.0, 6.0, (1.5, 0.62, 1.0))
    crest = capsule(p, (0, -43, -16), (0, -50, -58), 5.0, 4.0, (0.8, 1.1, 1.3))
    side = capsule(p, (22, -32, -10), (14, -40, -60), 6.0, 5.0)
    facet = capsule(p, (21, -27, -6), (22, -27, 7), 7.0, 5.5, (0.9, 1.1, 1.0))
    bone = join(bone, join(join(roof, crest, 6.0), join(side, facet, 5.0), 6.0), 6.0)
    # Openings: canal and the front and back foramina between the segments.
    canal = capsule(p, (0, -24, 14), (0, -25, -20), 10.0, 8.0, (1.35, 0.95, 1.0))
    canal = join(canal, capsule(p, (0, -25, -20), (0, -37, -70), 8.0, 3.5, (1.3, 0.8, 1.0)), 2.0)
    bone = cut(bone, canal, 1.5)
    for x, y, z, radius in ((20, -2, -29, 4.6), (17.5, -10, -50, 4.2), (15.5, -18, -68, 3.8), (13.5, -22, -84, 3.2)):
        bone = cut(bone, capsule(p, (x, y + 22, z), (x * 0.92, y - 30, z + 3), radius, radius * 0.8), 2.0)
    # The endplate itself: flat, and the bone ahead of and above it cut away.
    x, y, _ = p
    cap = box(p, (0, 0.5, 8), (27, 20, 8.0), 1.0)
    bone = cut(bone, common(cap, plane(p, (0, -17, 0), (0, -1, -0.2)), 1.0), 1.0)
    plate = ellipsoid(p, (0, 0.4, -4.6), (24.6, 16.6, 4.8))
    slab = common(ellipsoid(p, (0, 0.4, -6), (25.6, 17.4, 12)), plane(p, (0, 0, 0), (0, 0, 1)), 1.5)
    slab = common(slab, plane(p, (0, 0, -12), (0, 0, -1)), 2.0)
    return join(bone, join(slab, plate, 1.0), 3.0)
