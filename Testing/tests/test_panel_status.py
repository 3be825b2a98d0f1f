"""What the panel's status lines say is shown as it is."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "SpineSeg" / "Resources" / "UI").glob("*.ui")), ids=lambda p: p.stem)
def test_no_quotation_mark_is_shown_as_an_entity(scene, slicer_host, path):
    """Texts are escaped; a label that guesses the format would take a line without a tag for plain text."""
    import qt
    import slicer

    ui = slicer.util.childWidgetVariables(slicer.util.loadUI(str(path)))
    labels = [widget for name, widget in vars(ui).items() if name.lower().endswith("statuslabel")]
    assert labels
    assert all(label.textFormat == qt.Qt.RichText for label in labels)
