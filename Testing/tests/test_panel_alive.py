"""The panel stays alive: the event loop during a run, cancelling, crashes, many runs, and a worker that is a script."""

import json
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Segmentation
from SpineSegLib.mrml import jobs
from SpineSegLib.mrml.geometry import volume_geometry
from SpineSegLib.mrml.worker import GRACE, launch

STUB = Path(__file__).with_name("worker_stub.py")


def neck(geometry) -> Segmentation:
    """Two vertebrae, one above the other."""
    masks = {}
    for number, level in enumerate(("C5", "C6")):
        mask = np.zeros(geometry.shape, bool)
        rows = geometry.shape[1] // 2
        mask[:, number * rows + 1 : (number + 1) * rows - 1, 2:-3] = True
        masks[Structure("body", level)] = mask
    return Segmentation.from_masks(masks, geometry)


def chest(geometry) -> Segmentation:
    """Two vertebrae of the size that they have in a CT."""
    masks = {}
    for number, level in enumerate(("T5", "T6")):
        mask = np.zeros(geometry.shape, bool)
        mask[12 * number + 1 : 12 * number + 10, 180:240, 170:240] = True
        masks[Structure("vertebra", level)] = mask
    return Segmentation.from_masks(masks, geometry)


def add_film(name: str, shape=(1, 24, 20), seed: int = 0):
    import slicer

    values = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=np.diag([-0.5, -0.5, 1, 1.0]), name=name)


class Scripted:
    """A worker that is a function: writes the two vertebrae, says what it is told to, and ends."""

    def __init__(self, panel, *, lines=(), status=0, payload=None):
        self.asked, self.lines, self.status = [], lines, status
        self.payload = {"structures": STRUCTURES, "warnings": []} if payload is None else payload
        self.panel = panel
        panel.logic._runner._worker._start = self.start

    def start(self, arguments, variables, onLine, onDone):
        import qt

        from SpineSegLib.io import write_segmentation

        self.asked.append(arguments[3:])
        for line in self.lines:
            onLine(line)
        if self.status == 0:
            volume = self.panel.ui.inputVolumeSelector.currentNode()
            write_segmentation(neck(volume_geometry(volume)), Path(arguments[arguments.index("--output") + 1]))
            onLine(json.dumps(self.payload))
        qt.QTimer.singleShot(0, lambda: onDone(self.status))


STRUCTURES = [
    {"name": "C5 body", "level": "C5", "area_mm2": 250.0, "pixels": 1000, "confidence": 0.9},
    {"name": "C6 body", "level": "C6", "area_mm2": 300.0, "pixels": 1200},
]


