"""Landmarks of a bone, found the same way on every bone, from whatever source, after whatever change.

Definitions (mid-sagittal plane: x = 0 of the bone's own frame; coronal plane: y = 0)
- *Endplate line*: the Theil-Sen line through the endplate's profile between 15 and 85 % of the body's depth (in the
  coronal plane: of its width). Angles use these lines.
- *Corner* (SA, SP, IA, IP; superior/inferior, anterior/posterior): the point of the body's section that lies
  furthest along the box diagonal, that is, the maximum of ±y/depth ± z/height. Lateral corners SR, SL, IR, IL likewise.
- *Heights*: Ha and Hp between the corners, Hm between the endplates at mid depth, along the normal of the bisector of
  the two endplate lines.
- *Body*: ahead of the posterior wall (line SP-IP) and between the lateral walls. *Spinous process*: in the mid plane,
  behind the foremost point of the arch (spinolaminar line). *Arch*: the rest.
- C2: the body includes the dens; its upper corners are the walls at half the height of body and dens together, and it
  has no superior endplate. S1: only the superior endplate. C1: no body; front and back arch.
"""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.shapes import Shape, frame_of

STEP = 0.2
"""Sampling of the sections, mm."""


class LandmarkError(ValueError):
    """No vertebra can be recognised in this shape."""


def theil_sen(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the robust line: median of the slopes between all pairs of points."""
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y - slope * x))


class Section:
    """A plane through a bone: signed distance on a fine grid, u to the front (or right), z up."""

    def __init__(
        self,
        shape: Shape,
        *,
        across: str = "y",
        at: float = 0.0,
        window: np.ndarray | None = None,
        step: float = STEP,
    ):
        lower, upper = shape.bounds if window is None else window
        n = 1 if across == "y" else 0
        self.step = step
        self.u = np.arange(lower[n] - 1, upper[n] + 1, step)
        self.z = np.arange(lower[2] - 1, upper[2] + 1, step)
        grid = np.zeros((len(self.z), len(self.u), 3), dtype=np.float32)
        grid[..., n], grid[..., 2], grid[..., 1 - n] = self.u[None], self.z[:, None], at
        self.distance = shape.distance(grid.reshape(-1, 3)).reshape(grid.shape[:2])
        self.across, self.at = across, at

    def part(self, u: float, z: float) -> np.ndarray:
        """Return the mask of the connected part nearest to a point."""
        from scipy.ndimage import label

        parts, count = label(self.distance < 0)
        if not count:
            raise LandmarkError("the section is empty")
        rows, columns = np.nonzero(parts)
        nearest = np.argmin((self.u[columns] - u) ** 2 + (self.z[rows] - z) ** 2)
        return parts == parts[rows[nearest], columns[nearest]]

    def crossings(self, mask: np.ndarray, start: float, positions: np.ndarray, vertical: bool) -> np.ndarray:
        """Return where lines through `positions` leave the mask on either side of `start` (N, 2), below sample size."""
        along, other = (self.z, self.u) if vertical else (self.u, self.z)
        values = np.where(mask, self.distance, np.maximum(self.distance, 0.01))
        values = values if vertical else values.T
        found = np.full((len(positions), 2), np.nan)
        middle = int(np.clip(np.searchsorted(along, start), 1, len(along) - 2))
        for row, position in enumerate(positions):
            column = int(np.clip(round((position - other[0]) / self.step), 0, len(other) - 1))
            line = values[:, column]
            inside = np.flatnonzero(line < 0)
            if not len(inside):
                continue
            seed = inside[np.argmin(np.abs(inside - middle))]
            for side, step in ((0, -1), (1, 1)):
                k = seed
                while 0 < k < len(line) - 1 and line[k] < 0:
                    k += step
                a, b = line[k - step], line[k]
                found[row, side] = along[k - step] + step * self.step * (a / (a - b) if a != b else 0)
        return found

    def window(self, mask: np.ndarray) -> np.ndarray:
        """Return the box (2, 3) round the part of the plane where the mask lies."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return np.stack(
            [self.point(self.u[columns[end]], self.z[rows[end]]) + (1 - 2 * (end == 0)) * self.step for end in (0, -1)]
        )

    def point(self, u: float, z: float) -> np.ndarray:
        """Return the 3D point at (u, z)."""
        return np.array([self.at, u, z] if self.across == "y" else [u, self.at, z])

    def extreme(self, mask: np.ndarray, direction: tuple[float, float]) -> np.ndarray:
        """Return the point (u, z) of the mask furthest along `direction`, moved onto the surface."""
        rows, columns = np.nonzero(mask)
        best = np.argmax(self.u[columns] * direction[0] + self.z[rows] * direction[1])
        k, j = rows[best], columns[best]
        slope = np.array(
            [
                self.distance[k, min(j + 1, len(self.u) - 1)] - self.distance[k, max(j - 1, 0)],
                self.distance[min(k + 1, len(self.z) - 1), j] - self.distance[max(k - 1, 0), j],
            ]
        )
        size = np.linalg.norm(slope) or 1.0
        return np.array([self.u[j], self.z[k]]) - float(self.distance[k, j]) * slope / size


