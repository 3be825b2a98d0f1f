"""Where every vertebra stands: rotations that meet chosen angles exactly, positions that meet chosen slips and discs.

Angles (degrees)
- *sagittal tilt* of a line: atan2(dz, dy) from its posterior to its anterior end, in the world's sagittal plane;
- *coronal tilt*: atan2(dz, dx) from its left to its right end, in the world's coronal plane;
- a *lordosis* from line a down to line b: tilt(a) - tilt(b); a *kyphosis* is its negative;
- a *Cobb angle* from a down to b: coronal tilt(a) - coronal tilt(b), its size.
All use the endplate lines of `levels`. A *slip* is (IP of the upper - SP of the lower) along the lower's superior
endplate line, positive to the front.

The mean bend between neighbours and its spread are those of the body centres in 2,116 CTs (VID data set, Buergin et al.
2023; people lying on their back; computed once, rounded). Norms of the sums: field literature cited in `parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BEND = {
    # joint below this level: mean rotation of the upper vertebra against the lower one, + = lordosis [VID]
    **{"C2": 3.0, "C3": 3.0, "C4": 1.5, "C5": 3.0, "C6": 6.0, "C7": 4.0},
    **{"T1": -1.0, "T2": -3.0, "T3": -5.0, "T4": -5.2, "T5": -6.0, "T6": -6.0, "T7": -4.2, "T8": -2.0, "T9": -1.0},
    **{"T10": -0.8, "T11": -0.6, "T12": -0.8, "T13": -0.5},
    **{"L1": 1.0, "L2": 5.0, "L3": 10.0, "L4": 14.0, "L5": 16.0, "L6": 14.0},
}
BEND_SD = {"C": 2.2, "T": 1.3, "L": 1.8}
"""Spread of one joint, less than in [VID] (3 to 7, with errors of the points) since neighbouring bones must not meet."""

SHARE = {
    # how much of a wanted change of a curve each joint takes: flexion-extension ranges, White and Panjabi 1990
    **{"C1": 4.0, "C2": 10.0, "C3": 15.0, "C4": 19.0, "C5": 19.0, "C6": 17.0, "C7": 9.0},
    **{f"T{n}": 5.0 for n in range(1, 14)},
    **{"L1": 10.0, "L2": 12.0, "L3": 14.0, "L4": 18.0, "L5": 17.0, "L6": 15.0},
}


@dataclass(frozen=True)
class Region:
    """A chosen sagittal angle: from one endplate line down to another.

    Parameters
    ----------
    name : how it is called in the truth
    upper, lower : level and ``"sup"`` or ``"inf"``
    angle : degrees, positive for a lordosis
    """

    name: str
    upper: tuple[str, str]
    lower: tuple[str, str]
    angle: float


@dataclass(frozen=True)
class Bow:
    """A chosen coronal curve: superior line of `upper` to inferior of `lower`; `angle` is signed, + = convex to the right."""

    upper: str
    lower: str
    angle: float


@dataclass
class Column:
    """The posed vertebrae, from top to bottom.

    Parameters
    ----------
    levels : their names
    marks : landmarks of each in its own frame
    rotation : degrees about x (front up), y (right up … see `rotation_matrix`) and z, (N, 3)
    position : origin of each own frame in RAS (N, 3)
    """

    levels: list[str]
    marks: dict[str, dict[str, np.ndarray]]
    rotation: np.ndarray
    position: np.ndarray
    level_gaze: float = 0.0
    """How much the head is turned up against C1, degrees, so that the gaze of the neutral neck is level."""

    def index(self, level: str) -> int:
        """Return the row of a level."""
        return self.levels.index(level)

    def frame(self, level: str) -> np.ndarray:
        """Return the 4x4 matrix from the own frame of a level to RAS."""
        n = self.index(level)
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_matrix(self.rotation[n])
        matrix[:3, 3] = self.position[n]
        return matrix

    def point(self, level: str, name: str) -> np.ndarray:
        """Return a landmark in RAS."""
        matrix = self.frame(level)
        return matrix[:3, :3] @ self.marks[level][name] + matrix[:3, 3]

    def sagittal_tilt(self, level: str, side: str) -> float:
        """Return the sagittal tilt of an endplate line (``"sup"`` or ``"inf"``), degrees."""
        line = self._line(level, f"{side}_post", f"{side}_ant")
        return float(np.degrees(np.arctan2(line[2], line[1])))

    def coronal_tilt(self, level: str, side: str) -> float:
        """Return the coronal tilt of an endplate line, degrees."""
        line = self._line(level, f"{side}_left", f"{side}_right")
        return float(np.degrees(np.arctan2(line[2], line[0])))

    def _line(self, level: str, start: str, end: str) -> np.ndarray:
        rotation = rotation_matrix(self.rotation[self.index(level)])
        return rotation @ (self.marks[level][end] - self.marks[level][start])


def rotation_matrix(degrees: np.ndarray) -> np.ndarray:
    """Return Rx Ry Rz of angles about x, y and z: turned first about its own axis, then sideways, then forward."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, -sb], [0, 1, 0], [sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def solve_rotations(
    column: Column,
    regions: list[Region],
    bows: list[Bow],
    anchor: tuple[str, str, float],
    joints: np.ndarray,
    stiff: frozenset[str] = frozenset(),
    rounds: int = 60,
) -> np.ndarray:
    """Set the rotations so that every region, bow and the anchor's tilt is met (to a millionth of a degree).

    Parameters
    ----------
    column : its `rotation` gives the axial rotations (third column) and receives the rest
    anchor : level, side and sagittal tilt of the endplate line that the column is hung from
    joints : rotation of each vertebra but the last against the next lower one, degrees: where to begin
    stiff : levels above joints that do not move

    Returns
    -------
    the joints' rotations as solved
    """
    joints = np.array(joints, dtype=float)
    count = len(column.levels)
    share = np.array([1e-9 if level in stiff else SHARE[level] for level in column.levels[:-1]])
    coronal = np.zeros(count)
    _first_coronal(column, bows, coronal)
    base = 0.0
    for _ in range(rounds):
        sums = np.concatenate([np.cumsum(joints[::-1])[::-1], [0.0]]) + base
        column.rotation[:, 0], column.rotation[:, 1] = sums, coronal
        worst = 0.0
        for region in regions:
            a, b = column.index(region.upper[0]), column.index(region.lower[0])
            error = region.angle - (column.sagittal_tilt(*region.upper) - column.sagittal_tilt(*region.lower))
            joints[a:b] += error * share[a:b] / share[a:b].sum()
            worst = max(worst, abs(error))
        for bow in bows:
            a, b = column.index(bow.upper), column.index(bow.lower)
            error = bow.angle - (column.coronal_tilt(bow.upper, "sup") - column.coronal_tilt(bow.lower, "inf"))
            ramp = np.linspace(0.5, -0.5, b - a + 1)
            coronal[a : b + 1] += error * ramp
            coronal[:a] += error * 0.5 * np.linspace(0, 1, a + 1)[:-1] if a else 0
            if b + 1 < count:
                coronal[b + 1 :] -= error * 0.5 * np.linspace(1, 0, count - b)[1:]
            worst = max(worst, abs(error))
        error = anchor[2] - column.sagittal_tilt(anchor[0], anchor[1])
        base += error
        if max(worst, abs(error)) < 1e-7:
            break
    return joints


