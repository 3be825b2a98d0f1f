"""A run from Apply to its end with a worker that is a function: what happens when a step goes wrong."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Segmentation
from SpineSegLib.mrml import CANCELLED, DONE, FAILED, Runner, Worker, jobs, run


@pytest.fixture
def volume(scene, oblique):
    import slicer

    values = np.random.default_rng(0).integers(-1000, 1500, oblique.shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=oblique.ijk_to_ras, name="CT")


@pytest.fixture
def truth(volume, oblique):
    from SpineSegLib.mrml import show_segmentation

    return show_segmentation(spine(oblique), volume, name="Truth", surface=False)


def spine(geometry) -> Segmentation:
    mask = np.zeros(geometry.shape, bool)
    mask[2:7, 3:9, 4:11] = True
    return Segmentation.from_masks({Structure("spine"): mask}, geometry)


class Scripted:
    """A runner whose worker does what `steps` say: for `segment`, then for `evaluate`, (lines, exit status)."""

    def __init__(self, geometry, *steps):
        self.geometry, self.steps, self.asked, self.results = geometry, list(steps), [], []
        self.seconds = iter(range(100))
        self.runner = Runner(Worker(start=self.start, end=lambda pid: None), now=lambda: next(self.seconds))

    def start(self, arguments, variables, onLine, onDone):
        from SpineSegLib.io import write_segmentation

        self.asked.append(arguments[3:])
        lines, status = self.steps.pop(0)
        if status == 0 and "segment" in arguments:
            write_segmentation(spine(self.geometry), Path(arguments[arguments.index("--output") + 1]))
        for line in lines:
            onLine(line)
        onDone(status)

    def run(self, volume, **how):
        self.runner.start(volume, "some-model", onDone=self.results.append, **how)
        (result,) = self.results
        assert not self.runner.busy
        assert result is self.runner.result
        assert list(Path(jobs.temporary_folder()).glob(f"{jobs.FOLDER_PREFIX}*")) == []
        return result


def node_ids(scene) -> list[str]:
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


def test_arguments_are_those_of_the_command_line(volume, oblique):
    scripted = Scripted(oblique, ([], 0))
    result = scripted.run(volume, device="cpu", weightsFile="my weights.safetensors", modality="MR")
    (arguments,) = scripted.asked
    assert arguments[0] == "segment"
    options = dict(pairwise(arguments))
    assert options["--model"] == "some-model"
    assert options["--device"] == "cpu"
    assert options["--weights"] == "my weights.safetensors"
    assert options["--modality"] == "MR"
    assert options["--progress"] == "json"
    assert "--json" in arguments
    assert "--cancel-file" in arguments
    from SpineSegLib.cli import _parser

    assert _parser().parse_args(arguments).model == "some-model"
    assert (result.state, result.seconds) == (DONE, 1)
    assert result.segmentationNode.GetName() == "CT segmentation"
    assert result.segmentationNode.GetAttribute("SpineSeg.Model") == "some-model"


def test_failed_comparison_still_shows_the_segmentation(volume, truth, oblique):
    scripted = Scripted(oblique, (['{"warnings": ["w"]}'], 0), (["error: the truth is empty"], 1))
    result = scripted.run(volume, truthNode=truth)
    assert [arguments[0] for arguments in scripted.asked] == ["segment", "evaluate"]
    assert result.state == DONE
    assert result.segmentationNode is not None
    assert result.tableNode.GetTable().GetColumnByName("dice") is None
    assert result.error == "the truth is empty"
    assert result.warnings == ("w",)


def test_comparison_without_numbers_is_told(volume, truth, oblique):
    result = Scripted(oblique, ([], 0), (["nothing"], 0)).run(volume, truthNode=truth)
    assert result.segmentationNode is not None
    assert "no numbers" in result.error


def test_cancelling_the_comparison_leaves_the_scene_alone(volume, truth, oblique, scene):
    before = node_ids(scene)
    assert Scripted(oblique, ([], 0), ([], 3)).run(volume, truthNode=truth).state == CANCELLED
    assert node_ids(scene) == before


def test_failed_worker_leaves_the_scene_alone(volume, oblique, scene):
    before = node_ids(scene)
    result = Scripted(oblique, (["error: no model 'some-model'"], 1)).run(volume)
    assert (result.state, result.error) == (FAILED, "no model 'some-model'")
    assert node_ids(scene) == before


@pytest.mark.parametrize("error", [MemoryError(), KeyError("surprise"), InputError("volume: gone")])
def test_run_ends_whatever_goes_wrong_at_its_end(volume, oblique, scene, monkeypatch, error):
    before = node_ids(scene)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(run, "show_segmentation", fail)
    result = Scripted(oblique, ([], 0)).run(volume)
    assert result.state == FAILED
    assert result.error
    assert node_ids(scene) == before


def test_nodes_deleted_meanwhile_are_made_anew(volume, truth, oblique, scene):
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Output")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Table")

    class Deleting(Scripted):
        def start(self, *arguments):
            scene.RemoveNode(output)
            scene.RemoveNode(table)
            super().start(*arguments)

    numbers = '{"overall": {"dice": 1.0}, "structures": {}}'
    result = Deleting(oblique, ([], 0), ([numbers], 0)).run(
        volume, segmentationNode=output, tableNode=table, truthNode=truth
    )
    assert result.segmentationNode.GetScene() is scene
    assert result.segmentationNode is not output
    assert result.tableNode is not table


def test_start_that_fails_leaves_no_files(volume):
    def start(*_):
        raise OSError("no process")

    runner = Runner(Worker(start=start))
    with pytest.raises(OSError, match="no process"):
        runner.start(volume, "some-model")
    assert not runner.busy
    assert list(Path(jobs.temporary_folder()).glob(f"{jobs.FOLDER_PREFIX}*")) == []
