"""``report``: one page about a segmentation: picture, table, and what made it."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.cli.export import add_inputs, write_all
from SpineSegLib.cli.outputs import REPORTS


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "report",
        parents=[common_options(json_of="what was written")],
        help="one page about a segmentation, as HTML or PDF",
        description="Write one page about a segmentation: picture, table, model, weights. It holds no patient's name "
        "and no file's. Not for diagnostic use.",
    )
    add_inputs(parser)
    parser.add_argument(
        "--out",
        required=True,
        action="append",
        type=Path,
        metavar="FILE",
        help=f"{' or '.join(REPORTS)}; may be given several times: all appear, or none",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Write the page."""
    write_all(options, console, options.out, REPORTS, None)
