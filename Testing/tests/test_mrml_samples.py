"""Sample data: each sample's truth lies on its image with the right levels; what goes wrong leaves no trace."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.mrml import SAMPLES, Worker, jobs, load_sample, modality_of, register_samples, samples
from SpineSegLib.mrml.segmentations import same_grid

ROOT = Path(__file__).resolve().parents[2]
ICONS = ROOT / "SpineSeg" / "Resources" / "Icons"
NECK = SAMPLES[0]
MODALITIES = {"lateral-cervical": "XR", "ap": "XR", "lateral-lumbar": "XR", "ct": "CT", "mr": "MR"}


@pytest.fixture
def untouched(scene):
    """Assert at the end that the test left the scene and the temporary folder as they were."""
    import slicer

    def state():
        folders = Path(jobs.temporary_folder()).glob(f"{jobs.FOLDER_PREFIX}*")
        return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")], sorted(folders)

    before = state()
    yield
    assert state() == before


class Generator:
    """The worker's program called as a function, with more options; keeps the truth that it wrote in numbers."""

    def __init__(self, *options: str):
        self.options, self.truth = options, None

    def start(self, arguments, variables, onLine, onDone):
        assert arguments[1:4] == ["-m", "SpineSegLib", "phantom"]
        status = main([*arguments[3:], *self.options])
        (path,) = Path(arguments[arguments.index("--out") + 1]).glob("truth/*.json")
        self.truth = json.loads(path.read_text(encoding="utf-8"))
        onDone(status)


@pytest.fixture(scope="module")
def small_neck(tmp_path_factory):
    """Return a function that writes a small neck, made once, as the worker does."""
    folder = tmp_path_factory.mktemp("neck") / "sample"
    assert main([*NECK.arguments(folder), "--size", "128"]) == 0
    return lambda target: shutil.copytree(folder, target)


def worker(lines: list[str], status: int, write=lambda folder: None) -> Worker:
    """Return a worker that says and writes this, and ends."""

    def start(arguments, variables, onLine, onDone):
        write(Path(arguments[arguments.index("--out") + 1]))
        for line in lines:
            onLine(line)
        onDone(status)

    return Worker(start=start, end=lambda pid: None)


def masks(truth_node, volume_node) -> dict[str, np.ndarray]:
    """Return each segment's voxels on the volume's grid, as Slicer finds them, by name."""
    import slicer

    segmentation = truth_node.GetSegmentation()
    return {
        segmentation.GetSegment(name).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            truth_node, name, volume_node
        ).astype(bool)
        for name in segmentation.GetSegmentIDs()
    }


def test_neck_from_the_real_worker_lies_under_its_truth(scene, slicer_host):
    """Bone is brighter than what lies around it, and less so where the masks are moved or mirrored."""
    import slicer
    from scipy.ndimage import binary_dilation

    volume_node, truth_node = load_sample(NECK)
    assert modality_of(volume_node) == ("XR", "set on the volume")
    assert volume_node.GetName() == NECK.name
    assert truth_node.GetName() == f"{NECK.name} truth"
    found = masks(truth_node, volume_node)
    assert {f"C{n}" for n in range(1, 8)} <= set(found)
    picture = slicer.util.arrayFromVolume(volume_node)[0].astype(float)
    bodies = np.any([found[f"C{n} body"][0] for n in range(3, 7)], axis=0)

    def contrast(mask):
        ring = binary_dilation(mask, iterations=25) & ~binary_dilation(mask, iterations=5)
        return picture[mask].mean() - picture[ring].mean()

    there = contrast(bodies)
    assert there > 0
    for moved in (np.roll(bodies, 60, axis=1), np.roll(bodies, -60, axis=1), bodies[:, ::-1], bodies[::-1]):
        assert contrast(moved) < there


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)
def test_truth_lies_where_the_numbers_say(sample, scene):
    """The centre of each vertebra and its body, from the phantom's own JSON, is in the segment of that level."""
    generator = Generator("--size", "256" if sample.kind == "ap" else "160")
    volume_node, truth_node = load_sample(sample, worker=Worker(start=generator.start))
    assert modality_of(volume_node)[0] == MODALITIES[sample.kind]
    assert same_grid(truth_node, volume_node)  # compared voxel by voxel, nothing is resampled
    found = masks(truth_node, volume_node)
    assert set(found) == set(generator.truth["structures"])
    shape = next(iter(found.values())).shape
    inside = 0
    for level, points in generator.truth["points"].items():
        mask = found.get(f"{level} body")
        if mask is None or "centroid" not in points:
            continue
        place = points["centroid"]
        index = np.rint([0, *place] if len(place) == 2 else place[::-1]).astype(int)
        if (index >= 0).all() and (index < shape).all():
            assert mask[tuple(index)], level
            inside += 1
    assert inside >= 4


