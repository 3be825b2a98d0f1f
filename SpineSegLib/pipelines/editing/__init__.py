"""Corrections by hand: levels, merging, splitting, adding and removing vertebrae.

Every function returns a new segmentation in which what was touched says so (`Segment.edited`), and raises a one-line
InputError where it cannot do what is asked. Voxels change where that is meant, and nowhere else.
"""

from SpineSegLib.pipelines.editing.chain import Vertebra, find, level_notes, vertebrae_of
from SpineSegLib.pipelines.editing.relabel import relabel
from SpineSegLib.pipelines.editing.shapes import add_mask, merge, remove, split_at_line, split_at_seeds

__all__ = [
    "Vertebra",
    "add_mask",
    "find",
    "level_notes",
    "merge",
    "relabel",
    "remove",
    "split_at_line",
    "split_at_seeds",
    "vertebrae_of",
]
