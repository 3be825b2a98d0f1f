"""Maps of what a network looked at, on the image: attention rollout, attention of a point, Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.evaluation.explain.attention import attention_blocks, rollout
from SpineSegLib.evaluation.explain.colours import Scale
from SpineSegLib.evaluation.explain.drawing import Layer, Panel, compose, cross, cuts_of, fill, heat, outline
from SpineSegLib.evaluation.explain.gradcam import feature_layer, grad_cam
from SpineSegLib.evaluation.explain.looking import Look, check_point
from SpineSegLib.image import Image, Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True, eq=False)
class Map:
    """Numbers that lie over an image.

    Parameters
    ----------
    title : for people
    values : float32 k, j, i array on the image's grid
    scale : how they are coloured
    note : what they are, in a sentence
    """

    title: str
    values: np.ndarray
    scale: Scale
    note: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of one image, and what the same run of the network segmented.

    Parameters
    ----------
    image, segmentation : on one grid; segments carry their probabilities
    maps : on that grid
    point : x and y in pixels that a map belongs to, if any
    """

    image: Image
    segmentation: Segmentation
    maps: Sequence[Map]
    point: tuple[float, float] | None = None

    def draw(self) -> Picture:
        """Return the picture: the prediction, then each map over the image."""
        grid = self.image.geometry
        found = [layer for segment in self.segmentation.segments for layer in _shown(self.segmentation, segment)]
        marks: list[Layer] = []
        if self.point is not None:
            marks = [cross((self.point[0] + 0.5) / grid.shape[2], (self.point[1] + 0.5) / grid.shape[1])]
        panels = [Panel("Prediction", [*found, *marks])]
        panels += [Panel(each.title, [heat(each.values, each.scale), *marks], each.scale) for each in self.maps]
        legend = [(segment.colour, segment.name) for segment in self.segmentation.segments]
        cuts = cuts_of(grid, self.segmentation.foreground)
        return compose(self.image, cuts, panels, caption=[each.note for each in self.maps], legend=legend)


def _shown(segmentation: Segmentation, segment) -> list[Layer]:
    mask = segmentation.mask(segment)
    return [fill(mask, segment.colour, 0.35), outline(mask, segment.colour)]


def explain_attention(look: Look, point: tuple[float, float] | None = None) -> Explanation:
    """Return the attention rollout and, for a point, the last block's attention of the token that it lies in.

    Values are multiples of what a token would get if all got the same.

    Parameters
    ----------
    point : x and y in pixels of the image

    Raises
    ------
    InputError : the network has no chain of softmax attention over one grid of tokens, or the point is outside
    """
    import torch

    if point is not None:
        check_point(point, look.image)
    logits: list[torch.Tensor] = []

    def run() -> None:
        logits.append(look.logits())

    blocks = attention_blocks(look.network, run)
    if not blocks:
        found = f"{look.card.name} has no softmax attention over one grid of tokens"
        raise problem("--model", found, "cervspinenet, sam or trans-unet", "Use explain gradcam for other models")
    rows, columns = blocks[-1].grid
    tokens = rows * columns
    flow = rollout(blocks) * tokens
    note = f"Attention rollout: what the {len(blocks)} blocks together gather from, mean over all tokens."
    maps = [_attention_map("Attention rollout", look.on_image(flow), note)]
    if point is not None:
        x, y = look.box.place(*point)
        place = [min(max(int((at + 0.5) * n / look.box.size), 0), n - 1) for at, n in ((y, rows), (x, columns))]
        row = blocks[-1].row(place[0] * columns + place[1]).reshape(rows, columns) * tokens
        note = f"Attention of the marked token in the last of {len(blocks)} blocks, mean over heads."
        maps.append(_attention_map("Attention of the point", look.on_image(row), note))
    return Explanation(look.image, look.segmentation(logits[0]), maps, point)


def _attention_map(title: str, values: np.ndarray, note: str) -> Map:
    # From the mean on, and never stretched: a network that looks everywhere alike must not seem to look somewhere.
    high = max(float(np.percentile(values, 99.7)), 1.5)
    scale = Scale(1, high, "attention (multiples of the mean)", opacity=0.75, fade=0.3)
    return Map(title, values, scale, note)


def explain_gradcam(look: Look, *, score: str = "probability", structure: str | None = None) -> Explanation:
    """Return Grad-CAM of the layer that the card names, see `feature_layer` and `grad_cam`.

    Parameters
    ----------
    structure : name of one of the card's; all of them unless given

    Raises
    ------
    InputError : the card has no such structure or layer
    """
    names = [each.name for each in look.card.structures]
    if structure is not None and structure not in names:
        raise problem("--structure", f"{structure!r}", f"one of {', '.join(names)}", "Choose one of them")
    kind = None if structure is None else names.index(structure)
    layer = feature_layer(look.network, look.card.network.get("features"), look.logits)
    threshold = float(look.card.pipeline["arguments"].get("threshold", 0.5))
    found = grad_cam(look.network, layer, look.logits, score=score, kind=kind, used=look.box.used, threshold=threshold)
    size = "x".join(map(str, found.map.shape))
    note = f"Grad-CAM of {structure or 'all structures'} at {layer} ({size}), mean foreground {score} back-propagated."
    if not found.map.any():
        note += " No feature there speaks for the prediction."
    scale = Scale(0, 1, "Grad-CAM (part of the largest)", opacity=0.72, fade=0.5)
    return Explanation(
        look.image, look.segmentation(found.logits), [Map("Grad-CAM", look.on_image(found.map), scale, note)]
    )