def apply(panel, host, volume, model: str = "unet-xray-small") -> str:
    """Choose, click, wait; return what the panel says."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.modelComboBox.currentIndex = [choice.name for choice in panel.segment.choices].index(model)
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    panel.ui.applyButton.click()
    host.wait_until(lambda: not panel.logic.busy, timeout=120)
    return panel.ui.statusLabel.text


def run_folders() -> set[Path]:
    import slicer

    return set(Path(slicer.app.temporaryPath).glob("SpineSeg-run-*"))


def node_ids() -> list[str]:
    import slicer

    return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]


def test_result_table_has_level_size_and_confidence(panel, slicer_host):
    import qt

    Scripted(panel)
    assert apply(panel, slicer_host, add_film("Film")).startswith("Done in ")
    node = panel.ui.metricsTableView.mrmlTableNode()
    model = panel.ui.metricsTableView.model()
    titles = [model.headerData(n, qt.Qt.Horizontal) for n in range(model.columnCount())]
    assert titles == ["Structure", "Level", "Area (cm²)", "Confidence"]
    table = node.GetTable()
    assert [table.GetValueByName(row, "Level").ToString() for row in range(2)] == ["C5", "C6"]
    assert [table.GetValueByName(row, "area_cm2").ToDouble() for row in range(2)] == [2.5, 3.0]
    assert table.GetValueByName(0, "confidence").ToDouble() == 0.9
    assert np.isnan(table.GetValueByName(1, "confidence").ToDouble())
    assert panel.ui.metricsCollapsibleButton.visible
    shown = shown_in(panel.ui.metricsTableView)
    assert shown[0][-1] == "0.9"
    assert shown[1][-1] == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.904213", "0.9042"),
        ("20.6313", "20.63"),
        ("-3.14159", "-3.142"),
        ("1.23457e+06", "1234570"),
        ("12345.6", "12346"),
        ("0.5", "0.5"),
        ("18", "18"),
        ("0012345", "0012345"),
        ("1.2.840.10008", "1.2.840.10008"),
        ("C5", "C5"),
        ("nan", "–"),
        (None, ""),
    ],
)
def test_cells_show_four_digits_of_what_was_measured_and_names_as_they_are(slicer_host, value, shown):
    import qt
    from SpineSegPanel.cells import NumberDelegate

    assert NumberDelegate(None).displayText(value, qt.QLocale()) == shown


def shown_in(view) -> list[list[str]]:
    """Return what a table view writes into its cells."""
    import qt

    model, delegate = view.model(), view.itemDelegate()
    rows, columns = range(model.rowCount()), range(model.columnCount())
    return [[delegate.displayText(model.index(r, c).data(), qt.QLocale()) for c in columns] for r in rows]


def test_reasons_of_a_pipeline_are_shown(panel, slicer_host):
    Scripted(panel, payload={"structures": STRUCTURES, "warnings": ["It stopped above C5: <no> vertebra was seen."]})
    status = apply(panel, slicer_host, add_film("Film"))
    assert "It stopped above C5: &lt;no&gt; vertebra was seen." in status
    assert panel.ui.statusLabel.styleSheet == ""


def test_crash_shows_the_last_lines_and_what_to_do(panel, slicer_host):
    lines = ["one", "two", "Traceback (most recent call last):", "  File x", "ValueError: the end"]
    Scripted(panel, lines=lines, status=134)
    status = apply(panel, slicer_host, add_film("Film"))
    assert "status 134" in status
    assert "ValueError: the end" in status
    assert "Processor (CPU)" in status
    assert "one" not in status.split("<br>")
    assert panel.ui.statusLabel.styleSheet != ""
    import slicer

    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    panel.ui.copyLogButton.click()
    import qt

    assert qt.QApplication.clipboard().text().splitlines()[-len(lines) :] == lines


def test_killed_for_memory_is_told_so(panel, slicer_host):
    Scripted(panel, status=137)
    assert "not enough memory" in apply(panel, slicer_host, add_film("Film"))


def test_advanced_choices_reach_the_command_line_where_they_apply(panel, slicer_host):
    from SpineSegLib.cli import _parser

    scripted = Scripted(panel)
    film = add_film("Lateral neck")
    parameters = panel._parameterNode
    panel.ui.thresholdSpinBox.value = 0.7
    panel.ui.confidenceCheckBox.checked = True
    panel.ui.precisionComboBox.currentIndex = 1
    panel.ui.topLevelComboBox.currentIndex = 2
    assert parameters.topLevel.value == "C2"
    apply(panel, slicer_host, film, "spinefm-cervical-small")
    options = _parser().parse_args(scripted.asked[0])
    assert (options.threshold, options.precision, options.top_level) == (0.7, "float32", "C2")
    assert options.confidence
    assert options.vertebrae is None
    apply(panel, slicer_host, film, "unet-xray-small")
    assert not panel.ui.topLevelComboBox.enabled
    assert not panel.ui.vertebraeComboBox.enabled
    assert _parser().parse_args(scripted.asked[1]).top_level is None


def test_another_volume_gets_a_result_of_its_own(panel, slicer_host):
    import slicer

    Scripted(panel)
    first, second = add_film("First"), add_film("Second", shape=(1, 30, 22), seed=1)
    apply(panel, slicer_host, first)
    one = panel.ui.outputSegmentationSelector.currentNode()
    apply(panel, slicer_host, first)
    assert panel.ui.outputSegmentationSelector.currentNode() is one
    apply(panel, slicer_host, second)
    two = panel.ui.outputSegmentationSelector.currentNode()
    assert two is not one
    assert [node.GetName() for node in (one, two)] == ["First segmentation", "Second segmentation"]
    for node, volume in ((one, first), (two, second)):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), volume)
        assert (mask > 0).sum() == neck(volume_geometry(volume)).mask("C5 body").sum()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2


def test_choices_and_result_survive_saving_and_loading_the_scene(panel, slicer_host, tmp_path):
    import slicer

    Scripted(panel)
    apply(panel, slicer_host, add_film("Film"), "unet-neck-small")
    panel.ui.thresholdSpinBox.value = 0.35
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not panel.ui.metricsCollapsibleButton.visible
    panel.ui.thresholdSpinBox.value = 0.0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer_host.process_events()
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == "Film"
    assert panel._parameterNode.modelName == "unet-neck-small"
    assert panel.ui.thresholdSpinBox.value == pytest.approx(0.35)
    assert panel.ui.outputSegmentationSelector.currentNode().GetName() == "Film segmentation"
    assert panel.ui.metricsTableView.mrmlTableNode().GetTable().GetNumberOfRows() == 2
    assert panel.ui.metricsCollapsibleButton.visible


def test_lateral_neck_is_offered_a_model_that_names_vertebrae_first(panel, monkeypatch):
    import SpineSegLib.models as models

    film = add_film("Neck lateral")
    monkeypatch.setattr(models, "weights_state", lambda card: "bundled" if card.name.endswith("small") else "absent")
    panel.ui.inputVolumeSelector.setCurrentNode(film)
    panel.segment.offer()
    chosen = panel.segment.choices[panel.ui.modelComboBox.currentIndex]
    assert chosen.counts
    assert "cervical" in chosen.name
    narrow = ("unet-neck-small", "unet-xray-small")
    monkeypatch.setattr(models, "weights_state", lambda card: "bundled" if card.name in narrow else "absent")
    panel.segment.offer()
    assert panel._parameterNode.modelName == "unet-neck-small"
    ap = add_film("Spine AP")
    panel.ui.inputVolumeSelector.setCurrentNode(ap)
    assert panel._parameterNode.modelName == "unet-xray-small"


def test_models_said_to_count_vertebrae_take_the_topmost_level():
    from inspect import signature

    from SpineSegLib.mrml.choices import COUNTING
    from SpineSegLib.pipelines.run import _pipelines

    counting = {name for name, function in _pipelines().items() if "top_level" in signature(function).parameters}
    assert set(COUNTING) <= counting
    from SpineSegLib.models import registry

    used = {card.pipeline["name"] for card in registry().values()}
    assert counting & used <= set(COUNTING)


def test_time_left_and_colours():
    from SpineSegPanel.status import style_of, time_left

    assert time_left(2, 1, 10) == ""
    assert time_left(10, 0, 10) == time_left(10, 10, 10) == ""
    assert time_left(10, 25, 100) == "about 30 s left"
    assert time_left(100, 25, 100) == "about 5 min left"
    import qt

    label = qt.QLabel()
    assert style_of(label, False) == ""
    bright = style_of(label, True)
    palette = qt.QPalette(label.palette)
    palette.setColor(qt.QPalette.Window, qt.QColor(40, 40, 40))
    label.setPalette(palette)
    assert style_of(label, True) not in ("", bright)


@pytest.fixture
def large(scene):
    """A CT that is written beside the event loop."""
    import slicer

    values = np.random.default_rng(0).integers(-1000, 1500, (24, 420, 420)).astype(np.int16)
    assert values.size > jobs.LARGE
    return slicer.util.addVolumeFromArray(values, ijkToRAS=np.diag([-0.7, -0.7, 2, 1.0]), name="Chest CT")


class Ticks:
    """The event loop's ticks; what counts is the main thread's own time between two of them.

    A busy machine takes from that time and makes it no longer, which it does with the time on the wall.
    """

    def __enter__(self):
        import qt

        self.count, self.longest, self._clock = 0, 0.0, time.thread_time()
        self._timer = qt.QTimer()
        self._timer.setInterval(5)
        self._timer.connect("timeout()", self._tick)
        self._timer.start()
        return self

    def _tick(self) -> None:
        now = time.thread_time()
        self.count, self.longest, self._clock = self.count + 1, max(self.longest, now - self._clock), now

    def __exit__(self, *_) -> None:
        self._tick()
        self._timer.stop()


def wait_for(panel, host) -> Ticks:
    """Click Apply, wait for the end of the run and a little longer, and return how the event loop went on."""
    with Ticks() as ticks:
        panel.ui.applyButton.click()
        host.wait_until(lambda: not panel.logic.busy, timeout=280)
        for _ in range(20):
            host.process_events()
            time.sleep(0.01)
    return ticks


def test_event_loop_goes_on_while_a_large_volume_goes_to_the_worker_and_back(panel, large, slicer_host, tmp_path):
    """Counted is the main thread's own time between ticks: a busy machine takes from it, and makes it no longer."""
    from SpineSegLib.io import write_segmentation

    made = tmp_path / "made.seg.nrrd"
    write_segmentation(chest(volume_geometry(large)), made)

    def start(arguments, variables, onLine, onDone):
        assert variables["TMPDIR"] == str(Path(arguments[arguments.index("--cancel-file") + 1]).parent)
        output = arguments[arguments.index("--output") + 1]
        assert Path(arguments[4]).stat().st_size > 2 * jobs.LARGE
        return launch([sys.executable, str(STUB), "copy", str(made), output], variables, onLine, onDone)

    panel.logic._runner._worker._start = start
    panel.ui.inputVolumeSelector.setCurrentNode(large)
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    ticks = wait_for(panel, slicer_host)
    assert panel.ui.statusLabel.text.startswith("Done in "), panel.ui.statusLabel.text
    assert ticks.longest < 0.2
    node = panel.ui.outputSegmentationSelector.currentNode()
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    for number in range(2):
        surface = node.GetSegmentation().GetNthSegment(number).GetRepresentation("Closed surface")
        assert surface.GetNumberOfPoints() > 1000


