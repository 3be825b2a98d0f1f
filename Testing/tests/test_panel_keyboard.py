"""The panel without a mouse: what Tab reaches and in which order, letters of labels and buttons, and what they say."""

from types import SimpleNamespace

import pytest

MENUS = set("fevh")
"""Letters of Slicer's own menus: File, Edit, View, Help."""


@pytest.fixture
def parts(panel):
    """Every part of the panel with its widgets; all is unfolded, shown and enabled."""
    parts = {"Segment": panel.ui, **{name: section.ui for name, section in panel.sections.items()}}
    for button in (panel.ui.inputsCollapsibleButton, panel.ui.advancedCollapsibleButton, panel.ui.logCollapsibleButton):
        button.collapsed = False
    for section in panel.sections.values():
        section.parent.collapsed = False
    for ui in parts.values():
        for widget in vars(ui).values():
            if widget.isWidgetType():
                widget.setVisible(True)
                widget.setEnabled(True)
    return parts


def letter(text: str) -> str:
    """Return the letter that a text can be reached by, or nothing."""
    at = text.replace("&&", "  ").find("&")
    return text[at + 1].lower() if at >= 0 else ""


def of_kind(ui, *kinds: str) -> list:
    return [one for name, one in vars(ui).items() if one.className() in kinds and not name.startswith("qt_")]


def tab_chain(widget) -> list:
    """Return the widgets that Tab goes through, as Qt does: none that hands its focus on to another."""
    import qt

    found, here = [], widget
    while True:
        here = here.nextInFocusChain()
        if here is widget or here is None:
            return found
        if here.focusPolicy & qt.Qt.TabFocus and here.focusProxy() is None:
            found.append(here)


def test_tab_reaches_every_button_and_field_from_the_top_down(panel, parts, slicer_host):
    slicer_host.process_events()
    chain = tab_chain(panel.ui.inputsCollapsibleButton.window())
    names = [widget.objectName for widget in chain]
    for part, ui in parts.items():
        for widget in of_kind(ui, "QPushButton", "QCheckBox", "QComboBox", "QLineEdit", "QDoubleSpinBox"):
            assert widget.objectName in names, f"{part}: {widget.objectName}"
        for widget in of_kind(ui, "qMRMLNodeComboBox", "ctkPathLineEdit"):
            assert widget.focusProxy() in chain, f"{part}: {widget.objectName}"
        own = [widget for widget in chain if widget.objectName in vars(ui)]
        assert own == sorted(own, key=at_top_left), f"{part}: {[widget.objectName for widget in own]}"


def at_top_left(widget) -> tuple[int, int]:
    """Return row and column of a widget on the screen; fields of one line differ by a few pixels in height."""
    import qt

    # A frame that can be folded has its button at the top.
    place = widget.mapToGlobal(qt.QPoint(0, min(widget.height, 24) // 2))
    return place.y() // 12, place.x()


def test_every_button_says_what_it_is_and_has_a_letter_of_its_own(parts):
    for part, ui in parts.items():
        letters = {}
        for widget in of_kind(ui, "QPushButton", "QCheckBox", "QLabel"):
            if widget.className() != "QLabel":
                assert widget.text.replace("&", "").strip() or widget.toolTip, f"{part}: {widget.objectName}"
                assert letter(widget.text), f"{part}: {widget.objectName}"
            if letter(widget.text):
                letters.setdefault(letter(widget.text), []).append(widget.objectName)
        clashes = {one: names for one, names in letters.items() if len(names) > 1}
        assert not clashes, f"{part}: {clashes}"
        assert not MENUS & set(letters), f"{part}: letters of Slicer's menus"
        assert part == "Segment" or "a" not in letters, f"{part}: the letter of Apply"


def test_every_label_of_a_field_leads_to_it(parts):
    import qt

    for part, ui in parts.items():
        for label in of_kind(ui, "QLabel"):
            if label.text.endswith(":") and label.objectName.endswith("Label"):
                field = label.buddy()
                assert field is not None, f"{part}: {label.objectName}"
                assert field.focusPolicy != qt.Qt.NoFocus, f"{part}: {field.objectName} takes no focus from its label"
                assert field.toolTip, f"{part}: {field.objectName}"


def test_buttons_have_their_letters_again_after_a_run(panel):
    """A run makes a button say Cancel; what it says afterwards is set anew."""
    for section in panel.sections.values():
        before = {name: w.text for name, w in vars(section.ui).items() if w.className() == "QPushButton"}
        section._showIdle("")
        assert {name: w.text for name, w in vars(section.ui).items() if w.className() == "QPushButton"} == before
        assert all(letter(text) for text in before.values()), section.NAME
    panel.segment._showIdle("")
    assert letter(panel.ui.applyButton.text) == "a"


def test_the_button_that_says_cancel_has_the_focus(panel):
    """It is locked while a run is prepared, and what is locked loses the focus: the next key would go elsewhere."""
    import numpy as np
    import slicer

    from SpineSegLib import mrml

    started = []
    worker = mrml.Worker(start=lambda *asked: started.append(asked) or SimpleNamespace(pid=0), end=lambda pid: None)
    panel.logic._runner._worker = worker
    film = slicer.util.addVolumeFromArray(np.arange(480, dtype=np.int16).reshape(1, 24, 20), name="Film")
    panel.ui.inputVolumeSelector.setCurrentNode(film)
    panel.ui.weightsPathLineEdit.currentPath = "some.safetensors"
    panel.ui.applyButton.setFocus()
    panel.ui.applyButton.click()
    assert len(started) == 1
    assert panel.ui.applyButton.text == "Cancel"
    assert panel.ui.applyButton.window().focusWidget() is panel.ui.applyButton
