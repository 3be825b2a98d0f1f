"""Spine data sets in BIDS form: VerSe, TPTBox, SPINEPS, and what others derive from them.

A name is made of entities and ends in a suffix (https://bids.neuroimaging.io): ``sub-004_dir-sag_ct.nii.gz``. Anywhere
below the folder, mostly in ``rawdata`` and ``derivatives``::

    sub-004_dir-sag_ct.nii.gz                   an image: ct, T1w, T2w, …
    sub-004_dir-sag_seg-vert_msk.nii.gz         vertebrae, with VerSe's numbers; 100 + n is the disc under vertebra n
    sub-004_dir-sag_seg-subreg_msk.nii.gz       (optional) parts of vertebrae; also seg-spine
    sub-004_dir-sag_seg-subreg_ctd.json         (optional) centres of the vertebral bodies

An image and what was derived from it have the same entities, but for seg, mod and desc.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, Structure, has_disc_between
from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.grids import on_grid_of, read_pair
from SpineSegLib.datasets.sagittal import sagittal_cases
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segment, Segmentation
from SpineSegLib.io import read_segmentation
from SpineSegLib.io.label_tables import VERSE
from SpineSegLib.io.suffixes import NIFTI, split_suffix, suffix_of

MODALITIES = {"ct": "CT", **dict.fromkeys(("T1w", "T2w", "T1c", "PDw", "FLAIR", "T2starw", "STIR", "dixon"), "MR")}
"""Suffix of an image -> its modality."""
PARTS: dict[int, str] = {
    41: "arch",
    42: "spinous process",
    **dict.fromkeys((43, 44), "transverse process"),
    **dict.fromkeys((45, 46), "superior articular process"),
    **dict.fromkeys((47, 48), "inferior articular process"),
    **dict.fromkeys((49, 50), "body"),
}
"""Labels of sub-regions (TPTBox) -> kind of structure; left and right, and a body and its border, are one."""
CORD, CANAL = 60, 61
_NOT_OF_THE_IMAGE = ("seg", "mod", "desc")


@dataclass(frozen=True)
class Scan:
    """The files of one image. `vertebrae`, `parts` (label maps) and `centres` are None where there are none."""

    name: str
    patient: str
    image: Path
    modality: str
    vertebrae: Path | None = None
    parts: Path | None = None
    centres: Path | None = None


def cases(
    folder: str | Path,
    *,
    instances: bool = False,
    parts: bool = True,
    slices: str | int | None = None,
    skip_unlabelled: bool = False,
) -> list[Case]:
    """List the images, in order of name; a subject is a patient.

    Parameters
    ----------
    folder : searched with its sub-folders
    instances : the numbers of vertebrae count those of the image and mean no levels (MR of SPINEPS); they become
        vertebrae, bodies, spinous processes and discs without levels
    parts : read the parts of vertebrae too, where there are any; they overlap the vertebrae
    slices : ``"mid"`` or a number: sagittal slices as cases of their own, see `SpineSegLib.datasets.sagittal`
    skip_unlabelled : leave out images without a mask of vertebrae; they are an error otherwise

    Raises
    ------
    InputError : no such folder, no image with a mask, or a mask without an image; on loading, a mask on another grid
    """
    folder = existing(folder)
    found = []
    for scan in scans(folder, skip_unlabelled=skip_unlabelled):
        wanted = scan if parts else replace(scan, parts=None)
        found.append(Case(scan.name, scan.patient, partial(read_scan, wanted, instances=instances)))
    if not found:
        raise problem(folder, "no image", "files such as sub-004_ct.nii.gz", "Check --data")
    return found if slices is None else [one for case in found for one in sagittal_cases(case, slices)]


def entities(name: str) -> tuple[dict[str, str], str] | None:
    """Return a name's entities and its suffix, or None when it is not of BIDS.

    Examples
    --------
    >>> entities("sub-004_seg-vert_msk.nii.gz")
    ({'sub': '004', 'seg': 'vert'}, 'msk')
    """
    *words, suffix = split_suffix(name)[0].split("_")
    pairs = [word.split("-", 1) for word in words]
    if not pairs or any(len(pair) != 2 for pair in pairs) or pairs[0][0] != "sub":
        return None
    return dict(pairs), suffix


def scans(folder: Path, *, skip_unlabelled: bool = False) -> list[Scan]:
    """Find the images below a folder with what was derived from them, in order of name.

    A name that occurs in several folders is prefixed with them.

    Raises
    ------
    InputError : an image without a mask of vertebrae, a mask without an image or with several
    """
    images: dict[tuple, list[Path]] = defaultdict(list)
    derived: dict[tuple, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.rglob("*")):
        parsed = entities(path.name)
        if parsed is None or suffix_of(path) not in (*NIFTI, ".json"):
            continue
        found, suffix = parsed
        root = _root(folder, path)
        key = (root, *sorted((k, v) for k, v in found.items() if k not in _NOT_OF_THE_IMAGE))
        kind = {("msk", "vert"): "vertebrae", ("msk", "subreg"): "parts", ("msk", "spine"): "parts"}.get(
            (suffix, found.get("seg"))
        )
        if suffix in MODALITIES and "seg" not in found and suffix_of(path) in NIFTI:
            images[key].append(path)
        elif suffix == "ctd" and suffix_of(path) == ".json":
            derived[(*key, found.get("mod"))].setdefault("centres", path)
        elif kind and suffix_of(path) in NIFTI:
            derived[(*key, found.get("mod"))][kind] = path
    listed = []
    for key, files in images.items():
        for image in files:
            suffix = entities(image.name)[1]
            ours = derived.pop((*key, suffix), None)
            if ours is None and len(files) == 1:
                ours = derived.pop((*key, None), None)
            if (ours is None or "vertebrae" not in ours) and skip_unlabelled:
                continue
            if ours is None or "vertebrae" not in ours:
                expected = "a mask of the same entities with seg-vert and the suffix msk"
                raise problem(image, "it has no mask of vertebrae", expected, "Add it, or set skip_unlabelled")
            subject = f"sub-{entities(image.name)[0]['sub']}"
            listed.append(Scan(split_suffix(image)[0], subject, image, MODALITIES[suffix], **ours))
    for files in derived.values():
        if "vertebrae" in files:
            expected = "one image of the same entities (_ct, _T2w …)"
            raise problem(files["vertebrae"], "its image is not there, or not clear", expected, "Add the image")
    return sorted(_apart(folder, listed), key=lambda scan: scan.name)


def _root(folder: Path, path: Path) -> Path:
    """Return the folder of the data set that a file belongs to: what holds rawdata and derivatives."""
    for parent in path.relative_to(folder).parents:
        if parent.name == "rawdata" or parent.name.startswith("derivatives"):
            return parent.parent
    return Path()


def _apart(folder: Path, listed: list[Scan]) -> list[Scan]:
    """Put the names of folders before names that occur twice (two releases in one folder)."""
    count = defaultdict(int)
    for scan in listed:
        count[scan.name] += 1
    return [scan if count[scan.name] == 1 else replace(scan, name=_prefixed(folder, scan)) for scan in listed]


def _prefixed(folder: Path, scan: Scan) -> str:
    root = _root(folder, scan.image)
    return "-".join((*(root.parts or scan.image.relative_to(folder).parent.parts), scan.name))


def read_scan(scan: Scan, *, instances: bool = False) -> tuple[Image, Segmentation]:
    """Read an image with its vertebrae, discs and parts.

    Returns
    -------
    Layers: vertebrae and discs; parts of vertebrae and the spinal cord; the spinal canal, which holds the cord.

    Raises
    ------
    InputError : a file is at fault, or a mask lies on another grid
    """
    image, whole = read_pair(scan.image, scan.vertebrae, modality=scan.modality, structures=_NUMBERS)
    vertebrae = whole.layers[0]
    if instances:
        vertebrae = np.select([(vertebrae > 0) & (vertebrae < 100), vertebrae > 100], [1, 2]).astype(np.uint8)
        table = {1: Structure("vertebrae"), 2: Structure("discs")}
    else:
        table = _levels({segment.label for segment in whole.segments})
    whole = Segmentation.from_labels(vertebrae, table, image.geometry)
    if scan.parts is None:
        return image, whole
    regions = dict.fromkeys((*PARTS, CORD, CANAL), Structure("other", label="region"))
    labels = on_grid_of(image.geometry, read_segmentation(scan.parts, structures=regions), scan.parts).layers[0]
    return image, _with_parts(whole, labels, instances=instances)


_NUMBERS = {number: Structure("other", label=f"label {number}") for number in (*range(1, 100), *range(101, 200))}
"""Vertebrae and discs; end plates (201 and on) are part of neither and belong to nothing."""


def _levels(present: set[int]) -> dict[int, Structure]:
    """Return label -> structure for VerSe's numbers; which disc lies under T12 depends on whether there is a T13."""
    optional = {VERSE[n].level for n in present if n in VERSE and VERSE[n].level in OPTIONAL_LEVELS}
    levels = [level for level in LEVELS if level not in OPTIONAL_LEVELS or level in optional]
    table = {number: structure for number, structure in VERSE.items() if number in present}
    for number, structure in VERSE.items():
        if 100 + number in present and structure.level in levels[:-1]:
            lower = levels[levels.index(structure.level) + 1]
            if has_disc_between(structure.level, lower):
                table[100 + number] = Structure("disc", f"{structure.level}/{lower}")
    return table


