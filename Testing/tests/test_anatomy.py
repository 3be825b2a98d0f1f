"""Codes, names, order and colours of the spine's structures, against DICOM's and VerSe's own lists."""

from __future__ import annotations

import itertools
import re

import pytest

from SpineSegLib.anatomy import (
    LEVELS,
    Structure,
    all_structures,
    neighbours,
    structure_coded,
    structure_named,
    verse_structures,
    vertebra_code,
)

# SNOMED CT codes as DICOM PS3.16 lists them (CID 7603, 7604, 6115), typed here once more, independently.
VERTEBRAE = """
C1 14806007 C2 39976000 C3 113205007 C4 5329002 C5 36978003 C6 36054005 C7 87391001 T1 64864005 T2 53733008 T3 1626008
T4 73071006 T5 56401006 T6 45296009 T7 62487009 T8 11068009 T9 82687006 T10 7610001 T11 12989004 T12 23215003
L1 66794005 L2 14293000 L3 36470004 L4 11994002 L5 49668003 S1 65985001
"""
DISCS = """
C2/C3 1078209008 C3/C4 58820006 C4/C5 49400002 C5/C6 73959003 C6/C7 75095006 C7/T1 37414007 T1/T2 40908007
T2/T3 6004007 T3/T4 2620004 T4/T5 82965004 T5/T6 72692000 T6/T7 74401007 T7/T8 28693002 T8/T9 9188009 T9/T10 113209001
T10/T11 34959001 T11/T12 1537001 T12/L1 76206002 L1/L2 80064006 L2/L3 67459009 L3/L4 62551000 L4/L5 84020006
L5/S1 715056000
"""
PARTS = {
    "body": "3572006",
    "spinous process": "55678000",
    "arch": "40265002",
    "lamina": "89340005",
    "pedicle": "78972004",
    "transverse process": "73400003",
    "superior articular process": "317665004",
    "inferior articular process": "317766009",
}
WHOLE = {
    "sacrum": "54735007",
    "coccyx": "64688005",
    "vertebrae": "51282000",
    "spine": "421060004",
    "spinal cord": "2748008",
    "spinal canal": "61853006",
    "discs": "360499006",
}


def pairs(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(("level", "code"), pairs(VERTEBRAE))
def test_vertebra_carries_its_snomed_code(level, code):
    structure = Structure("vertebra", level)
    assert (structure.code.scheme, structure.code.value) == ("SCT", code)
    assert structure.code.meaning == f"{level} vertebra"
    assert structure_coded(code) == structure


@pytest.mark.parametrize(("level", "code"), pairs(DISCS))
def test_disc_carries_its_snomed_code(level, code):
    structure = Structure("disc", level)
    assert structure.code.value == code
    assert structure_coded(code) == structure


@pytest.mark.parametrize(("kind", "code"), PARTS.items())
def test_part_carries_the_part_s_code_and_its_vertebra_as_region(kind, code):
    structure = Structure(kind, "C5")
    assert structure.code.value == code
    assert structure.region.value == "36978003"
    assert structure_coded(code, "36978003") == structure


@pytest.mark.parametrize(("kind", "code"), WHOLE.items())
def test_structure_without_level_carries_its_snomed_code(kind, code):
    structure = Structure(kind)
    assert structure.code.value == code
    assert structure.region is None


@pytest.mark.parametrize("level", ["T13", "L6"])
def test_level_without_a_code_is_a_vertebra_with_its_level_in_the_name(level):
    assert vertebra_code(level).value == "51282000"
    assert vertebra_code(level).meaning == f"{level} vertebra"
    assert structure_named(Structure("vertebra", level).name).level == level


def test_terminology_entry_has_slicer_s_form():
    entry = Structure("spinous process", "C5").terminology
    category, kind, modifier, context, region, region_modifier = entry.split("~")[1:]
    assert category == "SCT^123037004^Anatomical Structure"
    assert kind == "SCT^55678000^Spinous process of vertebra"
    assert region == "SCT^36978003^C5 vertebra"
    assert modifier == region_modifier == "^^"
    assert entry.split("~")[0] != context
    assert Structure("vertebra", "C5").terminology.split("~")[5] == "^^"


def test_entry_of_an_unknown_structure_is_slicer_s_own_for_tissue():
    assert Structure("other", label="Liver").terminology == (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~"
        "Anatomic codes - DICOM master list~^^~^^"
    )


def test_names_are_unique_and_mean_their_structure():
    structures = all_structures()
    names = [structure.name.lower() for structure in structures]
    assert len(set(names)) == len(names)
    for structure in structures:
        assert structure_named(structure.name) == structure
        assert structure_named(structure.name.upper()) == structure


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vertebrae_T5", Structure("vertebra", "T5")),
        ("vertebrae_C1", Structure("vertebra", "C1")),
        ("T5 vertebra", Structure("vertebra", "T5")),
        ("Vertebra L1", Structure("vertebra", "L1")),
        ("vert_T12", Structure("vertebra", "T12")),
        ("t05", Structure("vertebra", "T5")),
        ("C5 spinous process", Structure("spinous process", "C5")),
        ("Spinous_process_C5", Structure("spinous process", "C5")),
        ("C5 vertebral body", Structure("body", "C5")),
        ("L4-L5 disc", Structure("disc", "L4/L5")),
        ("disc_L5_S1", Structure("disc", "L5/S1")),
        ("intervertebral disc T12/L1", Structure("disc", "T12/L1")),
        ("left pedicle of L4", Structure("pedicle", "L4")),
        ("Superior articular process L4, right", Structure("superior articular process", "L4")),
        ("Sacrum", Structure("sacrum")),
        ("spinal_cord", Structure("spinal cord")),
        ("vertebral column", Structure("spine")),
        ("Vertebral bodies", Structure("bodies")),
    ],
)
def test_names_of_other_software_are_understood(name, expected):
    assert structure_named(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Liver",
        "rib_left_5",
        "T1 weighted lesion",
        "C8",
        "T14",
        "L7",
        "L1 and L2",
        "screw L4",
        "T5 metastasis",
        "C5 archive",
        "disc C1/C2",
        "disc C3-C5",
        "",
    ],
)
def test_other_names_are_not_mistaken_for_ours(name):
    structure = structure_named(name)
    assert structure.kind == "other"
    assert structure.label == name


