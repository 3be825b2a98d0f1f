"""CTSpine1K: 1,005 CT volumes with labelled vertebrae (Deng et al., arXiv 2105.14711).

On disk (https://github.com/MIRACLE-Center/CTSpine1K): images ``NAME.nii.gz`` and masks ``NAME_seg.nii.gz``, together
or in folders of their own, and ``data_split.txt`` with the headings trainset, test_public and test_private. Labels are
VerSe's: 1 C1 … 7 C7, 8 T1 … 19 T12, 20 L1 … 25 L6; vertebrae that are partly outside the image are labelled too.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.datasets.grids import read_pair
from SpineSegLib.errors import problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io.label_tables import VERSE

_MASK = "_seg.nii.gz"
_COVID = re.compile(r"(volume-covid19-A-\d+)(_\d+)?_ct")
_STRUCTURES = {number: VERSE[number] for number in range(1, 26)}


def cases(folder: str | Path, *, part: str | None = None) -> list[Case]:
    """List the volumes, in order of name; each is of a patient of its own, but for scans of one COVID-19 patient.

    Parameters
    ----------
    folder : searched with its sub-folders
    part : only the set's own ``"trainset"``, ``"test_public"`` or ``"test_private"``, as data_split.txt says

    Raises
    ------
    InputError : no such folder, no mask in it, a mask without an image, or a name twice; on loading, a mask on another
        grid
    """
    folder = existing(folder)
    wanted = None if part is None else _names_of_part(folder, part)
    images, masks = {}, {}
    for path in sorted(folder.rglob("*.nii.gz")):
        is_mask = path.name.endswith(_MASK)
        name = path.name.removesuffix(_MASK if is_mask else ".nii.gz")
        kind = masks if is_mask else images
        if name in kind:
            raise problem(path, f"{kind[name]} has the same name", "one file a name", "Remove one of them")
        kind[name] = path
    masks = {name: path for name, path in masks.items() if wanted is None or name in wanted}
    if not masks:
        raise problem(folder, "no mask", "files such as liver_1_seg.nii.gz", "Check --data")
    for name, path in masks.items():
        if name not in images:
            raise problem(path, "its image is not there", f"{name}.nii.gz", "Download it from its own collection")
    return [
        Case(name, _patient(name), partial(_read, images[name], mask), labelled=frozenset({"vertebra"}))
        for name, mask in masks.items()
    ]


def _patient(name: str) -> str:
    found = _COVID.fullmatch(name)
    return found[1] if found else name


def _read(image: Path, mask: Path) -> tuple[Image, Segmentation]:
    return read_pair(image, mask, modality="CT", structures=_STRUCTURES)


def _names_of_part(folder: Path, part: str) -> set[str]:
    files = sorted(folder.rglob("data_split.txt"))
    if not files:
        raise problem(folder, "no data_split.txt", "the set's own file of parts", "Add it, or leave 'part' out")
    parts: dict[str, set[str]] = {}
    names: set[str] = set()
    for line in files[0].read_text(encoding="utf-8").splitlines():
        if line.strip().endswith(":"):
            names = parts.setdefault(line.strip().removesuffix(":"), set())
        elif line.strip():
            names.add(line.strip().removesuffix(".nii.gz"))
    if part not in parts:
        raise problem("part", repr(part), f"one of {', '.join(parts)}", "Correct the recipe")
    return parts[part]
