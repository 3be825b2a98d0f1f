"""The truth in numbers: corners, endplates, centroids, angles, slips and heights of a posed column.

All points are RAS in mm, all angles degrees. Definitions: `levels` (corners, endplate lines, heights) and `pose`
(tilts, lordosis, Cobb, slip); they are those of the measurements that a radiologist makes:

- cervical lordosis: tilt(C2 inferior) - tilt(C7 inferior); lumbar lordosis: tilt(L1 superior) - tilt(S1 superior);
  thoracic kyphosis: tilt(T12 inferior) - tilt(T4 superior), positive; positive lordosis bends back
- T1 slope and sacral slope: minus the tilt of the superior endplate
- Cobb angles: for every pair i above j, coronal tilt(i superior) - coronal tilt(j inferior), + = convex to the right
- slip: ((IP of the upper - SP of the lower) · ê) with ê along the lower's superior endplate line to the front, in mm and
  as a share of |SA - SP| of the lower (Meyerding); + = to the front
- heights Ha, Hm, Hp along the normal of the bisector of both endplate lines; Ha and Hp between corners, Hm between the
  endplates at mid depth
- disc heights: between the facing corners (anterior, posterior) and the endplates' middles, along the bisector's normal
- DHI: mean of the three disc heights / mean of the mean heights of the bodies above and below
- ADI: from the back of C1's front arch to the front of the dens
- canal depth: from mid posterior wall to the foremost point of the arch, across the wall
- C2-C7 SVA: centroid of C2's body - postero-superior corner of C7, along y
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from SpineSegLib.phantom.pose import Column

CORNERS = ("SA", "SP", "IA", "IP", "SL", "SR", "IL", "IR")
LINES = ("sup_post", "sup_ant", "inf_post", "inf_ant", "sup_left", "sup_right", "inf_left", "inf_right")


def _plain(value) -> float | list[float]:
    return [round(float(v), 4) for v in value] if np.ndim(value) else round(float(value), 4)


def heights(column: Column, level: str) -> tuple[float, float, float]:
    """Return Ha, Hm and Hp of a body in mm."""
    normal = _normal(column, [(level, "sup"), (level, "inf")])
    pairs = (("SA", "IA"), ("sup_mid", "inf_mid"), ("SP", "IP"))
    return tuple(float(normal @ (column.point(level, a) - column.point(level, b))) for a, b in pairs)


def disc_heights(column: Column, upper: str, lower: str) -> tuple[float, float, float]:
    """Return the anterior, middle and posterior height of a disc in mm."""
    normal = _normal(column, [(upper, "inf"), (lower, "sup")])
    pairs = (("IA", "SA"), ("inf_mid", "sup_mid"), ("IP", "SP"))
    return tuple(float(normal @ (column.point(upper, a) - column.point(lower, b))) for a, b in pairs)


def _normal(column: Column, lines: list[tuple[str, str]]) -> np.ndarray:
    """Return the unit normal of the bisector of endplate lines, up, within the first one's mid plane."""
    along = np.zeros(3)
    for level, side in lines:
        line = column.point(level, f"{side}_ant") - column.point(level, f"{side}_post")
        along += line / np.linalg.norm(line)
    lateral = column.frame(lines[0][0])[:3, 0]
    normal = np.cross(lateral, along)
    return normal / np.linalg.norm(normal)


def slip(column: Column, upper: str, lower: str) -> tuple[float, float]:
    """Return the slip of `upper` on `lower` in mm and percent of the lower endplate's depth."""
    along = column.point(lower, "sup_ant") - column.point(lower, "sup_post")
    along /= np.linalg.norm(along)
    amount = float(along @ (column.point(upper, "IP") - column.point(lower, "SP")))
    depth = float(np.linalg.norm(column.point(lower, "SA") - column.point(lower, "SP")))
    return amount, 100 * amount / depth


def measurements(column: Column, centroids: dict[str, np.ndarray], shown: list[str]) -> dict:
    """Return the truth as plain numbers, for the levels of `shown`.

    Parameters
    ----------
    centroids : of the bodies (C1: of the vertebra), from the mask, RAS
    """
    column_levels = [level for level in column.levels if level in shown]
    out: dict = {"frame": "RAS", "unit": "mm", "angle_unit": "degree", "levels": column_levels}
    out["points"] = {level: _points(column, level, centroids) for level in column_levels}
    bodies = [level for level in column_levels if level != "C1"]
    out["tilt"] = {level: _tilts(column, level) for level in bodies}
    out["heights"] = {}
    for level in bodies:
        if level in ("C2", "S1"):
            continue
        values = heights(column, level)
        names = ("anterior", "middle", "posterior")
        out["heights"][level] = dict(zip(names, map(_plain, values), strict=True))
        depth = np.linalg.norm(column.point(level, "SA") - column.point(level, "SP"))
        out["heights"][level] |= {"depth": _plain(depth), "wedge": _plain(_wedge(column, level))}
    out["discs"], out["slips"] = {}, {}
    for upper, lower in pairwise(bodies):
        name = f"{upper}/{lower}"
        ant, mid, post = disc_heights(column, upper, lower)
        amount, share = slip(column, upper, lower)
        out["discs"][name] = {"anterior": _plain(ant), "middle": _plain(mid), "posterior": _plain(post)}
        if upper != "C2" and lower != "S1":
            mean = np.mean([np.mean(heights(column, level)) for level in (upper, lower)])
            out["discs"][name]["dhi"] = _plain(np.mean([ant, mid, post]) / mean)
        out["slips"][name] = {"mm": _plain(amount), "percent": _plain(share)}
    out["angles"] = _angles(column, bodies)
    out["cobb"] = {
        f"{a}-{b}": _plain(column.coronal_tilt(a, "sup") - column.coronal_tilt(b, "inf"))
        for n, a in enumerate(bodies)
        for b in bodies[n:]
        if a != "C2" and b != "S1"
    }
    out["distances"] = _distances(column, column_levels, centroids)
    return out


