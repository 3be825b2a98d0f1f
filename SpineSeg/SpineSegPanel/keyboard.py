"""Making Slicer's own widgets reachable by the letters of their labels."""

import qt


def let_labels_reach(ui) -> None:
    """Let a label's letter lead to its field where that is a selector of nodes or of paths.

    Slicer's selectors are frames around a list and take no focus themselves, so that a label does not hand it to them
    (QLabel::event); the list within takes it instead.

    :param ui: the widgets of a part of the panel
    """
    for widget in vars(ui).values():
        if widget.className() in ("qMRMLNodeComboBox", "ctkPathLineEdit"):
            inner = next((child for child in widget.children() if hasattr(child, "currentText")), None)
            if inner is not None:
                widget.setFocusProxy(inner)
                widget.focusPolicy = qt.Qt.StrongFocus
