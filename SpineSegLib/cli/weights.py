"""``weights``: list, install, verify and delete the models' weights. Nothing is fetched unless asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.errors import Cancelled, problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    common = common_options(json_of="the same")
    parser = commands.add_parser("weights", help="list, install, verify or delete weights")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", parents=[common], help="the weights of every model").set_defaults(run=list_)
    install = actions.add_parser("install", parents=[common], help="copy or download a model's weights")
    install.add_argument("model", metavar="NAME")
    install.add_argument("source", metavar="FILE|URL", nargs="?", help="the address in the model's card unless given")
    install.add_argument("--yes", action="store_true", help="do not ask")
    install.set_defaults(run=install_)
    verify = actions.add_parser("verify", parents=[common], help="check checksum, names and shapes")
    verify.add_argument("model", metavar="NAME", nargs="*", help="all that are here unless given")
    verify.set_defaults(run=verify_)
    delete = actions.add_parser("delete", parents=[common], help="delete a model's installed weights")
    delete.add_argument("model", metavar="NAME")
    delete.set_defaults(run=delete_)
    folder = actions.add_parser("folder", parents=[common], help="where installed weights lie")
    folder.set_defaults(run=folder_)


def list_(_options: argparse.Namespace, console: Console) -> None:
    """Print every model's weights."""
    from SpineSegLib.models import registry, weights_state

    rows = []
    for card in registry().values():
        facts = card.weights
        rows.append(
            {
                "name": card.name,
                "weights": weights_state(card),
                "bytes": facts.bytes,
                "licence": facts.licence,
                "url": facts.url,
            }
        )
    lines = [(row["name"], row["weights"], _size(row["bytes"]), row["licence"] or "-") for row in rows]
    console.result(rows, table([("model", "weights", "size", "licence"), *lines], right=(2,)))


def install_(options: argparse.Namespace, console: Console) -> None:
    """Install a model's weights after showing their size and licence."""
    from SpineSegLib.models import card, install_weights

    model = card(options.model)
    source = options.source or model.weights.url
    if not source:
        raise problem(model.name, "its card has no address", "a file or an address", "Name one after the model")
    local = Path(source)
    size = local.stat().st_size if local.is_file() else model.weights.bytes
    licence = model.weights.licence or "not stated in the card"
    question = f"Install {_size(size)} from {source} for {model.name} (licence: {licence})?"
    if not options.yes:
        _ask(question)
    path = install_weights(model.name, source, console.report)
    console.result({"name": model.name, "file": str(path), "bytes": path.stat().st_size}, f"installed {path}")


def _ask(question: str) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise problem(
            "weights install", "nobody to ask", "--yes where there is no terminal", f"To agree to: {question}"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled("not agreed to")


def verify_(options: argparse.Namespace, console: Console) -> None:
    """Check weights in full."""
    from SpineSegLib.models import registry, verify_weights, weights_state

    names = options.model or [card.name for card in registry().values() if weights_state(card) != "absent"]
    checked = []
    for number, name in enumerate(names):
        console.report(number, len(names), f"verifying {name}")
        checked.append({"name": name, "file": str(verify_weights(name))})
    text = "\n".join(f"{entry['name']}: good ({entry['file']})" for entry in checked) or "there are no weights here"
    console.result(checked, text)


def delete_(options: argparse.Namespace, console: Console) -> None:
    """Delete a model's installed weights."""
    from SpineSegLib.models import delete_weights

    path = delete_weights(options.model)
    console.result({"name": options.model, "file": str(path)}, f"deleted {path}")


def folder_(_options: argparse.Namespace, console: Console) -> None:
    """Print the folder of installed weights."""
    from SpineSegLib.models import weights_folder

    console.result({"folder": str(weights_folder())}, str(weights_folder()))


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.1f} MiB"
