"""What a model is unsure of, as maps over the image."""

from __future__ import annotations

from dataclasses import replace

from SpineSegLib.evaluation.explain.colours import Scale
from SpineSegLib.evaluation.explain.maps import Explanation, Map
from SpineSegLib.evaluation.explain.uncertainty import Uncertainty
from SpineSegLib.image import Image

_ENTROPY = Scale(0, 1, "entropy (bits)", opacity=0.85, fade=0.4)


def explanation(image: Image, found: Uncertainty) -> Explanation:
    """Return entropy and disagreement as maps; in the legend each structure has its confidence."""
    segmentation = found.result.segmentation
    segments = tuple(
        replace(each, name=f"{each.name}: " + ("not found" if sure is None else f"confidence {sure:.2f}"))
        for each, sure in zip(segmentation.segments, found.confidence.values(), strict=True)
    )
    largest = max(float(found.disagreement.max()), 0.1)
    scale = Scale(0, largest, "standard deviation of the probability", opacity=0.85, fade=0.4)
    note = "Disagreement: standard deviation of the probability over the mirrored, rotated and scaled image."
    maps = [
        Map("Entropy of the probability", found.entropy, _ENTROPY, "Entropy: 1 where the model might toss a coin."),
        Map("Disagreement about turned images", found.disagreement, scale, note),
    ]
    return Explanation(image, replace(segmentation, segments=segments), maps)
