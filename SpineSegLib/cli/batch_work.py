"""The work of a batch: case after case, one network in memory, nothing kept of a case but its numbers."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib import __version__
from SpineSegLib.cli.about import About
from SpineSegLib.cli.batch_cases import BatchCase
from SpineSegLib.cli.batch_records import DONE, FAILED, RUNNING, WAITING, Records, content_of
from SpineSegLib.cli.batch_tables import FILES, case_row, write_tables
from SpineSegLib.cli.console import scaled
from SpineSegLib.cli.evaluate import label_names
from SpineSegLib.cli.outputs import DICOM, KINDS, check_outputs, check_sidecars, write_outputs
from SpineSegLib.cli.segment import structures_of
from SpineSegLib.errors import Cancelled, InputError, problem
from SpineSegLib.evaluation.report import check_date
from SpineSegLib.io.origin import Origin
from SpineSegLib.models import Card, Weights, card, load_network, weights_file
from SpineSegLib.models.weights import file_sha256
from SpineSegLib.pipelines.levels import numbered
from SpineSegLib.progress import Progress

if TYPE_CHECKING:
    import torch

    from SpineSegLib.image import Segmentation

SETTINGS = ("suffix", "modality", "device", "precision", "top_level", "vertebrae", "truth_labels", "case_names")
"""Options that a finished case must have been made with to be skipped."""

TABLES_EVERY = 10.0
"""Seconds between two writings of the tables during the work; who kills a batch finds them about so fresh."""


class Batch:
    """Cases to be segmented.

    Parameters
    ----------
    cases : of different names
    options : of the command
    report : told about every step of every case
    now : clock in seconds

    Raises
    ------
    InputError : a model, its weights, the level or the folder of results cannot be used; nothing was done
    """

    def __init__(
        self,
        cases: Sequence[BatchCase],
        options: Namespace,
        report: Progress,
        now: Callable[[], float] = time.monotonic,
    ):
        self._options, self._report, self._now = options, report, now
        names = dict.fromkeys(case.model for case in cases)
        # Cases of one model follow each other: only one network is in memory, and each is loaded once.
        self._cases = [case for name in names for case in cases if case.model == name]
        self._cards = {name: card(name) for name in names}
        self._facts = {name: _facts(model, options.weights) for name, model in self._cards.items()}
        for level in {case.top_level for case in cases} | {options.top_level}:
            if level:
                numbered(1, level=level)
        self._labels, self._date = label_names(options.truth_labels), check_date(options.date)
        try:
            options.out.mkdir(exist_ok=True)
        except OSError as error:
            found = f"it cannot be made ({error.strerror})"
            raise problem(options.out, found, "a folder in an existing one", "Choose another --out") from error
        # Whether an image is of a DICOM series that a .dcm can refer to is each case's own affair.
        outputs = [path for path in self._outputs(self._cases[0]) if path.suffix != DICOM]
        check_outputs(outputs, self._cases[0].image, suffixes=KINDS)
        self._records = Records(options.out)
        self._found = {case.name: {"case": case.name, "state": WAITING, "model": case.model} for case in self._cases}
        self._network: tuple[str, torch.nn.Module] | None = None
        self._started, self._skipped, self._worked, self._seconds = now(), 0, 0, 0.0

    def work(self) -> None:
        """Work through the cases, and write the tables whatever happens.

        Raises
        ------
        Cancelled : by the progress that it reports to
        """
        told = self._now()
        try:
            for number, case in enumerate(self._cases):
                self._found[case.name] = self._remembered(case, self._progress(number, case))
                if self._now() - told > TABLES_EVERY:
                    self._write_tables()
                    told = self._now()
        finally:
            self._write_tables()
        self._report(100 * len(self._cases), 100 * len(self._cases), "done")

    def rows(self) -> list[dict]:
        """Return the table of cases."""
        return [case_row(record) for record in self._found.values()]

    def summary(self) -> dict:
        """Return the object of ``batch --json``."""
        rows = self.rows()
        counts = {state: sum(row["state"] == state for row in rows) for state in (DONE, FAILED)}
        tables = [str(self._options.out / name) for name in FILES if (self._options.out / name).is_file()]
        return {**counts, "skipped": self._skipped, "tables": tables, "seconds": self._now() - self._started} | {
            "cases": rows
        }

    def _write_tables(self) -> None:
        about = {
            "program": f"SpineSeg {__version__}, not for diagnostic use",
            "models": self._facts,
            "settings": self._settings(None),
        }
        write_tables(self._options.out, about, list(self._found.values()))

    def _outputs(self, case: BatchCase) -> list[Path]:
        return [self._options.out / f"{case.name}{suffix}" for suffix in self._options.suffix]

    def _settings(self, case: BatchCase | None) -> dict:
        settings = {name: getattr(self._options, name) for name in SETTINGS}
        return settings | ({"top_level": case.top_level} if case and case.top_level else {})

    def _progress(self, number: int, case: BatchCase) -> Progress:
        of = len(self._cases)
        about = f"case {number + 1} of {of}, {case.name}"

        def report(step: int, steps: int, what: str) -> None:
            done = 100 * number + 100 * min(step, steps) // max(steps, 1)
            self._report(done, 100 * of, f"{about}: {what}{self._left(of - done / 100)}")

        return report

    def _left(self, cases: float) -> str:
        """Return how long the rest will take at the speed of the cases that were worked on."""
        if not self._worked:
            return ""
        seconds = cases * self._seconds / self._worked
        return f" (about {seconds / 60:.0f} min left)" if seconds >= 90 else f" (about {seconds:.0f} s left)"

    def _remembered(self, case: BatchCase, report: Progress) -> dict:
        """Return what is known of a finished case, or work on it; what goes wrong with it is its own affair."""
        report(0, 1, "looking what is done")
        before, start = self._records.read(case.name), self._now()
        outputs = self._outputs(case)
        head = {"case": case.name, "model": case.model}
        try:
            head["outputs"] = self._records.ours(case.name, outputs)
            asked = {"image": content_of(case.image), "truth": content_of(case.truth), "version": __version__}
            asked |= {"model": self._facts[case.model], "settings": self._settings(case)}
            if self._records.is_done(case.name, asked, outputs):
                self._skipped += 1
                return _told(before)
            record = {**head, "asked": asked, **self._worked_on(case, outputs, before, report)}
        except (Cancelled, KeyboardInterrupt):
            raise
        except InputError as error:
            record = {**head, "state": FAILED, "error": str(error)}
        except Exception as error:
            # Whatever is wrong with one case, the others are not to wait for it.
            line = " ".join(f"internal error ({type(error).__name__}: {error})"[:300].split())
            record = {**head, "state": FAILED, "error": line}
        self._worked, self._seconds = self._worked + 1, self._seconds + self._now() - start
        record["seconds"] = self._now() - start
        self._records.write(case.name, record)
        return _told(record)

    def _worked_on(self, case: BatchCase, outputs: list[Path], before: dict, report: Progress) -> dict:
        """Segment, write and measure a case; everything of it but numbers is forgotten at the end."""
        from SpineSegLib.io import read_image
        from SpineSegLib.pipelines import segment

        foreign = [] if self._options.overwrite else list(self._records.foreign(case.name, outputs))
        if foreign:
            found = "a file is there that this batch did not write, or that was changed since"
            raise problem(foreign[0], found, "no file of this name", "Move it away, or add --overwrite")
        options, model = self._options, self._cards[case.model]
        check_outputs(outputs, case.image, suffixes=KINDS)
        check_sidecars(outputs)
        report(0, 100, "reading the image")
        image = read_image(case.image, modality=options.modality, report=scaled(report, 0, 8))
        report(8, 100, f"loading {model.name}")
        found = segment(
            image,
            model,
            where=case.image,
            weights=options.weights,
            device=options.device,
            precision=options.precision,
            top_level=case.top_level or options.top_level,
            vertebrae=options.vertebrae,
            network=self._loaded(case.model),
            report=scaled(report, 10, 80),
        )
        evaluation, error = self._measured(case, found.segmentation, scaled(report, 80, 88))
        # From here on a file in the place of a result is this batch's own, even when it is killed.
        self._records.write(case.name, {**before, "state": RUNNING})
        rows = structures_of(found.segmentation)
        warnings = [*found.warnings, *(evaluation or {}).get("warnings", ())]
        if options.truth and case.truth is None:
            warnings.append("It was not measured: there is no truth of this name.")
        about = self._about(case, rows, evaluation, warnings)
        try:
            warnings += write_outputs(image, found.segmentation, outputs, scaled(report, 88, 100), about)
        except BaseException:
            self._records.write(case.name, before)
            raise
        return {
            "state": FAILED if error else DONE,
            "error": error,
            "device": found.device,
            "precision": found.precision,
            "outputs": {path.name: file_sha256(path) for path in outputs},
            "structures": rows,
            "evaluation": evaluation,
            "warnings": warnings,
        }

    def _about(self, case: BatchCase, rows: list[dict], evaluation: dict | None, warnings: list[str]) -> About:
        """Return what files tell of a case beside its voxels."""
        origin = Origin(case.model, self._cards[case.model].title, self._facts[case.model]["weights_sha256"])
        name = case.name if self._options.case_names else ""
        return About(case.image, origin, rows, self._date, name, evaluation, warnings)

    def _loaded(self, name: str) -> torch.nn.Module:
        if self._network is None or self._network[0] != name:
            self._network = None  # before the next one is there: two networks may not fit
            self._network = name, load_network(self._cards[name], self._options.weights)
        return self._network[1]

    def _measured(self, case: BatchCase, segmentation: Segmentation, report: Progress) -> tuple[dict | None, str]:
        """Return the metrics, or why there are none: a result is not lost because its truth is at fault."""
        if case.truth is None:
            return None, ""
        from SpineSegLib.evaluation import evaluate
        from SpineSegLib.io import read_segmentation

        report(0, 1, "comparing with the truth")
        try:
            found = evaluate(segmentation, read_segmentation(case.truth, structures=self._labels)).to_dict()
        except InputError as error:
            return None, f"The result is written, but it was not measured. {error}"
        return {key: found[key] for key in ("overall", "structures", "levels", "warnings")}, ""


def _told(record: dict) -> dict:
    """Return what the tables tell of a record: not the files' times that it was made from."""
    return {key: value for key, value in record.items() if key != "asked"}


def _facts(model: Card, weights: str | None) -> dict[str, str]:
    """Return what a model's results depend on: its card, measured scores apart, and its weights."""
    description = repr(replace(model, weights=Weights())).encode()
    return {
        "title": model.title,
        "card_sha256": hashlib.sha256(description).hexdigest(),
        "weights_sha256": file_sha256(weights_file(model, weights)),
    }