def _with_parts(whole: Segmentation, regions: np.ndarray, *, instances: bool) -> Segmentation:
    vertebrae = whole.layers[0]
    names = list(dict.fromkeys(PARTS.values()))
    part_of = np.zeros(int(max(regions.max(), CANAL)) + 1, np.uint16)
    for label, kind in PARTS.items():
        part_of[label] = 1 + names.index(kind)
    part, step = part_of[regions], len(names) + 1
    layer = np.where((part > 0) & (vertebrae < 100), vertebrae.astype(np.uint16) * step + part, 0).astype(np.uint16)
    layer[vertebrae == 0] = 0
    segments: list[Segment] = list(whole.segments)
    present = set(np.unique(layer).tolist())
    for structure, number in _owners(whole, instances=instances):
        for place, kind in enumerate(names, start=1):
            of = _part(kind, structure)
            if of and number * step + place in present:
                segments.append(Segment(of, 1, number * step + place))
    layers = [vertebrae, layer]
    if (regions == CORD).any():
        label = 100 * step
        layer[regions == CORD] = label
        segments.append(Segment(Structure("spinal cord"), 1, label))
    if (regions == CANAL).any():
        layers.append(np.isin(regions, (CORD, CANAL)).astype(np.uint8))
        segments.append(Segment(Structure("spinal canal"), 2, 1))
    segments.sort(key=lambda segment: segment.structure.order)
    return Segmentation(tuple(layers), tuple(segments), whole.geometry)


def _owners(whole: Segmentation, *, instances: bool) -> list[tuple[Structure, int]]:
    kind = "vertebrae" if instances else "vertebra"
    return [(segment.structure, segment.label) for segment in whole.segments if segment.structure.kind == kind]


def _part(kind: str, owner: Structure) -> Structure | None:
    """Return a part of a vertebra; of vertebrae without levels only bodies and spinous processes have a name."""
    if owner.level:
        return Structure(kind, owner.level)
    together: Mapping[str, str] = {"body": "bodies", "spinous process": "spinous processes"}
    return Structure(together[kind]) if kind in together else None