@pytest.fixture
def working(panel, large, tmp_path):
    """Let the panel segment the CT with a worker that takes ``seconds``, and return their number's setter."""
    from SpineSegLib.io import write_segmentation

    made = tmp_path / "made.seg.nrrd"
    write_segmentation(chest(volume_geometry(large)), made)

    def take(seconds: float) -> None:
        def start(arguments, variables, onLine, onDone):
            named = [arguments[arguments.index(name) + 1] for name in ("--output", "--cancel-file")]
            command = [sys.executable, str(STUB), "work", str(made), *named, str(seconds)]
            return launch(command, variables, onLine, onDone)

        panel.logic._runner._worker._start = start
        panel.ui.inputVolumeSelector.setCurrentNode(large)
        panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"

    return take


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_event_loop_goes_on_during_a_long_run(panel, working, slicer_host, seconds):
    working(seconds)
    steps = []
    panel.ui.progressBar.connect("valueChanged(int)", steps.append)
    started = time.monotonic()
    ticks = wait_for(panel, slicer_host)
    assert time.monotonic() - started > seconds
    assert panel.ui.statusLabel.text.startswith("Done in "), panel.ui.statusLabel.text
    assert ticks.longest < 0.2
    assert ticks.count > 10 * seconds, "the event loop went on all the time"
    assert len(set(steps)) > 3 * seconds, "what is done was shown all the time"


