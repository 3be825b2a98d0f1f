"""Writing what was explained: pictures, maps of numbers, JSON; each appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.image import Image
from SpineSegLib.io import write_image, written_whole

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def save_picture(picture: Picture, path: Path) -> None:
    """Write a PNG."""
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG")


def save_map(values: np.ndarray, image: Image, path: Path) -> None:
    """Write numbers as a volume on the image's grid, to be laid over it."""
    write_image(Image(np.asarray(values, np.float32), image.geometry), path)


def save_json(content: dict, path: Path) -> None:
    """Write JSON without NaN."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
