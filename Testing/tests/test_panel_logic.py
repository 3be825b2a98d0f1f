"""What scripts call: SpineSegLogic's methods that wait, with the real worker process."""

import csv
from pathlib import Path

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Segmentation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logic(scene, slicer_host):
    """The logic without a panel."""
    slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py")
    from SpineSegPanel.logic import SpineSegLogic

    return SpineSegLogic()


@pytest.fixture
def film(scene):
    import slicer

    values = np.random.default_rng(0).integers(0, 4000, (1, 60, 50)).astype(np.int16)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=np.diag([-0.5, -0.5, 1, 1]), name="Doe^Jane")


def vertebra(volume, columns: slice):
    """Add a segmentation with one vertebra to the scene."""
    from SpineSegLib.mrml import show_segmentation
    from SpineSegLib.mrml.geometry import volume_geometry

    grid = volume_geometry(volume)
    mask = np.zeros(grid.shape, bool)
    mask[0, 10:20, columns] = True
    found = Segmentation.from_masks({Structure("vertebra", "L1"): mask}, grid)
    return show_segmentation(found, volume, name="Result", surface=False)


def run_folders() -> set[Path]:
    import slicer

    return set(Path(slicer.app.temporaryPath).glob("SpineSeg-run-*"))


def test_a_result_leaves_by_a_call_that_waits(logic, film, tmp_path):
    node, truth = vertebra(film, slice(10, 20)), vertebra(film, slice(15, 20))
    steps = []
    for name in ("a.csv", "a.html"):
        done = logic.export(
            film,
            node,
            str(tmp_path / name),
            truthNode=truth,
            case="Case 9",
            onProgress=lambda *step: steps.append(step),
        )
        assert done.state == "done"
        assert done.path == tmp_path / name
        assert not logic.exporter.busy
    assert steps[-1][0] == steps[-1][1]
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(next(value for key, value in row.items() if "dice" in key.lower())) == pytest.approx(2 / 3, abs=1e-4)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Case 9" in page
    assert "Doe^Jane" not in page
    assert run_folders() == set()


def test_an_export_that_cannot_be_raises_and_leaves_the_old_file(logic, film, tmp_path):
    node = vertebra(film, slice(10, 20))
    with pytest.raises(InputError, match="no segmentation is chosen"):
        logic.export(film, None, tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"Doe\^Jane: it did not come from the DICOM database"):
        logic.export(film, node, tmp_path / "a.dcm")
    (tmp_path / "a.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"a\.txt: .*unknown kind"):
        logic.export(film, node, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(RuntimeError, match="nowhere"):
        logic.export(film, node, tmp_path / "nowhere" / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]
    assert run_folders() == set()


class Process:
    """Stands in for the worker of a batch: writes its table, and ends as one does in which a case failed."""

    def __init__(self, out: Path, states: list[str]):
        self.out, self.states, self.asked = out, states, None

    def __call__(self, arguments, variables, onLine, onDone):
        import qt

        self.asked = arguments[3:]
        if self.states:
            self.out.mkdir()
            rows = [(f"case {number}", state) for number, state in enumerate(self.states)]
            with (self.out / "batch.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("case", "state"), *rows])
        onLine("error: films: 1 of 2 cases failed. Correct them.")
        qt.QTimer.singleShot(0, lambda: onDone(1))


def test_a_batch_returns_its_table_though_a_case_failed(scene, slicer_host, tmp_path):
    slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py")
    from SpineSegPanel.logic import SpineSegLogic

    from SpineSegLib import mrml
    from SpineSegLib.cli import _parser

    out = tmp_path / "out"
    process = Process(out, ["done", "failed"])
    logic = SpineSegLogic(mrml.Worker(start=process))
    found = logic.batch(
        tmp_path, "unet-xray-small", out, suffixes=[".seg.nrrd", ".pdf"], device="cpu", topLevel="C2", vertebrae=True
    )
    assert (found.done, found.failed, found.waiting) == (1, 1, 0)
    assert "1 of 2 cases failed" in found.error
    assert found.tableNode.GetTable().GetValueByName(1, "state").ToString() == "failed"
    asked = _parser().parse_args(process.asked)
    assert (asked.suffix, asked.device, asked.top_level, asked.vertebrae) == ([".seg.nrrd", ".pdf"], "cpu", "C2", True)
    with pytest.raises(InputError, match="there is nothing"):
        logic.batch(tmp_path / "nothing", "unet-xray-small", out)
    process.states, process.out = [], tmp_path / "other"
    with pytest.raises(RuntimeError, match="1 of 2 cases failed"):
        logic.batch(tmp_path, "unet-xray-small", process.out)


def test_every_method_for_scripts_is_described(logic):
    from SpineSegPanel.logic import SpineSegLogic

    for name, method in vars(SpineSegLogic).items():
        if callable(method) and not name.startswith("_") and name != "getParameterNode":
            assert method.__doc__, name
            code = method.__code__
            named = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            untold = [one for one in named if one not in method.__doc__ and one not in UNTOLD]
            assert not untold, f"{name}: {untold}"


UNTOLD = (
    "volumeNode",
    "predictionNode",
    "segmentationNode",
    "truthNode",
    "predictions",
    "truths",
    "modelName",
    "onProgress",
    "onLog",
)
"""Arguments whose names say all."""


def test_confidence_is_a_column_of_the_table_when_it_is_asked_for(logic):
    from SpineSegLib import mrml

    film, _ = mrml.load_sample(mrml.SAMPLES[0])
    plain = logic.process(film, "unet-neck-small", device="cpu")
    asked = logic.process(film, "unet-neck-small", device="cpu", confidence=True)
    names = [
        [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
        for table in (plain.tableNode, asked.tableNode)
    ]
    assert "confidence" not in names[0]
    column = names[1].index("confidence")
    sure = [float(asked.tableNode.GetCellText(row, column)) for row in range(asked.tableNode.GetNumberOfRows())]
    assert all(0.5 < value <= 1 for value in sure)
