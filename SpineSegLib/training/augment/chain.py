"""Steps of augmentation one after the other, with a single resampling for geometric steps that follow each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from SpineSegLib.training.augment import geometric, intensity

_GEOMETRIC = ("rotate", "translate", "scale", "shear", "flip", "crop", "column", "elastic")
_INTENSITY = (
    "salt_and_pepper",
    "gaussian_noise",
    "blur",
    "low_resolution",
    "gamma",
    "contrast",
    "brightness",
    "bias_field",
    "invert",
    "cutout",
)
STEPS: Mapping[str, Callable] = MappingProxyType(
    {name: getattr(geometric, name) for name in _GEOMETRIC} | {name: getattr(intensity, name) for name in _INTENSITY}
)
"""Every step by its name in a recipe."""


@dataclass(frozen=True)
class Step:
    """A step of a recipe.

    Parameters
    ----------
    name : of `STEPS`
    arguments : of its function
    probability : that the step is taken
    """

    name: str
    arguments: Mapping[str, object]
    probability: float = 1.0

    @classmethod
    def of(cls, content: Mapping[str, object]) -> Step:
        """Return the step that a recipe states; ValueError naming what is wrong with it."""
        if not isinstance(content, Mapping) or "name" not in content:
            msg = f"augmentation step {content!r} has no name"
            raise ValueError(msg)
        arguments = dict(content)
        name = arguments.pop("name")
        if name not in STEPS:
            msg = f"no augmentation step {name!r}, expected one of {', '.join(STEPS)}"
            raise ValueError(msg)
        probability = arguments.pop("probability", 1.0)
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
            msg = f"augmentation step {name}: probability is {probability!r}, expected 0 to 1"
            raise ValueError(msg)
        parameters = [p for p in inspect.signature(STEPS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
        unknown = sorted(set(map(str, arguments)) - {p.name for p in parameters})
        missing = [p.name for p in parameters if p.default is p.empty and p.name not in arguments]
        if unknown or missing:
            found = " and ".join(
                f"{what} {', '.join(which)}" for what, which in (("unknown", unknown), ("no", missing)) if which
            )
            takes = ", ".join(p.name for p in parameters) or "none"
            msg = f"augmentation step {name}: {found}; its arguments are {takes}"
            raise ValueError(msg)
        return cls(name, MappingProxyType(arguments), float(probability))

    @property
    def is_geometric(self) -> bool:
        """Whether the masks change as well."""
        return self.name in _GEOMETRIC

    def __call__(self, first: object, random: np.random.Generator) -> np.ndarray:
        """Return what the step's function gives for a shape (geometric) or a picture (intensity)."""
        return STEPS[self.name](first, random, **self.arguments)

    def __reduce__(self):
        return _step, (self.name, dict(self.arguments), self.probability)


def _step(name: str, arguments: Mapping[str, object], probability: float) -> Step:
    return Step(name, MappingProxyType(arguments), probability)


@dataclass(frozen=True)
class Augmentation:
    """Changes a picture and its masks by `steps`, in their order; see `augmentation`."""

    steps: tuple[Step, ...]

    def __call__(
        self, image: np.ndarray, masks: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the changed picture and masks; those given stay as they are.

        Parameters
        ----------
        image : (rows, columns), float32 in 0…1
        masks : (structures, rows, columns), float32, 0 or 1
        random : the only source of randomness
        """
        shape = masks.shape[1:]
        if image.shape != shape:
            msg = f"the picture is {image.shape} and its masks are {shape}, expected the same rows and columns"
            raise ValueError(msg)
        image, masks = image.astype(np.float32, copy=False), masks.astype(np.float32, copy=False)
        moves: list[np.ndarray] = []
        for step in self.steps:
            if random.random() >= step.probability:
                continue
            if step.is_geometric:
                moves.append(step(shape, random))
                continue
            image, masks = _moved(image, masks, moves)
            moves = []
            image = np.clip(step(image, random), 0, 1).astype(np.float32, copy=False)
        return _moved(image, masks, moves)


def augmentation(steps: Sequence[Mapping[str, object]]) -> Augmentation:
    """Return the augmentation that a recipe describes.

    Geometric steps that follow each other are one resampling: the picture linearly, masks by the nearest neighbour,
    both 0 where the old picture does not reach (as the padding of a network's input is). So the picture is blurred
    once, however many there are.

    Parameters
    ----------
    steps : of a recipe, such as ``[{"name": "rotate", "degrees": 10}, {"name": "flip", "axes": ["horizontal"],
        "probability": 0.5}]``

    Returns
    -------
    Augmentation : a function of image (rows, columns; float32, 0…1), masks (structures, rows, columns; float32, 0 or
        1) and a numpy Generator that returns both changed; the same seed gives the same result, and no other random
        state is read or changed; it can be pickled, so workers of a data loader take it

    Raises
    ------
    ValueError : an unknown step or argument, or a value out of its range; the text names it
    """
    made = Augmentation(tuple(Step.of(step) for step in steps))
    picture = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    for step in made.steps:
        # Each step is tried once, so that a wrong value is found before hours of training.
        try:
            step(picture.shape if step.is_geometric else picture, np.random.default_rng(0))
        except (TypeError, ValueError) as error:
            msg = f"augmentation step {step.name}: {error}"
            raise ValueError(msg) from error
    return made


def _moved(image: np.ndarray, masks: np.ndarray, moves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and masks resampled once, through all `moves`."""
    if not moves:
        return image, masks
    import torch
    from monai.transforms import Resample

    shape = image.shape
    rows, columns = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in shape), indexing="ij")
    points = np.stack([rows.ravel(), columns.ravel(), np.ones(rows.size)])
    for move in reversed(moves):
        if move.shape == (3, 3):
            points = move @ points
        else:
            points[:2] += move.reshape(2, -1)
    grid = torch.from_numpy(points.reshape(3, *shape))
    resample = Resample(padding_mode="zeros", align_corners=False)
    image = np.asarray(resample(torch.from_numpy(np.ascontiguousarray(image))[None], grid, mode="bilinear"))[0]
    if len(masks):
        masks = np.asarray(resample(torch.from_numpy(np.ascontiguousarray(masks)), grid, mode="nearest"))
    return image, masks
