"""Numbers as colours: from cool to warm, and how a bar that explains them is labelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STOPS = np.array(
    [[52, 64, 200], [40, 130, 246], [32, 200, 210], [92, 222, 96], [214, 220, 50], [252, 158, 44], [222, 46, 32]],
    np.float32,
)


def cool_to_warm(values: np.ndarray) -> np.ndarray:
    """Return RGB colours (..., 3), 0…255, of values 0…1: blue, green, yellow, red; NaN is black."""
    place = np.nan_to_num(np.asarray(values, np.float32), nan=0.0).clip(0, 1) * (len(_STOPS) - 1)
    below = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - below)[..., None]
    colours = (1 - share) * _STOPS[below] + share * _STOPS[below + 1]
    return np.where(np.isnan(values)[..., None], 0, colours)


@dataclass(frozen=True)
class Scale:
    """What the colours of a map mean.

    Parameters
    ----------
    low, high : values that are coldest and warmest
    label : what the map shows, with its unit
    opacity : of the map
    fade : part of the range, from its cold end, over which the map becomes transparent; 0 shows every value that is
        not NaN at full opacity
    """

    low: float
    high: float
    label: str
    opacity: float = 0.8
    fade: float = 0.0

    def share(self, values: np.ndarray) -> np.ndarray:
        """Return where values lie between `low` and `high`, 0…1."""
        return ((values - self.low) / max(self.high - self.low, 1e-12)).clip(0, 1)

    def rgba(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return colours (..., 3), 0…255, and opacities (...), 0…1; NaN is transparent."""
        share = self.share(values)
        opacity = self.opacity * ((share / self.fade).clip(0, 1) if self.fade else np.ones_like(share))
        return cool_to_warm(share), np.where(np.isnan(values), 0, np.nan_to_num(opacity))
