"""PNG, JPEG and TIFF radiographs, read and written with Pillow.

A picture has no patient spacing: the resolution in a PNG's pHYs chunk or a TIFF's tags is that of print or screen,
so the spacing is unknown. Its rows run down the image and are taken as they are displayed (EXIF orientation applied).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Geometry, Image, SpacingSource
from SpineSegLib.io import itk
from SpineSegLib.io.damaged import DAMAGED

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_GREY_TOLERANCE = 24
"""Largest difference between colour channels that JPEG compression of a grey picture makes."""
_PIXEL_LIMIT = 1 << 28


def picture_geometry(rows: int, columns: int) -> Geometry:
    """Return the grid of a picture: pixels, with the world's axes as 3D Slicer gives a loaded picture."""
    return Geometry((1, rows, columns), np.diag([-1.0, -1.0, 1.0, 1.0]), SpacingSource.UNKNOWN)


def read_picture(path: Path, modality: str | None = None) -> Image:
    """Read a grey picture of 8 or 16 bits, or a colour one whose channels are alike; XR unless told otherwise.

    Raises
    ------
    InputError : it is no picture, is damaged, has colours or several pages
    """
    array = grey(path, pixels(path))
    return Image(array[None], picture_geometry(*array.shape), modality or "XR")


def pixels(path: Path, *, indices: bool = False) -> np.ndarray:
    """Return the decoded pixels, rows by columns (by channels), upright as EXIF says.

    Parameters
    ----------
    path : the file
    indices : give the numbers of a palette picture instead of its colours (label pictures)
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise problem(path, f"it has {picture.n_frames} pages", "a single picture", "Save the page you want")
            if picture.width * picture.height > _PIXEL_LIMIT:
                raise problem(path, f"it has {picture.width} x {picture.height} pixels", "a radiograph", "Crop it")
            array = _deep_colours(path, picture)
            return _upright(_decoded(picture, indices) if array is None else array, picture.getexif().get(0x112, 1))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise problem(path, "this is not a picture", "PNG, JPEG or TIFF", "Export the image again") from None
    except (OSError, *DAMAGED, Pillow.DecompressionBombError):
        raise problem(path, "it is damaged or cut off", "a whole picture", "Export the image again") from None


def _decoded(picture: Picture, indices: bool) -> np.ndarray:
    mode = picture.mode
    if mode == "P" and not indices:
        picture = picture.convert("RGB")
    elif mode == "1":
        picture = picture.convert("L")
    elif mode in ("CMYK", "YCbCr", "HSV", "LAB", "PA"):
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    array = array.astype(array.dtype.newbyteorder("="))
    if mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(262) == 0:
        # Pillow turns TIFF's 'white is zero' over for 8 bits only.
        return np.iinfo(array.dtype).max - array
    return array


def _deep_colours(path: Path, picture: Picture) -> np.ndarray | None:
    """Return a colour picture of 16 bits, which Pillow would cut to 8, or None for any other."""
    if picture.mode not in ("RGB", "RGBA"):
        return None
    if picture.format == "TIFF":
        deep = 16 in picture.tag_v2.get(258, ())
    else:
        # Bit depth and colour type in a PNG's IHDR. Grey with alpha (type 4) is left at 8 bits: SimpleITK fails on it.
        with path.open("rb") as file:
            head = file.read(26)
        deep = picture.format == "PNG" and head[24] == 16 and head[25] in (2, 6)
    if not deep:
        return None
    return itk.array_of(itk.read(path, "a whole picture", "Export the image again"))


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn rows and columns as the EXIF or TIFF orientation asks for (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def is_grey(array: np.ndarray) -> bool:
    """Tell whether the channels of a decoded picture are alike, but for what JPEG does to them."""
    if array.ndim == 2 or array.shape[-1] < 3:
        return True
    return bool(np.percentile(np.ptp(array[..., :3].astype(np.int32), axis=-1), 99) <= _GREY_TOLERANCE)


def grey(path: Path, array: np.ndarray) -> np.ndarray:
    """Return the one grey channel of decoded pixels; refuse a colour photograph."""
    if not is_grey(array):
        raise problem(
            path, "this is a colour picture", "a grey radiograph", "Export the radiograph in grey, without annotations"
        )
    if array.ndim == 2:
        return array
    if array.shape[-1] < 3 or not np.ptp(array[..., :3], axis=-1).any():
        return np.ascontiguousarray(array[..., 0])
    # ITU-R BT.601, the brightness that JPEG is built on.
    return np.rint(array[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(array.dtype)


def write_picture(array: np.ndarray, path: Path) -> None:
    """Write one slice (rows, columns) as a grey PNG of 8 or 16 bits, without loss.

    Raises
    ------
    InputError : the values are no whole numbers from 0 to 65535
    """
    from PIL import Image as Pillow

    whole = np.isfinite(array).all() and (array == np.rint(array)).all() and array.min() >= 0 and array.max() <= 65535
    if not whole:
        raise problem(path, "the values do not fit a PNG", "whole numbers from 0 to 65535", "Save it as .nrrd")
    narrow = array.dtype == np.uint8 or (array.dtype.kind not in "ui" and array.max() < 256)
    Pillow.fromarray(array.astype(np.uint8 if narrow else np.uint16)).save(path, format="PNG")
