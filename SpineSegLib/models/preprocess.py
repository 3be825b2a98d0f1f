"""What happens to an image before a network sees it, and how that is undone.

Training and inference call the same functions with the same card, so that a network sees in use what it learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PLANES = {"axial": (0, 1, 2), "sagittal": (2, 0, 1), "coronal": (1, 0, 2)}
"""Plane -> array axes (of head, back, left) that become slice, row and column; rows of the upright planes run down."""


def scale_intensity(array: np.ndarray, how: Mapping[str, object]) -> np.ndarray:
    """Return float32 values in 0…1: the window of the card, then its local steps (see `enhanced`).

    Parameters
    ----------
    array : any shape
    how : of the model card; ``{"kind": "window", "low": HU, "high": HU}`` clips and scales;
        ``{"kind": "percentile", "low": 1, "high": 99}`` does so between percentiles of this image
    """
    return enhanced(_windowed(array, how), how)


def _windowed(array: np.ndarray, how: Mapping[str, object]) -> np.ndarray:
    kind = how.get("kind")
    if kind == "window":
        low, high = float(how["low"]), float(how["high"])
    elif kind == "percentile":
        low, high = np.percentile(array, [float(how["low"]), float(how["high"])])
    else:
        msg = f"intensity kind is {kind!r}, expected 'window' or 'percentile'"
        raise ValueError(msg)
    return np.clip((array.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)


def enhanced(values: np.ndarray, how: Mapping[str, object]) -> np.ndarray:
    """Return a 2D image in 0…1 after the local steps that a card names, in this order (paper 004's).

    Parameters
    ----------
    values : float32 in 0…1, (rows, columns) or with axes of length 1 before these
    how : of the model card; ``"clahe": {"tiles": 8, "clip": 0.01}`` equalises locally: contrast-limited adaptive
        histogram equalisation (Zuiderveld 1994; scikit-image's, whose clip is a fraction of a tile's pixels; 0.01 is
        closest to OpenCV's clip of 2.0 with 256 bins). ``"denoise": {"h": 10, "template": 7, "search": 21}`` then
        averages alike surroundings (see `denoised`)
    """
    if "clahe" in how:
        from skimage.exposure import equalize_adapthist

        tiles, clip = int(how["clahe"]["tiles"]), float(how["clahe"]["clip"])
        plane = values.reshape(values.shape[-2:])
        kernel = [max(1, size // tiles) for size in plane.shape]
        values = equalize_adapthist(plane, kernel_size=kernel, clip_limit=clip).astype(np.float32).reshape(values.shape)
    if "denoise" in how:
        plane = values.reshape(values.shape[-2:])
        values = denoised(plane, **how["denoise"]).reshape(values.shape)
    return values


def smoothed(array: np.ndarray, how: Mapping[str, object], *, step: float = 1.0) -> np.ndarray:
    """Return the array after the Gaussian smoothing that a card names, before its window (paper 003's order).

    Parameters
    ----------
    array : picture or volume; every axis is smoothed
    how : of the model card; ``"smooth": {"sigma": 1}``, in pixels or voxels at the network's spacing
    step : size of the array's voxels in voxels of the network
    """
    if "smooth" not in how:
        return array
    from scipy import ndimage

    return ndimage.gaussian_filter(array.astype(np.float32), float(how["smooth"]["sigma"]) / step)


def coarsened(array: np.ndarray, old: Sequence[float], new: float) -> np.ndarray:
    """Return float32 values, smoothed along axes that are to be sampled more coarsely, so that noise does not alias.

    Parameters
    ----------
    array : k, j, i
    old : mm of a voxel along each axis
    new : mm that it will be sampled at
    """
    from scipy import ndimage

    sigma = [0.5 * np.sqrt(max((new / float(size)) ** 2 - 1, 0)) for size in old]
    values = array.astype(np.float32)
    return ndimage.gaussian_filter(values, sigma, truncate=2.5) if any(sigma) else values


def denoised(picture: np.ndarray, *, h: float = 10, template: int = 7, search: int = 21) -> np.ndarray:
    """Return the picture after non-local means (Buades et al., CVPR 2005), as OpenCV's fastNlMeansDenoising defines it.

    A pixel becomes the mean of the pixels of its search window, each weighted by exp(-d / h²), where d is the mean
    squared difference of the templates around the two; weights below 0.001 count as 0. scikit-image's fast mode is
    not this: it drops weights below exp(-5), which leaves more noise.

    Parameters
    ----------
    picture : (rows, columns), float32 in 0…1
    h : strength, of a range 0…255
    template, search : odd sides of the two windows in pixels
    """
    reach, away = template // 2, search // 2
    margin = reach + away
    if min(picture.shape) <= margin:
        msg = f"the picture is {picture.shape} pixels, denoising needs more than {margin} along each side"
        raise ValueError(msg)
    rows, columns = picture.shape
    wide = np.pad(picture.astype(np.float32), margin, mode="reflect")
    total, weights = picture.astype(np.float32).copy(), np.ones_like(picture, dtype=np.float32)
    scale = np.float32(-((255 / h) ** 2) / template**2)
    # Two pixels weigh the same for each other, so half of the shifts do; the first of a pair may lie in the margin.
    for down in range(away + 1):
        for across in range(-away if down else 1, away + 1):
            left, right = max(0, across), max(0, -across)
            top, start = margin - reach - down, margin - reach - left
            height, width = rows + 2 * reach + down, columns + 2 * reach + left + right
            one = wide[top : top + height, start : start + width]
            two = wide[top + down : top + down + height, start + across : start + across + width]
            weight = np.exp(_box_sums(np.square(one - two), template) * scale)
            weight[weight < 0.001] = 0
            inner = np.s_[reach : height - reach, reach : width - reach]
            here, there = np.s_[down:, left : left + columns], np.s_[:rows, right : right + columns]
            total += weight[here] * two[inner][here]
            total += weight[there] * one[inner][there]
            weights += weight[here] + weight[there]
    return total / weights


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Return the sums over squares of `side` pixels that lie within the array."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    return (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]).astype(np.float32)


def fitted(picture: np.ndarray, box: Letterbox, how: Mapping[str, object]) -> np.ndarray:
    """Return a picture at its size in the network's square, values in 0…1.

    With ``"square": true`` on the card it is the whole square, padded with black before the local steps, as paper 004
    pads, scales, equalises and denoises in this order; otherwise these see no padding, which is added after them.
    """
    values = _windowed(smoothed(box.shrink(picture), how), how)
    return enhanced(box.pad(values) if how.get("square") else values, how)


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

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return x and y in pixels of the square of a pixel of the picture; centres of pixels are whole numbers."""
        down, across = (used / size for used, size in zip(self.used, self.shape, strict=True))
        return (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5

    def shrink(self, picture: np.ndarray, *, labels: bool = False) -> np.ndarray:
        """Return the picture at its size in the square: antialiased and linear, or nearest neighbour for labels."""
        return resized(picture, self.used, labels=labels)

    def pad(self, picture: np.ndarray) -> np.ndarray:
        """Return the square, 0 where the shrunk picture does not reach; what is padded already stays."""
        out = np.zeros((self.size, self.size), picture.dtype)
        out[: picture.shape[0], : picture.shape[1]] = picture
        return out

    def undo(self, square: np.ndarray) -> np.ndarray:
        """Return the picture at its own size from a square of probabilities."""
        return resized(square[: self.used[0], : self.used[1]], self.shape, labels=False)


def resized(picture: np.ndarray, shape: tuple[int, int], *, labels: bool) -> np.ndarray:
    """Return a picture at another size: antialiased and linear, or nearest neighbour for labels."""
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
