"""``train``: a recipe and a data folder in, weights and their card out."""

from __future__ import annotations

import argparse

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.errors import problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "train",
        parents=[common_options(json_of=None)],
        help="train a model from a recipe",
        description="Train a model from a recipe; writes weights.safetensors, card.json, log.csv and curves.png.",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file, or the name of one in Resources/Recipes")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder that the recipe's reader understands")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--weights", nargs="+", metavar="FILE", help="files of the model, or of parts of it, to start from, in order"
    )
    parser.add_argument("--model", metavar="NAME", help="another model than the recipe's")
    parser.add_argument(
        "--reader",
        metavar="NAME",
        help='another reader of --data, as a recipe has it: spider, or "{reader: spider, …}"',
    )
    parser.add_argument("--fold", type=int, metavar="N", help="part left out, where the recipe splits into folds")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu", "mps"), help="what computes")
    parser.add_argument("--devices", type=_devices, default="auto", help="how many of them, or auto")
    parser.add_argument("--nodes", type=_count, default=1, help="machines that train together (started on each)")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run in --out")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        msg = f"{text!r} is no number from 1 up"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _devices(text: str) -> int | str:
    return text if text == "auto" else _count(text)


def run(options: argparse.Namespace, console: Console) -> None:
    """Train."""
    from SpineSegLib.training import train

    out = train(
        options.recipe,
        options.data,
        options.out,
        weights=options.weights,
        model=options.model,
        reader=reader_of(options.reader),
        fold=options.fold,
        resume=options.resume,
        machine={
            "accelerator": options.accelerator,
            "devices": options.devices,
            "num_nodes": options.nodes,
        },
        report=console.report,
    )
    console.result(None, f"wrote {out}")


def reader_of(text: str | None) -> str | dict | None:
    """Return a reader's name, or its name with options, from YAML."""
    import yaml

    try:
        found = None if text is None else yaml.safe_load(text)
    except yaml.YAMLError:
        found = []
    if isinstance(found, (str, dict)) or text is None:
        return found
    raise problem("--reader", repr(text), 'a name, or "{reader: NAME, OPTION: VALUE}"', "Correct it")
