"""Many cases by several processes: the same files whatever their number, finished ones kept."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.phantom.cases import Order, case_name, make_case
from SpineSegLib.phantom.write import SaveSegmentation, finished, parameter_file, write_case
from SpineSegLib.progress import Progress, silent

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""One thread a process: processes share the cores better than threads do."""


def generate(
    order: Order,
    out: Path,
    *,
    count: int = 1,
    jobs: int = 1,
    save_segmentation: SaveSegmentation | None = None,
    report: Progress = silent,
) -> tuple[int, int]:
    """Write cases 0 to `count` - 1 of an order to a folder; cases that lie there complete are kept.

    Parameters
    ----------
    order : what is wanted
    out : the folder, made where it is missing
    jobs : number of processes
    save_segmentation : a function of a module (it goes to other processes), see `write_case`
    report : progress; when it raises, cases under way are given up and none is left half written

    Returns
    -------
    number of cases made, number of cases kept

    Raises
    ------
    InputError : an option is at fault, the folder cannot be written, or it holds cases of another order
    """
    if count < 1:
        raise problem("--count", str(count), "1 or more", "Choose a number of cases")
    if jobs < 1:
        raise problem("--jobs", str(jobs), "1 or more", "Choose a number of processes")
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(out, f"cannot be made: {error.strerror}", "a folder to write to", "Choose another") from error
    _same_order(order, out)
    wanted = [number for number in range(count) if not finished(out, case_name(number))]
    done = count - len(wanted)
    report(done, count, "digital spines")
    if jobs == 1 or len(wanted) <= 1:
        for made, number in enumerate(wanted, start=1):
            _make(order, number, out, save_segmentation)
            report(done + made, count, case_name(number))
        return len(wanted), done
    with _pool(min(jobs, len(wanted))) as pool:
        waiting = {pool.submit(_make, order, number, out, save_segmentation) for number in wanted}
        try:
            made = 0
            while waiting:
                # A report now and then lets the user stop the run while every process is busy.
                ready, waiting = wait(waiting, timeout=5.0, return_when=FIRST_COMPLETED)
                names = [future.result() for future in ready]
                made += len(names)
                report(done + made, count, names[-1] if names else "digital spines")
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    return len(wanted), done


def _make(order: Order, number: int, out: Path, save_segmentation: SaveSegmentation | None) -> str:
    write_case(make_case(order, number), out, save_segmentation)
    return case_name(number)


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield fresh processes (spawned: alike on all systems) that compute with one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _same_order(order: Order, out: Path) -> None:
    """Refuse a folder with cases of another order: nobody could tell the two apart."""
    import json

    from SpineSegLib.phantom.cases import order_record

    first = next(iter(sorted(parameter_file(out, "x").parent.glob("*.json"))), None)
    if first is None:
        return
    found = None
    with suppress(OSError, ValueError):
        found = json.loads(first.read_text(encoding="utf-8")).get("order")
    if found != order_record(order):
        what = f"it holds cases of another order ({first.name})"
        raise problem(out, what, "an empty folder, or one of the same options and seed", "Choose another folder")