def test_two_of_a_sample_have_names_of_their_own(scene, small_neck):
    nodes = [load_sample(NECK, worker=worker([], 0, small_neck)) for _ in range(2)]
    names = [node.GetName() for pair in nodes for node in pair]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        (["error: DIR: no room. Choose another folder."], 1, "DIR: no room"),
        (["Traceback", "ModuleNotFoundError: No module named 'scipy'"], 1, "No module named 'scipy'"),
        ([], -9, "stopped unexpectedly"),
    ],
)
def test_failed_worker_is_told_in_one_line(untouched, lines, status, said):
    with pytest.raises(RuntimeError, match=f"^{NECK.name}: .*{said}") as caught:
        load_sample(NECK, worker=worker(lines, status))
    assert "\n" not in str(caught.value)


def test_worker_that_wrote_nothing_or_rubbish_is_told_in_one_line(untouched):
    def rubbish(folder):
        (folder / "dicom").mkdir(parents=True)
        (folder / "dicom" / "x.dcm").write_bytes(b"no film")
        (folder / "x.seg.nrrd").write_bytes(b"no masks")

    for write in (lambda folder: None, rubbish):
        with pytest.raises(InputError) as caught:
            load_sample(NECK, worker=worker([], 0, write))
        assert "\n" not in str(caught.value)


def test_truth_that_cannot_be_shown_takes_its_volume_along(untouched, monkeypatch, small_neck):
    monkeypatch.setattr(samples, "show_segmentation", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load_sample(NECK, worker=worker([], 0, small_neck))


def test_click_on_a_failing_sample_shows_the_reason_once(untouched, slicer_host, monkeypatch):
    monkeypatch.setattr(samples, "Worker", lambda: worker(["error: DIR: no room. Choose another folder."], 1))
    NECK(object())
    errors = [shown.text for shown in slicer_host.displayed if shown.kind == "error"]
    assert errors == [f"{NECK.name}: DIR: no room. Choose another folder."]


def test_cancel_ends_the_process_and_says_nothing(untouched, slicer_host, monkeypatch):
    import qt
    import slicer

    callbacks, ended = [], []

    def start(arguments, variables, onLine, onDone):
        callbacks.append(onDone)
        return SimpleNamespace(pid=77)

    def end(pid):
        ended.append(pid)
        callbacks.pop()(-15)

    def click():
        (dialog,) = [w for w in slicer.app.topLevelWidgets() if w.className() == "QProgressDialog" and w.visible]
        assert dialog.modal
        dialog.cancel()

    monkeypatch.setattr(samples, "Worker", lambda: Worker(start=start, end=end))
    qt.QTimer.singleShot(50, click)
    NECK(object())
    assert ended == [77]
    assert not slicer_host.displayed


def test_module_offers_the_samples_at_start_up_once_and_with_pictures(scene, slicer_host):
    import SampleData
    import slicer
    from PIL import Image as Pillow

    slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py")
    for _ in range(2):
        slicer.app.startupCompleted.emit()
    sources = SampleData.SampleDataLogic.sampleDataSourcesByCategory(samples.CATEGORY)
    assert [source.sampleName for source in sources] == [sample.name for sample in SAMPLES]
    assert [source.customDownloader for source in sources] == list(SAMPLES)
    assert slicer.modules.sampleDataSourceCategories == {samples.CATEGORY: {"title": "SpineSeg"}}
    for source in sources:
        path = Path(source.thumbnailFileName)
        assert Pillow.open(path).size == (260, 280)
        assert path.stat().st_size < 40_000


def test_slicer_without_sample_data_is_no_error(scene, monkeypatch):
    import slicer

    before = dict(slicer.modules.sampleDataSources)
    monkeypatch.setitem(sys.modules, "SampleData", None)
    assert register_samples(ICONS) is False
    assert slicer.modules.sampleDataSources == before
