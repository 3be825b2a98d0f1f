"""Showing a model the same image a little differently, and bringing what it finds back in place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.image import Geometry, Image, resample


@dataclass(frozen=True)
class Turn:
    """Mirroring, rotation and magnification of slices about their middle.

    The image is sampled on a turned grid, and what is found on that grid is sampled back from it, so the place is exact
    whatever the grid; mirroring alone reverses the array, and not even a value is interpolated.

    Parameters
    ----------
    mirror : along the rows (i)
    degrees : of rotation within the slices (j, i), lengths in millimetres
    scale : magnification within the slices
    """

    mirror: bool = False
    degrees: float = 0.0
    scale: float = 1.0

    @property
    def name(self) -> str:
        """What is done, in words."""
        parts = ["mirrored"] if self.mirror else []
        parts += [f"rotated by {self.degrees:g}°"] if self.degrees else []
        parts += [f"scaled by {self.scale:g}"] if self.scale != 1 else []
        return ", ".join(parts) or "as it is"

    def grid(self, geometry: Geometry) -> Geometry:
        """Return where the voxels of the turned image lie in the original's world."""
        _, rows, columns = geometry.shape
        _, down, across = geometry.step
        angle = np.radians(self.degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn = turn @ np.diag([-1.0 if self.mirror else 1.0, 1.0]) / self.scale
        size = np.diag([across, down])
        index = np.eye(4)
        index[:2, :2] = np.linalg.inv(size) @ turn @ size
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        index[:2, 3] = middle - index[:2, :2] @ middle
        return replace(geometry, ijk_to_ras=geometry.ijk_to_ras @ index)

    def apply(self, image: Image) -> Image:
        """Return the turned image as if it lay on the original's grid; outside of the original it has its minimum."""
        if self._only_mirrors:
            return replace(image, array=np.ascontiguousarray(image.array[..., ::-1]))
        return replace(image, array=resample(image.array, image.geometry, self.grid(image.geometry)))

    def undo(self, array: np.ndarray, geometry: Geometry, *, order: int = 1) -> np.ndarray:
        """Return float32 values of the turned image on the original's grid; NaN where it did not show the original.

        Parameters
        ----------
        array : k, j, i array of numbers found in the turned image
        geometry : the original's
        order : 0 for masks (nearest neighbour), 1 for probabilities (linear)
        """
        array = array.astype(np.float32)
        if self._only_mirrors:
            return np.ascontiguousarray(array[..., ::-1]) if self.mirror else array
        return resample(array, self.grid(geometry), geometry, order=order, fill=np.nan)

    @property
    def _only_mirrors(self) -> bool:
        return self.degrees == 0 and self.scale == 1


TURNS = (Turn(mirror=True), Turn(degrees=5), Turn(degrees=-5), Turn(scale=0.95), Turn(scale=1.05))
"""What a technician might as well have done: no model should change its mind about it."""
