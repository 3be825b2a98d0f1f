"""``bench``: how long things take, as ratios against a reference in the same run."""

from __future__ import annotations

import argparse

from SpineSegLib.benchmarks import BENCHMARKS
from SpineSegLib.cli.console import Console, common_options, table
from SpineSegLib.errors import problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "bench",
        parents=[common_options(json_of="the table")],
        help="measure speed against references",
        description="Measure speed. Seconds depend on the machine; ratios, both sides timed by turns, hardly do.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)}; all unless given")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="timed runs of each side (default 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads to compute with (default: PyTorch's own)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Run the benchmarks and print a row for each comparison."""
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        raise problem("bench", f"no benchmark {unknown[0]!r}", f"some of {', '.join(BENCHMARKS)}", "Correct the name")
    if options.repeats < 1 or (options.threads is not None and options.threads < 1):
        raise problem("bench", "a number below 1", "at least 1", "Correct --repeats or --threads")
    import torch

    from SpineSegLib.benchmarks import find

    if options.threads:
        torch.set_num_threads(options.threads)
    names = options.names or list(BENCHMARKS)
    rows, warnings = [], []
    for number, name in enumerate(names):
        console.report(number, len(names), f"timing {name}")
        try:
            rows += find(name)(options.repeats)
        except ImportError as error:
            warnings.append(f"{name} was left out: its reference is not installed ({error}).")
    content = [
        {
            "name": row.name,
            "reference": row.reference,
            "ratio": row.ratio,
            "seconds": row.seconds,
            "reference_seconds": row.reference_seconds,
        }
        for row in rows
    ]
    console.result(content, _text(content), warnings)


def _text(content: list[dict]) -> str:
    titles = ("what", "times as fast", "seconds", "reference's", "reference")
    rows = [
        (
            row["name"],
            f"{row['ratio']:.2f}",
            f"{row['seconds']:.3f}",
            f"{row['reference_seconds']:.3f}",
            row["reference"],
        )
        for row in content
    ]
    return table([titles, *rows], right=(1, 2, 3))
