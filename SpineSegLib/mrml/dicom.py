"""What Slicer's DICOM database and subject hierarchy know about a volume node: its modality, never the patient."""

from __future__ import annotations

import numpy as np

from SpineSegLib.image import MODALITIES

MODALITY_ATTRIBUTE = "SpineSeg.Modality"
"""Attribute of a volume node: its modality, for volumes that came without DICOM."""

_DICOM_MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "CR": "XR",
    "DX": "XR",
    "RG": "XR",
    "RF": "XR",
    "XA": "XR",
    "XR": "XR",
}
_QUANTITIES = {"112031": "CT", "110852": "MR"}
"""DICOM codes of a voxel's quantity, as Slicer's reader sets them: attenuation coefficient, MR signal intensity."""


def dicom_values(volumeNode, *tags: str) -> list[str]:
    """Return DICOM values (tags as ``"0008,0060"``) of a volume's first file; empty where there are none."""
    import slicer

    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return [""] * len(tags)
    return [database.instanceValue(uids[0], tag) or "" for tag in tags]


def modality_of(volumeNode) -> tuple[str | None, str]:
    """Return a volume's modality and how it is known.

    Asked in turn: the node's own attribute, DICOM, the subject hierarchy, the voxels' quantity and unit. What none of
    these says is guessed, and called a guess: a single slice is a radiograph, and a volume that holds air (below
    -900) and bone (above 300) is a CT in Hounsfield units.

    Returns
    -------
    modality : ``"XR"``, ``"CT"``, ``"MR"`` or None
    reason : short text for the panel
    """
    said = volumeNode.GetAttribute(MODALITY_ATTRIBUTE)
    if said in MODALITIES:
        return said, "set on the volume"
    modality = _DICOM_MODALITIES.get(dicom_values(volumeNode, "0008,0060")[0].strip().upper())
    if modality:
        return modality, "from DICOM"
    modality = _DICOM_MODALITIES.get(_hierarchy_modality(volumeNode).strip().upper())
    if modality:
        return modality, "from the subject hierarchy"
    quantity, units = volumeNode.GetVoxelValueQuantity(), volumeNode.GetVoxelValueUnits()
    if quantity and quantity.GetCodeValue() in _QUANTITIES:
        return _QUANTITIES[quantity.GetCodeValue()], "from its voxels' quantity"
    if units and (units.GetCodeValue() or "").lower().startswith("[hnsf"):
        return "CT", "from its voxels' unit"
    return _guess(volumeNode)


def _hierarchy_modality(volumeNode) -> str:
    import slicer

    scene = volumeNode.GetScene()
    if scene is None or scene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode") == 0:
        return ""
    hierarchyNode = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchyNode.GetItemByDataNode(volumeNode)
    return (hierarchyNode.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""


def _guess(volumeNode) -> tuple[str | None, str]:
    imageData = volumeNode.GetImageData()
    if imageData is None:
        return None, "no voxels"
    if imageData.GetDimensions()[2] == 1:
        return "XR", "guessed from its single slice"
    low, high = imageData.GetScalarRange()
    if np.isfinite([low, high]).all() and low <= -900 and high >= 300:
        return "CT", "guessed from its values"
    return None, "not known"
