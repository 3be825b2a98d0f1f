"""The module's self-test: runs in Slicer ('Reload and Test') and in the headless host, on data made from arrays."""

import importlib.util
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from SpineSegLib import mrml
from SpineSegPanel.logic import SpineSegLogic


class SelfTestData:
    """What the tests of SpineSegTest share."""

    def makeVolume(self):
        """Return an oblique, anisotropic CT under a transform that turns, stretches and moves it."""
        import numpy as np

        values = np.random.default_rng(0).normal(0, 30, (24, 40, 36)).astype(np.int16)
        values[:, :4] = -1000
        values[4:20, 12:24, 10:22] = 900
        turn, tilt = np.radians(20), np.radians(-15)
        around_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        around_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(around_z) @ np.array(around_x) @ np.diag([-0.9, -0.8, 2.0])
        matrix[:3, 3] = (40, -20, 100)
        volumeNode = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="Test CT")
        transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Test transform")
        parent = np.array([[0.9, 0.3, 0, 12], [-0.3, 1.1, 0.1, -7], [0, 0, 1.2, 30], [0, 0, 0, 1]])
        slicer.util.updateTransformMatrixFromArray(transformNode, parent)
        volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
        return volumeNode

    def makeSegmentation(self, volumeNode, threshold: float = 500):
        """Return a segmentation node of what is bright, made with Slicer's own functions."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Test truth")
        node.CreateDefaultDisplayNodes()
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        segmentId = node.GetSegmentation().AddEmptySegment("spine", "spine")
        mask = (slicer.util.arrayFromVolume(volumeNode) > threshold).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentId, volumeNode)
        return node

    def masks(self, segmentationNode, volumeNode) -> list:
        """Return each segment's voxels on the volume's grid, as Slicer finds them."""
        segmentIds = segmentationNode.GetSegmentation().GetSegmentIDs()
        return [
            slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
            for segmentId in segmentIds
        ]

    def nodeIds(self) -> list[str]:
        return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]

    def leftovers(self) -> set[str]:
        """Return the temporary folders of runs."""
        return {path.name for path in Path(slicer.app.temporaryPath).glob("SpineSeg-run-*")}


class SpineSegTest(SelfTestData, ScriptedLoadableModuleTest):
    """Runs in Slicer ('Reload and Test') and in the headless host; no download, all data from arrays."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        for name in ("ObliqueVolume", "Process", "Truth", "Evaluate", "Cancel", "BadInput", "RealModel"):
            self.setUp()
            self.delayDisplay(f"Test: {name}")
            getattr(self, f"test_{name}")()
        self.delayDisplay("All tests passed")

    def logicWith(self, start: Callable) -> SpineSegLogic:
        """Return a logic whose worker process is a function of the test."""
        return SpineSegLogic(mrml.Worker(start=start, end=lambda pid: None))

    def test_ObliqueVolume(self) -> None:
        """A segmentation goes out of the scene and in again without a voxel moving."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        segmentation = mrml.segmentation_from_node(truthNode, volumeNode)
        shown = mrml.show_segmentation(segmentation, volumeNode, name="Copy")
        (before,), (after,) = self.masks(truthNode, volumeNode), self.masks(shown, volumeNode)
        self.assertGreater(before.sum(), 0)
        self.assertTrue((before == after).all())
        self.assertEqual(shown.GetTransformNodeID(), volumeNode.GetTransformNodeID())

    def test_Process(self) -> None:
        """What the worker writes appears on the volume; the same node is filled by the next run."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        folder = Path(slicer.util.tempDirectory())
        slicer.util.saveNode(truthNode, str(folder / "made.seg.nrrd"))
        lines = []

        def start(arguments, variables, onLine, onDone):
            self.assertIn("segment", arguments)
            self.assertEqual(arguments[arguments.index("--modality") + 1], "CT")
            shutil.copy(folder / "made.seg.nrrd", arguments[arguments.index("--output") + 1])
            onLine('{"step": 1, "of": 2, "what": "testing"}')
            onLine('{"warnings": ["a warning"]}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        logic = self.logicWith(start)
        before = self.leftovers()
        result = logic.process(volumeNode, "any-model", onProgress=lambda *progress: lines.append(progress))
        self.assertEqual(lines, [(1, 2, "testing")])
        self.assertEqual(result.warnings, ("a warning",))
        self.assertTrue(
            (self.masks(result.segmentationNode, volumeNode)[0] == self.masks(truthNode, volumeNode)[0]).all()
        )
        again = logic.process(volumeNode, "any-model", result.segmentationNode)
        self.assertIs(again.segmentationNode, result.segmentationNode)
        self.assertEqual(self.leftovers(), before)
        shutil.rmtree(folder)

    def test_Truth(self) -> None:
        """A chosen ground truth is sent along, and the numbers that come back appear in a table."""
        volumeNode = self.makeVolume()
        truthNode = self.makeSegmentation(volumeNode)
        folder = Path(slicer.util.tempDirectory())
        slicer.util.saveNode(truthNode, str(folder / "made.seg.nrrd"))

        def start(arguments, variables, onLine, onDone):
            if "segment" in arguments:
                shutil.copy(folder / "made.seg.nrrd", arguments[arguments.index("--output") + 1])
            else:
                self.assertTrue(Path(arguments[arguments.index("evaluate") + 2]).is_file())
                onLine('{"overall": {"dice": 0.875}, "structures": {"spine": {"dice": 0.5}}}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        result = self.logicWith(start).process(volumeNode, "any-model", truthNode=truthNode)
        table = result.tableNode.GetTable()
        self.assertEqual([table.GetValueByName(row, "dice").ToDouble() for row in range(2)], [0.875, 0.5])
        shutil.rmtree(folder)

    def test_Evaluate(self) -> None:
        """Two segmentations go to the worker, and its numbers come back as a table with a chart."""
        volumeNode = self.makeVolume()
        truthNode, predictionNode = self.makeSegmentation(volumeNode), self.makeSegmentation(volumeNode, threshold=0)

        def start(arguments, variables, onLine, onDone):
            self.assertTrue(all(Path(name).is_file() for name in arguments[4:6]))
            onLine('{"overall": {"dice": 0.875}, "structures": {"spine": {"dice": 0.5}}, "warnings": ["a warning"]}')
            qt.QTimer.singleShot(0, lambda: onDone(0))

        result = self.logicWith(start).evaluate(predictionNode, truthNode)
        table = result.tableNode.GetTable()
        self.assertEqual([table.GetValueByName(row, "dice").ToDouble() for row in range(2)], [0.875, 0.5])
        self.assertEqual(result.warnings, ("a warning",))
        self.assertEqual(mrml.chart_of(result.tableNode).GetID(), result.chartNode.GetID())

    def test_Cancel(self) -> None:
        """A run that is cancelled half-way leaves scene and disk as they were."""
        volumeNode = self.makeVolume()
        outputNode = self.makeSegmentation(volumeNode)
        (mask,), before, files = self.masks(outputNode, volumeNode), self.nodeIds(), self.leftovers()
        ended = []

        def start(arguments, variables, onLine, onDone):
            cancelFile = Path(arguments[arguments.index("--cancel-file") + 1])

            def work(step=0):
                if cancelFile.exists():
                    onDone(3)
                    return
                onLine(f'{{"step": {step}, "of": 100, "what": "working"}}')
                qt.QTimer.singleShot(10, lambda: work(step + 1))

            qt.QTimer.singleShot(0, work)

        logic = self.logicWith(start)
        logic.process(
            volumeNode,
            "any-model",
            outputNode,
            waitForCompletion=False,
            onProgress=lambda step, of, what: logic.cancel() if step == 3 else None,
            onDone=ended.append,
        )
        self.assertRaises(RuntimeError, logic.process, volumeNode, "any-model")
        end = time.monotonic() + 30
        while logic.busy and time.monotonic() < end:
            slicer.app.processEvents()
        self.assertEqual([result.state for result in ended], [mrml.CANCELLED])
        self.assertEqual((self.nodeIds(), self.leftovers()), (before, files))
        self.assertTrue((self.masks(outputNode, volumeNode)[0] == mask).all())

    def test_BadInput(self) -> None:
        """Input that cannot be used is told in one line that names the volume; nothing is started."""
        volumeNode = self.makeVolume()
        slicer.util.arrayFromVolume(volumeNode)[:] = 7
        slicer.util.arrayFromVolumeModified(volumeNode)
        before, files = self.nodeIds(), self.leftovers()
        with self.assertRaises(mrml.InputError) as caught:
            self.logicWith(lambda *_: self.fail("a process was started")).process(volumeNode, "any-model")
        self.assertTrue(str(caught.exception).startswith("Test CT: "))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual((self.nodeIds(), self.leftovers()), (before, files))

    def test_RealModel(self) -> None:
        """The real worker process segments a volume with a model that has weights, where there are model and torch."""
        volumeNode = self.makeVolume()
        names = [choice.name for choice in mrml.models_for(volumeNode) if choice.weights != "absent"]
        if not names or importlib.util.find_spec("torch") is None:
            self.delayDisplay("Skipped: no model with weights, or no PyTorch")
            return
        steps = []
        result = SpineSegLogic().process(
            volumeNode, names[0], device="cpu", onProgress=lambda *line: steps.append(line)
        )
        self.assertGreater(len(steps), 1)
        self.assertEqual(result.segmentationNode.GetTransformNodeID(), volumeNode.GetTransformNodeID())
        for mask in self.masks(result.segmentationNode, volumeNode):
            self.assertEqual(mask.shape, slicer.util.arrayFromVolume(volumeNode).shape)
