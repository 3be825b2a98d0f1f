"""``prune``: a trained model in, a smaller and faster one out, with a report of what it costs and saves."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.cli.train import reader_of
from SpineSegLib.errors import problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "prune",
        parents=[common_options(json_of="the report")],
        help="make a trained model smaller and faster",
        description="Measure how much each filter matters, remove those that matter least, train the rest a little "
        "more, and report parameters, multiply-adds, milliseconds and Dice at each stage.",
    )
    parser.add_argument("model", metavar="MODEL", help="name of a model, or the file of a card (.json)")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder that the recipe's reader understands")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--weights", metavar="FILE", help="trained weights (default: the model's own)")
    parser.add_argument("--recipe", metavar="R", help="recipe that it was trained with (default: the one of its name)")
    parser.add_argument("--reader", metavar="NAME", help="another reader of --data, see train")
    parser.add_argument("--fold", type=int, metavar="N", help="part left out, where the recipe splits into folds")
    parser.add_argument("--share", type=float, default=0.5, metavar="P", help="share of filters to go (default 0.5)")
    parser.add_argument("--shares", metavar="P,P,…", help="shares for the curve (default 0.1,0.3,0.5,0.7,0.9)")
    parser.add_argument(
        "--zero", action="store_true", help="leave the filters there, at zero, as the paper does: no smaller, no faster"
    )
    parser.add_argument(
        "--multiple", type=int, default=16, metavar="N", help="channels that stay are a multiple (default 16)"
    )
    parser.add_argument("--scope", choices=("layer", "network"), default="layer", help="what filters are ranked within")
    parser.add_argument("--batches", type=int, metavar="N", help="batches to measure on (default: an epoch's)")
    parser.add_argument("--epochs", type=int, metavar="N", help="of fine-tuning (default: a quarter of the recipe's)")
    parser.add_argument("--rate", type=float, default=0.1, help="factor of the recipe's learning rate (default 0.1)")
    parser.add_argument("--strength", type=float, default=1e-4, help="of the regularisation (default 1e-4)")
    parser.add_argument("--norm", choices=("l1", "l2"), default="l2", help="the regularisation (default l2)")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run in --out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Prune."""
    shares = _shares(options.shares)
    try:
        import torch_pruning  # noqa: F401
    except ImportError as error:
        step = "Install it: pip install torch-pruning==1.6.1"
        raise problem("prune", f"no torch-pruning ({error})", "the Python package", step) from error
    from SpineSegLib.training.pruning import TITLES, Plan, cells, prune

    plan = Plan(
        share=options.share,
        **({} if shares is None else {"shares": shares}),
        remove=not options.zero,
        multiple=options.multiple,
        scope=options.scope,
        batches=options.batches,
        epochs=options.epochs,
        rate=options.rate,
        strength=options.strength,
        norm=options.norm,
    )
    rows = prune(
        options.model,
        options.data,
        options.out,
        plan=plan,
        recipe=options.recipe,
        weights=options.weights,
        reader=reader_of(options.reader),
        fold=options.fold,
        resume=options.resume,
        report=console.report,
    )
    text = table([TITLES, *map(cells, rows)], right=(0, 2, 3, 4, 5))
    console.result([asdict(row) for row in rows], f"{text}\nwrote {options.out}")


def _shares(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise problem("--shares", repr(text), "numbers such as 0.1,0.3,0.5", "Correct it") from error
