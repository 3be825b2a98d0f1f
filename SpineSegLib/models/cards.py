"""Model cards: which network, with which weights, for which image. One JSON file a model, in ``Resources/Models``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from SpineSegLib.anatomy import Structure, structure_named
from SpineSegLib.errors import problem
from SpineSegLib.image import MODALITIES, Image
from SpineSegLib.io.mappings import load_json
from SpineSegLib.resources import resource


@dataclass(frozen=True)
class Weights:
    """A model's weights, as its card states them.

    Parameters
    ----------
    file : name of the bundled file in ``Resources/Models``, or of the file that an installed one gets
    bundled : whether the file ships with SpineSeg
    url : where an installable file comes from, asked for by the user only
    sha256, bytes : of the file
    licence : of the weights
    training : what they were trained on, with licence, seed and the command that made them
    scores : measured scores, with the case, the command and the number
    """

    file: str | None = None
    bundled: bool = False
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    licence: str | None = None
    training: Mapping[str, object] | None = None
    scores: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Card:
    """A model card.

    Parameters
    ----------
    name : on the command line
    title : for people
    modality : images it takes, of ``XR``, ``CT``, ``MR``
    dimension : 2 for radiographs, 3 for volumes
    view : views that it was made for, such as ``("AP", "lateral")``
    structures : what it segments
    input : size (rows, columns; slices before them where the network takes volumes), channels, intensity, and spacing
        in mm where it has one
    network : name, arguments, ``counts`` of parameters and multiply-adds as `describe.count` measures them, and, where
        the usual choice is not the best, ``features``: the dotted name of the module whose output Grad-CAM looks at
    pipeline : name, arguments, and ``vertebrae``: whether the spine in one that it finds is then split into vertebrae
    paper : title, doi and year of the paper that describes the network, if any; in ``reported`` the parameters and
        multiply-adds that it prints for it, with a note on the reading taken where these do not decide or do not agree
    weights : see `Weights`
    """

    name: str
    title: str
    modality: tuple[str, ...]
    dimension: int
    view: tuple[str, ...]
    structures: tuple[Structure, ...]
    input: Mapping[str, object]
    network: Mapping[str, object]
    pipeline: Mapping[str, object]
    paper: Mapping[str, object] | None
    weights: Weights

    @property
    def takes_volumes(self) -> bool:
        """Whether it takes a volume: all at once, or, for a model of pictures, slice by slice."""
        return self.dimension == 3 or bool(self.pipeline["arguments"].get("volumes"))

    def misfit(self, image: Image) -> str | None:
        """Say in words why the model is not for this image, or return None when it is."""
        if image.modality and image.modality not in self.modality:
            return f"it is {_ARTICLE[image.modality]} and {self.name} takes {_list(self.modality)}"
        if self.dimension == 2 and not image.geometry.is_2d and not self.takes_volumes:
            return f"it has {image.geometry.shape[0]} slices and {self.name} takes a single picture"
        if not image.modality:
            return f"it does not say its modality and {self.name} takes {_list(self.modality)}; name it with --modality"
        if self.input.get("spacing") and not image.geometry.has_spacing:
            return f"its spacing is unknown and {self.name} works at {self.input['spacing']} mm"
        return None


_ARTICLE = {"CT": "a CT", "MR": "an MR image", "XR": "a radiograph"}


def _list(modalities: tuple[str, ...]) -> str:
    return " or ".join(_ARTICLE[modality] for modality in modalities)


def read_card(path: Path) -> Card:
    """Read and check a card.

    Raises
    ------
    InputError : the file is no card; the text names the field at fault
    """
    try:
        data = load_json(path.read_text(encoding="utf-8"), path)
    except (OSError, ValueError) as error:
        raise problem(path, f"no model card ({error})", "a JSON file", "Restore or remove the file") from error
    names = [field.name for field in fields(Card)]
    if not isinstance(data, dict) or sorted(data) != sorted(names):
        found = ", ".join(sorted(data)) if isinstance(data, dict) else type(data).__name__
        raise problem(path, f"fields {found}", f"the fields {', '.join(names)}", "Correct the card")
    try:
        weights = dict(data["weights"])
        weights["scores"] = tuple(weights.get("scores", ()))
        card = Card(
            **{
                **data,
                "modality": tuple(data["modality"]),
                "view": tuple(data["view"]),
                "structures": tuple(structure_named(name) for name in data["structures"]),
                "network": {**data["network"], "arguments": _arguments(data["network"]["arguments"], path.parent)},
                "weights": Weights(**weights),
            }
        )
    except (TypeError, KeyError, ValueError) as error:
        raise problem(path, str(error), "fields of the right kind", "Correct the card") from error
    flaw = _flaw(card, path)
    if flaw:
        raise problem(path, *flaw, "Correct the card")
    return card


def _arguments(arguments: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return a network's arguments, with the numbers of an embedding in place of the name of its file."""
    from SpineSegLib.models.embeddings import read_embedding

    return {
        name: read_embedding(folder / Path(str(value["embedding"])).name)
        if isinstance(value, Mapping) and set(value) == {"embedding"}
        else value
        for name, value in arguments.items()
    }


def _flaw(card: Card, path: Path) -> tuple[str, str] | None:
    if card.name != path.stem:
        return f"the name {card.name!r}", f"the file's own, {path.stem!r}"
    if not card.modality or set(card.modality) - set(MODALITIES):
        return f"modality {card.modality}", f"some of {', '.join(MODALITIES)}"
    if card.dimension not in (2, 3):
        return f"dimension {card.dimension!r}", "2 or 3"
    other = [structure.name for structure in card.structures if structure.kind == "other"]
    if other or not card.structures:
        return f"structures {other}", "names that anatomy knows"
    if card.weights.file and Path(card.weights.file).name != card.weights.file:
        return f"weights file {card.weights.file!r}", "a bare file name"
    if card.weights.bundled and not (card.weights.file and card.weights.sha256):
        return "bundled weights without file or sha256", "both"
    return None


@cache
def registry() -> Mapping[str, Card]:
    """Return every model by name; the registry is the folder of cards (``_schema.json`` says what a card holds)."""
    return {path.stem: read_card(path) for path in sorted(resource("Models").glob("[!_]*.json"))}


def card(name: str) -> Card:
    """Return one model's card; InputError naming the nearest models when there is none of that name.

    Parameters
    ----------
    name : of a card in the registry, or a card's file, ending in ``.json``
    """
    if str(name).lower().endswith(".json"):
        return read_card(Path(name))
    known = registry()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
        raise problem("--model", f"no model {name!r}", f"one of {', '.join(near)}", "See: python -m SpineSegLib models")
    return known[name]