def _profile(section: Section, mask: np.ndarray) -> dict:
    """Endplate lines and corners of the part of a section that holds the body's middle."""
    walls = section.crossings(mask, 0.0, np.array([0.0]), vertical=False)[0]
    if not np.isfinite(walls).all():
        raise LandmarkError("the body's walls are not found")
    back, front = walls
    size = front - back
    columns = np.linspace(back + 0.15 * size, front - 0.15 * size, 41)
    ends = section.crossings(mask, 0.0, columns, vertical=True)
    middle = ends[20]
    height = middle[1] - middle[0]
    lines = [theil_sen(columns, ends[:, side]) for side in (0, 1)]
    scale = 1 / size, 1 / height
    near = (
        mask & (np.abs(section.z[:, None]) < 0.9 * height) & (np.abs(section.u[None] - (back + front) / 2) < 0.8 * size)
    )
    corners = {(v, w): section.extreme(near, (w * scale[0], v * scale[1])) for v in (1, -1) for w in (1, -1)}
    return {"back": back, "front": front, "lines": lines, "middle": middle, "corners": corners, "height": height}


def vertebra_landmarks(shape: Shape) -> dict[str, np.ndarray]:
    """Return the landmarks of a vertebra with a body (C2 to L6) or of the sacrum (S1), as points of its own frame.

    Returns
    -------
    name -> (3,) point: the corners, the ends of the endplate lines (``sup_post``, ``sup_ant``, ``inf_post``,
    ``inf_ant``; in the coronal plane ``sup_right`` …), the endplates' middles (``sup_mid``, ``inf_mid``: of the profile),
    the foremost point of the arch ``arch_front`` and the ``tip`` of the spinous process, its rearmost point.
    """
    # The whole bone coarsely, to tell body from arch; then the body finely.
    coarse = Section(shape, step=0.5)
    rough = coarse.part(0.0, 0.0)
    sagittal = Section(shape, window=coarse.window(rough))
    mask = sagittal.part(0.0, 0.0)
    marks: dict[str, np.ndarray] = {}
    profile = _profile_of(shape.name, sagittal, mask)
    for (v, w), corner in profile["corners"].items():
        marks[("S" if v > 0 else "I") + ("A" if w > 0 else "P")] = sagittal.point(*corner)
    for side, name, upper in ((1, "sup", "S"), (0, "inf", "I")):
        slope, level = profile["lines"][side]
        for end, corner in (("post", "P"), ("ant", "A")):
            u = marks[upper + corner][1]
            marks[f"{name}_{end}"] = sagittal.point(u, slope * u + level)
        marks[f"{name}_mid"] = sagittal.point((profile["back"] + profile["front"]) / 2, profile["middle"][side])
    marks |= {name: sagittal.point(*place) for name, place in profile.get("dens", {}).items()}
    _arch(coarse, rough, marks)
    if shape.name != "S1":
        _coronal(shape, marks, profile)
    else:
        _sacrum_width(shape, marks)
    return marks


def _profile_of(name: str, section: Section, mask: np.ndarray) -> dict:
    if name == "C2":
        return _axis_profile(section, mask)
    if name == "S1":
        return _sacrum_profile(section, mask)
    return _profile(section, mask)


