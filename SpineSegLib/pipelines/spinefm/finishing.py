"""From the probabilities of patches to masks of the picture's own size (paper 001, section 3.3)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineSegLib.models.spine_patches import in_patch
from SpineSegLib.pipelines.masks import large_parts
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.view import View
from SpineSegLib.pipelines.spinefm.walk import Found


def native_probability(found: Found, view: View) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return where in the turned picture a patch lies, and its probabilities at that picture's pixels (linear)."""
    spans, places = [], []
    for axis, (count, used) in enumerate(zip(view.turned_shape, view.box.used, strict=True)):
        scale = used / count
        area = found.crop.area[axis]
        start, stop = max(0, int(np.floor(area.start / scale))), min(count, int(np.ceil(area.stop / scale)))
        spans.append(slice(start, max(start, stop)))
        places.append((np.arange(start, max(start, stop)) + 0.5) * scale - 0.5)
    down = np.array([in_patch(found.crop, (0.0, y))[1] for y in places[0]])
    across = np.array([in_patch(found.crop, (x, 0.0))[0] for x in places[1]])
    grid = np.meshgrid(down, across, indexing="ij")
    values = ndimage.map_coordinates(found.probability, grid, order=1, mode="nearest", prefilter=False)
    return tuple(spans), values.astype(np.float32)


def final_mask(probability: np.ndarray, sigma: float | tuple[float, float], choices: Choices) -> np.ndarray:
    """Return the mask of probabilities: above the threshold, smoothed with a Gaussian, thresholded again.

    Parameters
    ----------
    probability : (rows, columns)
    sigma : of the Gaussian in pixels
    """
    sharp = (probability > choices.threshold).astype(np.float32)
    smooth = ndimage.gaussian_filter(sharp, sigma, mode="nearest") if np.any(sigma) else sharp
    return large_parts(smooth > choices.smooth_threshold, choices.keep_fraction)


def finished(found: Found, view: View, step: float, choices: Choices) -> tuple[np.ndarray, np.ndarray]:
    """Return a vertebra's mask and probability, (1, rows, columns) on the image's grid.

    Parameters
    ----------
    step : distance of successive vertebrae in pixels of the square, which the Gaussian is measured in
    """
    area, probability = native_probability(found, view)
    sigma = [choices.smooth * step * n / used for n, used in zip(view.turned_shape, view.box.used, strict=True)]
    mask, whole = np.zeros(view.turned_shape, bool), np.zeros(view.turned_shape, np.float32)
    mask[area], whole[area] = final_mask(probability, sigma, choices), probability
    return view.back(mask), view.back(whole)
