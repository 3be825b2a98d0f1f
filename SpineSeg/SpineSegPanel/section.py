"""What every section of the panel is: a part of it with widgets, a file and a name of its own."""

from collections.abc import Callable

import qt
import slicer

from SpineSegPanel.keyboard import let_labels_reach


class Section:
    """A part of the panel that is folded away until it is needed.

    A new one is a class derived from this, in a file of its own, with ``Resources/UI/NAME.ui``, whose top widget is a
    qMRMLWidget; it is added to `SpineSegPanel.sections.SECTIONS`. A widget with the dynamic property
    ``SlicerParameterName`` follows the parameter node without more.

    :param parent: the ctkCollapsibleButton that the section fills
    :param logic: SpineSegLogic
    :param resourcePath: ``resourcePath(name)`` is the path of a file in the module's folder Resources
    """

    NAME = ""
    """Name of the .ui file, and of the section in `SpineSegWidget.sections`."""

    @classmethod
    def title(cls) -> str:
        """Return what the button says, translated."""
        raise NotImplementedError

    def __init__(self, parent, logic, resourcePath: Callable[[str], str]) -> None:
        self.parent, self.logic, self.resourcePath = parent, logic, resourcePath
        self.parameterNode = None
        self.log: Callable[[str], None] = lambda line: None
        """Adds a line to the panel's log; the panel sets it."""
        self.offer: Callable[[], None] = lambda: None
        """Makes the panel look anew at which models and weights there are; the panel sets it."""
        widget = slicer.util.loadUI(resourcePath(f"UI/{self.NAME}.ui"))
        layout = qt.QVBoxLayout(parent)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        let_labels_reach(self.ui)

    def setParameterNode(self, parameterNode) -> None:
        """Follow a parameter node, or none."""
        self.parameterNode = parameterNode
        self.update()

    def update(self) -> None:
        """Make the section fit the choices; cheap, for it runs at every change."""

    def close(self) -> None:
        """Stop and forget what runs: the scene is closed, or the panel."""
