"""Centroids for SpineFM's point predictor (paper 001, arXiv 2411.00326, section 3.4.4)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from SpineSegLib.training.sources.bodies import Body, BodySource, Film, adjacent


class TripleSource(BodySource):
    """Three successive centroids and the next, upwards or downwards.

    A sample is (3, 2), x and y in pixels of the network's square, the last being the newest, and the next one (2,).
    Half of the samples are mirrored: films show either side.

    Parameters
    ----------
    jitter : standard deviation of the three centroids in steps: those of a chain come from imperfect masks
    settings : of `BodySource`
    """

    def __init__(self, *arguments, jitter: float = 0.0, **settings):
        super().__init__(*arguments, **settings)
        self.jitter = jitter

    def usable(self, film: Film) -> bool:
        """Return whether four vertebrae follow each other in a film."""
        return bool(_runs(film))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random, film = self.random(index), self.drawn(index)
        runs = _runs(film)
        four = runs[random.integers(len(runs))]
        points = np.array([body.centroid for body in four])
        if random.random() < 0.5:
            points = points[::-1].copy()
        if random.random() < 0.5:
            points[:, 0] = film.picture.shape[1] - 1 - points[:, 0]
        step = np.mean([np.linalg.norm(b - a) for a, b in pairwise(points[:3])])
        points[:3] += random.normal(0, self.jitter, (3, 2)) * step
        points = torch.from_numpy(points.astype(np.float32))
        return points[:3], points[3]


def _runs(film: Film) -> list[tuple[Body, ...]]:
    """Return every four bodies that follow each other without a gap."""
    fours = [film.bodies[n : n + 4] for n in range(len(film.bodies) - 3)]
    return [four for four in fours if all(adjacent(a.level, b.level) for a, b in pairwise(four))]
