"""A spine of plain shapes, whose every voxel has a known owner, on grids that hide no mistake."""

import numpy as np
from scipy.spatial.transform import Rotation

from SpineSegLib.image import Geometry

SPACING, HEIGHT = 26.0, 20.0


def owners(points, count=5, *, fused=None, sacrum=False, cut_above=None):
    """Number of the vertebra (1 the uppermost) at world points (..., 3), 0 outside: bodies, arches, sloping processes.

    The upper articular process of each stands in front of the lower one of its neighbour, and they touch.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    # The spine curves to the front and to the left.
    y, x = y - 12 * np.sin(z / 70), x + 6 * np.sin(z / 50)
    found = np.zeros(z.shape, int)
    for number in range(1, count + 1):
        up = z - (count / 2 - number + 0.5) * SPACING
        tall = HEIGHT / 2 + (SPACING - HEIGHT) / 2 * (number == fused)
        low = -tall if number != fused else -SPACING + HEIGHT / 2
        body = (np.hypot(x, y * 1.2) < 16) & (up > low) & (up < HEIGHT / 2)
        if sacrum and number == count:
            body = (np.hypot(x / 2.2, y * 1.2) < 16) & (up < HEIGHT / 2) & (up > -HEIGHT / 2 - 30)
        pedicle = (abs(abs(x) - 12) < 4) & (y < 0) & (y > -28) & (abs(up - 4) < 4)
        lamina = (abs(x) < 16) & (y < -26) & (y > -31) & (abs(up + 2) < 9)
        process = (abs(x) < 3) & (y < -30) & (y > -52) & (abs(up + 2 - 0.7 * (y + 30)) < 6)
        upper = (abs(abs(x) - 13) < 4) & (y < -22) & (y > -26) & (up > 0) & (up < 17)
        lower = (abs(abs(x) - 12) < 4) & (y < -26) & (y > -30) & (up > -16) & (up < 0)
        found[(found == 0) & (body | pedicle | lamina | process | upper | lower)] = number
    if cut_above is not None:
        found[z > cut_above] = 0
    return found


def grid(tilt=(0, 0, 0), steps=(0.9, 1.1, 1.6), order=(0, 1, 2), signs=(-1, -1, 1), size=(80, 110, 190)):
    """Return a grid around the spine: turned by degrees, with axes in this order and direction and steps in mm."""
    matrix = np.eye(4)
    axes = np.eye(3)[:, list(order)] * np.array(signs) * np.array(steps)
    matrix[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ axes
    shape = tuple(int(size[axis] / step) for axis, step in zip(order, steps, strict=True))[::-1]
    matrix[:3, 3] = np.array([0, -18, 0]) - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return Geometry(shape, matrix)


def truth(geometry, **how):
    """Return the labels of the spine on a grid; see `owners`."""
    points = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return owners(geometry.to_world(points), **how)


def scores(split, labels):
    """Dice of each vertebra of the truth with the segment of the same number."""
    found = split.segmentation.layers[0]
    return [
        2 * ((found == n) & (labels == n)).sum() / ((found == n).sum() + (labels == n).sum())
        for n in range(1, labels.max() + 1)
    ]


def names(split):
    """Return the names of the segments of a Split or a Result."""
    return [segment.name for segment in split.segmentation.segments]
