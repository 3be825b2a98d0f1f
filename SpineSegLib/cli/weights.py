"""``weights``: list, install, verify and delete the models' weights, and bundles for machines without network.

Nothing is fetched unless asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.errors import Cancelled, problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    common = common_options(json_of="the same")
    parser = commands.add_parser("weights", help="list, install, verify or delete weights; bundles for offline sites")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, run, text: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(run=run)
        return made

    action("list", list_, "the weights of every model: state, size, licence, sha256, and where they lie")
    install = action("install", install_, "copy or download a model's weights")
    install.add_argument("model", metavar="NAME")
    install.add_argument("source", metavar="FILE|URL", nargs="?", help="the address in the model's card unless given")
    install.add_argument("--sha256", metavar="HEX", help="refuse any other file than the one with this checksum")
    install.add_argument("--licence", metavar="TEXT", help="of the weights, where the model's card states none")
    install.add_argument("--dry-run", action="store_true", help="say what would be installed, and stop")
    install.add_argument("--yes", action="store_true", help="do not ask")
    verify = action("verify", verify_, "check checksum, names and shapes")
    verify.add_argument("model", metavar="NAME", nargs="*", help="all that are here unless given")
    action("delete", delete_, "delete a model's installed weights").add_argument("model", metavar="NAME")
    folder = action("folder", folder_, "where installed weights lie, or another folder for them")
    choice = folder.add_mutually_exclusive_group()
    choice.add_argument("folder", metavar="DIR", nargs="?", help="use this one from now on; nothing is moved")
    choice.add_argument("--default", action="store_true", help="use SpineSeg's own again")
    bundle = action("bundle", bundle_, "write a folder that a machine without network installs from")
    bundle.add_argument("out", metavar="OUT", help="folder to make")
    bundle.add_argument("--models", metavar="NAME", nargs="+", default=[], help="all that have weights unless given")
    bundle.add_argument("--wheels", action="store_true", help="download the Python packages too; else only list them")
    bundle.add_argument("--platform", metavar="TAG", help="of the other machine, such as win_amd64; this one's if not")
    bundle.add_argument("--python", metavar="VERSION", help="of the other machine, such as 3.12; this one's if not")
    bundle.add_argument("--index", metavar="URL", help="look for packages there too, such as PyTorch's own index")
    inward = action("install-bundle", install_bundle_, "check a bundle and install its weights")
    inward.add_argument("folder", metavar="DIR")
    inward.add_argument("--dry-run", action="store_true", help="check it, say what is in it, and stop")
    inward.add_argument("--yes", action="store_true", help="do not ask")


def list_(_options: argparse.Namespace, console: Console) -> None:
    """Print every model's weights."""
    from SpineSegLib.models import weights_list

    rows = weights_list()
    lines = [
        (
            row["name"],
            row["weights"],
            _size(row["bytes"]),
            row["licence"] or "-",
            (row["sha256"] or "-")[:12],
            row["file"] or "-",
        )
        for row in rows
    ]
    console.result(rows, table([("model", "weights", "size", "licence", "sha256", "file"), *lines], right=(2,)))


def install_(options: argparse.Namespace, console: Console) -> None:
    """Install a model's weights after showing their size, checksum and licence."""
    from SpineSegLib.models import install_weights, offered

    known = {"sha256": options.sha256, "licence": options.licence}
    offer = offered(options.model, options.source, **known)
    facts = (
        f"{_size(offer.bytes) if offer.bytes else 'size unknown'}, sha256 {offer.sha256 or 'unknown'}, "
        f"licence {offer.licence or 'not stated'}"
    )
    replacing = ", replacing those that are installed" if offer.replaces else ""
    if options.dry_run:
        console.result(vars(offer), f"{offer.source} for {offer.name}{replacing}: {facts}")
        return
    if not options.yes:
        _ask(f"Install {offer.source} for {offer.name}{replacing} ({facts})?", "weights install")
    path = install_weights(options.model, offer.source, console.report, **known)
    console.result({"name": options.model, "file": str(path), "bytes": path.stat().st_size}, f"installed {path}")


def _ask(question: str, command: str) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise problem(command, "nobody to ask", "--yes where there is no terminal", f"To agree to: {question}")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled("not agreed to")


def verify_(options: argparse.Namespace, console: Console) -> None:
    """Check weights in full."""
    from SpineSegLib.models import registry, verify_weights, weights_state
    from SpineSegLib.models.store import file_sha256

    names = options.model or [card.name for card in registry().values() if weights_state(card) != "absent"]
    checked = []
    for number, name in enumerate(names):
        console.report(number, len(names), f"verifying {name}")
        path = verify_weights(name)
        checked.append({"name": name, "file": str(path), "sha256": file_sha256(path)})
    lines = [f"{entry['name']}: good ({entry['file']}, sha256 {entry['sha256']})" for entry in checked]
    console.result(checked, "\n".join(lines) or "there are no weights here")


def delete_(options: argparse.Namespace, console: Console) -> None:
    """Delete a model's installed weights."""
    from SpineSegLib.models import delete_weights

    path = delete_weights(options.model)
    console.result({"name": options.model, "file": str(path)}, f"deleted {path}")


def folder_(options: argparse.Namespace, console: Console) -> None:
    """Print the folder of installed weights, or choose another."""
    from SpineSegLib.models import choose_folder, weights_folder
    from SpineSegLib.models.places import writable

    chosen = options.folder or options.default
    folder = choose_folder(options.folder) if chosen else weights_folder()
    can = writable(folder) if folder.is_dir() else None
    warnings = ["it can be read only: its weights are used, and none can be installed there"] if can is False else []
    console.result({"folder": str(folder), "writable": can, "warnings": warnings}, str(folder), warnings)


def bundle_(options: argparse.Namespace, console: Console) -> None:
    """Write a bundle."""
    from SpineSegLib.models.bundle import write_bundle

    entries = write_bundle(
        options.out,
        options.models,
        console.report,
        wheels=options.wheels,
        platform=options.platform,
        python=options.python,
        index=options.index,
    )
    size = _size(sum(entry.bytes for entry in entries))
    weights = [entry.model for entry in entries if entry.model]
    packages = sum(entry.file.startswith("wheels/") for entry in entries)
    text = f"{options.out}: weights of {len(weights)} models, {packages} wheels, {size}; README.txt says how to install"
    content = {"folder": str(Path(options.out).absolute()), "weights": weights, "wheels": packages}
    console.result({**content, "bytes": sum(entry.bytes for entry in entries)}, text)


def install_bundle_(options: argparse.Namespace, console: Console) -> None:
    """Install a bundle's weights after showing what they are."""
    from SpineSegLib.models.bundle import check_bundle, install_bundle

    offers = [vars(entry) for entry in check_bundle(options.folder, console.report) if entry.model]
    lines = [
        f"{each['model']} ({_size(each['bytes'])}, sha256 {each['sha256']}, licence {each['licence'] or 'not stated'})"
        for each in offers
    ]
    if options.dry_run:
        console.result(offers, "\n".join(["good; weights of:", *lines]))
        return
    if not options.yes:
        _ask(f"Install weights of {', '.join(lines) or 'no model'}?", "weights install-bundle")
    installed, here = install_bundle(options.folder, console.report)
    text = [f"installed {path}" for path in installed] + [f"{name}: here already" for name in here]
    files = {"installed": [str(path) for path in installed], "here": here}
    console.result(files, "\n".join(text) or "there are no weights in it")


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.1f} MiB"
