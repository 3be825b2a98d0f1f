"""Where a body's bones come from: folders of meshes, and what they lack from the built-in solids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineSegLib.phantom.built_in import built_in_shape
from SpineSegLib.phantom.mesh_bones import MeshBones, mesh_bones
from SpineSegLib.phantom.shapes import Field, Shape

Folders = str | Path | Sequence[str | Path] | None


class Sources:
    """One body's choice of sources.

    Parameters
    ----------
    shapes : None for the built-in solids, a folder of meshes, or several: then each vertebra comes from the first folder
        that has it, in an order drawn for this body
    mend_holes : see `MeshBones`
    rng : draws the order
    """

    def __init__(self, shapes: Folders, mend_holes: int, rng: np.random.Generator):
        folders = [] if shapes is None else [shapes] if isinstance(shapes, str | Path) else list(shapes)
        loaded = [mesh_bones(str(folder), mend_holes) for folder in folders]
        self.folders: list[MeshBones] = [loaded[n] for n in rng.permutation(len(loaded))]

    def vertebra(self, level: str) -> Shape:
        """Return the vertebra at `level`; T13 and L6 are their upper neighbour's shape where no folder has them."""
        stand_in = {"T13": "T12", "L6": "L5"}.get(level, level)
        for wanted in dict.fromkeys((level, stand_in)):
            for folder in self.folders:
                if wanted in folder:
                    shape = folder.shape(wanted)
                    return shape if wanted == level else Shape(level, shape.field, shape.frame, source=shape.source)
        return built_in_shape(level)

    def around(self, name: str, anchors: Sequence[str]) -> tuple[Field, np.ndarray, str] | None:
        """Return a bone of the surroundings that stands still against a vertebra.

        Parameters
        ----------
        anchors : levels that may carry it, best first

        Returns
        -------
        field, the 4x4 matrix from the field's frame to the vertebra's own, and that vertebra's level; None when no
        folder has the bone together with one of the vertebrae
        """
        for folder in self.folders:
            level = next((level for level in anchors if level in folder), None)
            if name in folder and level is not None:
                return folder.field(name), np.linalg.inv(folder.shape(level).frame), level
        return None

    def mended(self) -> dict[str, int]:
        """Return which files had open edges closed, and how many."""
        return {name: count for folder in self.folders for name, count in sorted(folder.mended.items())}
