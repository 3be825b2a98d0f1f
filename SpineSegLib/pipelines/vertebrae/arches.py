"""Where arches and spinous processes of neighbours part: behind the canal they slope down, most of all in the chest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LAMINA = 15.0
"""How far behind the bodies laminae lie, mm: the canal's depth."""

SLOPES = np.arange(0.0, 1.71, 0.1)
"""How far a process goes down, by how far it goes back, at which it is looked for; 1.7 is 60 degrees."""

DROPS = np.arange(-0.2, 0.46, 0.05)
"""How far below the disc laminae part, in heights of a vertebra, at which it is looked for."""

USUAL_DROP, SPREAD = 0.1, 0.15
"""Mean and spread of the drop over the neck, chest and loins of digital patients."""


@dataclass(frozen=True)
class Parting:
    """A surface between the arches of two neighbours: along = at + slope * (mm behind the laminae).

    Parameters
    ----------
    at : mm along the axis, at the laminae
    slope : mm down for each mm back
    """

    at: float
    slope: float


def partings(
    places: np.ndarray,
    behind: np.ndarray,
    at: np.ndarray,
    heights: np.ndarray,
    *,
    middle: float = 8.0,
    alike: float = 0.02,
    usual: float = 0.1,
) -> list[Parting]:
    """Return where arches part at each cut: where the fewest voxels lie near the middle plane, neighbours being alike.

    Parameters
    ----------
    places : (n, 3) mm of voxels, see `Axis.places`
    behind : (n,) mm of each behind the back of the bodies
    at : (m,) mm along the axis of the cuts, from the top
    heights : (m,) mm of the vertebrae there
    middle : mm to either side that count: laminae and spinous processes, without the joints
    alike : weight of the squared differences of slope (in 0.4) and drop (in 0.15) between neighbours
    usual : weight of the squared difference from the usual drop, in spreads
    """
    some = (np.abs(places[:, 2]) < middle) & (behind > LAMINA - 5)
    along, back = places[some, 0], behind[some] - LAMINA
    low = np.floor(min(at.min(), 0)) - 150.0
    bins = int(np.ceil(max(at.max(), along.max(initial=0)) - low)) + 60
    costs = np.zeros((len(at), len(SLOPES), len(DROPS)))
    for number, slope in enumerate(SLOPES):
        place = np.clip(np.rint(along - slope * back - low).astype(int), 0, bins - 1)
        count = ndimage.gaussian_filter1d(np.bincount(place, minlength=bins).astype(float), 1.0)
        share = count / (ndimage.gaussian_filter1d(count, 15.0) + 10.0)
        costs[:, number] = np.interp(at[:, None] + DROPS * heights[:, None] - low, np.arange(bins), share)
    costs += usual * ((DROPS - USUAL_DROP) / SPREAD) ** 2
    slopes, drops = np.unravel_index(_alike(costs.reshape(len(at), -1), alike), costs.shape[1:])
    return [
        Parting(float(place + DROPS[drop] * height), float(SLOPES[slope]))
        for place, height, slope, drop in zip(at, heights, slopes, drops, strict=True)
    ]


def _alike(costs: np.ndarray, weight: float) -> np.ndarray:
    """Return the cheapest state of each gap when states of neighbours should not differ (Viterbi)."""
    slopes, drops = np.meshgrid(SLOPES, DROPS, indexing="ij")
    states = np.column_stack([slopes.ravel() / 0.4, drops.ravel() / SPREAD])
    change = weight * ((states[:, None] - states[None]) ** 2).sum(axis=2)
    total, came = costs[0], []
    for cost in costs[1:]:
        chained = total[:, None] + change
        came.append(chained.argmin(axis=0))
        total = chained.min(axis=0) + cost
    path = [int(total.argmin())]
    for origin in reversed(came):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1], int)
