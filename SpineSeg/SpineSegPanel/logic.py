"""The logic: what scripts and the panel can do with the module, each by a run of the worker process."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from SpineSegLib import mrml
from SpineSegPanel.parameters import SpineSegParameterNode


class SpineSegLogic(ScriptedLoadableModuleLogic):
    """Segments volumes in a separate process, with or without a panel.

    In Slicer's Python console::

        from SpineSeg import SpineSegLogic
        from SpineSegLib import mrml

        volumeNode = slicer.util.getNode("Neck")
        logic = SpineSegLogic()
        print([choice.name for choice in mrml.models_for(volumeNode)])  # the best that fits comes first
        result = logic.process(volumeNode, mrml.models_for(volumeNode)[0].name)
        print(result.segmentationNode.GetName(), result.warnings)
        print(slicer.util.dataframeFromTable(result.tableNode))
        for suffix in (".seg.nrrd", ".labels.png", ".csv", ".pdf"):
            logic.export(volumeNode, result.segmentationNode, f"/results/neck{suffix}")

    Without nodes, for a folder of images::

        found = logic.batch("/films", "unet-xray-small", "/results", suffixes=[".seg.nrrd", ".png", ".pdf"])
        print(found.done, found.failed, slicer.util.dataframeFromTable(found.tableNode))

    Each of these waits for its end, while Slicer goes on drawing and answering; a run of `process` may also go on by
    itself (``waitForCompletion=False``).

    :param worker: mrml.Worker, with a process starter and a timer of its own in tests
    """

    def __init__(self, worker=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker
        self._runner = mrml.Runner(worker)
        self.measurer = mrml.Measurer(worker)
        self.explainer = mrml.Explainer(worker)
        self.exporter = mrml.Exporter(worker)
        self.batcher = mrml.Batcher(worker)

    def getParameterNode(self) -> SpineSegParameterNode:
        return SpineSegParameterNode(super().getParameterNode())

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        return self._runner.busy

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelName: str,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
        *,
        modality: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        threshold: float | None = None,
        topLevel: str | None = None,
        vertebrae: bool | None = None,
        keepProbability: bool = False,
        confidence: bool = False,
        weightsFile: str = "",
        truthNode: vtkMRMLSegmentationNode | None = None,
        tableNode: vtkMRMLTableNode | None = None,
        waitForCompletion: bool = True,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = logging.info,
        onDone: Callable[[mrml.Result], None] = lambda *_: None,
    ) -> mrml.Result | None:
        """Segment a volume in a separate process; the scene changes only when all is done.

        :param volumeNode: CT volume or single-slice radiograph
        :param modelName: as ``python -m SpineSegLib models`` lists it
        :param segmentationNode: node to fill; a new one unless given
        :param modality: "CT", "XR" or "MR", where Slicer does not know it
        :param device: "auto", "cpu", "cuda" or "mps"
        :param precision: "auto", "float32" or "bfloat16"
        :param threshold: probability above which a pixel belongs to a structure; the model's own unless given
        :param topLevel: level of the topmost vertebra, such as "C2", for a model that counts vertebrae
        :param vertebrae: split the spine in one that a model of CT finds; as the model suggests unless given
        :param keepProbability: put the probability into the scene as a volume
        :param confidence: also tell how sure the model is of each structure; six times as long
        :param weightsFile: safetensors file instead of the model's own
        :param truthNode: segmentation to compare the result with
        :param tableNode: table for sizes, confidence and the comparison; a new one unless given
        :param waitForCompletion: return when all is done; else at once, and ``onDone`` gets the result
        :return: the result (segmentationNode, tableNode, warnings, seconds) when waiting, else None
        :raises mrml.InputError: the input cannot be used, told in one line; nothing was started
            (of a large volume some errors come later, as those of a run)
        :raises RuntimeError: a run is in progress already, or (when waiting) the run failed
        """
        options = _howTo(precision, topLevel, vertebrae)
        options += ["--threshold", str(threshold)] if threshold else []
        options += ["--confidence"] if confidence else []
        self._runner.start(
            volumeNode,
            modelName,
            segmentationNode,
            modality=modality,
            device=device,
            weightsFile=weightsFile,
            options=options,
            keepProbability=keepProbability,
            truthNode=truthNode,
            tableNode=tableNode,
            onProgress=onProgress,
            onLog=onLog,
            onDone=onDone,
        )
        return self._finished(self._runner) if waitForCompletion else None

    def evaluate(
        self,
        predictionNode: vtkMRMLSegmentationNode,
        truthNode: vtkMRMLSegmentationNode,
        tableNode: vtkMRMLTableNode | None = None,
        errors: bool = False,
    ) -> mrml.Measured:
        """Measure a segmentation against another one in a separate process, and wait.

        :param tableNode: table to fill; a new one unless given
        :param errors: also show where it errs, and how far from the true boundary
        :return: tableNode, chartNode, errorNode, mapNode, warnings, seconds
        :raises mrml.InputError: the two cannot be compared
        :raises RuntimeError: a run is in progress already, or it failed
        """
        self.measurer.measure_pair(predictionNode, truthNode, tableNode=tableNode, errors=errors)
        return self._finished(self.measurer)

    def evaluateFolders(self, predictions: str, truths: str, pairs: str = "", tableNode=None) -> mrml.Measured:
        """Measure a folder of cases against another one, as ``python -m SpineSegLib evaluate`` does, and wait.

        :param pairs: CSV table of pairs, where names differ
        :return: tableNode, chartNode, cases, failed, error; a case that fails has a row that says why
        :raises mrml.InputError: a folder is missing
        :raises RuntimeError: a run is in progress already, or no case could be measured
        """
        self.measurer.measure_folders(predictions, truths, pairs=pairs, tableNode=tableNode)
        return self._finished(self.measurer)

    def export(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        segmentationNode: vtkMRMLSegmentationNode,
        path: str | Path,
        *,
        modality: str | None = None,
        truthNode: vtkMRMLSegmentationNode | None = None,
        case: str = "",
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = logging.info,
    ) -> mrml.Exported:
        """Write a file of a segmentation in a separate process, as the section Export does, and wait.

        An existing file is replaced when the new one is complete; when anything fails it stays.

        :param volumeNode: what was segmented; its grid is that of the file
        :param path: the suffix says what it is: .seg.nrrd, .nii.gz, .dcm (DICOM SEG of a CT or MR of Slicer's DICOM
            database), .labels.png and .png (overlay), .csv, .html or .pdf
        :param modality: "CT", "XR" or "MR", where Slicer does not know it
        :param truthNode: segmentation whose metrics a table and a report tell
        :param case: name on the report; none unless given
        :return: path, warnings (what the format could not keep), seconds
        :raises mrml.InputError: the nodes cannot be exported, told in one line; nothing was started
        :raises RuntimeError: an export is in progress already, or it failed
        """
        options = {"modality": modality, "truthNode": truthNode, "case": case}
        self.exporter.export(volumeNode, segmentationNode, path, **options, onProgress=onProgress, onLog=onLog)
        return self._finished(self.exporter)

    def batch(
        self,
        source: str | Path | Sequence[str],
        modelName: str,
        out: str | Path,
        *,
        suffixes: Sequence[str] = (".seg.nrrd",),
        truths: str | Path = "",
        modality: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        topLevel: str | None = None,
        vertebrae: bool | None = None,
        weightsFile: str = "",
        tableNode: vtkMRMLTableNode | None = None,
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = logging.info,
    ) -> mrml.Batched:
        """Segment many images in a separate process, as the section Batch does, and wait; none of them is loaded.

        Finished cases are skipped, so that the same call goes on where a batch was stopped.

        :param source: a folder, a CSV table of cases, or the UIDs of series in Slicer's DICOM database
        :param out: folder of the results; made if absent
        :param suffixes: what is written of each case, as `export` knows them, or .mrb
        :param truths: folder of segmentations with the names of the cases, to compare with
        :param modality, device, precision, topLevel, vertebrae, weightsFile: as for `process`
        :param tableNode: table to fill with a row a case; a new one unless given
        :return: tableNode, done, failed, waiting, error, seconds; a case that fails has a row that says why
        :raises mrml.InputError: a folder or a table is missing; nothing was started
        :raises RuntimeError: a batch is in progress already, or no case could be worked on
        """
        options = _howTo(precision, topLevel, vertebrae)
        for option, values in (
            ("--suffix", suffixes),
            ("--modality", [modality]),
            ("--device", [device]),
            ("--weights", [weightsFile]),
        ):
            options += [part for value in values if value for part in (option, value)]
        reports = {"onProgress": onProgress, "onLog": onLog}
        self.batcher.start(source, modelName, out, truths=truths, options=options, tableNode=tableNode, **reports)
        self._wait(self.batcher)
        if self.batcher.result.tableNode is None and self.batcher.result.state == mrml.FAILED:
            raise RuntimeError(self.batcher.result.error)
        return self.batcher.result

    def explain(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelName: str,
        kind: str = "gradcam",
        *,
        modality: str | None = None,
        weightsFile: str = "",
    ) -> mrml.Explained:
        """Show in colours over a volume what a model looked at, or how sure it is, and wait.

        :param kind: "gradcam", "attention" or "uncertainty"
        :param modality, weightsFile: as for `process`
        :return: mapNode, notes, seconds
        :raises mrml.InputError: the volume cannot be used; nothing was started
        :raises RuntimeError: a run is in progress already, or it failed
        """
        self.explainer.explain(volumeNode, modelName, kind, modality=modality, weightsFile=weightsFile)
        return self._finished(self.explainer)

    def _finished(self, job):
        """Return the result of a run when it has ended, and raise what it failed for."""
        self._wait(job)
        if job.result.state == mrml.FAILED:
            raise RuntimeError(job.result.error)
        return job.result

    def _wait(self, job) -> None:
        """Wait for the end of a run; Slicer goes on drawing and answering."""
        while job.busy:
            slicer.app.processEvents()
            time.sleep(0.02)

    def cancel(self) -> None:
        """Stop the run; ``onDone`` follows when the process has ended, and the scene stays as it was."""
        self._runner.cancel()

    def abort(self) -> bool:
        """Stop every run at once and forget it; return whether one of a model was among them."""
        for job in (self.measurer, self.explainer, self.exporter, self.batcher):
            job.abort()
        return self._runner.abort()


def _howTo(precision: str, topLevel: str | None, vertebrae: bool | None) -> list[str]:
    """Return the options of the command line for how a model works, on one image or on many."""
    options = ["--precision", precision] if precision != "auto" else []
    options += ["--top-level", topLevel] if topLevel else []
    return options + ([] if vertebrae is None else ["--vertebrae" if vertebrae else "--no-vertebrae"])
