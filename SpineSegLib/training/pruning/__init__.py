"""Pruning: filters that matter least to the loss are zeroed as in paper 003, or removed, and the rest is trained on."""

from __future__ import annotations

from SpineSegLib.training.pruning.following import Group, Place
from SpineSegLib.training.pruning.groups import Structure, structure_of
from SpineSegLib.training.pruning.masks import filter_masks, hold, unit_masks, zero
from SpineSegLib.training.pruning.removal import choose, removed
from SpineSegLib.training.pruning.report import TITLES, Row, cells
from SpineSegLib.training.pruning.run import Plan, prune
from SpineSegLib.training.pruning.sensitivity import sensitivity

__all__ = [
    "TITLES",
    "Group",
    "Place",
    "Plan",
    "Row",
    "Structure",
    "cells",
    "choose",
    "filter_masks",
    "hold",
    "prune",
    "removed",
    "sensitivity",
    "structure_of",
    "unit_masks",
    "zero",
]