def _axis_profile(section: Section, mask: np.ndarray) -> dict:
    """C2: as `_profile`, with the walls at half the height of body and dens in place of the upper corners."""
    profile = _profile(section, mask)
    size = profile["front"] - profile["back"]
    reach = mask & (np.abs(section.u[None] - (profile["back"] + profile["front"]) / 2) < 0.8 * size)
    top = section.z[np.flatnonzero(reach.any(axis=1))[-1]]
    waist = (profile["middle"][0] + top) / 2
    back, front = section.crossings(mask, 0.0, np.array([waist]), vertical=False)[0]
    profile["corners"][1, -1] = np.array([back, waist])
    profile["corners"][1, 1] = np.array([front, waist])
    profile["lines"][1] = (0.0, waist)
    profile["middle"] = np.array([profile["middle"][0], waist])
    high = top - 0.28 * (top - profile["middle"][0] - size * 0.9)
    walls = section.crossings(mask, (back + front) / 2, np.array([high]), vertical=False)[0]
    profile["dens"] = {"dens_front": (walls[1], high), "dens_back": (walls[0], high), "dens_top": (sum(walls) / 2, top)}
    return profile


def _sacrum_profile(section: Section, mask: np.ndarray) -> dict:
    """S1: the superior endplate only; lower corners lie where S1 ends, one body height below."""
    rows = np.flatnonzero((section.z > -8) & (section.z < 3))
    inside = mask[rows]
    front = max(section.u[np.flatnonzero(row)[-1]] for row in inside if row.any())
    back, _ = section.crossings(mask, 5.0, np.array([-4.0]), vertical=False)[0]
    columns = np.linspace(back + 0.15 * (front - back), front - 0.15 * (front - back), 41)
    top = section.crossings(mask, -4.0, columns, vertical=True)[:, 1]
    line = theil_sen(columns, top)
    size = front - back
    near = mask & (section.z[:, None] > -0.3 * size) & (np.abs(section.u[None] - (back + front) / 2) < 0.62 * size)
    corners = {(1, w): section.extreme(near, (w / size, 1.6 / size)) for w in (1, -1)}
    depth = 0.85 * size
    for w in (1, -1):
        corners[-1, w] = corners[1, w] + np.array([-0.06 * size if w > 0 else 0.02 * size, -depth])
    return {
        "back": back,
        "front": front,
        "lines": [(line[0], line[1] - depth), line],
        "middle": np.array([top[20] - depth, top[20]]),
        "corners": corners,
        "height": depth,
    }


def _arch(section: Section, mask: np.ndarray, marks: dict[str, np.ndarray]) -> None:
    """Foremost point of the arch and tip of the spinous process."""
    back = min(marks["SP"][1], marks["IP"][1])
    rest = (section.distance < 0) & ~mask & (section.u[None] < back - 2)
    if not rest.any():
        return
    for name, way in (("arch_front", 1.0), ("tip", -1.0)):
        marks[name] = section.point(*section.extreme(rest, (way, 0.0)))


def _coronal(shape: Shape, marks: dict[str, np.ndarray], profile: dict) -> None:
    """Lateral corners and the endplate lines in the coronal plane through the body's middle."""
    middle = (profile["back"] + profile["front"]) / 2
    if shape.name == "C2":
        middle = (marks["IA"][1] + marks["IP"][1]) / 2
    elif shape.name[0] == "C":
        # Costal roots join the back half of the body.
        middle += 0.22 * (profile["front"] - profile["back"])
    low, high = marks["IA"][2], marks["SA"][2]
    reach = 0.9 * (profile["front"] - profile["back"]) + 6
    window = np.array([[-reach, 0, low - 8], [reach, 0, high + 8]])
    coronal = Section(shape, across="x", at=middle, window=window)
    mask = coronal.part(0.0, 0.0)
    slender = coronal.crossings(mask, 0.0, np.array([(low + high) / 2]), vertical=False)[0]
    if shape.name == "C2":
        # The shoulders overhang: what counts is the width of the lower endplate, which varies little with its depth.
        slender = np.array([-0.6, 0.6]) * (marks["IA"][1] - marks["IP"][1])
    bands = {"inf": (low + 0.04 * (high - low), low + 0.3 * (high - low)), "sup": (high - 0.3 * (high - low), high)}
    for side, name, upper, v in ((1, "sup", "S", 1), (0, "inf", "I", -1)):
        # Costal and transverse roots join the body from the side; they are no part of its width.
        rows = (coronal.z >= bands[name][0]) & (coronal.z <= bands[name][1])
        seen = coronal.u[mask[rows].any(axis=0)]
        seen = seen[(seen > slender[0] * 1.35) & (seen < slender[1] * 1.35)]
        left, right = seen[0] - STEP / 2, seen[-1] + STEP / 2
        columns = np.linspace(left + 0.15 * (right - left), right - 0.15 * (right - left), 41)
        ends = coronal.crossings(mask, 0.0, columns, vertical=True)[:, side]
        slope, level = theil_sen(columns, ends)
        near = mask & (coronal.u[None] > left - 0.5) & (coronal.u[None] < right + 0.5)
        near &= np.abs(coronal.z[:, None]) < 1.2 * (high - low) if shape.name != "C2" else coronal.z[:, None] < high
        for end, w, edge in (("L", -1, left), ("R", 1, right)):
            corner = coronal.extreme(near, (w / (right - left), v / (high - low)))
            marks[upper + end] = coronal.point(*corner)
            marks[f"{name}_{'left' if w < 0 else 'right'}"] = coronal.point(edge, slope * edge + level)


