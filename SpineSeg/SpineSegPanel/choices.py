"""What a user chooses from lists, with the words that the panel shows."""

import enum

from slicer.i18n import tr as _


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


class Explanation(enum.Enum):
    """What is shown of a model's reasons."""

    GRADCAM = "gradcam"
    ATTENTION = "attention"
    UNCERTAINTY = "uncertainty"

    def label(self) -> str:
        labels = {"GRADCAM": _("What it looked at (Grad-CAM)"), "ATTENTION": _("What it looked at (attention)")}
        labels |= {"UNCERTAINTY": _("Where it is unsure")}
        return labels[self.name]
