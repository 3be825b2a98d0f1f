"""Showing a volume and its segmentation in the slice views."""

from __future__ import annotations

import numpy as np

from SpineSegLib.image import Segmentation


def show_in_views(volumeNode, segmentation: Segmentation | None = None) -> None:
    """Show a volume in every slice view, through the middle of what was segmented.

    A single slice is shown in its own plane; the orientation of views is left alone otherwise. Nothing happens where
    there are no views.
    """
    import slicer

    application = getattr(slicer, "app", None)
    logics = application.applicationLogic().GetSliceLogics() if application else None
    if logics is None:
        return
    centre = middle_of(segmentation) if segmentation is not None else None
    for number in range(logics.GetNumberOfItems()):
        sliceLogic = logics.GetItemAsObject(number)
        sliceNode = sliceLogic.GetSliceNode()
        if sliceNode is None or sliceLogic.GetSliceCompositeNode() is None:
            continue
        sliceLogic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        if volumeNode.GetImageData().GetDimensions()[2] == 1:
            sliceNode.RotateToVolumePlane(volumeNode)
        sliceLogic.FitSliceToBackground()
        if centre is not None:
            sliceNode.JumpSliceByOffsetting(*centre)


def middle_of(segmentation: Segmentation) -> tuple[float, float, float] | None:
    """Return the RAS position of the segmented voxel that lies nearest to the middle of them all, or None."""
    voxels = np.argwhere(segmentation.foreground)
    if voxels.size == 0:
        return None
    nearest = voxels[np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
    return tuple(float(value) for value in segmentation.geometry.to_world(nearest))