def _first_coronal(column: Column, bows: list[Bow], coronal: np.ndarray) -> None:
    """Spread the bows' tilts along the column: straight between end vertebrae, dying out beyond the last ones."""
    if not bows:
        return
    ends = [column.index(bows[0].upper)] + [column.index(bow.lower) for bow in bows]
    tilts = np.concatenate([[0.0], -np.cumsum([bow.angle for bow in bows])])
    tilts -= tilts.mean() if len(bows) > 1 else (tilts[0] + tilts[-1]) / 2
    places = [max(ends[0] - 4, -1), *ends, min(ends[-1] + 4, len(coronal))]
    smooth = np.interp(np.arange(len(coronal)), places, [0.0, *tilts, 0.0])
    coronal += smooth


def stack(
    column: Column, discs: dict[str, float], slips: dict[str, float], side: dict[str, float], anchor: str
) -> None:
    """Set the positions: each vertebra over the next lower one, starting at `anchor`, whose origin stays where it is.

    Parameters
    ----------
    discs : height of the disc below a level, mm: between the middles of the facing pairs of corners
    slips : of a level over the next lower one, mm, + to the front
    side : the same to the right

    C1 is left out: it has no disc (see `rest_on_axis`).
    """
    start = column.index(anchor)
    top = 1 if column.levels[0] == "C1" else 0
    for n in range(start - 1, top - 1, -1):
        column.position[n] = 0
        column.position[n] -= _gap(column, n, discs, slips, side)
    for n in range(start, len(column.levels) - 1):
        column.position[n + 1] = 0
        column.position[n + 1] += _gap(column, n, discs, slips, side)


def _gap(column: Column, n: int, discs, slips, side) -> np.ndarray:
    """Return how far the lower vertebra's origin is off where it should be under the upper one (minus for the upper)."""
    upper, lower = column.levels[n], column.levels[n + 1]
    along = column.point(lower, "sup_ant") - column.point(lower, "sup_post")
    along /= np.linalg.norm(along)
    rest = column.point(upper, "inf_ant") - column.point(upper, "inf_post")
    lateral = rotation_matrix(column.rotation[n + 1])[:, 0]
    normal = np.cross(lateral, along) + np.cross(rotation_matrix(column.rotation[n])[:, 0], rest / np.linalg.norm(rest))
    normal /= np.linalg.norm(normal)
    mids = (column.point(upper, "IA") + column.point(upper, "IP")) / 2
    mids -= (column.point(lower, "SA") + column.point(lower, "SP")) / 2
    wanted = np.array(
        [
            along @ (column.point(upper, "IP") - column.point(lower, "SP")) - slips.get(upper, 0.0),
            normal @ mids - discs[upper],
            lateral @ mids - side.get(upper, 0.0),
        ]
    )
    return np.linalg.solve(np.stack([along, normal, lateral]), wanted)


def rest_on_axis(column: Column, adi: float, lift: float = 0.0) -> None:
    """Set C1 on C2: its front arch `adi` mm ahead of the dens, its middle level with the dens's front mark."""
    upper, lower = column.index("C1"), column.index("C2")
    turn = rotation_matrix(column.rotation[lower])
    dens = column.point("C2", "dens_front")
    column.position[upper] = 0
    arch = column.point("C1", "arch_back")
    column.position[upper] = dens + turn @ np.array([0.0, adi, lift]) - arch
