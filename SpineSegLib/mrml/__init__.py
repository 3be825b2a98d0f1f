"""Between Slicer's scene and SpineSeg's values; the only package that imports slicer or vtk, and it knows no torch.

Importing it loads neither: it can be imported, and its worker protocol tested, without Slicer.
"""

from SpineSegLib.mrml.choices import Choice, models_for
from SpineSegLib.mrml.dicom import modality_of
from SpineSegLib.mrml.exchange import Exchange, receive, send
from SpineSegLib.mrml.scenes import write_scene
from SpineSegLib.mrml.segmentations import segmentation_from_node, show_segmentation
from SpineSegLib.mrml.tables import metrics_table
from SpineSegLib.mrml.terminology import register_terminology
from SpineSegLib.mrml.volumes import image_from_node
from SpineSegLib.mrml.worker import Worker

__all__ = [
    "Choice",
    "Exchange",
    "Worker",
    "image_from_node",
    "metrics_table",
    "modality_of",
    "models_for",
    "receive",
    "register_terminology",
    "segmentation_from_node",
    "send",
    "show_segmentation",
    "write_scene",
]