def files_of_slicer() -> set[Path]:
    """Return every file that runs could have left."""
    import slicer

    return set(Path(slicer.app.temporaryPath).rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("listens", [True, False])
def test_cancel_takes_two_seconds_at_most(panel, working, large, slicer_host, monkeypatch, listens):
    """On the wall, whether the worker looks at its cancel file or has to be ended; nothing is left of the run."""
    import slicer

    working(60)
    if not listens:
        monkeypatch.setattr(Path, "touch", lambda self: None)
    output = show_chest(large)
    panel.ui.outputSegmentationSelector.setCurrentNode(output)
    masks = voxels_of(output, large)
    nodes, files = node_ids(), files_of_slicer()
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 5, timeout=60)
    started = time.monotonic()
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=60)
    assert time.monotonic() - started < 2
    assert panel.ui.statusLabel.text == "Cancelled. Nothing was changed."
    assert panel.ui.applyButton.enabled
    assert node_ids() == nodes
    assert files_of_slicer() == files
    assert panel.ui.outputSegmentationSelector.currentNode() is output
    assert all((before == now).all() for before, now in zip(masks, voxels_of(output, large), strict=True))
    assert slicer.mrmlScene.GetNodeByID(output.GetID()) is output


def show_chest(volume):
    """Put two vertebrae into the scene."""
    from SpineSegLib.mrml import show_segmentation

    return show_segmentation(chest(volume_geometry(volume)), volume, name="Chest", surface=False)


def voxels_of(node, volume) -> list[np.ndarray]:
    import slicer

    ids = node.GetSegmentation().GetSegmentIDs()
    return [slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume).copy() for segment in ids]


def test_event_loop_goes_on_while_a_correction_of_a_large_volume_is_accepted(panel, large, slicer_host, monkeypatch):
    """Sent, compared with a truth and read back beside the event loop, by the real worker."""
    from SpineSegLib import io

    beside = {}
    for name, function in [(name, getattr(io, name)) for name in ("write_segmentation", "read_segmentation")]:

        def noted(*arguments, name=name, function=function, **more):
            beside.setdefault(name, []).append(threading.current_thread() is not threading.main_thread())
            return function(*arguments, **more)

        monkeypatch.setattr(io, name, noted)
    node, truth = show_chest(large), show_chest(large)
    section, parameters = panel.sections["Refine"], panel.logic.getParameterNode()
    parameters.inputVolume, parameters.outputSegmentation, parameters.truthSegmentation = large, node, truth
    section.parent.collapsed = False
    assert section.ui.acceptButton.enabled, section.ui.acceptButton.toolTip
    with Ticks() as ticks:
        section.ui.acceptButton.click()
        slicer_host.wait_until(lambda: not section.busy, timeout=280)
    assert section.ui.refineStatusLabel.styleSheet == "", section.ui.refineStatusLabel.text
    assert node.GetAttribute("SpineSeg.Accepted") == "1"
    table = parameters.metricsTable.GetTable()
    assert table.GetValueByName(0, "dice").ToDouble() == 1.0
    assert beside == {"write_segmentation": [True] * 3, "read_segmentation": [True]}
    assert ticks.longest < 0.2


