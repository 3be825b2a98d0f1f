"""Showing a volume, its segmentation, maps over it and charts in the views."""

from __future__ import annotations

import numpy as np

from SpineSegLib.image import Segmentation


def show_in_views(volumeNode, segmentation: Segmentation | None = None, voxel: np.ndarray | None = None) -> None:
    """Show a volume in every slice view, through the middle of what was segmented.

    A single slice is shown in its own plane; the orientation of views is left alone otherwise. Nothing happens where
    there are no views.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
    segmentation : what was segmented
    voxel : its `middle_voxel`, where that has been found already
    """
    if segmentation is not None and voxel is None:
        voxel = middle_voxel(segmentation)
    centre = None if voxel is None else segmentation.geometry.to_world(voxel)
    for sliceLogic in _slice_logics():
        sliceNode = sliceLogic.GetSliceNode()
        if sliceNode is None or sliceLogic.GetSliceCompositeNode() is None:
            continue
        sliceLogic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        if volumeNode.GetImageData().GetDimensions()[2] == 1:
            sliceNode.RotateToVolumePlane(volumeNode)
        sliceLogic.FitSliceToBackground()
        if centre is not None:
            sliceNode.JumpSliceByOffsetting(*(float(value) for value in centre))


def middle_of(segmentation: Segmentation) -> tuple[float, float, float] | None:
    """Return the RAS position of the segmented voxel that lies nearest to the middle of them all, or None."""
    voxel = middle_voxel(segmentation)
    return None if voxel is None else tuple(float(value) for value in segmentation.geometry.to_world(voxel))


def middle_voxel(segmentation: Segmentation) -> np.ndarray | None:
    """Return k, j, i of the segmented voxel that lies nearest to the middle of them all, or None."""
    voxels = np.argwhere(segmentation.foreground)
    if voxels.size == 0:
        return None
    return voxels[np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]


def show_as_foreground(volumeNode, opacity: float) -> None:
    """Show a volume over what the slice views show already. Nothing happens where there are no views."""
    for sliceLogic in _slice_logics():
        compositeNode = sliceLogic.GetSliceCompositeNode()
        if compositeNode is not None:
            compositeNode.SetForegroundVolumeID(volumeNode.GetID())
            compositeNode.SetForegroundOpacity(opacity)


def show_chart(chartNode) -> None:
    """Show a plot chart, in a layout that has a plot view."""
    import slicer

    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def _slice_logics() -> list:
    import slicer

    application = getattr(slicer, "app", None)
    logics = application.applicationLogic().GetSliceLogics() if application else None
    return [logics.GetItemAsObject(number) for number in range(logics.GetNumberOfItems())] if logics else []
