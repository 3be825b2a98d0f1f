"""What a user chooses from lists, with the words that the panel shows."""

import enum

from slicer.i18n import tr as _

from SpineSegLib.mrml import LEVELS


class Modality(enum.Enum):
    """What the volume is."""

    AUTO = ""
    CT = "CT"
    XR = "XR"
    MR = "MR"

    def label(self) -> str:
        labels = {"AUTO": _("Automatic"), "CT": _("CT"), "XR": _("Radiograph"), "MR": _("MR")}
        return labels[self.name]


class Device(enum.Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        labels = {"AUTO": _("Automatic"), "CPU": _("Processor (CPU)")}
        labels |= {"CUDA": _("NVIDIA graphics card (CUDA)"), "MPS": _("Apple graphics (MPS)")}
        return labels[self.name]


class Precision(enum.Enum):
    """How the network calculates."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def label(self) -> str:
        labels = {"AUTO": _("Automatic"), "FLOAT32": _("Exact (float32)"), "BFLOAT16": _("Fast (bfloat16)")}
        return labels[self.name]


class Split(enum.Enum):
    """Whether the spine in one that a model of CT finds is split into vertebrae."""

    AUTO = ""
    YES = "--vertebrae"
    NO = "--no-vertebrae"

    def label(self) -> str:
        labels = {"AUTO": _("As the model suggests"), "YES": _("Yes"), "NO": _("No: the spine in one")}
        return labels[self.name]


class _Level(enum.Enum):
    def label(self) -> str:
        return self.value or _("Found by the model")


TopLevel = _Level("TopLevel", {"AUTO": "", **{level: level for level in LEVELS}})
"""Level of the topmost vertebra in the image; the others are counted from it."""


class Explanation(enum.Enum):
    """What is shown of a model's reasons."""

    GRADCAM = "gradcam"
    ATTENTION = "attention"
    UNCERTAINTY = "uncertainty"

    def label(self) -> str:
        labels = {"GRADCAM": _("What it looked at (Grad-CAM)"), "ATTENTION": _("What it looked at (attention)")}
        labels |= {"UNCERTAINTY": _("Where it is unsure")}
        return labels[self.name]


class BatchSource(enum.Enum):
    """Where the images of a batch come from."""

    FOLDER = "folder"
    TABLE = "table"
    DATABASE = "database"

    def label(self) -> str:
        labels = {"FOLDER": _("A folder"), "TABLE": _("A table of cases"), "DATABASE": _("The DICOM database")}
        return labels[self.name]
