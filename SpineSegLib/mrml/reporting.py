"""A segmentation leaves the scene: as a DICOM segmentation, pictures, a table or a report, written by the worker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.mrml.exchange import sending
from SpineSegLib.mrml.jobs import Jobs
from SpineSegLib.mrml.run import MODEL_ATTRIBUTE, WEIGHTS_ATTRIBUTE
from SpineSegLib.mrml.segmentations import segmentation_from_node
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

_DICOM = ".dcm"


@dataclass(frozen=True)
class Exported:
    """How an export ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    path : the file, if it was written
    error : one line for the user
    warnings : what the format could not keep, in sentences
    seconds : from start to end
    """

    state: str
    path: Path | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def _nobody(*_) -> None:
    """Listen to nothing."""


class Exporter(Jobs):
    """Writes one file at a time; the scene stays as it is.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(Exported, worker, now)

    def export(
        self,
        volumeNode,
        segmentationNode,
        path: str | Path,
        *,
        modality: str | None = None,
        truthNode=None,
        case: str = "",
        onProgress: Callable[[int, int, str], None] = _nobody,
        onLog: Callable[[str], None] = _nobody,
        onDone: Callable[[Exported], None] = _nobody,
    ) -> None:
        """Start writing a file and return; an existing one is replaced when the new one is complete.

        Parameters
        ----------
        volumeNode : vtkMRMLScalarVolumeNode that was segmented; its grid is that of the files
        segmentationNode : vtkMRMLSegmentationNode
        path : its suffix says what it is: .seg.nrrd, .nii.gz, .dcm (a volume from Slicer's DICOM database), .labels.png
            and .png (overlay), .csv, .html or .pdf
        modality : ``"XR"``, ``"CT"`` or ``"MR"``, where Slicer does not know it
        truthNode : vtkMRMLSegmentationNode whose metrics a table and a report tell
        case : name on the report; none unless given
        onDone : gets the `Exported`

        Raises
        ------
        InputError : the nodes cannot be exported; nothing was started
        RuntimeError : an export is in progress already
        """
        from SpineSegLib.io import write_segmentation

        path = Path(path)
        if volumeNode is None or segmentationNode is None:
            found = "no volume is chosen" if volumeNode is None else "no segmentation is chosen"
            raise problem("export", found, "a volume and its segmentation", "Choose both above")
        series = dicom_file(volumeNode) if path.name.lower().endswith(_DICOM) else None

        def prepare(folder: Path) -> None:
            exchange, write_volume = sending(volumeNode, folder, modality=modality, truthNode=truthNode)
            segmentation = segmentation_from_node(segmentationNode, volumeNode)
            sent, written = folder / "segmentation.seg.nrrd", folder / "out"
            written.mkdir()
            self._written, self._path, self._notes = written / path.name, path, exchange.notes
            arguments = ["export", str(exchange.image), str(sent), "--output", str(self._written), "--json"]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--truth", str(exchange.truth)] if exchange.has_truth else []
            arguments += ["--dicom", series] if series else []
            arguments += [f"--case={case}"] if case else []
            model = segmentationNode.GetAttribute(MODEL_ATTRIBUTE)
            if model:
                # Which weights it was made with is known from the run itself, or not at all.
                sha256 = segmentationNode.GetAttribute(WEIGHTS_ATTRIBUTE) or ""
                arguments += ["--model", model, f"--weights-sha256={sha256}"]

            def write() -> None:
                write_volume()
                write_segmentation(segmentation, sent)

            self._aside(write, lambda _: self._work(arguments, self._put), voxels=exchange.voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def _put(self, outcome: Outcome) -> None:
        """Put what the worker wrote into its place."""
        if outcome.state != DONE or not self._written.is_file():
            error = outcome.error or "The worker wrote nothing; see the log."
            self._fail(error.replace(str(self._written), str(self._path)))
            return
        from SpineSegLib.io import all_written_whole

        # The names of a label picture's numbers lie beside it.
        files = sorted(self._written.parent.iterdir(), key=lambda file: file != self._written)
        with all_written_whole(*(self._path.with_name(file.name) for file in files)) as temporaries:
            for file, temporary in zip(files, temporaries, strict=True):
                shutil.copyfile(file, temporary)
        payload = outcome.payload if isinstance(outcome.payload, dict) else {}
        warnings = (*self._notes, *payload.get("warnings", ()))
        self._succeed(path=self._path, warnings=warnings)


def dicom_file(volumeNode) -> str:
    """Return a file of the DICOM series that a volume was loaded from.

    Raises
    ------
    InputError : it did not come from Slicer's DICOM database, or the file is no longer there
    """
    import slicer

    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    file = database.fileForInstance(uids[0]) if uids and database is not None else ""
    if not file or not Path(file).is_file():
        found = "its DICOM files are not in the database" if uids else "it did not come from the DICOM database"
        next_step = "Import the series (module DICOM) and segment that, or export a .seg.nrrd"
        raise problem(volumeNode.GetName(), found, "a volume of the DICOM database", next_step)
    return file
