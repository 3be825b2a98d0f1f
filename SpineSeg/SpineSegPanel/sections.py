"""The panel's sections, in the order in which they stand below the result."""

import ctk

from SpineSegPanel.batch import BatchSection
from SpineSegPanel.evaluate import EvaluateSection
from SpineSegPanel.export import ExportSection
from SpineSegPanel.refine import RefineSection
from SpineSegPanel.section import Section
from SpineSegPanel.weights import WeightsSection

SECTIONS: list[type[Section]] = [RefineSection, ExportSection, BatchSection, EvaluateSection, WeightsSection]
"""A section is added by its class; see `Section` for what it needs."""


def add_sections(parent, logic, resourcePath) -> dict[str, Section]:
    """Put every section, folded, below each other into a widget, and return them by their names."""
    sections = {}
    for kind in SECTIONS:
        button = ctk.ctkCollapsibleButton()
        button.name = f"{kind.NAME}CollapsibleButton"
        button.text = kind.title()
        sections[kind.NAME] = kind(button, logic, resourcePath)
        button.collapsed = True
        parent.layout().addWidget(button)
    return sections
