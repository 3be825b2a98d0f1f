"""Between Slicer's scene and SpineSeg's values; the only package that imports slicer or vtk, and it knows no torch.

Importing it loads neither: it can be imported, and its worker protocol tested, without Slicer.
"""

from SpineSegLib.anatomy import LEVELS
from SpineSegLib.errors import InputError
from SpineSegLib.mrml.batching import Batched, Batcher, batch_models, selected_series
from SpineSegLib.mrml.charts import chart_of
from SpineSegLib.mrml.choices import Choice, describe_volume, models_for
from SpineSegLib.mrml.dicom import modality_of
from SpineSegLib.mrml.edited import stamp
from SpineSegLib.mrml.exchange import Exchange, receive, send
from SpineSegLib.mrml.explaining import Explained, Explainer, show_volume_as_map
from SpineSegLib.mrml.measuring import Measured, Measurer
from SpineSegLib.mrml.refining import Refined, Refiner, models_for_a_click
from SpineSegLib.mrml.reporting import Exported, Exporter
from SpineSegLib.mrml.run import Result, Runner
from SpineSegLib.mrml.samples import SAMPLES, Sample, load_sample, register_samples
from SpineSegLib.mrml.scenes import write_scene
from SpineSegLib.mrml.segmentations import segmentation_from_node, show_segmentation
from SpineSegLib.mrml.tables import metrics_table
from SpineSegLib.mrml.terminology import register_terminology
from SpineSegLib.mrml.views import show_chart, show_in_views
from SpineSegLib.mrml.volumes import image_from_node
from SpineSegLib.mrml.weights import Managed, WeightsKeeper, current_folder, missing_packages, weights_rows
from SpineSegLib.mrml.worker import CANCELLED, DONE, FAILED, Outcome, Worker

__all__ = [
    "CANCELLED",
    "DONE",
    "FAILED",
    "LEVELS",
    "SAMPLES",
    "Batched",
    "Batcher",
    "Choice",
    "Exchange",
    "Explained",
    "Explainer",
    "Exported",
    "Exporter",
    "InputError",
    "Managed",
    "Measured",
    "Measurer",
    "Outcome",
    "Refined",
    "Refiner",
    "Result",
    "Runner",
    "Sample",
    "WeightsKeeper",
    "Worker",
    "batch_models",
    "chart_of",
    "current_folder",
    "describe_volume",
    "image_from_node",
    "load_sample",
    "metrics_table",
    "missing_packages",
    "modality_of",
    "models_for",
    "models_for_a_click",
    "receive",
    "register_samples",
    "register_terminology",
    "segmentation_from_node",
    "selected_series",
    "send",
    "show_chart",
    "show_in_views",
    "show_segmentation",
    "show_volume_as_map",
    "stamp",
    "weights_rows",
    "write_scene",
]
