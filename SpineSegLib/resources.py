"""Where the files that SpineSeg reads at run time lie: model cards, bundled weights, recipes, terminology.

In the source tree they are in ``Resources`` beside ``SpineSegLib``; an installed extension has them inside it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDERS = ("Models", "Recipes", "Terminology")
"""The folders of ``Resources`` that are read at run time; the rest is for the extension's catalogue page."""


@cache
def resources() -> Path:
    """Return the folder of all resources.

    Raises
    ------
    FileNotFoundError : this copy of SpineSegLib came without its resources
    """
    library = Path(__file__).resolve().parent
    places = (library / "Resources", library.parent / "Resources")
    for place in places:
        if any((place / folder).is_dir() for folder in FOLDERS):
            return place
    msg = f"no folder of SpineSeg's resources at {' or '.join(map(str, places))}; install SpineSeg again"
    raise FileNotFoundError(msg)


def resource(*parts: str) -> Path:
    """Return the path of a resource, which need not exist, for instance ``resource("Models", "unet.json")``."""
    return resources().joinpath(*parts)
