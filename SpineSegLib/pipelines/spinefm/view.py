"""A radiograph as SpineFM's networks see it, the head at the top, and the way back to the image's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import Card
from SpineSegLib.models.preprocess import Letterbox, fitted
from SpineSegLib.pipelines.levels import head_direction


def turns_to_the_head(geometry: Geometry) -> int:
    """Return by how many quarter turns (of `numpy.rot90`) a single picture's head comes to the top.

    The head is where the geometry says, see `levels.head_direction`: in a film without a place in the patient at the
    top as it is.
    """
    axes = geometry.ijk_to_ras[:3, :2] / np.linalg.norm(geometry.ijk_to_ras[:3, :2], axis=0)
    right, down = axes.T @ head_direction(geometry)
    # rot90 turns counterclockwise: what is on the right comes to the top.
    return int(np.argmax([-down, right, down, -right]))


@dataclass(frozen=True, eq=False)
class View:
    """A radiograph as the networks see it: turned, fitted into the card's square; and the way back.

    Parameters
    ----------
    turns : quarter turns, see `turns_to_the_head`
    turned_shape : rows and columns after the turn
    box : fits the turned picture into the square
    picture : the square in 0…1
    """

    turns: int
    turned_shape: tuple[int, int]
    box: Letterbox
    picture: np.ndarray

    @classmethod
    def of(cls, image: Image, card: Card, turns: int) -> View:
        """Return the view of a single picture."""
        _, down, across = image.geometry.step
        turned = np.rot90(image.array[0], turns)
        aspect = down / across if turns % 2 == 0 else across / down
        box = Letterbox(turned.shape, int(card.input["size"][0]), aspect=aspect)
        return cls(turns % 4, turned.shape, box, box.pad(fitted(turned, box, card.input["intensity"])))

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the square that the film fills."""
        return self.box.used

    def place(self, x: float, y: float) -> np.ndarray:
        """Return x and y in the square of a pixel of the image."""
        rows, columns = self.turned_shape if self.turns % 2 == 0 else self.turned_shape[::-1]
        x, y = [(x, y), (y, columns - 1 - x), (columns - 1 - x, rows - 1 - y), (rows - 1 - y, x)][self.turns]
        return np.array(self.box.place(x, y))

    def back(self, turned: np.ndarray) -> np.ndarray:
        """Return an array (1, rows, columns) on the image's grid of one in the turned picture."""
        return np.ascontiguousarray(np.rot90(turned, -self.turns))[None]
