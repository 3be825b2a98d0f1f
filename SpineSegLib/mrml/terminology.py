"""SpineSeg's terminology in Slicer: registering it, and which structure a segment's tag or name means."""

from __future__ import annotations

from SpineSegLib.anatomy import REGION_CONTEXT, TYPE_CONTEXT, Structure, structure_coded, structure_named
from SpineSegLib.resources import resource
from SpineSegLib.terminology import REGION_FILE, TYPE_FILE

TAG = "TerminologyEntry"
"""Name of the segment tag, as vtkSegment::GetTerminologyEntryTagName says."""


def register_terminology(logic=None) -> bool:
    """Load SpineSeg's types and regions into Slicer's Terminologies module, once.

    Parameters
    ----------
    logic : vtkSlicerTerminologiesModuleLogic; the running Slicer's unless given

    Returns
    -------
    bool : True when both are loaded; without the module segments keep their tags all the same
    """
    if logic is None:
        import slicer

        module = getattr(getattr(slicer, "modules", None), "terminologies", None)
        if module is None:
            return False
        logic = module.logic()
    import vtk

    loaded = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(loaded)
    types = any(loaded.GetValue(n) == TYPE_CONTEXT for n in range(loaded.GetNumberOfValues()))
    logic.GetLoadedRegionContextNames(loaded)
    regions = any(loaded.GetValue(n) == REGION_CONTEXT for n in range(loaded.GetNumberOfValues()))
    if not types:
        types = bool(logic.LoadTerminologyFromFile(str(resource("Terminology", TYPE_FILE))))
    if not regions:
        regions = bool(logic.LoadRegionContextFromFile(str(resource("Terminology", REGION_FILE))))
    return types and regions


def structure_of(name: str, entry: str | None) -> Structure:
    """Return the structure that a segment shows, as `SpineSegLib.io` does for files.

    The name is what the user sees and edits, so a name of ours counts; otherwise the terminology's type and region
    do, and they add a level that the name leaves out.
    """
    named = structure_named(name)
    value, region = coded_values(entry)
    coded = structure_coded(value, region) if value else None
    if coded and (named.kind == "other" or (coded.level and not named.level)):
        return coded
    return named


def coded_values(entry: str | None) -> tuple[str | None, str | None]:
    """Return the SNOMED-CT values of type and region of a serialised terminology entry.

    The entry is ``context~category~type~type modifier~region context~region~region modifier`` with codes written
    ``scheme^value^meaning``.
    """
    parts = (entry or "").split("~")

    def value(position: int) -> str | None:
        code = parts[position].split("^") if position < len(parts) else []
        return code[1] or None if len(code) == 3 and code[0] in ("SCT", "") else None

    return value(2), value(5)
