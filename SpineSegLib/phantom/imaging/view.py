"""Where the X-ray source and the detector stand, and where a point of the patient falls on the film."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Geometry, SpacingSource


@dataclass(frozen=True)
class View:
    """Where the X-ray source and the detector stand.

    Parameters
    ----------
    azimuth : degrees; 0 is antero-posterior (source in front), 90 lateral with the source at the patient's left. The
        film is shown as seen from the source: AP with the patient's right on the left side, lateral with the front on
        the left side.
    tilt : degrees; a positive one moves the source towards the head
    roll : degrees; turns the detector about the beam
    source_detector, source_centre : mm from the source to the detector and to the centre of the view
    size : detector rows and columns
    pixel : mm, at the detector
    centre : RAS point on the central ray; the middle of the CT unless given
    """

    azimuth: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    source_detector: float = 1500.0
    source_centre: float = 1250.0
    size: tuple[int, int] = (768, 768)
    pixel: float = 0.6
    centre: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.source_centre < self.source_detector or self.pixel <= 0 or min(self.size) < 1:
            msg = (
                f"view has source_centre {self.source_centre} mm, source_detector {self.source_detector} mm, pixel "
                f"{self.pixel} mm and size {self.size}, expected 0 < source_centre < source_detector and positive sizes"
            )
            raise ValueError(msg)

    @property
    def magnification(self) -> float:
        """Size on the detector over size in the patient, at the centre of the view."""
        return self.source_detector / self.source_centre

    def frame(self) -> np.ndarray:
        """Return the unit vectors of beam, detector row (image right) and column (image down) in RAS, one a row."""
        azimuth, tilt, roll = np.radians([self.azimuth, self.tilt, self.roll])
        flat = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        beam = np.cos(tilt) * flat - np.sin(tilt) * up
        right = np.cross(flat, up)
        down = np.cross(beam, right)
        return np.stack([beam, np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right])

    def centred(self, geometry: Geometry) -> View:
        """Return this view with its centre filled in: the middle of the grid where there was none."""
        if self.centre is not None:
            return self
        from dataclasses import replace

        middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
        return replace(self, centre=tuple(float(value) for value in middle))

    def source(self) -> np.ndarray:
        """Return the RAS point of the focal spot; the centre must be known."""
        return np.array(self.centre, dtype=float) - self.source_centre * self.frame()[0]

    def pixels(self) -> np.ndarray:
        """Return the RAS points of the detector's pixel centres, (rows, columns, 3)."""
        beam, right, down = self.frame()
        rows, columns = self.size
        v = (np.arange(rows) - (rows - 1) / 2) * self.pixel
        u = (np.arange(columns) - (columns - 1) / 2) * self.pixel
        return self.source() + self.source_detector * beam + v[:, None, None] * down + u[None, :, None] * right

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where RAS points (..., 3) fall on the film: (..., 2) rows and columns, pixel centres whole numbers."""
        beam, right, down = self.frame()
        away = np.asarray(points, dtype=float) - self.source()
        scale = self.source_detector / (away @ beam) / self.pixel
        rows, columns = self.size
        return np.stack([(away @ down) * scale + (rows - 1) / 2, (away @ right) * scale + (columns - 1) / 2], axis=-1)

    def magnification_at(self, points: np.ndarray) -> np.ndarray:
        """Return the magnification of RAS points (..., 3): it grows towards the source."""
        return self.source_detector / ((np.asarray(points, dtype=float) - self.source()) @ self.frame()[0])

    def film_geometry(self) -> Geometry:
        """Return the film's grid: spacing at the detector, columns to the left (L) and rows to the back (P).

        These are the axes of any film without an orientation, so that viewers show it upright.
        """
        matrix = np.diag([-self.pixel, -self.pixel, 1.0, 1.0])
        return Geometry((1, *self.size), matrix, SpacingSource.IMAGER_PIXEL_SPACING)
