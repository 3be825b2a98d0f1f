"""Pictures to look at: cases side by side, with the outlines of what is true in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.phantom.cases import Case

WINDOWS = {"CT": (-250.0, 1050.0), "MR": (0.0, 750.0), "XR": (0.0, 1.0)}
"""What is black and what is white."""


def grey(array: np.ndarray, modality: str) -> np.ndarray:
    """Return values as displayed, uint8."""
    low, high = WINDOWS[modality]
    return np.rint(255 * np.clip((array.astype(np.float32) - low) / (high - low), 0, 1)).astype(np.uint8)


def slices(volume: Image | Segmentation) -> np.ndarray | list[tuple[np.ndarray, tuple[int, int, int]]]:
    """Return what is shown of an image (uint8 rows, columns), or each structure's mask with its colour at that place.

    Films are shown whole; of a CT the mid-sagittal slice beside an axial one, of an MR the middle slice.
    """
    if isinstance(volume, Image):
        return grey(_cut(volume.array, volume.geometry), volume.modality)
    shown = []
    for segment in volume.segments:
        mask = _cut(volume.mask(segment), volume.geometry)
        if mask.any():
            shown.append((mask, segment.colour))
    return shown


def _cut(array: np.ndarray, geometry) -> np.ndarray:
    """Return the picture of a volume that a person looks at first, with square pixels."""
    if array.shape[0] == 1:
        return array[0]
    directions = np.abs(geometry.ijk_to_ras[:3, :3])
    if np.argmax(directions[:, 2]) == 0:
        return array[array.shape[0] // 2]
    sagittal = array[::-1, :, array.shape[2] // 2]
    rows = max(1, round(len(sagittal) * geometry.step[0] / geometry.step[1]))
    sagittal = sagittal[np.minimum((np.arange(rows) + 0.5) * len(sagittal) / rows, len(sagittal) - 1).astype(int)]
    axial = array[array.shape[0] // 2]
    height = max(len(sagittal), len(axial))
    blank = array.dtype.type(-1024 if array.dtype.kind == "i" else 0)
    both = [np.pad(part, ((0, height - len(part)), (0, 0)), constant_values=blank) for part in (sagittal, axial)]
    return np.concatenate(both, axis=1)


def overlay(picture: np.ndarray, masks: Sequence[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """Return a grey picture with the outlines of masks in colour, uint8 (rows, columns, 3)."""
    from scipy.ndimage import binary_erosion

    out = np.repeat(picture[..., None], 3, axis=-1)
    for mask, colour in masks:
        out[mask & ~binary_erosion(mask)] = colour
    return out


def write_sheet(rows: Sequence[tuple[str, Sequence[Case]]], path: Path, *, height: int = 330) -> None:
    """Write a picture sheet: for each source of shapes a row of images, and below it the same with outlines.

    Parameters
    ----------
    rows : caption, cases
    path : PNG
    height : of each picture in pixels
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(16)
    lines = []
    for caption, cases in rows:
        pictures = [slices(case.image) for case in cases]
        outlined = [overlay(picture, slices(case.masks)) for picture, case in zip(pictures, cases, strict=True)]
        for tiles, head in ((pictures, 26), (outlined, 0)):
            images = [Pillow.fromarray(tile).convert("RGB") for tile in tiles]
            widths = [max(1, round(image.width * height / image.height)) for image in images]
            line = Pillow.new("RGB", (sum(widths) + 6 * (len(widths) + 1), height + head + 6), (18, 18, 18))
            draw, x = ImageDraw.Draw(line), 6
            for image, width, case in zip(images, widths, cases, strict=True):
                line.paste(image.resize((width, height), Pillow.Resampling.LANCZOS), (x, head))
                if head:
                    draw.text((x + 2, 4), f"{case.kind}, {caption}", fill=(235, 235, 235), font=font)
                x += width + 6
            lines.append(line)
    sheet = Pillow.new("RGB", (max(line.width for line in lines), sum(line.height for line in lines)), (18, 18, 18))
    y = 0
    for line in lines:
        sheet.paste(line, (0, y))
        y += line.height
    sheet.save(path, optimize=True)
