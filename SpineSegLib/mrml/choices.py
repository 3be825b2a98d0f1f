"""What the panel needs to know about models, without loading torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.image import Image
from SpineSegLib.mrml.dicom import dicom_values, modality_of
from SpineSegLib.mrml.geometry import volume_geometry

if TYPE_CHECKING:
    from SpineSegLib.models import Card


@dataclass(frozen=True)
class Choice:
    """A model as the panel shows it.

    Parameters
    ----------
    name : the card's name, as the command line knows it
    title : what a person reads
    weights : ``"bundled"``, ``"installed"`` or ``"absent"``
    details : rich text: paper, view, structures, weights with size, licence and training, scores
    divisible : whether it finds the spine in one, which can be split into vertebrae
    counts : whether it finds vertebra by vertebra, so that the topmost one's level can be said
    """

    name: str
    title: str
    weights: str
    details: str
    divisible: bool = False
    counts: bool = False


COUNTING = ("in-parts", "spinefm", "yolo-seg", "yolo-unet")
"""Pipelines that find vertebra by vertebra; their functions have the argument ``top_level``."""


def models_for(volumeNode, *, modality: str | None = None) -> list[Choice]:
    """Return the models that fit a volume's modality and dimension, the best first.

    First come those with weights; among them those for the view and the part of the spine that DICOM, or the volume's
    name, tells of; then those that give labelled vertebrae rather than a mask of all; of these the better measured.

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
            found.append((card, weights_state(card)))
    known = _known_of(volumeNode)
    found.sort(key=lambda pair: (pair[1] == "absent", *_distance(pair[0], known), -_dice(pair[0]), pair[0].title))
    return [
        Choice(
            card.name,
            card.title,
            state,
            _details(card, state),
            card.dimension == 3 and [one.kind for one in card.structures] in (["spine"], ["vertebrae"]),
            card.pipeline["name"] in COUNTING,
        )
        for card, state in found
    ]


_VIEWS = {"lateral": ("lateral", "lat", "ll", "rl"), "AP": ("ap", "pa", "frontal")}
_PARTS = {
    "neck": ("neck", "cervical", "cspine", "cervspinenet"),
    "lumbar": ("lumbar", "lspine", "lssspine"),
    "chest": ("chest", "thoracic", "tspine", "thorax"),
}


def _known_of(volumeNode) -> tuple[str | None, str | None]:
    """Return the view and the part of the spine that DICOM or the volume's name tells of, each or None."""
    values = dicom_values(volumeNode, "0018,5101", "0018,0015", "0008,103E")
    text = " ".join([*values, volumeNode.GetName() or ""])
    return _named(text, _VIEWS), _named(text, _PARTS)


def _named(text: str, names: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the one of `names` that a text has a word for, or None when it has none or several."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    found = [name for name, theirs in names.items() if words.intersection(theirs)]
    return found[0] if len(found) == 1 else None


def _distance(card: Card, known: tuple[str | None, str | None]) -> tuple[bool, ...]:
    """Say how far a model is from what is known of an image, and from labelled vertebrae; smaller is better."""
    view, part = known
    other_view = bool(view and card.view and view not in card.view)
    own = _named(f"{card.name} {card.title}".replace("-", " "), _PARTS)
    other_part = bool(part and own and part != own)
    # The last one prefers a model for the very part, and one for all parts where the part is not known.
    return other_view, other_part, card.pipeline["name"] not in COUNTING, own != part


def _dice(card: Card) -> float:
    """Return the mean of a card's measured Dice, 0 without one."""
    values = [score["value"] for score in card.weights.scores if score["metric"] in ("dice", "overall_dice")]
    return sum(values) / max(len(values), 1)


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
    "absent": "are not here: choose a file under Advanced, or install them under Weights",
}


def _details(card, state: str) -> str:
    """Return a card as a few lines of rich text."""
    from html import escape

    lines = [f"<b>{escape(card.title)}</b>"]
    if card.paper:
        title, doi, year = (card.paper.get(key) for key in ("title", "doi", "year"))
        link = f' (<a href="https://doi.org/{escape(doi)}">{escape(doi)}</a>)' if doi else ""
        lines.append(f"After: {escape(str(title))}{f', {year}' if year else ''}{link}")
    if card.view:
        lines.append(f"For: {escape(', '.join(card.view))} views")
    names = [structure.name for structure in card.structures]
    lines.append("Segments: " + escape(", ".join(names[:8]) + (" …" if len(names) > 8 else "")))
    about = [f"{card.weights.bytes / 2**20:.1f} MiB"] if card.weights.bytes else []
    about += [escape(card.weights.licence)] if card.weights.licence else []
    lines.append(f"Weights {_STATES[state]}." + (f" {', '.join(about)}." if about else ""))
    data = [str(one["name"]) for one in (card.weights.training or {}).get("data", ())]
    lines += [f"Trained on: {escape('; '.join(data))}"] if data else []
    lines += [escape(text) for text in _score_lines(card)]
    return "<br>".join(lines)


def _score_lines(card) -> list[str]:
    """Return the card's own measured scores, one line a case and structure."""
    from SpineSegLib.evaluation.metrics import METRICS

    known = {metric.key.removeprefix("vertebrae_"): metric for metric in METRICS}
    lines: dict[str, list[str]] = {}
    for score in card.weights.scores:
        about = ", ".join(filter(None, (score.get("structure"), score["case"])))
        metric = known.get(score["metric"])
        unit = score.get("unit") or (metric.unit if metric and metric.unit == "%" else "")
        unit = f" {unit}" if unit else ""
        name = metric.title if metric else score["metric"].replace("_", " ")
        lines.setdefault(about, []).append(f"{name} {score['value']:.3g}{unit}")
    return [f"Measured: {', '.join(numbers)} ({about})" for about, numbers in lines.items()]
