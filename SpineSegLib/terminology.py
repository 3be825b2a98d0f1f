"""Slicer terminology files with the spine's codes, made from `anatomy`: none of Slicer's own has single vertebrae.

``python -m SpineSegLib.terminology`` writes them anew into ``Resources/Terminology`` after a change of `anatomy`.
"""

from __future__ import annotations

import json
from pathlib import Path

from SpineSegLib.anatomy import (
    ANATOMICAL_STRUCTURE,
    LEVELS,
    REGION_CONTEXT,
    TYPE_CONTEXT,
    Code,
    Structure,
    all_structures,
)
from SpineSegLib.resources import resource

TYPE_FILE = "SpineSeg.term.json"
REGION_FILE = "SpineSegRegions.term.json"
_SCHEMAS = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas"


def _coded(code: Code) -> dict[str, str]:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value, "CodeMeaning": code.meaning}


def _one_per_code(structures: list[Structure]) -> list[Structure]:
    """Keep one structure for each code, as Slicer looks codes up by their value: without a level where there is one."""
    kept: dict[str, Structure] = {}
    for structure in sorted(structures, key=lambda structure: structure.level is not None):
        kept.setdefault(structure.code.value, structure)
    return sorted(kept.values(), key=lambda structure: structure.order)


def type_context() -> dict:
    """Return the terminology context of category and types (dcmqi's segment-context schema).

    T13, L6 and their discs have no code of their own: they are found as 'Vertebra' and 'Intervertebral disc'.
    """
    types = [
        {
            "recommendedDisplayRGBValue": list(structure.colour),
            **_coded(structure.code),
            "3dSlicerLabel": structure.name if structure.level is None or structure.region is None else structure.kind,
        }
        for structure in _one_per_code(all_structures())
    ]
    return {
        "SegmentationCategoryTypeContextName": TYPE_CONTEXT,
        "@schema": f"{_SCHEMAS}/segment-context-schema.json#",
        "SegmentationCodes": {"Category": [{**_coded(ANATOMICAL_STRUCTURE), "showAnatomy": True, "Type": types}]},
    }


def region_context() -> dict:
    """Return the context of anatomic regions (dcmqi's anatomic-context schema): the vertebra a part belongs to."""
    vertebrae = [Structure("vertebrae"), *(Structure("vertebra", level) for level in LEVELS)]
    return {
        "AnatomicContextName": REGION_CONTEXT,
        "@schema": f"{_SCHEMAS}/anatomic-context-schema.json#",
        "AnatomicCodes": {"AnatomicRegion": [_coded(structure.code) for structure in _one_per_code(vertebrae)]},
    }


def texts() -> dict[str, str]:
    """Return file name -> content of both terminology files."""
    contexts = {TYPE_FILE: type_context(), REGION_FILE: region_context()}
    return {name: json.dumps(context, indent=1) + "\n" for name, context in contexts.items()}


def write(folder: Path) -> None:
    """Write both files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(resource("Terminology"))
