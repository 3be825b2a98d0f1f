"""What a user chooses from lists, with the words that the panel shows."""

import enum

from slicer.i18n import tr as _

from SpineSegLib.mrml import LEVELS


class Choice(enum.Enum):
    """One of a list."""

    @classmethod
    def labels(cls) -> dict[str, str]:
        """Return what the panel shows for each name, in the language of now."""
        raise NotImplementedError

    def label(self) -> str:
        """Return what the panel shows."""
        return self.labels()[self.name]


class Modality(Choice):
    """What the volume is."""

    AUTO = ""
    CT = "CT"
    XR = "XR"
    MR = "MR"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {"AUTO": _("Automatic"), "CT": _("CT"), "XR": _("Radiograph"), "MR": _("MR")}


class Device(Choice):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {
            "AUTO": _("Automatic"),
            "CPU": _("Processor (CPU)"),
            "CUDA": _("NVIDIA graphics card (CUDA)"),
            "MPS": _("Apple graphics (MPS)"),
        }


class Precision(Choice):
    """How the network calculates."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {"AUTO": _("Automatic"), "FLOAT32": _("Exact (float32)"), "BFLOAT16": _("Fast (bfloat16)")}


class Split(Choice):
    """Whether the spine in one that a model of CT finds is split into vertebrae."""

    AUTO = ""
    YES = "--vertebrae"
    NO = "--no-vertebrae"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {"AUTO": _("As the model suggests"), "YES": _("Yes"), "NO": _("No: the spine in one")}


class _Level(Choice):
    @classmethod
    def labels(cls) -> dict[str, str]:
        return {level.name: level.value or _("Found by the model") for level in cls}


TopLevel = _Level("TopLevel", {"AUTO": "", **{level: level for level in LEVELS}})
"""Level of the topmost vertebra in the image; the others are counted from it."""


class Explanation(Choice):
    """What is shown of a model's reasons."""

    GRADCAM = "gradcam"
    ATTENTION = "attention"
    UNCERTAINTY = "uncertainty"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {
            "GRADCAM": _("What it looked at (Grad-CAM)"),
            "ATTENTION": _("What it looked at (attention)"),
            "UNCERTAINTY": _("Where it is unsure"),
        }


class BatchSource(Choice):
    """Where the images of a batch come from."""

    FOLDER = "folder"
    TABLE = "table"
    DATABASE = "database"

    @classmethod
    def labels(cls) -> dict[str, str]:
        return {"FOLDER": _("A folder"), "TABLE": _("A table of cases"), "DATABASE": _("The DICOM database")}
