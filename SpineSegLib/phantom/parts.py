"""Body, arch and spinous process of one vertebra, told apart by its landmarks (definitions in `levels`)."""

from __future__ import annotations

import numpy as np

PROCESS_HALF_WIDTH = {"C": 10.0, "T": 8.0, "L": 7.5, "S": 0.0}
"""How far from the mid plane a voxel behind the spinolaminar line is still spinous process, mm: neck processes fork;
lower down the inferior articular processes begin further out."""


def body_and_process(level: str, points: np.ndarray, marks: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return which points (N, 3) of a vertebra's own frame belong to its body, and which to its spinous process."""
    nothing = np.zeros(len(points), dtype=bool)
    if level == "C1":
        return nothing, nothing
    x, y, z = points.T
    wall = back_wall(marks, z)
    body = (y >= wall - 0.3) & (np.abs(x) <= half_width(marks, z) + 1.0)
    if level == "C2":
        # The dens leans back over the wall's line.
        high = z > marks["SP"][2]
        body = np.where(high, (y > marks["SP"][1] - 3.5) & ((np.abs(x) < 8) | (y > wall)), body)
        body &= np.abs(x) <= np.where(high, 8.0, 40.0)
    if level == "S1":
        body &= z > marks["IA"][2]
        return body, nothing
    if "arch_front" not in marks:
        return body, nothing
    arch = marks["arch_front"]
    shift = back_wall(marks, np.array([arch[2]]))[0] - arch[1]
    process = ~body & (y < wall - shift) & (np.abs(x) < PROCESS_HALF_WIDTH[level[0]])
    return body, process


def back_wall(marks: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    """Return y of the posterior wall's line (IP to SP, prolonged) at heights z."""
    low, high = marks["IP"], marks["SP"]
    return low[1] + (high[1] - low[1]) * (z - low[2]) / (high[2] - low[2])


def half_width(marks: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    """Return half the body's width at heights z, from its lateral corners, constant beyond them."""
    low, high = (marks["IR"][0] - marks["IL"][0]) / 2, (marks["SR"][0] - marks["SL"][0]) / 2
    at = marks["IA"][2], marks["SA"][2]
    return np.interp(z, at, (low, high)).astype(np.float32)
