"""How long digital spines take: ``python Testing/benchmarks/phantom.py [--jobs 2] [--count 20] [--shapes DIR …]``.

Prints the processor seconds of one thread (which other programs do not lengthen) for a body, its image and its files,
and the seconds by the clock, for each kind, after one case that warms the caches; the CT has 256³ voxels. Then how many
lateral necks of 1024 pixels an hour the given number of processes writes, their start included. The aims are 3 s for a
neck and 20 s for such a CT on 2 cores, and a thousand necks an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from SpineSegLib.io import write_segmentation
from SpineSegLib.phantom.batch import generate
from SpineSegLib.phantom.body import KINDS
from SpineSegLib.phantom.build import build_body
from SpineSegLib.phantom.cases import Order, case_seeds, image_of
from SpineSegLib.phantom.write import write_case


def one(order: Order, number: int) -> tuple[tuple[float, ...], float, tuple[int, ...]]:
    """Return the processor seconds of body, image and files of a case, its seconds, and the shape of its image."""
    seed, image_seed = case_seeds(order.seed, number)
    clock, start = time.perf_counter(), time.process_time()
    body = build_body(order.kind, seed, shapes=order.shapes or None, **order.body)
    built = time.process_time()
    case = image_of(body, order, number, image_seed)
    taken = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_case(case, Path(folder), write_segmentation)
    parts = (built - start, taken - built, time.process_time() - taken)
    return parts, time.perf_counter() - clock, case.image.array.shape


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the digital spine.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--count", type=int, default=20, help="necks for the rate")
    parser.add_argument("--shapes", action="append", default=[], type=Path)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    body = {"mend_holes": 20} if options.shapes else {}
    print(f"{'kind':18} {'body':>7} {'image':>7} {'files':>7} {'all':>7} {'clock':>7}  pixels (k, j, i)")
    for kind in options.kinds:
        wanted = {"slice_step": 0.7} if kind == "ct" else {}
        order = Order(kind, seed=1, shapes=tuple(options.shapes), body=body, **wanted)
        one(order, 0)
        parts, seconds, shape = one(order, 1)
        times = " ".join(f"{value:6.2f}s" for value in (*parts, sum(parts), seconds))
        print(f"{kind:18} {times}  {' x '.join(map(str, shape))}", flush=True)
    if options.count:
        order = Order("lateral-cervical", seed=1, shapes=tuple(options.shapes), body=body)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            generate(order, Path(folder), count=options.count, jobs=options.jobs, save_segmentation=write_segmentation)
            took = time.perf_counter() - start
        rate = 3600 * options.count / took
        print(f"{options.count} necks by {options.jobs} processes: {took:.1f} s, {rate:.0f} an hour")


if __name__ == "__main__":
    main()