def _sacrum_width(shape: Shape, marks: dict[str, np.ndarray]) -> None:
    """The width of S1's endplate cannot be seen in a plane through the alae; it is set from its depth [P92]."""
    half = 0.72 * (marks["sup_ant"][1] - marks["sup_post"][1])
    for upper, name in (("S", "sup"), ("I", "inf")):
        middle = (marks[f"{name}_ant"] + marks[f"{name}_post"]) / 2
        for end, word, w in (("L", "left", -1), ("R", "right", 1)):
            marks[upper + end] = marks[f"{name}_{word}"] = middle + np.array([w * half, 0.0, 0.0])


def atlas_landmarks(shape: Shape) -> dict[str, np.ndarray]:
    """Return C1's landmarks: ``front`` and ``back`` (middles of the arches), ``arch_back`` (behind the front arch)."""
    section = Section(shape)
    from scipy.ndimage import label

    parts, count = label(section.distance < 0)
    if count < 2:
        raise LandmarkError("C1 is not a ring: its mid-sagittal section has one part")
    sizes = np.bincount(parts.ravel())[1:]
    two = [parts == 1 + n for n in np.argsort(sizes)[-2:]]
    two.sort(key=lambda mask: -section.u[np.nonzero(mask)[1]].mean())
    marks = {}
    for name, mask in zip(("front", "back"), two, strict=True):
        rows, columns = np.nonzero(mask)
        marks[name] = section.point(section.u[columns].mean(), section.z[rows].mean())
    walls = section.crossings(two[0], marks["front"][1], np.array([marks["front"][2]]), vertical=False)[0]
    marks["arch_back"] = section.point(walls[0], marks["front"][2])
    marks["arch_front"] = section.point(section.u[np.nonzero(two[1])[1].max()], marks["back"][2])
    return marks


def settle(shape: Shape, rounds: int = 4) -> Shape:
    """Return the bone with its own frame put where the definition says, given one that is roughly right."""
    for _ in range(rounds):
        if shape.name == "C1":
            marks = atlas_landmarks(shape)
            across = marks["front"] - marks["back"]
            origin = (marks["front"] + marks["back"]) / 2
        else:
            marks = vertebra_landmarks(shape)
            across = sum(
                (marks[f"{name}_ant"] - marks[f"{name}_post"])
                / np.linalg.norm(marks[f"{name}_ant"] - marks[f"{name}_post"])
                for name in (("inf",) if shape.name == "C2" else ("sup",) if shape.name == "S1" else ("sup", "inf"))
            )
            origin = sum(marks[name] for name in ("SA", "SP", "IA", "IP")) / 4
        if shape.name == "S1":
            origin = (marks["sup_ant"] + marks["sup_post"]) / 2
        angle = np.degrees(np.arctan2(across[2], across[1]))
        if abs(angle) < 0.01 and np.linalg.norm(origin) < 0.01:
            break
        shape = shape.moved(frame_of(origin, angle))
    return shape
