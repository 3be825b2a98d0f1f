"""How well a segmentation agrees with the truth: overall, structure by structure, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.comparison import Comparison, Values, check_probabilities
from SpineSegLib.evaluation.grids import finer_knowledge, on_the_grid_of
from SpineSegLib.evaluation.kinds import of_shared_kinds
from SpineSegLib.evaluation.metrics import (
    Instances,
    Settings,
    Vertebrae,
    checked,
    count_instances,
    definitions,
    match_vertebrae,
    mean_iou,
)
from SpineSegLib.evaluation.pairing import Pair, by_structure, levels_of, pairs_of, vertebrae_pairs
from SpineSegLib.image import Geometry, Image, Segmentation


@dataclass(frozen=True)
class Evaluation:
    """All metrics of a prediction against a truth; the numbers are described in `SpineSegLib.evaluation.metrics`.

    Parameters
    ----------
    overall : metrics of the union of all segments of each, and means over the structures
    structures : metrics by the structure's name; ``"in"`` says where a structure that one side lacks is, and ``"union
        of"`` which structures were joined to be compared with one that has no level
    levels : metrics of the union of all structures of a vertebral level, where both sides have levels
    instances : by kind of structure, how many of those in the truth were found and how well
    vertebrae : by kind of structure, the truth's vertebrae and their partners in the prediction, matched by place; the
        numbers of the first kind stand in `overall` too
    definitions : what every number means
    warnings : what the reader must know, such as a truth that was on another grid
    """

    overall: Values
    structures: Mapping[str, Values] = field(default_factory=dict)
    levels: Mapping[str, Values] = field(default_factory=dict)
    instances: Mapping[str, Instances] = field(default_factory=dict)
    vertebrae: Mapping[str, Vertebrae] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=definitions)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Return the object of ``evaluate --json``; it holds no infinity and no NaN."""
        return {
            "overall": dict(self.overall),
            "structures": {name: dict(values) for name, values in self.structures.items()},
            "levels": {name: dict(values) for name, values in self.levels.items()},
            "instances": {kind: found.to_dict() for kind, found in self.instances.items()},
            "vertebrae": {kind: found.to_dict() for kind, found in self.vertebrae.items()},
            "definitions": dict(self.definitions),
            "warnings": list(self.warnings),
        }


def evaluate(
    prediction: Segmentation,
    truth: Segmentation,
    *,
    probability: Image | None = None,
    settings: Settings | None = None,
    shared_kinds: bool = False,
) -> Evaluation:
    """Measure how well `prediction` agrees with `truth`.

    Everything is measured on the grid of the truth, which is the reference and stays as it was drawn: a prediction on
    another grid is resampled to it by nearest neighbour, and a warning says so. Structures are matched by level and
    kind. Where both sides have levels, a structure that one side lacks counts as empty there. Where only one side has
    levels (a binary 'vertebrae' against T1…L5), the other's structure is compared with the union of those that it
    stands for; what then has no counterpart counts in the overall numbers alone.

    Parameters
    ----------
    probability : of the union of all structures, 0…1; errors of probabilities are reported for the segments that
        carry their own, and overall for this one or else for the largest of theirs
    settings : tolerances and widths
    shared_kinds : leave out of the truth the kinds of structure that the prediction has none of, and say so

    Raises
    ------
    InputError : the grids cannot be compared (no overlap, or no spacing and another size), or a probability is none
    """
    settings, warnings = settings or Settings(), []
    check_probabilities(prediction)
    if shared_kinds:
        truth, note = of_shared_kinds(prediction, truth)
        warnings += [note] if note else []
    chances = None if probability is None else _chances(probability, truth.geometry)
    prediction = on_the_grid_of(truth, prediction, warnings)
    geometry = finer_knowledge(prediction.geometry, truth.geometry)
    ours, theirs = by_structure(prediction, "prediction", warnings), by_structure(truth, "truth", warnings)
    pairs = pairs_of(ours, theirs, warnings)
    compare = Comparison(prediction, truth, geometry, settings, chances)
    overall, counts = compare.overall()
    structures = {pair.name: compare(pair) for pair in pairs}
    vertebrae = _vertebrae(prediction, truth, compare, settings)
    means = mean_iou([values["iou"] for values in structures.values()], counts)
    return Evaluation(
        overall={**overall, **means, **_in_overall(vertebrae)},
        structures=structures,
        levels={pair.name: compare(pair) for pair in levels_of(pairs)},
        instances=_instances(pairs, structures, settings),
        vertebrae=vertebrae,
        definitions=definitions(settings),
        warnings=tuple(warnings),
    )


def _chances(probability: Image, theirs: Geometry) -> np.ndarray:
    """Return a probability image on the truth's grid."""
    checked(probability.array, "probability")
    grid = probability.geometry
    aligned = grid.has_spacing and theirs.has_spacing
    if not aligned or grid.same_as(theirs):
        if grid.shape != theirs.shape:
            found = f"{'x'.join(map(str, grid.shape[::-1]))} voxels"
            expected = f"the truth's {'x'.join(map(str, theirs.shape[::-1]))}, or files that know their spacing"
            raise problem("probability", found, expected, "Give the probability that the prediction was made from")
        return probability.array
    return probability.resampled(theirs, fill=0.0).array


def _vertebrae(
    prediction: Segmentation, truth: Segmentation, compare: Comparison, settings: Settings
) -> dict[str, Vertebrae]:
    found = {}
    for kind, sides in vertebrae_pairs(prediction, truth).items():
        named = [[(segment.name, segment.structure.level) for segment in side] for side in sides]
        found[kind] = match_vertebrae(compare.dice_table(*sides), *named, above=settings.matched_dice)
    return found


def _in_overall(vertebrae: Mapping[str, Vertebrae]) -> Values:
    """Return the numbers of the first kind, so that tables and tests of models over cases have them."""
    for found in vertebrae.values():
        return {
            "vertebrae_identified_percent": found.instances.identified_percent,
            "vertebrae_located_dice": found.instances.located_dice,
            "vertebrae_overall_dice": found.instances.overall_dice,
            "vertebrae_levels_right_percent": found.levels_right_percent,
        }
    return {}


def _instances(pairs: list[Pair], structures: Mapping[str, Values], settings: Settings) -> dict[str, Instances]:
    dice: dict[str, list[float]] = {}
    for pair in pairs:
        if pair.structure and pair.structure.level and structures[pair.name]["voxels_truth"]:
            dice.setdefault(pair.structure.kind, []).append(structures[pair.name]["dice"])
    return {kind: count_instances(values, identified_dice=settings.identified_dice) for kind, values in dice.items()}
