"""Measuring in the worker process: a pair of segmentations of the scene, or folders of cases; tables, charts, maps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.charts import bar_chart, box_chart
from SpineSegLib.mrml.error_maps import ErrorFiles, show_error_files
from SpineSegLib.mrml.jobs import Jobs, still_there
from SpineSegLib.mrml.pairs import sending_pair
from SpineSegLib.mrml.tables import cases_table, metrics_table, values_of
from SpineSegLib.mrml.worker import DONE, Outcome, Worker


@dataclass(frozen=True)
class Measured:
    """How a measurement ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    tableNode : the numbers, if there are any
    chartNode : Dice as bars (a pair) or as box plots (many cases)
    errorNode : segmentation of the errors, if it was asked for
    mapNode : volume of their distance to the true boundary, if it was asked for and the truth is not empty
    error : one line for the user; with a table, what is missing beside it
    warnings : what the user should know, in sentences
    cases, failed : how many cases of folders were measured, and how many were not
    seconds : from start to end
    """

    state: str
    tableNode: object = None
    chartNode: object = None
    errorNode: object = None
    mapNode: object = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    cases: int = 0
    failed: int = 0
    seconds: float = 0.0


def _nobody(*_) -> None:
    """Listen to nothing."""


class Measurer(Jobs):
    """Runs one measurement at a time; the scene changes only when all of it is done.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(Measured, worker, now)

    def measure_pair(
        self,
        predictionNode,
        truthNode,
        *,
        tableNode=None,
        errors: bool = False,
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Measured], None] = _nobody,
    ) -> None:
        """Measure a segmentation of the scene against another one, and return at once.

        The prediction is put onto the truth's grid by nearest neighbour where they differ, and of the truth only the
        kinds of structure count that the prediction has any of; warnings say so.

        Parameters
        ----------
        predictionNode, truthNode : vtkMRMLSegmentationNode
        tableNode : vtkMRMLTableNode to fill; a new one unless given
        errors : whether to show where it errs, and how far from the true boundary
        onDone : gets the `Measured`

        Raises
        ------
        InputError : the nodes cannot be compared; nothing was started and nothing is left behind
        RuntimeError : a measurement is in progress already
        """

        def prepare(folder: Path) -> None:
            self._files, write = sending_pair(predictionNode, truthNode, folder)
            self._names = predictionNode.GetName(), truthNode.GetName()
            self._nodes, self._tableNode, self._errors = (predictionNode, truthNode), tableNode, errors
            arguments = ["evaluate", str(self._files.prediction), str(self._files.truth), "--json"]
            self._aside(write, lambda _: self._work(arguments, self._pair_measured), voxels=self._files.voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def measure_folders(
        self,
        predictions: str | Path,
        truths: str | Path,
        *,
        pairs: str | Path = "",
        tableNode=None,
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Measured], None] = _nobody,
    ) -> None:
        """Measure a folder of cases against another one, and return at once; nothing of them is loaded.

        A case that fails has a row that says why, and the rest go on.

        Parameters
        ----------
        predictions, truths : folders; files of one name without suffix are a pair
        pairs : CSV table of pairs with the columns prediction and truth (and case), relative to the folders
        tableNode : vtkMRMLTableNode to fill; a new one unless given
        onDone : gets the `Measured`

        Raises
        ------
        InputError : a folder or the table is missing; nothing was started
        RuntimeError : a measurement is in progress already
        """
        for folder, role in ((predictions, "predictions"), (truths, "truths")):
            if not str(folder) or not Path(folder).is_dir():
                found = "there is no such folder" if str(folder) else "none is chosen"
                raise problem(str(folder) or role, found, f"the folder of the {role}", "Choose it under Evaluate")
        if str(pairs) and not Path(pairs).is_file():
            raise problem(pairs, "there is no such file", "a CSV table of pairs", "Choose another one, or none")

        def prepare(folder: Path) -> None:
            self._tableNode, self._csv = tableNode, folder / "cases.csv"
            self._name = Path(predictions).name
            arguments = ["evaluate", str(predictions), str(truths), "--csv", str(self._csv)]
            arguments += ["--table", str(pairs)] if str(pairs) else []
            self._work(arguments, self._folders_measured)

        self._begin(prepare, onProgress, onLog, onDone)

    def _pair_measured(self, outcome: Outcome) -> None:
        if outcome.state != DONE or not isinstance(outcome.payload, dict):
            self._fail(outcome.error or "The worker printed no numbers; see the log.")
            return
        self._evaluation = outcome.payload
        if not self._errors:
            self._show_pair()
            return
        files = ErrorFiles(self._folder)
        arguments = files.arguments(self._files.prediction, self._files.truth)
        self._work(arguments, lambda of: self._show_pair(files, "" if of.state == DONE else of.error), "errors: ")

    def _show_pair(self, files: ErrorFiles | None = None, error: str = "") -> None:
        """Put everything into the scene, at once."""
        predictionNode, truthNode = (still_there(node) for node in self._nodes)
        errorNode = mapNode = None
        title = f"{self._names[0]} against {self._names[1]}"
        if files is not None and not error:
            if truthNode is None:
                error = "The errors are not shown: the truth was deleted meanwhile."
            else:
                errorNode, mapNode = show_error_files(files, predictionNode, truthNode, title=title)
        tableNode = metrics_table(self._evaluation, still_there(self._tableNode), name=f"{title}: metrics")
        self._succeed(
            tableNode=tableNode,
            chartNode=bar_chart(tableNode, title=f"Dice: {title}"),
            errorNode=errorNode,
            mapNode=mapNode,
            error=error,
            warnings=(*self._files.notes, *self._evaluation.get("warnings", ())),
        )

    def _folders_measured(self, outcome: Outcome) -> None:
        # Cases that failed make the worker's exit status 1; the numbers of the others are there all the same.
        if not self._csv.is_file():
            self._fail(outcome.error or "The worker wrote no numbers; see the log.")
            return
        tableNode = cases_table(self._csv, still_there(self._tableNode), name=f"{self._name}: cases")
        table = tableNode.GetTable()
        scopes = [table.GetValueByName(row, "scope").ToString() for row in range(table.GetNumberOfRows())]
        values = values_of(tableNode, "dice") if table.GetColumnByName("dice") else {}
        chartNode = box_chart(tableNode, values, title=f"Dice: {self._name}", label="Dice") if values else None
        self._succeed(
            tableNode=tableNode,
            chartNode=chartNode,
            error="" if outcome.state == DONE else outcome.error,
            cases=scopes.count("overall"),
            failed=scopes.count("failed"),
        )
