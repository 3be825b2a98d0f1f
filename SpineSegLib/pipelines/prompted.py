"""A radiograph through a network that is shown, with a point in each, which structures to segment."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.models import Card
from SpineSegLib.pipelines.run import Runner
from SpineSegLib.pipelines.whole_image import in_square, out_of_square
from SpineSegLib.progress import Progress


def prompted(
    image: Image,
    card: Card,
    run: Runner,
    *,
    report: Progress,
    points: Sequence[tuple[float, float]] = (),
    threshold: float = 0.5,
    keep_fraction: float = 0.0,
    keep_probability: bool = False,
) -> Segmentation:
    """Segment what the points lie in.

    Parameters
    ----------
    points : x and y in pixels of the image, the centre of the first pixel being (0, 0)
    threshold : probability above which a pixel belongs to the structure
    keep_fraction : see `large_parts`
    keep_probability : as in `whole_image`

    Raises
    ------
    InputError : no point, or one outside of the image
    """
    if not points:
        wanted = "a point in each structure"
        raise problem("--point", f"no point for {card.name}", wanted, "Give each as --point X,Y in pixels of the image")
    check_points(points, image)
    report(0, 2, "segmenting")
    pictures, box = in_square(image, card)
    inside = torch.tensor([box.place(x, y) for x, y in points])
    square = run(pictures, points=[inside])[0].numpy()
    report(1, 2, "bringing the result to the image's size")
    found = out_of_square(square, box, image, card, threshold, keep_fraction, keep_probability)
    report(2, 2, "done")
    return found


def check_points(points: Sequence[tuple[float, float]], image: Image) -> None:
    """Raise the InputError for a point (x, y) that lies outside of a radiograph."""
    rows, columns = image.array.shape[1:]
    for x, y in points:
        if not (-0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
            inside = f"x within 0…{columns - 1} and y within 0…{rows - 1}"
            raise problem("--point", f"{x:g},{y:g}", inside, "Give pixels of the image, x to the right and y down")
