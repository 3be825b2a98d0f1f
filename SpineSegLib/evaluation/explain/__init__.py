"""Seeing why: where a segmentation errs, what a network looked at, and how far it is to be believed.

Importing this package loads no torch.
"""

from SpineSegLib.evaluation.explain.error_pictures import contact_sheet, draw_errors, in_words, tile_of
from SpineSegLib.evaluation.explain.errors import ErrorMap, error_map

__all__ = ["ErrorMap", "contact_sheet", "draw_errors", "error_map", "in_words", "tile_of"]
