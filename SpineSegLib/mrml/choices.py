"""What the panel needs to know about models, without loading torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineSegLib.image import Image
from SpineSegLib.mrml.dicom import modality_of
from SpineSegLib.mrml.geometry import volume_geometry


@dataclass(frozen=True)
class Choice:
    """A model as the panel shows it.

    Parameters
    ----------
    name : the card's name, as the command line knows it
    title : what a person reads
    weights : ``"bundled"``, ``"installed"`` or ``"absent"``
    details : rich text: paper, structures, weights, scores
    """

    name: str
    title: str
    weights: str
    details: str


def models_for(volumeNode, *, modality: str | None = None) -> list[Choice]:
    """Return the models that fit a volume's modality and dimension; those with weights come first.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode; None fits no model
    modality : what the volume is; what `modality_of` says unless given
    """
    from SpineSegLib.models import registry, weights_state

    if volumeNode is None or volumeNode.GetImageData() is None:
        return []
    geometry = volume_geometry(volumeNode)
    # A card looks at what an image is, not at its voxels: an array of one repeated zero has the shape and no size.
    voxels = np.broadcast_to(np.int16(0), geometry.shape)
    image = Image(voxels, geometry, modality or modality_of(volumeNode)[0])
    found = []
    for card in registry().values():
        if card.misfit(image) is None:
            state = weights_state(card)
            found.append(Choice(card.name, card.title, state, _details(card, state)))
    return sorted(found, key=lambda choice: (choice.weights == "absent", choice.title))


def describe_volume(volumeNode, *, modality: str | None = None) -> str:
    """Return two short lines on what a volume is: modality and how it is known; size and spacing."""
    geometry = volume_geometry(volumeNode)
    found, reason = (modality, "as chosen") if modality else modality_of(volumeNode)
    kind = {"XR": "Radiograph", "CT": "CT", "MR": "MR"}.get(found, "Modality")
    axes = 2 if geometry.is_2d else 3
    size = " × ".join(str(n) for n in geometry.shape[::-1][:axes])
    if geometry.has_spacing:
        steps = " × ".join(f"{step:.2f}" for step in geometry.spacing[::-1][:axes])
        return f"{kind} ({reason})\n{size} voxels of {steps} mm"
    return f"{kind} ({reason})\n{size} pixels, spacing unknown: no millimetres"


_STATES = {
    "bundled": "come with SpineSeg",
    "installed": "are installed",
    "absent": "are not here: choose a file under Advanced, or install them (python -m SpineSegLib weights)",
}


def _details(card, state: str) -> str:
    """Return a card as a few lines of rich text."""
    from html import escape

    lines = [f"<b>{escape(card.title)}</b>"]
    if card.paper:
        title, doi, year = (card.paper.get(key) for key in ("title", "doi", "year"))
        link = f' (<a href="https://doi.org/{escape(doi)}">{escape(doi)}</a>)' if doi else ""
        lines.append(f"After: {escape(str(title))}{f', {year}' if year else ''}{link}")
    names = [structure.name for structure in card.structures]
    lines.append("Segments: " + escape(", ".join(names[:8]) + (" …" if len(names) > 8 else "")))
    lines.append(f"Weights {_STATES[state]}.")
    lines += [escape(text) for text in _score_lines(card)]
    return "<br>".join(lines)


def _score_lines(card) -> list[str]:
    """Return the card's own measured scores, one line a case and structure."""
    from SpineSegLib.evaluation.metrics import METRICS

    titles = {metric.key: metric.title for metric in METRICS}
    lines: dict[str, list[str]] = {}
    for score in card.weights.scores:
        about = ", ".join(filter(None, (score.get("structure"), score["case"])))
        unit = f" {score['unit']}" if score.get("unit") else ""
        name = titles.get(score["metric"], score["metric"].replace("_", " "))
        lines.setdefault(about, []).append(f"{name} {score['value']:.3g}{unit}")
    return [f"Measured: {', '.join(numbers)} ({about})" for about, numbers in lines.items()]