def test_cancel_while_the_volume_is_being_written_starts_nothing(panel, large, slicer_host, monkeypatch):
    from SpineSegLib.mrml import exchange

    folders, before = run_folders(), node_ids()
    panel.logic._runner._worker._start = lambda *_: pytest.fail("a process was started")
    go_on, slow = [], exchange.check_voxels

    def check_voxels(*arguments):
        while not go_on:
            time.sleep(0.01)
        slow(*arguments)

    monkeypatch.setattr(exchange, "check_voxels", check_voxels)
    panel.ui.inputVolumeSelector.setCurrentNode(large)
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    panel.ui.applyButton.click()
    assert panel.logic.busy
    panel.ui.applyButton.click()
    assert not panel.logic.busy
    assert panel.ui.statusLabel.text == "Cancelled. Nothing was changed."
    go_on.append(True)
    slicer_host.wait_until(lambda: run_folders() == folders)
    assert node_ids() == before


def test_useless_large_volume_is_told_by_its_name(panel, large, slicer_host):
    import slicer

    slicer.util.arrayFromVolume(large)[:] = 7
    slicer.util.arrayFromVolumeModified(large)
    panel.ui.modalityComboBox.currentIndex = 1
    folders = run_folders()
    panel.ui.inputVolumeSelector.setCurrentNode(large)
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: not panel.logic.busy)
    assert panel.ui.statusLabel.text.startswith("Chest CT: every voxel has the value 7")
    slicer_host.wait_until(lambda: run_folders() == folders)


def test_cancel_ends_a_worker_that_does_not_listen_and_removes_its_files(panel, slicer_host):
    """It has GRACE seconds, then it and its children are ended; what they wrote is gone."""
    assert GRACE <= 1.5
    folders, started = run_folders(), []

    def start(arguments, variables, onLine, onDone):
        started.append(Path(variables["TMPDIR"]))
        return launch([sys.executable, str(STUB), "deaf"], variables, onLine, onDone)

    panel.logic._runner._worker._start = start
    panel.ui.inputVolumeSelector.setCurrentNode(add_film("Film"))
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    before = node_ids()
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: panel.ui.progressBar.value == 2)
    child = psutil.Process(int(panel.ui.statusLabel.text.split()[0]))
    shutil.copy(STUB, started[0] / "left behind")
    panel.ui.applyButton.click()
    slicer_host.wait_until(lambda: not panel.logic.busy, timeout=60)
    assert panel.ui.statusLabel.text == "Cancelled. Nothing was changed."
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert run_folders() == folders
    assert node_ids() == before


def test_surfaces_made_one_by_one_are_slicers_own(panel, large):
    from SpineSegLib.mrml import show_segmentation
    from SpineSegLib.mrml.surfaces import SURFACE, grow_surfaces

    part = chest(volume_geometry(large))
    whole = show_segmentation(part, large, name="At once", surface=True)
    node = show_segmentation(part, large, name="One by one", surface=False)
    turns = []
    grow_surfaces(node, lambda seconds, function: turns.append(function))
    while turns:
        turns.pop()()
    for number in range(2):
        one, other = (each.GetSegmentation().GetNthSegment(number).GetRepresentation(SURFACE) for each in (whole, node))
        assert one.GetNumberOfPoints() == other.GetNumberOfPoints() > 0
        assert one.GetBounds() == other.GetBounds()
    grow_surfaces(node, lambda seconds, function: turns.append(function))
    import slicer

    slicer.mrmlScene.RemoveNode(node)
    turns.pop()()
    assert turns == []


@pytest.mark.slow
def test_fifty_runs_do_not_grow(panel, slicer_host):
    Scripted(panel)
    film = add_film("Film", shape=(1, 900, 700))
    for _ in range(3):
        apply(panel, slicer_host, film)
    nodes, process = node_ids(), psutil.Process()
    before = process.memory_info().rss
    for _ in range(50):
        apply(panel, slicer_host, film)
    assert process.memory_info().rss - before < 50e6
    assert node_ids() == nodes
