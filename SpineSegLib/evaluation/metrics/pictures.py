"""Metrics that are defined on images: boundary IoU, structural similarity, and the row distance of paper 004.

All take crops together with the box that they were cut from, since their definitions speak of the whole image.
"""

from __future__ import annotations

import numpy as np

from SpineSegLib.evaluation.metrics.overlap import Box

_RADIUS, _SIGMA = 5, 1.5
"""Of SSIM's Gaussian window, 11 pixels wide: Wang 2004, and scikit-image with ``gaussian_weights``."""
_C1, _C2 = 0.01**2, 0.03**2


def boundary_width(shape: tuple[int, int, int], fraction: float = 0.02) -> int:
    """Return the width of the boundary in pixels: a part of the slice's diagonal, rounded, at least 1 (Cheng 2021)."""
    return max(1, round(fraction * float(np.hypot(*shape[1:]))))


def boundary_iou(prediction: np.ndarray, truth: np.ndarray, width: int) -> float:
    """Return the IoU of the boundaries of two masks; 1 when both masks are empty.

    The boundary of a mask is what an erosion by a square of ``2 width + 1`` pixels removes from it, slice by slice.

    Parameters
    ----------
    prediction, truth : boolean k, j, i masks of one shape, empty beyond their borders

    References
    ----------
    Cheng et al., Boundary IoU: improving object-centric image segmentation evaluation, CVPR 2021, equation 3.
    """
    ours, theirs = (mask & ~_eroded(mask, width) for mask in (prediction, truth))
    either = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / either if either else 1.0


def _eroded(mask: np.ndarray, width: int) -> np.ndarray:
    """Erode each slice by a square; runs of voxels are found by doubling their length, one AND a step."""
    out = np.zeros_like(mask)
    inner = mask
    for axis in (1, 2):
        if inner.shape[axis] < 2 * width + 1:
            return out
        inner, length = np.moveaxis(inner, axis, 0), 1
        while length < 2 * width + 1:
            step = min(length, 2 * width + 1 - length)
            inner = inner[:-step] & inner[step:]
            length += step
        inner = np.moveaxis(inner, 0, axis)
    out[:, width:-width, width:-width] = inner
    return out


def ssim(prediction: np.ndarray, truth: np.ndarray, box: Box, shape: tuple[int, int, int]) -> float | None:
    """Return the mean structural similarity of two binary masks over the slices of a grid.

    Away from both masks every window holds zeros alone and its similarity is 1, so that only the windows that touch
    the crop are computed; the result is that of the whole image.

    Parameters
    ----------
    prediction, truth : boolean crops of k, j, i masks
    box : where the crops lie on the grid; both masks are empty outside of it
    shape : of the grid

    Returns
    -------
    None when a slice is smaller than the window

    References
    ----------
    Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 13(4), 2004.
    """
    wanted = [  # the windows' centres that are computed, in grid coordinates
        slice(max(part.start - _RADIUS, _RADIUS), min(part.stop + _RADIUS, size - _RADIUS))
        for part, size in zip(box[1:], shape[1:], strict=True)
    ]
    if min(shape[1:]) < 2 * _RADIUS + 1:
        return None
    windows = shape[0] * (shape[1] - 2 * _RADIUS) * (shape[2] - 2 * _RADIUS)
    size = [max(0, part.stop - part.start) for part in wanted]
    if 0 in size:
        return 1.0
    place = tuple(
        slice(part.start - centre.start + _RADIUS, part.stop - centre.start + _RADIUS)
        for part, centre in zip(box[1:], wanted, strict=True)
    )
    total = 0.0
    for one, two in zip(prediction, truth, strict=True):
        x, y = np.zeros((2, *(n + 2 * _RADIUS for n in size)))
        for canvas, mask in ((x, one), (y, two)):
            _paste(canvas, mask, place)
        total += float(_similarity(x, y).sum())
    computed = len(prediction) * size[0] * size[1]
    return (total + windows - computed) / windows


def _paste(canvas: np.ndarray, mask: np.ndarray, place: Box) -> None:
    """Copy a slice's crop into the canvas, without what no window reaches."""
    to = tuple(slice(max(0, p.start), min(n, p.stop)) for p, n in zip(place, canvas.shape, strict=True))
    source = tuple(slice(t.start - p.start, t.stop - p.start) for t, p in zip(to, place, strict=True))
    canvas[to] = mask[source]


def _similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return SSIM at every pixel that has a whole window; x and y are 0 or 1, so that their squares are themselves."""
    mx, my, mxy = (_smoothed(values) for values in (x, y, x * y))
    variance = mx - mx**2 + my - my**2
    above = (2 * mx * my + _C1) * (2 * (mxy - mx * my) + _C2)
    return above / ((mx**2 + my**2 + _C1) * (variance + _C2))


def _smoothed(values: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate1d

    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    whole = correlate1d(correlate1d(values, weights, axis=0, mode="constant"), weights, axis=1, mode="constant")
    return whole[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]


def row_distance(prediction: np.ndarray, truth: np.ndarray, shape: tuple[int, int, int]) -> float | None:
    """Return what paper 004 most likely printed as 'HD': each image row taken for one point of a high space.

    The public code that the paper's baselines come from hands the mask arrays themselves to scipy's
    ``directed_hausdorff``, which takes every row for a point; the larger direction is the root of a number of pixels.

    Parameters
    ----------
    prediction, truth : boolean crops of k, j, i masks that are empty elsewhere
    shape : of the grid; rows that were cut off are points, too

    Returns
    -------
    None for volumes
    """
    if shape[0] != 1:
        return None
    ours, theirs = (_different_rows(mask[0]) for mask in (prediction, truth))
    if prediction.shape[1] < shape[1]:
        empty = np.zeros((1, prediction.shape[2]), bool)
        ours, theirs = (np.concatenate([rows, empty]) for rows in (ours, theirs))
    one, two = ours.astype(np.float32), theirs.astype(np.float32)
    squares = one.sum(1)[:, None] + two.sum(1)[None] - 2 * (one @ two.T)
    return float(np.sqrt(max(squares.min(1).max(), squares.min(0).max(), 0)))


def _different_rows(mask: np.ndarray) -> np.ndarray:
    """Return each row of a boolean mask once; a set of their bits is ten times as fast as sorting them."""
    places = {row.tobytes(): place for place, row in enumerate(np.packbits(mask, axis=1))}
    return mask[list(places.values())]
