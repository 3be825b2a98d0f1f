"""Several data sets side by side, each in a sub-folder of its own, for recipes that mix them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from SpineSegLib.datasets.cases import Case, existing
from SpineSegLib.errors import problem


def cases(folder: str | Path, *, parts: Mapping[str, str | Mapping[str, object]] | None = None) -> list[Case]:
    """List the cases of all parts, in order of the parts.

    Names and patients begin with the part's name and a hyphen: ``ct-sub01``.

    Parameters
    ----------
    folder : holds a folder of each part
    parts : name of the sub-folder -> its reader, or ``{"reader": name, …}`` with options of the reader

    Raises
    ------
    InputError : no part is named, a sub-folder is missing, or its reader refuses it
    """
    from SpineSegLib.datasets import read_cases

    folder = existing(folder)
    if not parts:
        raise problem(folder, "no part named", "parts of the reader, such as {ct: ct-folder}", "Name the sub-folders")
    found: list[Case] = []
    for name, how in parts.items():
        if Path(name).name != name or name in (".", ".."):
            raise problem("data", f"the part {name!r}", "the name of a sub-folder", "Correct the recipe")
        options = {"reader": how} if isinstance(how, str) else dict(how)
        listed = read_cases(str(options.pop("reader", "")), folder / name, **options)
        found += [replace(case, name=f"{name}-{case.name}", patient=f"{name}-{case.patient}") for case in listed]
    return found
