"""Label maps: one number a voxel, with a sidecar that names the numbers.

The sidecar of ``case.nii.gz`` is ``case.json``: ``{"labels": {"8": "T1", …}, "spacing_source": "header"}``. Without it
the numbers are VerSe's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import Structure, structure_named, verse_structures
from SpineSegLib.errors import problem
from SpineSegLib.image import Geometry, Segment, Segmentation, SpacingSource
from SpineSegLib.io import pictures, volumes
from SpineSegLib.io.suffixes import PICTURES, sidecar_of, suffix_of

_FIRST_FREE = 101
"""Where the numbers of structures begin that VerSe has no number for."""
_SIDECAR_LIMIT = 4 << 20


def read_label_map(path: Path, structures: Mapping[int, Structure | str] | None = None) -> Segmentation:
    """Read a label map (NIfTI, NRRD, MetaImage) or a label picture (PNG, TIFF).

    Parameters
    ----------
    path : the file
    structures : label number -> structure or its name; numbers not named there belong to nothing. Unless given, the
        sidecar's names hold, else VerSe's numbers, and a number that VerSe does not know keeps it as its name.
        A picture with one value besides 0 and no names is a mask of all vertebrae.

    Raises
    ------
    InputError : it is no label map (fractions, negative numbers), or none of its labels is in `structures`
    """
    if suffix_of(path) in PICTURES:
        values, geometry = _read_picture(path)
    else:
        values, geometry, _ = volumes.read_volume(path)
    labels = _whole_numbers(path, values)
    seen = np.zeros(65536, bool)
    for part in labels:
        seen[part] = True
    present = [int(label) for label in np.flatnonzero(seen) if label > 0]
    named, source = _sidecar(path)
    if source is not None:
        geometry = Geometry(geometry.shape, geometry.ijk_to_ras, source)
    if structures is not None:
        table = {int(n): structure_named(s) if isinstance(s, str) else s for n, s in structures.items()}
        if present and not set(present) & set(table):
            raise problem(
                path,
                f"none of its labels ({_listed(present)}) is among those named",
                f"some of {_listed(sorted(table))}",
                "Check which numbering the file uses",
            )
    elif named is not None:
        table = named
    elif suffix_of(path) in PICTURES and len(present) == 1:
        table = {present[0]: Structure("vertebrae")}
    else:
        table = {n: verse_structures().get(n) or Structure("other", label=f"label {n}") for n in present}
    segments = [Segment(table[label], 0, label) for label in present if label in table]
    return Segmentation((labels,), tuple(sorted(segments, key=lambda s: s.structure.order)), geometry)


def _read_picture(path: Path) -> tuple[np.ndarray, Geometry]:
    if suffix_of(path) in (".jpg", ".jpeg"):
        raise problem(path, "JPEG changes the numbers of a label picture", "PNG or TIFF", "Save it as .png")
    array = pictures.pixels(path, indices=True)
    if not pictures.is_grey(array):
        raise problem(path, "its labels are colours", "numbers in grey or a palette", "Save the labels as numbers")
    array = pictures.grey(path, array)
    return array[None], pictures.picture_geometry(*array.shape)


def _whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    """Return the labels in the smallest unsigned type; VerSe's own files hold them as floating point."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise problem(path, "its values are no whole numbers", "a label map", "Give the labels, not probabilities")
    if low < 0 or high > 65535:
        raise problem(path, f"its values go from {low:g} to {high:g}", "labels from 0 to 65535", "Give the label map")
    return values.astype(np.uint8 if high < 256 else np.uint16)


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(n) for n in numbers[:12]) + (" …" if len(numbers) > 12 else "")


