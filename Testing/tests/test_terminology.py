"""The terminology files are what anatomy says, and the real terminologies logic understands them."""

from __future__ import annotations

import pytest

from SpineSegLib import terminology
from SpineSegLib.anatomy import REGION_CONTEXT, TYPE_CONTEXT, all_structures
from SpineSegLib.resources import resource


@pytest.fixture(scope="module")
def logic():
    import slicer

    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    loaded = logic.LoadTerminologyFromFile(str(resource("Terminology", terminology.TYPE_FILE)))
    assert loaded == TYPE_CONTEXT
    assert logic.LoadRegionContextFromFile(str(resource("Terminology", terminology.REGION_FILE))) == REGION_CONTEXT
    return logic


def test_files_are_what_anatomy_says():
    for name, text in terminology.texts().items():
        assert resource("Terminology", name).read_text(encoding="utf-8") == text, (
            "run: python3 Testing/run.py python -m SpineSegLib.terminology"
        )


def test_every_structure_s_code_is_in_the_files_once():
    (category,) = terminology.type_context()["SegmentationCodes"]["Category"]
    values = [entry["CodeValue"] for entry in category["Type"]]
    assert len(values) == len(set(values))
    assert {structure.code.value for structure in all_structures()} == set(values)
    regions = [entry["CodeValue"] for entry in terminology.region_context()["AnatomicCodes"]["AnatomicRegion"]]
    assert len(regions) == len(set(regions))
    assert {structure.region.value for structure in all_structures() if structure.region} <= set(regions)


def test_slicer_understands_every_structure_s_entry(logic):
    import slicer

    for structure in all_structures():
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(structure.terminology, entry), structure.name
        assert entry.GetTerminologyContextName() == TYPE_CONTEXT
        assert entry.GetTypeObject().GetCodeValue() == structure.code.value
        region = entry.GetRegionObject().GetCodeValue() if structure.region else None
        assert region == (structure.region.value if structure.region else None)


def test_slicer_lists_every_code_with_its_colour(logic):
    import slicer

    category = slicer.vtkSlicerTerminologyCategory()
    assert logic.GetNthCategoryInTerminology(TYPE_CONTEXT, 0, category)
    count = logic.GetNumberOfTypesInTerminologyCategory(TYPE_CONTEXT, category)
    colours = {}
    for n in range(count):
        kind = slicer.vtkSlicerTerminologyType()
        assert logic.GetNthTypeInTerminologyCategory(TYPE_CONTEXT, category, n, kind)
        colours[kind.GetCodeValue()] = tuple(kind.GetRecommendedDisplayRGBValue())
    assert set(colours) == {structure.code.value for structure in all_structures()}
    for structure in all_structures():
        if structure.kind == "vertebra" and structure.level not in ("T13", "L6"):
            assert colours[structure.code.value] == structure.colour
