"""``models``: every model, its size, what it is for, and whether its weights are here."""

from __future__ import annotations

import argparse

from SpineSegLib.cli.console import Console, common_options, table


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "models",
        parents=[common_options(json_of="a list of all cards")],
        help="list the models",
        description="List every model with its parameters and multiply-adds at its input size.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Print the models."""
    from SpineSegLib.models import describe, registry

    cards = list(registry().values())
    described = []
    for number, card in enumerate(cards):
        console.report(number, len(cards), f"counting {card.name}")
        described.append(dict(describe(card)))
    console.result(described, table([_TITLES, *map(_row, described)], right=(3, 4, 5)))


_TITLES = ("model", "image", "structures", "input", "parameters", "multiply-adds", "weights", "title")


def _row(model: dict) -> tuple[str, ...]:
    return (
        model["name"],
        " ".join([*model["modality"], *model["view"]]),
        _few(model["structures"]),
        "x".join(str(size) for size in model["input_size"]),
        f"{model['parameters'] / 1e6:.2f} M",
        f"{model['multiply_adds'] / 1e9:.2f} G",
        model["weights"],
        model["title"],
    )


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)})"
