"""Sample data for Slicer's module 'Sample Data': images of a digital spine with their exact truth, made on the spot.

Nothing is downloaded. The worker process (``python -m SpineSegLib phantom``) makes a sample from its seed in a few
seconds, with nothing but the packages that Slicer brings; the same seed gives the same voxels everywhere.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.errors import InputError, problem
from SpineSegLib.mrml.jobs import FOLDER_PREFIX, temporary_folder
from SpineSegLib.mrml.scenes import add_volume
from SpineSegLib.mrml.segmentations import show_segmentation
from SpineSegLib.mrml.views import show_in_views
from SpineSegLib.mrml.worker import CANCELLED, FAILED, Outcome, Worker

CATEGORY = "SpineSeg"


@dataclass(frozen=True)
class Sample:
    """One sample; Slicer calls it, with its SampleDataSource, when its button is clicked.

    Two of the same content print the same, by which Slicer knows that one is registered already.

    Parameters
    ----------
    name : of the button, and of the volume in the scene
    picture : file in the folder of icons
    kind, seed : as the command ``phantom`` takes them
    options : more options of that command
    """

    name: str
    picture: str
    kind: str
    seed: int
    options: tuple[str, ...] = ()

    def arguments(self, folder: Path) -> list[str]:
        """Return the worker's arguments that make this sample in a folder."""
        return ["phantom", "--kind", self.kind, "--seed", str(self.seed), *self.options, "--out", str(folder)]

    def __call__(self, source=None) -> None:
        """Make the sample behind a dialog with a Cancel button, and load it; what goes wrong is told in one line."""
        import qt
        import slicer

        # The dialog takes all clicks until the sample is there: no second sample, no other scene meanwhile.
        dialog = slicer.util.createProgressDialog(
            maximum=0,
            windowTitle=CATEGORY,
            labelText=f"Making '{self.name}' (nothing is downloaded) …",
            windowModality=qt.Qt.ApplicationModal,
        )
        dialog.show()
        error = ""
        try:
            load_sample(self, cancelled=lambda: dialog.wasCanceled)
        except (InputError, RuntimeError) as failure:
            error = str(failure)
        except Exception as failure:
            # An exception in a slot would go unseen: the user clicked, and must be told.
            logging.exception("SpineSeg: the sample could not be loaded")
            error = f"{self.name}: it could not be loaded ({failure}). Please report it."
        finally:
            dialog.close()
            dialog.deleteLater()
        if error:
            slicer.util.errorDisplay(error, windowTitle=CATEGORY)


SAMPLES = (
    Sample("Neck radiograph, lateral", "SampleNeck.png", "lateral-cervical", 1, ("--monochrome", "2")),
    Sample("Spine radiograph, AP", "SampleSpine.png", "ap", 7, ("--monochrome", "2", "--cobb", "25")),
    Sample("Lumbar radiograph, lateral", "SampleLumbar.png", "lateral-lumbar", 3, ("--monochrome", "2")),
    Sample("Lumbar CT", "SampleCT.png", "ct", 1, ("--region", "L1-L5")),
    Sample("Lumbar MR", "SampleMR.png", "mr", 1),
)


def register_samples(icons: str | Path) -> bool:
    """Offer the samples in Slicer's module 'Sample Data'; return False where that module is not there.

    Parameters
    ----------
    icons : folder of the samples' pictures
    """
    try:
        from SampleData import SampleDataLogic
    except ImportError:
        return False
    SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=CATEGORY)
    for sample in SAMPLES:
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            thumbnailFileName=str(Path(icons, sample.picture)),
            # Nothing to download: Slicer asks for lists of one length, not for entries.
            uris=[],
            fileNames=[],
            customDownloader=sample,
        )
    return True


def load_sample(sample: Sample, *, worker: Worker | None = None, cancelled: Callable[[], bool] = lambda: False):
    """Make a sample and put its volume and its truth into the scene; return when they are there.

    A custom downloader has loaded its nodes when it returns, so this waits for the worker process; Qt's events go on
    being processed, and Slicer draws and answers.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter of their own
    cancelled : asked while waiting; the process is ended and nothing is loaded when it says True

    Returns
    -------
    (vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode), or None when cancelled

    Raises
    ------
    RuntimeError : the worker failed; the scene is as it was
    InputError : what it wrote cannot be read; the scene is as it was
    """
    from SpineSegLib.io import read_image, read_segmentation

    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=temporary_folder()))
    try:
        outcome = _run(worker or Worker(), sample.arguments(folder / "sample"), cancelled)
        if outcome.state == CANCELLED:
            return None
        if outcome.state == FAILED:
            logging.error("SpineSeg: %s: %s", sample.name, outcome.log)
            msg = " ".join(f"{sample.name}: {outcome.error}".split())
            raise RuntimeError(msg)
        image = read_image(_only(folder, "dicom/*", sample.name))
        truth = read_segmentation(_only(folder, "**/*.seg.nrrd", sample.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _add(sample, image, truth)


def _run(worker: Worker, arguments: list[str], cancelled: Callable[[], bool]) -> Outcome:
    """Run the worker to its end."""
    import slicer

    ended: list[Outcome] = []
    worker.run([*arguments, "--json", "--progress", "none"], onDone=ended.append)
    try:
        while not ended:
            slicer.app.processEvents()
            if cancelled():
                worker.cancel()
            time.sleep(0.02)
    except BaseException:
        worker.kill()
        raise
    return ended[0]


def _only(folder: Path, pattern: str, name: str) -> Path:
    """Return the one file or folder that the worker was to write."""
    found = sorted((folder / "sample").glob(pattern))
    if len(found) != 1:
        raise problem(name, f"{len(found)} of '{pattern}' were written", "one", "Please report this with the log")
    return found[0]


def _add(sample: Sample, image, truth):
    """Add both nodes, or none."""
    import slicer

    scene = slicer.mrmlScene
    volumeNode = add_volume(scene, image, scene.GenerateUniqueName(sample.name))
    try:
        volumeNode.SetDescription(f"Digital spine, no patient: {sample.kind}, seed {sample.seed}")
        segmentationNode = show_segmentation(truth, volumeNode, name=f"{volumeNode.GetName()} truth")
    except BaseException:
        scene.RemoveNode(volumeNode.GetDisplayNode())
        scene.RemoveNode(volumeNode)
        raise
    show_in_views(volumeNode, truth)
    return volumeNode, segmentationNode