def _sidecar(path: Path) -> tuple[dict[int, Structure] | None, SpacingSource | None]:
    """Read the names beside a label map; another program's JSON of that name (BIDS, say) is none of ours."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file() or sidecar.stat().st_size > _SIDECAR_LIMIT:
        return None, None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise problem(sidecar, "this is not JSON", "the names of the labels", "Correct or remove it") from None
    labels = content.get("labels") if isinstance(content, dict) else None
    if labels is None:
        return None, None
    try:
        table = {int(number): structure_named(name) for number, name in labels.items()}
    except (AttributeError, TypeError, ValueError):
        expected = 'labels as {"8": "T1"}'
        raise problem(sidecar, "its labels are not a list of names", expected, "Correct or remove it") from None
    source = content.get("spacing_source")
    return table, SpacingSource(source) if source in set(SpacingSource) else None


def flatten(segmentation: Segmentation) -> tuple[np.ndarray, dict[int, Segment], tuple[str, ...]]:
    """Put all segments into one label array.

    Vertebrae, sacrum and coccyx get their VerSe numbers, everything else numbers from 101. Where segments overlap
    the smaller one is kept, so that a part stays visible on its whole.

    Returns
    -------
    labels : k, j, i array of uint8 or uint16
    table : label number -> segment
    warnings : what was lost, in words
    """
    numbers: dict[int, Segment] = {}
    free = _FIRST_FREE
    for segment in segmentation.segments:
        number = segment.structure.verse_label
        if number is None or number in numbers:
            number, free = free, free + 1
        numbers[number] = segment
    masks = {number: segmentation.mask(segment) for number, segment in numbers.items()}
    sizes = {number: int(mask.sum()) for number, mask in masks.items()}
    labels = np.zeros(segmentation.geometry.shape, np.uint8 if max(numbers, default=0) < 256 else np.uint16)
    covered, losers = 0, []
    for number in sorted(numbers, key=lambda n: -sizes[n]):
        lost = labels[masks[number]]
        lost = lost[lost > 0]
        covered += lost.size
        losers += [numbers[int(other)].name for other in np.unique(lost)]
        labels[masks[number]] = number
    warnings = ()
    if covered:
        names = ", ".join(dict.fromkeys(losers))
        warnings = (
            f"a label map holds one structure a voxel: {covered} voxels of {names} went to smaller structures that "
            "overlap them; .seg.nrrd keeps both",
        )
    return labels, numbers, warnings


def kept_in_sidecar(sidecar: Path) -> dict:
    """Return what a label map's sidecar holds already, ours or another program's; nothing where there is no file.

    Raises
    ------
    InputError : the file that is there has no room for the names of the numbers
    """
    if not sidecar.is_file():
        return {}
    try:
        kept = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise problem(
            sidecar,
            "a file that is not ours has the name of the label map's sidecar",
            "no file, or a JSON object",
            "Choose another name for the label map",
        )
    return kept


def sidecar_content(table: Mapping[int, Segment], geometry: Geometry, sidecar: Path) -> str:
    """Return the sidecar's text: the names of the numbers, and whatever another program keeps in that file already.

    Raises
    ------
    InputError : see `kept_in_sidecar`
    """
    kept = kept_in_sidecar(sidecar)
    kept["labels"] = {str(number): table[number].name for number in sorted(table)}
    kept["spacing_source"] = str(geometry.spacing_source)
    return json.dumps(kept, indent=1, ensure_ascii=False) + "\n"


def write_label_picture(labels: np.ndarray, table: Mapping[int, Segment], path: Path) -> None:
    """Write a single-slice label array as a PNG whose palette shows the structures in their colours."""
    from PIL import Image as Pillow

    if labels.shape[0] != 1:
        raise problem(path, f"the segmentation has {labels.shape[0]} slices", "one slice", "Save it as .nii.gz")
    if labels.dtype != np.uint8:
        raise problem(path, "there are more than 255 label numbers", "at most 255", "Save it as .seg.nrrd")
    palette = np.zeros((256, 3), np.uint8)
    for number, segment in table.items():
        palette[number] = segment.colour
    picture = Pillow.fromarray(labels[0])
    picture.putpalette(palette.ravel().tolist())
    picture.save(path, format="PNG")
