"""A model about to look at an image: the network with the pictures it is given, and the way back to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card, load_network
from SpineSegLib.models.preprocess import Letterbox

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class Look:
    """A network and one image, prepared as the pipeline would.

    Parameters
    ----------
    image, card : what looks at what
    network : in evaluation mode
    pictures : float32 (1, channels, side, side)
    box : undoes the fitting into the square
    points : of a prompted network, (p, 2), x and y in pixels of the square
    """

    image: Image
    card: Card
    network: nn.Module
    pictures: torch.Tensor
    box: Letterbox
    points: torch.Tensor | None = None

    def logits(self) -> torch.Tensor:
        """Run the network: (1, classes, side, side), with gradients where they are switched on."""
        if self.points is None:
            return self.network(self.pictures)
        return self.network.prompted(self.pictures, [self.points])

    def on_image(self, grid: np.ndarray) -> np.ndarray:
        """Return a map (h, w) of the whole square as a float32 k, j, i array on the image, interpolated bilinearly."""
        import torch
        from torch.nn import functional

        tensor = torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32))[None, None]
        size = (self.box.size, self.box.size)
        square = functional.interpolate(tensor, size, mode="bilinear", align_corners=False)[0, 0].numpy()
        return self.box.undo(square)[None]

    def segmentation(self, logits: torch.Tensor) -> Segmentation:
        """Return what the pipeline makes of logits, and of the mirror image where it looks there, too."""
        import torch

        from SpineSegLib.pipelines.whole_image import out_of_square

        arguments = self.card.pipeline["arguments"]
        threshold, keep = (
            float(arguments.get(key, usual)) for key, usual in (("threshold", 0.5), ("keep_fraction", 0))
        )
        square = logits.detach().float().sigmoid()[0].cpu().numpy()
        if arguments.get("mirror"):
            with torch.inference_mode():
                square = (square + self.network(self.pictures.flip(-1)).sigmoid()[0].flip(-1).numpy()) / 2
        return out_of_square(square, self.box, self.image, self.card, threshold, keep, keep_probability=True)


def look_at(
    image: Image,
    card: Card,
    *,
    where: object = "image",
    weights: str | Path | None = None,
    points: Sequence[tuple[float, float]] = (),
) -> Look:
    """Load a model's network and prepare an image for it, on the CPU in float32.

    Parameters
    ----------
    points : x and y in pixels of the image, for a model that is shown what to segment

    Raises
    ------
    InputError : a model of volumes, an image that the model is not for, no weights, a prompted model without a point
    """
    import torch

    from SpineSegLib.pipelines.run import check_image
    from SpineSegLib.pipelines.whole_image import in_square

    if card.pipeline["name"] not in ("whole-image", "prompted"):
        how = "goes through a volume slice by slice" if card.dimension == 3 else "looks at one part after the other"
        found = f"{card.name} {how}"
        raise problem("--model", found, "a model that takes a picture as a whole", "Choose a model of radiographs")
    check_image(image, card, where)
    prompted = card.pipeline["name"] == "prompted"
    if prompted and not points:
        raise problem("--point", f"no point for {card.name}", "a point in each structure", "Give each as --point X,Y")
    for point in points:
        check_point(point, image)
    network = load_network(card, weights)
    pictures, box = in_square(image, card, card.pipeline["arguments"].get("size"))
    inside = torch.tensor([box.place(*point) for point in points]).view(-1, 2) if prompted else None
    return Look(image, card, network, pictures, box, inside)


def check_point(point: tuple[float, float], image: Image) -> None:
    """Raise the InputError for a point outside of a picture."""
    rows, columns = image.array.shape[1:]
    x, y = point
    if not (-0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
        inside = f"x within 0…{columns - 1} and y within 0…{rows - 1}"
        raise problem("--point", f"{x:g},{y:g}", inside, "Give pixels of the image, x to the right and y down")
