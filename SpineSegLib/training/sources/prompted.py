"""Patches for SpineFM's segmenter and its classifier (paper 001, arXiv 2411.00326, sections 3.4.1 and 3.4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from SpineSegLib.models.spine_patches import patch_side
from SpineSegLib.training.sources.bodies import Body, BodySource, Film


class PromptedSource(BodySource):
    """A patch around a random point of a vertebra, and its mask: the point in the middle is the prompt.

    A sample is (channels, size, size) in 0…1 and the mask (1, size, size). A film that comes again within an epoch
    shows its next vertebra, so that with as many samples as there are masks each comes once, as the paper has it. The
    point is drawn anew every time: the segmenter bears an imprecise centroid.

    Parameters
    ----------
    size : of the patch in pixels, the segmenter's
    side : of the patch in the film, the pipeline's ``segmenter_patch``; see `patch_side`
    jitter : standard deviation of the point's further shift, in steps between vertebrae: a predicted centroid may lie
        beside the vertebra
    scale : limits of a factor of the side: the pipeline takes the step from three vertebrae on one side
    settings : of `BodySource`
    """

    def __init__(
        self,
        *arguments,
        size: int,
        side: Mapping[str, float],
        jitter: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        **settings,
    ):
        super().__init__(*arguments, **settings)
        patch_side(side, 1.0)
        self.size, self.side, self.jitter, self.scale = size, dict(side), jitter, tuple(scale)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random, film = self.random(index), self.drawn(index)
        in_turn = np.random.default_rng([self.seed, max(self.epoch, 0), int(self.order[index])])
        body = film.bodies[in_turn.permutation(len(film.bodies))[index // len(self.cases) % len(film.bodies)]]
        inside = np.argwhere(body.mask)
        row, column = inside[random.integers(len(inside))]
        point = np.array([body.columns.start + column, body.rows.start + row], float)
        point += random.normal(0, self.jitter, 2) * body.step
        side = patch_side(self.side, body.step) * random.uniform(*self.scale)
        return self.patch(film, point, side, self.size, random, body)


class ClassifiedSource(BodySource):
    """A patch around a vertebra's centroid, or around a point where there is none, and its class.

    A sample is (channels, size, size) in 0…1 and the number of its class. The classes that a film has are drawn alike.
    Background is where a chain goes astray: beyond both ends of what the film shows, and beside the spine. What the
    film's edge has left too little of (``least``) is neither a vertebra nor background.

    Parameters
    ----------
    classes : names, of which those that are levels are that level, ``between`` any other, ``background`` none
    size, side, scale : as of `PromptedSource`, for the classifier and its ``classifier_patch``
    jitter : standard deviation of a centroid's shift in steps: masks are imperfect
    beyond : limits, in steps, of how far background lies beyond the last vertebra
    beside : limits, in steps, of how far it lies from the spine
    settings : of `BodySource`
    """

    def __init__(
        self,
        *arguments,
        classes: Sequence[str],
        size: int,
        side: Mapping[str, float],
        jitter: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        beyond: Sequence[float] = (0.7, 1.6),
        beside: Sequence[float] = (0.8, 3.0),
        **settings,
    ):
        super().__init__(*arguments, **settings)
        patch_side(side, 1.0)
        if "background" not in classes or "between" not in classes:
            msg = f"classes are {', '.join(classes)}, expected between and background among them"
            raise ValueError(msg)
        self.classes, self.size, self.side = tuple(classes), size, dict(side)
        self.jitter, self.scale = jitter, tuple(scale)
        self.beyond, self.beside = tuple(beyond), tuple(beside)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random, film = self.random(index), self.drawn(index)
        kinds = {name: [body for body in film.bodies if self.kind(body) == name] for name in self.classes}
        there = [name for name in self.classes if kinds[name] or name == "background"]
        name = there[random.integers(len(there))]
        point, step = self._background(film, random) if name == "background" else (None, 0.0)
        if point is None:
            bodies = kinds[name] or list(film.bodies)
            body = bodies[random.integers(len(bodies))]
            name, step = self.kind(body), body.step
            point = body.centroid + random.normal(0, self.jitter, 2) * step
        side = patch_side(self.side, step) * random.uniform(*self.scale)
        patch, _ = self.patch(film, point, side, self.size, random)
        return patch, torch.tensor(self.classes.index(name))

    def kind(self, body: Body) -> str:
        """Return the class of a body."""
        return body.level if body.level in self.classes else "between"

    def _background(self, film: Film, random: np.random.Generator) -> tuple[np.ndarray | None, float]:
        """Return a point without a vertebra and the step there; None where twenty tries found none."""
        for _ in range(20):
            body = film.bodies[random.integers(len(film.bodies))]
            if len(film.bodies) > 1 and random.random() < 0.5:
                last, inner = (film.bodies[0], film.bodies[1]) if random.random() < 0.5 else film.bodies[:-3:-1]
                along = last.centroid - inner.centroid
                away = along / max(np.linalg.norm(along), 1e-6) * random.uniform(*self.beyond) * last.step
                point, body = last.centroid + away + random.normal(0, 0.2, 2) * last.step, last
            else:
                angle = random.uniform(0, 2 * np.pi)
                away = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(*self.beside) * body.step
                point = body.centroid + away
            if film.shown(point) and not any(_near(point, other) for other in (*film.bodies, *film.remains)):
                return point, body.step
        return None, 0.0


def _near(point: np.ndarray, body: Body) -> bool:
    """Return whether a point lies in a body or close to its centroid."""
    column, row = np.rint(point).astype(int) - [body.columns.start, body.rows.start]
    inside = 0 <= row < body.mask.shape[0] and 0 <= column < body.mask.shape[1] and body.mask[row, column]
    return bool(inside or np.linalg.norm(point - body.centroid) < 0.5 * body.step)
