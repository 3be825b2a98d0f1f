"""Data for the module's self-test, made from arrays with Slicer's own functions."""

from pathlib import Path

import slicer


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
