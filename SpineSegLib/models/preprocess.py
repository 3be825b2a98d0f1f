"""What happens to an image before a network sees it, and how that is undone.

Training and inference call the same functions with the same card, so that a network sees in use what it learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PLANES = {"axial": (0, 1, 2), "sagittal": (2, 0, 1), "coronal": (1, 0, 2)}
"""Plane -> array axes (of head, back, left) that become slice, row and column; rows of the upright planes run down."""


def scale_intensity(array: np.ndarray, how: Mapping[str, object]) -> np.ndarray:
    """Return float32 values in 0…1.

    Parameters
    ----------
    array : any shape
    how : of the model card; ``{"kind": "window", "low": HU, "high": HU}`` clips and scales;
        ``{"kind": "percentile", "low": 1, "high": 99}`` does so between percentiles of this image. With
        ``"clahe": {"tiles": 8, "clip": 0.01}`` a 2D image is then equalised locally: contrast-limited adaptive
        histogram equalisation (Zuiderveld 1994; scikit-image's, whose clip is a fraction of a tile's pixels).
    """
    kind = how.get("kind")
    if kind == "window":
        low, high = float(how["low"]), float(how["high"])
    elif kind == "percentile":
        low, high = np.percentile(array, [float(how["low"]), float(how["high"])])
    else:
        msg = f"intensity kind is {kind!r}, expected 'window' or 'percentile'"
        raise ValueError(msg)
    values = np.clip((array.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    if "clahe" in how:
        from skimage.exposure import equalize_adapthist

        tiles, clip = int(how["clahe"]["tiles"]), float(how["clahe"]["clip"])
        plane = values.reshape(values.shape[-2:])
        kernel = [max(1, size // tiles) for size in plane.shape]
        values = equalize_adapthist(plane, kernel_size=kernel, clip_limit=clip).astype(np.float32).reshape(values.shape)
    return values


@dataclass(frozen=True)
class Letterbox:
    """Fits a picture into a square: padded at the right and at the bottom, then scaled; undone exactly in place.

    Parameters
    ----------
    shape : rows and columns of the picture
    size : of the square
    aspect : height of a pixel over its width; the square has square pixels
    """

    shape: tuple[int, int]
    size: int
    aspect: float = 1.0

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the square per pixel of the picture, down and across."""
        side = max(self.shape[0] * self.aspect, self.shape[1])
        return self.size * self.aspect / side, self.size / side

    @property
    def used(self) -> tuple[int, int]:
        """Rows and columns of the square that the picture fills."""
        return tuple(max(1, min(self.size, round(n * s))) for n, s in zip(self.shape, self.scale, strict=True))

    def shrink(self, picture: np.ndarray, *, labels: bool = False) -> np.ndarray:
        """Return the picture at its size in the square: antialiased and linear, or nearest neighbour for labels."""
        return _resize(picture, self.used, labels=labels)

    def pad(self, picture: np.ndarray) -> np.ndarray:
        """Return the square, 0 where the shrunk picture does not reach."""
        out = np.zeros((self.size, self.size), picture.dtype)
        out[: self.used[0], : self.used[1]] = picture
        return out

    def undo(self, square: np.ndarray) -> np.ndarray:
        """Return the picture at its own size from a square of probabilities."""
        return _resize(square[: self.used[0], : self.used[1]], self.shape, labels=False)


def _resize(picture: np.ndarray, shape: tuple[int, int], *, labels: bool) -> np.ndarray:
    import torch
    from torch.nn import functional

    if labels:
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
            for new, old in zip(shape, picture.shape, strict=True)
        )
        return picture[np.ix_(rows, columns)]
    tensor = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))[None, None]
    return functional.interpolate(tensor, shape, mode="bilinear", antialias=True, align_corners=False)[0, 0].numpy()
