"""What lies round the spine."""

from __future__ import annotations

import numpy as np

from SpineSegLib.phantom.body import Tissue
from SpineSegLib.phantom.parameters import Parameters
from SpineSegLib.phantom.people import Build
from SpineSegLib.phantom.pose import Column
from SpineSegLib.phantom.sources import Sources
from SpineSegLib.phantom.voxels import Canvas


def paint_surroundings(canvas: Canvas, p: Parameters, column: Column, sources: Sources, build: Build, rng) -> None:
    """Fill what is still air."""
    flesh = canvas.tissue == Tissue.AIR
    canvas.tissue[flesh] = Tissue.MUSCLE
