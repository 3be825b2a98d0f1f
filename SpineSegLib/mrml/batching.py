"""A batch in the worker process: a folder, a table, or series of Slicer's DICOM database; nothing of it is loaded."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.choices import COUNTING, Choice
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.tables import cases_table
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

FILMS = ("CR", "DX", "RG", "RF", "XA", "PX")
VOLUMES = ("CT", "MR")
_TABLE = "batch.csv"


@dataclass(frozen=True)
class Batched:
    """How a batch ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    tableNode : a row a case, if any was worked on; after a cancel too
    error : one line for the user
    done, failed, waiting : how many cases are finished, could not be, and were not reached
    seconds : from start to end
    """

    state: str
    tableNode: object = None
    error: str = ""
    done: int = 0
    failed: int = 0
    waiting: int = 0
    seconds: float = 0.0


class Batcher(Jobs):
    """Runs one batch at a time.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    """

    def __init__(self, worker: Worker | None = None, **options) -> None:
        super().__init__(Batched, worker, **options)
        self._out: Path | None = None

    def start(
        self,
        source: str | Path | Sequence[str],
        modelName: str,
        out: str | Path,
        *,
        truths: str | Path = "",
        options: Sequence[str] = (),
        tableNode=None,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = lambda *_: None,
        onDone: Callable[[Batched], None] = lambda *_: None,
    ) -> None:
        """Segment many images, and return at once.

        A case that fails has a row that says why, and the rest go on; the same start again goes on where it was.

        Parameters
        ----------
        source : a folder, a CSV table, or the UIDs of series in Slicer's DICOM database
        modelName : of all cases that a table names no other for
        out : folder of the results; made if absent
        truths : folder of segmentations with the names of the cases
        options : further options of ``python -m SpineSegLib batch``, such as ``["--suffix", ".png"]``
        tableNode : vtkMRMLTableNode to fill; a new one unless given
        onDone : gets the `Batched`

        Raises
        ------
        InputError : a folder or a table is missing, or the series cannot be used; nothing was started
        RuntimeError : a batch is in progress already
        """
        if not str(out):
            raise problem("results", "no folder is chosen", "the folder of the results", "Choose it under Batch")
        if not source or (isinstance(source, str | Path) and not Path(source).exists()):
            raise problem(str(source) or "images", "there is nothing", "images of a batch", "Choose them under Batch")
        if str(truths) and not Path(truths).is_dir():
            raise problem(truths, "there is no such folder", "the folder of the truths", "Choose another, or none")

        def prepare(folder: Path) -> None:
            self._out, self._tableNode, self._before = Path(out), tableNode, _written(Path(out) / _TABLE)
            if isinstance(source, str | Path):
                arguments = [str(source)]
            else:
                table = folder / "series.csv"
                arguments = [str(table), "--folder", str(series_table(source, table))]
            arguments = ["batch", *arguments, "--model", modelName, "--out", str(out), *options]
            self._work([*arguments, *(["--truth", str(truths)] if str(truths) else [])], self._ended)

        self._begin(prepare, onProgress, onLog, onDone)

    def abort(self) -> bool:
        """Stop the batch at once, without ``onDone``; what is finished stays on the disk."""
        self._out = None
        return super().abort()

    def _ended(self, outcome: Outcome) -> None:
        # Cases that failed make the worker's exit status 1; the others are done all the same.
        if outcome.state == DONE:
            self._succeed()
        else:
            self._fail(outcome.error)

    def _finish(self, result: Batched) -> None:
        """Show the table however the batch ended: what was finished before a cancel is kept."""
        out, self._out = self._out, None
        if out is not None and _written(out / _TABLE) not in (None, self._before):
            result = self._shown(result, out)
        super()._finish(result)

    def _shown(self, result: Batched, out: Path) -> Batched:
        tableNode = cases_table(out / _TABLE, still_there(self._tableNode), name=f"{out.name}: batch")
        table = tableNode.GetTable()
        states = [table.GetValueByName(row, "state").ToString() for row in range(table.GetNumberOfRows())]
        counts = {state: states.count(state) for state in ("done", "failed", "waiting")}
        return replace(result, tableNode=tableNode, **counts)


def _written(path: Path) -> int | None:
    """Return when a file was written, or None where there is none."""
    return path.stat().st_mtime_ns if path.is_file() else None


def batch_models() -> list[Choice]:
    """Return the models that have weights, by title."""
    from SpineSegLib.models import registry, weights_state

    states = [(card, weights_state(card)) for card in registry().values()]
    return [
        Choice(
            card.name,
            card.title,
            state,
            "",
            card.dimension == 3 and [one.kind for one in card.structures] in (["spine"], ["vertebrae"]),
            card.pipeline["name"] in COUNTING,
        )
        for card, state in sorted(states, key=lambda pair: pair[0].title)
        if state != "absent"
    ]


def selected_series() -> list[str]:
    """Return the UIDs of the series that are selected in Slicer's DICOM browser.

    Where no series is selected, those of the selected studies; where no study is, those of the selected patients.
    """
    import slicer

    browser = getattr(getattr(slicer.modules, "DICOMInstance", None), "browserWidget", None)
    database = getattr(slicer, "dicomDatabase", None)
    if browser is None or database is None:
        return []
    # Newer Slicer versions have two browsers, of which one is shown.
    if hasattr(browser, "dicomVisualBrowser") and browser.dicomVisualBrowser.visible:
        view = browser.dicomVisualBrowser.patientView()
        series, studies = list(view.selectedSeriesInstanceUIDs()), []
        patients = list(view.selectedPatientUIDs())
    else:
        import ctk

        kinds = (ctk.ctkDICOMModel.SeriesType, ctk.ctkDICOMModel.StudyType, ctk.ctkDICOMModel.PatientType)
        series, studies, patients = (list(browser.dicomBrowser.selectedItems(kind)) for kind in kinds)
    studies = studies or [study for patient in patients for study in database.studiesForPatient(patient)]
    return series or [uid for study in studies for uid in database.seriesForStudy(study)]


def series_table(seriesUIDs: Sequence[str], path: Path) -> Path:
    """Write the table of a batch of series in Slicer's DICOM database, and return the folder its names lie in.

    The cases are called by numbers that are computed from the series' UIDs: always the same ones, and no patient's.
    Of a series of radiographs each one is a case. What is no image (reports, segmentations) is left out.

    Raises
    ------
    InputError : no image is among the series, or their files are gone or scattered
    """
    import slicer

    cases: list[tuple[str, Path]] = []
    for uid in seriesUIDs:
        files = sorted(Path(file) for file in slicer.dicomDatabase.filesForSeries(uid))
        modality = slicer.dicomDatabase.fileValue(str(files[0]), "0008,0060").strip().upper() if files else ""
        if modality not in (*FILMS, *VOLUMES):
            continue
        name = case_name(uid)
        if not all(file.is_file() for file in files):
            raise problem(name, "files of this series are gone", "a series on this disk", "Import it again")
        if modality in FILMS and len(files) > 1:
            cases += [(f"{name}-{number}", file) for number, file in enumerate(files, start=1)]
            continue
        if len({file.parent for file in files}) > 1:
            raise problem(name, "its files lie in several folders", "one folder", "Import it with 'copy files'")
        cases.append((name, files[0]))
    if not cases:
        step = "Select studies in the DICOM module"
        raise problem("DICOM database", "no image is selected", "series of CT, MR or radiographs", step)
    try:
        folder = Path(os.path.commonpath([file.parent for _, file in cases]))
    except ValueError as error:
        step = "Start a batch for each disk"
        raise problem("DICOM database", "the series lie on several disks", "one disk", step) from error
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [(image.relative_to(folder).as_posix(), name) for name, image in cases]
        csv.writer(file).writerows([("image", "output"), *rows])
    return folder


def case_name(seriesUID: str) -> str:
    """Return the number that a series is called by in a batch."""
    return f"series-{int(hashlib.sha256(seriesUID.encode()).hexdigest(), 16) % 10**8:08d}"
