"""Readers of public data sets and of folders of one's own: a folder goes in, cases come out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from SpineSegLib.datasets.cases import Case
from SpineSegLib.errors import problem

__all__ = ["READERS", "Case", "read_cases"]

READERS: dict[str, str] = {
    "aasce": "aasce",
    "bids": "bids",
    "buu-lspine": "buu_lspine",
    "cervspinenet": "cervspinenet",
    "csxa": "csxa",
    "ct-folder": "ct_folder",
    "ctspine1k": "ctspine1k",
    "dicom-seg": "dicom_seg",
    "image-mask-folder": "image_mask_folder",
    "nhanes": "nhanes",
    "phantom-folder": "phantom_folder",
    "several": "several",
    "spider": "spider",
    "spider-slices": "spider_slices",
    "verse": "verse",
    "volume-folder": "volume_folder",
}
"""Name in a recipe -> module of this package, whose ``cases(folder, **options)`` lists the set."""


def read_cases(reader: str, folder: str | Path, **options: object) -> list[Case]:
    """List a data set.

    Parameters
    ----------
    reader : a name of `READERS`
    folder : where the set lies
    options : of the reader

    Raises
    ------
    InputError : no such reader, folder or option, or a layout that the reader does not know
    """
    if reader not in READERS:
        raise problem("data", f"the reader {reader!r}", f"one of {', '.join(READERS)}", "Correct the recipe")
    module = import_module(f"SpineSegLib.datasets.{READERS[reader]}")
    try:
        return module.cases(folder, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise problem("data", str(error), f"options of the reader {reader}", "Correct the recipe") from error