def _points(column: Column, level: str, centroids: dict[str, np.ndarray]) -> dict:
    marks = column.marks[level]
    names = [name for name in (*CORNERS, *LINES) if name in marks]
    if level == "C2":
        names = [name for name in names if not name.startswith("sup_")]
    if level == "S1":
        names = [name for name in names if not name.startswith(("inf_", "I"))]
    points = {name.replace("_", " "): _plain(column.point(level, name)) for name in names}
    if level in centroids:
        points["centroid"] = _plain(centroids[level])
    for name, mark in (("spinous tip", "tip"), ("arch front", "arch_front"), ("dens top", "dens_top")):
        if mark in marks:
            points[name] = _plain(column.point(level, mark))
    for name, mark in (("front arch", "front"), ("back arch", "back")):
        if mark in marks:
            points[name] = _plain(column.point(level, mark))
    return points


def _tilts(column: Column, level: str) -> dict:
    out = {}
    for side, word in (("sup", "superior"), ("inf", "inferior")):
        if (level, side) in (("C2", "sup"),) or (level == "S1" and side == "inf"):
            continue
        out[f"{word} sagittal"] = _plain(column.sagittal_tilt(level, side))
        if level != "S1":
            out[f"{word} coronal"] = _plain(column.coronal_tilt(level, side))
    wall = column.point(level, "SP") - column.point(level, "IP")
    out["posterior wall lean"] = _plain(np.degrees(np.arctan2(wall[1], wall[2])))
    out["axial rotation"] = _plain(column.rotation[column.index(level), 2])
    return out


def _wedge(column: Column, level: str) -> float:
    return column.sagittal_tilt(level, "sup") - column.sagittal_tilt(level, "inf")


def _angles(column: Column, bodies: list[str]) -> dict:
    out = {}
    pairs = {
        "cervical lordosis": (("C2", "inf"), ("C7", "inf"), 1),
        "thoracic kyphosis": (("T4", "sup"), ("T12", "inf"), -1),
        "lumbar lordosis": (("L1", "sup"), ("S1", "sup"), 1),
    }
    for name, (upper, lower, sign) in pairs.items():
        if upper[0] in bodies and lower[0] in bodies:
            out[name] = _plain(sign * (column.sagittal_tilt(*upper) - column.sagittal_tilt(*lower)))
    for name, level in (("T1 slope", "T1"), ("sacral slope", "S1")):
        if level in bodies:
            out[name] = _plain(-column.sagittal_tilt(level, "sup"))
    if "C2" in bodies and "C7" in bodies:
        lean = [np.degrees(np.arctan2(*(column.point(v, "SP") - column.point(v, "IP"))[1:])) for v in ("C7", "C2")]
        out["cervical lordosis, posterior tangents"] = _plain(lean[0] - lean[1])
    for upper, lower in pairwise(bodies):
        out[f"{upper}/{lower}"] = _plain(column.sagittal_tilt(upper, "inf") - column.sagittal_tilt(lower, "sup"))
    return out


def _distances(column: Column, levels: list[str], centroids: dict[str, np.ndarray]) -> dict:
    out: dict = {"canal depth": {}, "interspinous": {}}
    for level in levels:
        marks = column.marks[level]
        if "arch_front" in marks and "SP" in marks and level != "S1":
            wall = marks["SP"] - marks["IP"]
            wall = wall / np.linalg.norm(wall)
            gap = marks["arch_front"] - (marks["SP"] + marks["IP"]) / 2
            out["canal depth"][level] = _plain(np.linalg.norm(gap - (gap @ wall) * wall))
    tips = [level for level in levels if "tip" in column.marks[level] and level != "S1"]
    for upper, lower in pairwise(tips):
        gap = np.linalg.norm(column.point(upper, "tip") - column.point(lower, "tip"))
        out["interspinous"][f"{upper}/{lower}"] = _plain(gap)
    if "C1" in levels and "C2" in levels:
        gap = column.point("C1", "arch_back") - column.point("C2", "dens_front")
        out["ADI"] = _plain(np.linalg.norm(gap))
    if "C2" in centroids and "C7" in levels:
        out["C2-C7 SVA"] = _plain(centroids["C2"][1] - column.point("C7", "SP")[1])
    if "C7" in centroids and "S1" in levels:
        out["SVA"] = _plain(centroids["C7"][1] - column.point("S1", "SP")[1])
        middle = (column.point("S1", "sup_ant") + column.point("S1", "sup_post")) / 2
        out["coronal balance"] = _plain(centroids["C7"][0] - middle[0])
    return out
