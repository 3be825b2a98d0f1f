"""``masks``: films with outlines traced in red in, masks out."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineSegLib.cli.console import Console, common_options
from SpineSegLib.errors import problem


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "masks",
        parents=[common_options(json_of="what was written")],
        help="turn outlines traced in red into masks",
        description="Fills the outlines that were traced in red on films (PNG, TIFF or JPEG) and writes a mask of each "
        "(PNG, 0 and 255, same size and name). Masks that are in --out already are kept.",
    )
    parser.add_argument("tracings", metavar="TRACINGS", help="folder of tracings, or one tracing")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the masks; made if need be")
    parser.add_argument("--saturation", type=int, default=100, metavar="0-255", help="least saturation of red (100)")
    parser.add_argument("--value", type=int, default=100, metavar="0-255", help="least value of red (100)")
    parser.add_argument("--gap", type=int, default=3, metavar="PIXELS", help="widest break in an outline (3)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> None:
    """Convert one tracing or a folder of them."""
    from SpineSegLib.datasets.files import by_stem
    from SpineSegLib.io.suffixes import PICTURES, split_suffix

    for name, high in (("saturation", 255), ("value", 255), ("gap", 100)):
        if not 0 <= getattr(options, name) <= high:
            raise problem(f"--{name}", str(getattr(options, name)), f"0 to {high}", "Choose another number")
    source, out = Path(options.tracings), Path(options.out)
    if not source.exists():
        raise problem(source, "no such file or folder", "tracings", "Check the path")
    tracings = by_stem(source, PICTURES) if source.is_dir() else {split_suffix(source)[0]: source}
    if not tracings:
        raise problem(source, "no picture in it", "tracings as PNG, TIFF or JPEG", "Check the path")
    folder = source if source.is_dir() else source.parent
    if out.resolve() == folder.resolve():
        raise problem("--out", "the folder of the tracings", "another folder", "Choose another one")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(out, error.strerror or "it cannot be made", "a folder to write to", "Choose another") from None
    rows, warnings = [], []
    for number, (stem, path) in enumerate(tracings.items()):
        console.report(number, len(tracings), f"converting {path.name}")
        row = _convert(path, out / f"{stem}.png", options)
        rows.append(row)
        if row.get("open_strokes"):
            warnings.append(f"{path.name}: {row['open_strokes']} strokes enclose nothing and were left out")
        elif row.get("outlines") == 0:
            warnings.append(f"{path.name}: the mask is empty")
    console.report(len(tracings), len(tracings), "done")
    made = sum(not row["kept"] for row in rows)
    text = f"wrote {made} masks to {out}" + (f", kept {len(rows) - made}" if made < len(rows) else "")
    console.result({"output": str(out), "masks": rows, "warnings": warnings}, text, warnings)


def _convert(path: Path, target: Path, options: argparse.Namespace) -> dict:
    import numpy as np

    from SpineSegLib.datasets.red_tracing import read_tracing
    from SpineSegLib.io import written_whole
    from SpineSegLib.io.pictures import write_picture

    if target.exists():
        return {"tracing": path.name, "mask": target.name, "kept": True}
    found = read_tracing(path, saturation=options.saturation, value=options.value, gap=options.gap)
    with written_whole(target) as temporary:
        write_picture(found.mask.astype(np.uint8) * 255, temporary)
    return {
        "tracing": path.name,
        "mask": target.name,
        "kept": False,
        "pixels": int(found.mask.sum()),
        "outlines": found.outlines,
        "open_strokes": found.open_strokes,
    }
