"""A truth that holds more kinds of structure than a prediction was made to find."""

from __future__ import annotations

from dataclasses import replace

from SpineSegLib.anatomy import COLLECTIVES
from SpineSegLib.image import Segmentation


def of_shared_kinds(prediction: Segmentation, truth: Segmentation) -> tuple[Segmentation, str]:
    """Leave out of a truth the kinds of structure that a prediction has none of.

    A model of vertebral bodies is not wrong about discs. What is left out is a kind as a whole: a body that was missed
    stays and counts as missed. Where the two have no kind in common the truth stays as it is.

    Returns
    -------
    truth : what is left
    note : one sentence on what was left out, or nothing
    """
    ours = {segment.structure.kind for segment in prediction.segments}
    # 'bodies' stands for every 'body', and the other way round.
    ours |= {kind for whole in ours for kind in COLLECTIVES.get(whole, ())}
    ours |= {whole for whole, kinds in COLLECTIVES.items() if ours.intersection(kinds)}
    kept = tuple(segment for segment in truth.segments if segment.structure.kind in ours)
    if not kept or len(kept) == len(truth.segments):
        return truth, ""
    left = dict.fromkeys(segment.structure.kind for segment in truth.segments if segment not in kept)
    note = f"left out of the truth, since the prediction has nothing of the kind: {', '.join(sorted(left))}"
    return replace(truth, segments=kept), note
