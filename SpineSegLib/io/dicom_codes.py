"""What a segment of a DICOM segmentation shows: its codes as structures of the spine (PS3.3 C.8.20.4)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from SpineSegLib.anatomy import Structure, all_structures, structure_coded, structure_named

if TYPE_CHECKING:
    from pydicom import Dataset

_OPEN = {"85756007", "272673000", "123037004", "91723000", "113343008", ""}
"""Types that leave open what a segment shows (tissue, bone, anatomical structure, organ, no SNOMED code at all)."""
_SNOMED_RT = ("SRT", "SNM3", "99SDM")


def structure_of(segment: Dataset, label: str) -> Structure:
    """Return what a segment shows.

    Parameters
    ----------
    segment : an item of SegmentSequence
    label : its SegmentLabel, which says what the codes leave open: 'bone', or a vertebra without a code (T13, L6)

    Returns
    -------
    The structure with these codes; one of kind ``"other"`` under the label when they are none of ours.
    """
    kind = _code((segment.get("SegmentedPropertyTypeCodeSequence") or [None])[0])
    region = _code((segment.get("AnatomicRegionSequence") or [None])[0])
    named = structure_named(label)
    if kind in _OPEN:
        return named
    coded = structure_coded(kind, region) or structure_coded(kind) or _without_level(kind)
    if coded is None:
        return Structure("other", label=label)
    if coded.kind == "vertebrae" and region:
        coded = structure_coded(region) or coded
    agree = named.level is not None and named.code.value == coded.code.value
    return named if coded.level is None and agree else coded


def _without_level(kind: str) -> Structure | None:
    """Return the structure without a level that has this code, where some with a level have it too."""
    return next((one for one in all_structures() if one.level is None and one.code.value == kind), None)


def _code(item: Dataset | None) -> str:
    """Return a coded item's SNOMED-CT value; an empty one for other schemes."""
    if item is None:
        return ""
    value = str(item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or "")
    scheme = str(item.get("CodingSchemeDesignator", ""))
    if scheme in _SNOMED_RT:
        return _from_snomed_rt(value)
    return value if scheme == "SCT" else ""


@cache
def _from_snomed_rt(value: str) -> str:
    """Return the SNOMED-CT value of a SNOMED-RT one, which older files use, as far as it is one of ours."""
    from pydicom.sr.coding import Code

    ours = {structure.code.value for structure in all_structures()} | _OPEN - {""}
    wanted = Code(value, "SRT", "")
    return next((number for number in sorted(ours) if Code(number, "SCT", "") == wanted), value)