def test_verse_labels_are_those_of_the_data_set():
    table = {number: structure.name for number, structure in verse_structures().items()}
    expected = {n: f"C{n}" for n in range(1, 8)} | {n: f"T{n - 7}" for n in range(8, 20)}
    expected |= {n: f"L{n - 19}" for n in range(20, 26)} | {26: "sacrum", 27: "coccyx", 28: "T13"}
    assert table == expected
    for number, structure in verse_structures().items():
        assert structure.verse_label == number
    assert Structure("vertebra", "S1").verse_label is None


def test_order_runs_from_head_to_foot():
    ordered = sorted((Structure("vertebra", level) for level in reversed(LEVELS)), key=lambda s: s.order)
    assert [structure.level for structure in ordered] == list(LEVELS)
    mixed = [Structure("sacrum"), Structure("disc", "C2/C3"), Structure("vertebra", "C3"), Structure("vertebra", "C2")]
    names = [structure.name for structure in sorted(mixed, key=lambda s: s.order)]
    assert names == ["C2", "C2/C3 disc", "C3", "sacrum"]


def test_optional_levels_may_be_absent_between_neighbours():
    assert neighbours("C7", "T1")
    assert neighbours("T12", "L1")
    assert neighbours("T12", "T13")
    assert neighbours("L5", "S1")
    assert not neighbours("C7", "T2")
    assert not neighbours("L1", "T12")
    assert not neighbours("T11", "T13")
    assert not neighbours("C5", "C5")


def test_neighbouring_vertebrae_differ_clearly_in_colour():
    colours = [Structure("vertebra", level).colour for level in LEVELS]
    for upper, lower in itertools.pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(upper, lower, strict=True)) > 90
    for structure in all_structures():
        assert len(structure.colour) == 3
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in structure.colour)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rib",), "rib"),
        (("vertebra", "C8"), "C8"),
        (("vertebra",), "None"),
        (("disc", "C5"), "C5"),
        (("disc", "C5/C7"), "C5/C7"),
        (("disc", "C6/C5"), "C6/C5"),
        (("disc", "C1/C2"), "C1/C2"),
        (("sacrum", "S1"), "S1"),
        (("other",), "label"),
        (("vertebra", "C5", "mine"), "label"),
    ],
)
def test_structure_that_cannot_exist_is_refused(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Structure(*arguments)
